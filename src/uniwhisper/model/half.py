"""A Whisper encoder in bfloat16, for inference on a GPU: the same weights, fewer trips through the GPU's memory.

Notable: beside the pieces of `model.block` the stem is a piece too, and on a GPU the GELU, in its tanh form, happens
inside the product before it. Measured: docs/performance.md.
"""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

from uniwhisper.model.encoder import WhisperEncoder, windows
from uniwhisper.model.packing import MelSlots


def in_half(encoder: WhisperEncoder) -> "HalfEncoder":
    """A copy of `encoder` for inference under bfloat16 autocast: matrices in bfloat16, so that no call converts them.

    Norms and the sums of the blocks stay in float32: their roundings do not add up. The copy is made of the weights
    alone: it has no hooks, and is not compiled.
    """
    device = encoder.positions_TD.device
    with torch.device("meta"):
        half = HalfEncoder(encoder.config)
    half.load_state_dict({name: tensor.clone() for name, tensor in encoder.state_dict().items()}, assign=True)
    for module in half.modules():
        if isinstance(module, nn.Linear | nn.Conv1d):
            module.to(torch.bfloat16)
    return half.to(device).train(encoder.training).requires_grad_(False)


class HalfEncoder(WhisperEncoder):
    """Made by `in_half`. Its frames are `WhisperEncoder`'s, to bfloat16's precision; its blocks are not called."""

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        for block in self.blocks:
            block.mlp = _FusedMlp(*block.mlp)
        self._stem_piece: Callable[..., Tensor] = _stem
        self._joined = True

    def compile(self, *_: object, **__: object) -> None:
        """Compile for every number of clips and frames; costs seconds at the first call, for a single frame again."""
        super().compile()
        self._stem_piece = compiled_stem()

    def _stem(self, mel_BMF: Tensor, slots: MelSlots) -> Tensor:
        # Flat, and never a view, so that a batch of one clip is nothing of its own to the compiler.
        mel_NM = mel_BMF.transpose(1, 2).contiguous().flatten(0, 1)
        rows_Q = slots.rows_of(mel_BMF.shape[2])
        return self._stem_piece(self, mel_NM, rows_Q, slots.gap_Q1, slots.real_P, slots.frames.place_P)


class _FusedMlp(nn.Sequential):
    """Of a block: the same three modules, the first two in one product."""

    def forward(self, x_PD: Tensor) -> Tensor:
        widen, _, narrow = self
        return narrow(_product_gelu(widen, x_PD))


def _stem(
    encoder: HalfEncoder, mel_NM: Tensor, rows_Q: Tensor, gap_Q1: Tensor, real_P: Tensor, place_P: Tensor
) -> Tensor:
    conv1, conv2 = encoder.conv1, encoder.conv2
    x_QD = _product_gelu(conv1, windows(conv1, mel_NM[rows_Q].masked_fill(gap_Q1, 0)))
    x_RD = _product_gelu(conv2, windows(conv2, x_QD.masked_fill(gap_Q1, 0)))
    return x_RD[real_P] + encoder.positions_TD[place_P]


@lru_cache
def compiled_stem() -> Callable[..., Tensor]:
    """The stem, compiled when first called; the same function for every encoder."""
    return torch.compile(_stem, dynamic=True)


def _product_gelu(layer: nn.Linear | nn.Conv1d, x_NC: Tensor) -> Tensor:
    """GELU of `layer`'s product with rows `x_NC`."""
    weight_DC = layer.weight.flatten(1)
    if x_NC.is_cuda and weight_DC.dtype == torch.bfloat16:
        return linear_gelu(x_NC.to(torch.bfloat16), weight_DC, layer.bias)
    return gelu(linear(x_NC, weight_DC, layer.bias))


# An operator of its own, because the compiler would take PyTorch's apart into a product and a GELU again.
@torch.library.custom_op("uniwhisper::linear_gelu", mutates_args=())
def linear_gelu(x_NC: Tensor, weight_DC: Tensor, bias_D: Tensor) -> Tensor:
    """GELU of `x_NC @ weight_DC.T + bias_D`: (N, D), all of one dtype. On a GPU one kernel and in its tanh form."""
    return torch._addmm_activation(bias_D, x_NC, weight_DC.t(), use_gelu=True)


@linear_gelu.register_fake
def _(x_NC: Tensor, weight_DC: Tensor, bias_D: Tensor) -> Tensor:  # noqa: ARG001
    return x_NC.new_empty(x_NC.shape[0], weight_DC.shape[0])
