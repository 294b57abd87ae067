"""Layers whose products are of 8-bit floats, for training on GPUs that have such products.

Each row of what is multiplied is divided by its own scale, so that nothing in it is beyond the largest number of float8
(E4M3), and rounded; the product puts the scales back and is bfloat16. Forward and the gradient of the input are such
products. The gradient of the weights stays a bfloat16 product: it adds up over all rows of a batch, which would have to
be scaled by column and turned. Weights, gradients and the optimizer's sums keep their types.

Source: Micikevicius et al. (2022), sections 3 and 4, for E4M3 and its rounding; one scale per row, with the weights'
gradient left out, is torchao's recipe `rowwise_with_gw_hp`. The scale by a bound is ours, and why torchao is not used:
docs/decisions/0038-float8-training.md.

Letters: N rows of a batch · C numbers in, D numbers out of a layer · K either · M rows of the right operand.
"""

from typing import Any, Self

import torch
from torch import Tensor, nn

from uniwhisper.core.errors import RecipeError
from uniwhisper.model import gelu


class Float8Linear(nn.Linear):
    """A linear layer that shares its parameters with the one it was made of; its output is bfloat16."""

    @classmethod
    def of(cls, layer: nn.Linear) -> Self:
        """`layer`'s very parameters, in a layer that multiplies in float8."""
        with torch.device("meta"):
            made = cls(layer.in_features, layer.out_features, bias=layer.bias is not None)
        made.weight, made.bias = layer.weight, layer.bias
        return made.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        """As `nn.Linear`, of any floating `x` (…, in) -> bfloat16 (…, out)."""
        # Not flatten: to the compiler the width of its result would be a number that changes.
        return float8_linear(x.reshape(-1, self.in_features), self.weight, self.bias).unflatten(0, x.shape[:-1])


class Float8Mlp(nn.Sequential):
    """Of a block of the encoder: its linear layer, GELU and linear layer; the output is bfloat16."""

    def forward(self, x_NC: Tensor) -> Tensor:
        """Of rows `x_NC`, floating; same shape."""
        widen, _, narrow = self
        return _Float8Mlp.apply(x_NC.to(torch.bfloat16), widen.weight, widen.bias, narrow.weight, narrow.bias)


def float8_linear(x_NC: Tensor, weight_DC: Tensor, bias_D: Tensor | None = None) -> Tensor:
    """`x_NC @ weight_DC.T + bias_D` in float8: bfloat16 (N, D), differentiable in all three.

    Args:
        x_NC: floating; rounded to bfloat16 first.
        weight_DC: floating; C and D are multiples of 16.
        bias_D: floating; None: none.
    """
    return _Float8Product.apply(x_NC.to(torch.bfloat16), weight_DC, bias_D)


def fits(layer: nn.Linear) -> bool:
    """Whether float8 products can take the layer: both widths are multiples of 16."""
    return not (layer.in_features % 16 or layer.out_features % 16)


def to_float8(module: nn.Module) -> None:
    """Replace in place the linear layers below `module` whose widths float8 products can take."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Linear and fits(child):
                setattr(parent, name, Float8Linear.of(child))


def require_float8(device: torch.device) -> None:
    """Raises `RecipeError` unless `device` is a GPU with products of 8-bit floats (compute capability 8.9 or later)."""
    got = device.type
    if got == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if capability >= (8, 9):
            return
        got = f"{torch.cuda.get_device_name(device)}, {capability[0]}.{capability[1]}"
    raise RecipeError(
        "loop.precision float8: this device has no products of 8-bit floats",
        expected="a GPU of compute capability 8.9 or later (Ada, Hopper, Blackwell)",
        got=got,
        fix="--set loop.precision=bf16",
    )


class _Float8Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_NC: Tensor, weight_DC: Tensor, bias_D: Tensor | None) -> Tensor:
        # A frozen layer needs its input no more.
        ctx.save_for_backward(x_NC if ctx.needs_input_grad[1] else None, weight_DC)
        ctx.bias_type = None if bias_D is None else bias_D.dtype
        return _product(_by_rows(x_NC), _by_rows(weight_DC), bias_D)

    @staticmethod
    def backward(ctx: Any, outward_ND: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x_NC, weight_DC = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            _product(_by_rows(outward_ND), _by_rows(weight_DC.t())) if of_x else None,
            _weights_gradient(outward_ND, x_NC).to(weight_DC.dtype) if of_weight else None,
            outward_ND.sum(dim=0, dtype=ctx.bias_type) if of_bias else None,
        )


class _Float8Mlp(torch.autograd.Function):
    """Both layers and the GELU between them. What is four times as wide is scaled by a bound on its row instead of its
    largest number, so that it is rounded where it is computed and not read once more for its largest:

        |h_d| <= |x| |w_d| + |b_d|        |gelu(h)| <= |h|        |gelu'(h)| < 1.13

    The bound is some binades above the largest number, of eighteen that float8 has.
    """

    @staticmethod
    def forward(ctx: Any, x_NC: Tensor, wide_DC: Tensor, wide_D: Tensor, narrow_CD: Tensor, narrow_C: Tensor) -> Tensor:
        hidden_ND = _product(_by_rows(x_NC), _by_rows(wide_DC), wide_D)
        # 1.15: operands rounded to float8 may each be longer by a sixteenth.
        bound_N1 = 1.15 * _length(x_NC) * _length(wide_DC).amax() + wide_D.abs().amax()
        wide_ND = hidden_ND.float()
        after_ND = (wide_ND * gelu.share(wide_ND)).to(torch.bfloat16)
        ctx.save_for_backward(x_NC, wide_DC, narrow_CD, hidden_ND, after_ND)
        ctx.bias_type = wide_D.dtype
        return _product(_within(after_ND, bound_N1), _by_rows(narrow_CD), narrow_C)

    @staticmethod
    def backward(ctx: Any, outward_NC: Tensor) -> tuple[Tensor, ...]:
        x_NC, wide_DC, narrow_CD, hidden_ND, after_ND = ctx.saved_tensors
        narrow_DC = narrow_CD.t()
        inward_ND = _product(_by_rows(outward_NC), _by_rows(narrow_DC))
        inward_ND = (inward_ND.float() * gelu.slope(hidden_ND.float())).to(torch.bfloat16)
        bound_N1 = 1.3 * _length(outward_NC) * _length(narrow_DC).amax()  # 1.15 · 1.13
        return (
            _product(_within(inward_ND, bound_N1), _by_rows(wide_DC.t())),
            _weights_gradient(inward_ND, x_NC).to(wide_DC.dtype),
            inward_ND.sum(dim=0, dtype=ctx.bias_type),
            _weights_gradient(outward_NC, after_ND).to(narrow_CD.dtype),
            outward_NC.sum(dim=0, dtype=ctx.bias_type),
        )


Rounded = tuple[Tensor, Tensor]
"""Float8 (N, K), row-major, and the float32 scales (N, 1) that give the rows back."""


def _product(left: Rounded, right: Rounded, bias_M: Tensor | None = None) -> Tensor:
    """`left @ right.T + bias_M`: bfloat16 (N, M)."""
    bias_M = None if bias_M is None else bias_M.to(torch.bfloat16)
    # The public `scaled_mm` is a stranger to the compiler of torch 2.11.
    return torch._scaled_mm(
        left[0], right[0].t(), left[1], right[1].t(), bias=bias_M, out_dtype=torch.bfloat16, use_fast_accum=True
    )


def _weights_gradient(outward_ND: Tensor, x_NC: Tensor) -> Tensor:
    """`outward_ND.T @ x_NC`: bfloat16 (D, C), in two pieces where one side is wider than 4,096.

    Products that are 5,120 wide, as large-v3 has them, ran slower than those of 3,840: docs/performance.md.
    """
    # Written out, because the compiler would take a number of this module for one that changes; so below.
    if outward_ND.shape[1] > 4096:
        return torch.cat([piece_ND.t() @ x_NC for piece_ND in outward_ND.split(3840, dim=1)])
    if x_NC.shape[1] > 4096:
        return torch.cat([outward_ND.t() @ piece_NC for piece_NC in x_NC.split(3840, dim=1)], dim=1)
    return outward_ND.t() @ x_NC


def _by_rows(x_NK: Tensor) -> Rounded:
    """Rounded by the largest number of each row; one of zeros may have any scale."""
    largest_N1 = x_NK.abs().amax(dim=1, keepdim=True).float().clamp(min=1e-30)
    return _rounded(x_NK, 448.0 / largest_N1), largest_N1 / 448.0  # E4M3's largest


def _within(x_NK: Tensor, bound_N1: Tensor) -> Rounded:
    """Rounded by a bound on each row that is found before the row is."""
    bound_N1 = bound_N1.clamp(min=1e-30)
    # Else the compiler finds bound, root and quotient once for every number of the row. What it does not take into
    # another kernel is a reduction, of more than the eight numbers that it would write out.
    factor_N1 = (448.0 / bound_N1).expand(-1, 16).amax(dim=1, keepdim=True)
    return _rounded(x_NK, factor_N1), bound_N1 / 448.0


def _rounded(x_NK: Tensor, factor_N1: Tensor) -> Tensor:
    return (x_NK.float() * factor_N1).contiguous().to(torch.float8_e4m3fn)


def _length(x_NK: Tensor) -> Tensor:
    """Of each row: float32 (N, 1)."""
    return x_NK.float().square().sum(dim=1, keepdim=True).sqrt()
