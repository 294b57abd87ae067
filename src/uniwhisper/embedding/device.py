"""The device in words, and the arithmetic it is held to."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

import torch

from uniwhisper.core.errors import UserError
from uniwhisper.model.encoder import WhisperEncoder
from uniwhisper.model.half import in_half
from uniwhisper.model.quantize import in_int8

Precision = Literal["float32", "bf16", "int8"]
"""Arithmetic of the encoder's matrix products. Norms, sums of a block and log-mel never have less than float32."""


def device_text(device: torch.device) -> str:
    """The device in words, e.g. `cuda (NVIDIA H100)` or `cpu (2 threads)`."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"{device.type} ({torch.get_num_threads()} threads)"


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """Real float32 inside the block: no TF32 or bfloat16 in products and convolutions, no autocast.

    The settings are put back. On a CPU with bfloat16 units, `torch.set_float32_matmul_precision("medium")` reaches
    float32 products as it does on a GPU.
    """
    backends = torch.backends
    operators = (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv)
    before = [operator.fp32_precision for operator in operators]
    try:
        for operator in operators:
            operator.fp32_precision = "ieee"
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for operator, precision in zip(operators, before, strict=True):
            operator.fp32_precision = precision


def arithmetic(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """What the encoder runs under: real float32 whatever the caller has set, or bfloat16 products."""
    return full_float32(device) if precision != "bf16" else torch.autocast(device.type, torch.bfloat16)


def in_precision(encoder: WhisperEncoder, precision: Precision, device: torch.device) -> WhisperEncoder:
    """The encoder itself in float32, else a copy.

    Raises:
        UserError: the device has no such precision.
    """
    if precision == "float32":
        return encoder
    if precision == "bf16":
        return in_half(encoder)
    if precision == "int8" and device.type == "cpu":
        return in_int8(encoder)
    raise UserError(
        f"there is no such precision on {device.type}",
        expected="float32 or bf16; on a CPU also int8",
        got=repr(precision),
        fix="choose one of these",
    )
