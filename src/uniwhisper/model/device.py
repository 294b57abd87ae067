"""Which device to compute on."""

import torch

from uniwhisper.core.errors import UserError


def choose_device(name: str) -> torch.device:
    """The device called `auto`, `cpu` or `cuda`; auto is a GPU if there is one.

    Raises:
        UserError: another name, or `cuda` where there is none.
    """
    if name not in ("auto", "cpu", "cuda"):
        fix = "auto takes a GPU if there is one"
        if name.startswith("cuda:"):
            fix = f"cuda, with CUDA_VISIBLE_DEVICES={name.removeprefix('cuda:')} before the program is started"
        raise UserError(f"device {name!r}", expected="auto, cpu or cuda", got=name, fix=fix)
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "no GPU to compute on",
            expected="a CUDA device",
            got="torch sees none",
            fix="take the device cpu, or see: uniwhisper doctor",
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
