"""GELU, exact and in its tanh form.

    tanh form    x (1 + tanh z) / 2 = x sigmoid(2 z)        z = sqrt(2 / pi) (x + 0.044715 x³)

(Hendrycks & Gimpel, 2016, section 2). As a sigmoid it compiles to fewer instructions; 2 sqrt(2 / pi) = 1.5957691.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu


class Gelu(nn.Module):
    """Exact in float32 and wider; in half precision the tanh form.

    That form differs from the exact one by less than 5e-4, about the rounding of bfloat16 itself, and the exact one
    keeps a GPU busy for longer than reading and writing the rows does. Measured: docs/performance.md.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Of each number of `x`; same shape and dtype."""
        if x.dtype.itemsize > 2:
            return gelu(x)
        if not torch.compiler.is_compiling():
            return gelu(x, approximate="tanh")
        wide = x.float()
        return (wide * share(wide)).to(x.dtype)


def share(x: Tensor) -> Tensor:
    """What the tanh form lets through of each number of `x`, float32."""
    return torch.sigmoid(1.5957691216057308 * x * (1 + 0.044715 * x * x))


def slope(x: Tensor) -> Tensor:
    """Of the tanh form at each number of `x`, float32; below 1.13 everywhere."""
    through = share(x)
    return through + x * through * (1 - through) * (1.5957691216057308 * (1 + 3 * 0.044715 * x * x))
