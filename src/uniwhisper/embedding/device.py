"""The device in words, and the arithmetic it is held to."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def device_text(device: torch.device) -> str:
    """The device in words, e.g. `cuda (NVIDIA H100)` or `cpu (2 threads)`."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"{device.type} ({torch.get_num_threads()} threads)"


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """Real float32 inside the block: no TF32 in products and convolutions, no autocast. The settings are put back."""
    operators = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)
    before = [operator.fp32_precision for operator in operators]
    try:
        for operator in operators:
            operator.fp32_precision = "ieee"
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for operator, precision in zip(operators, before, strict=True):
            operator.fp32_precision = precision
