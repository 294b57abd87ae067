"""Dasheng, by its own package, which needs torchaudio and is therefore in no extra of ours."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uniwhisper.core.errors import UserError, WeightsError
from uniwhisper.core.identity import code_identity, hash_json, hash_tensors, layer_identity
from uniwhisper.evaluation.adapters.pooling import ClipPooler, pooler


class DashengFrames:
    """Waves in, frames of 40 ms out. One clip at a time: its decibels are cut off below a maximum over the batch."""

    sample_rate_hz, hop_seconds = 16_000, 0.04
    batch_clips = 1
    shortest_seconds = 0.04
    window_seconds = 302.4  # thirty of the blocks of 10.08 s that it attends within

    def __init__(self, model: Any, device: torch.device) -> None:
        self.module, self.device = model.to(device).eval(), device
        self.width = int(model.embed_dim)

    def __call__(self, wave_BS: Tensor) -> Tensor:
        return self.module(wave_BS.to(self.device))


def open_dasheng(path: Path, device: torch.device) -> ClipPooler:
    """The encoder in a `.pt` file as its project publishes it (`dasheng_base.pt`).

    Raises:
        UserError: the package is not installed.
        WeightsError: the file is no such checkpoint.
    """
    try:
        from dasheng.pretrained.pretrained import Dasheng
    except ModuleNotFoundError as error:
        raise UserError(
            "Dasheng needs its own package",
            expected="the packages `dasheng` and `torchaudio`",
            got=str(error),
            fix="pip install dasheng, in an environment whose torch has a torchaudio (see docs/encoders.md)",
        ) from None
    try:
        model = Dasheng.from_pretrained(str(path))
    except Exception as error:  # pickles fail in many ways
        raise WeightsError(
            f"{path} cannot be loaded",
            expected="a file of Dasheng with `model` and `config`",
            got=f"{type(error).__name__}: {str(error).strip()[:200]}",
            fix="name the file that its project publishes, e.g. dasheng_base.pt",
        ) from error
    function = DashengFrames(model, device)
    code = f"{code_identity()}+{layer_identity('evaluation/adapters')}+dasheng-{version('dasheng')}"
    weights = hash_json({"width": function.width, "tensors": hash_tensors(model.state_dict())})
    return pooler(function, weights=weights, code=code, pooling="mean of all frames")
