"""A Whisper encoder in bfloat16, for inference on a GPU: the same weights, fewer trips through the GPU's memory.

Notable: the end of a block and the beginning of the next are one piece when compiled, so the sum between them is read
once; the stem is a piece too; and on a GPU the GELU happens inside the product before it, in its tanh form. That form
differs from the exact one by less than 5e-4, about the rounding of bfloat16 itself. Measured: docs/performance.md.
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

from uniwhisper.model.attention import attend
from uniwhisper.model.encoder import Block, WhisperEncoder, before_attention, windows
from uniwhisper.model.packing import MelSlots, Packing


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
        self._pieces: tuple[Callable, ...] = _PIECES

    def compile(self, *_: object, **__: object) -> None:
        """Compile for every number of clips and frames; costs seconds at the first call, for a single frame again."""
        self._pieces = compiled_pieces()

    def _stem(self, mel_BMF: Tensor, slots: MelSlots) -> Tensor:
        stem = self._pieces[0]
        # Flat, and never a view, so that a batch of one clip is nothing of its own to the compiler.
        mel_NM = mel_BMF.transpose(1, 2).contiguous().flatten(0, 1)
        rows_Q = slots.rows_of(mel_BMF.shape[2])
        return stem(self, mel_NM, rows_Q, slots.gap_Q1, slots.real_P, slots.frames.place_P)

    def _through(self, x_PD: Tensor, packing: Packing, layer: int | None) -> Tensor:
        _, begin, between, end, end_and_norm = self._pieces
        blocks = list(self.blocks[:layer])
        if not blocks:
            return x_PD
        parts = begin(blocks[0], x_PD)
        for block, following in pairwise(blocks):
            x_PD, *parts = between(block, following, x_PD, attend(*parts, packing))
        mixed_PJK = attend(*parts, packing)
        if layer is None:
            return end_and_norm(blocks[-1], self.final_norm, x_PD, mixed_PJK)
        return end(blocks[-1], x_PD, mixed_PJK)


def _stem(
    encoder: HalfEncoder, mel_NM: Tensor, rows_Q: Tensor, gap_Q1: Tensor, real_P: Tensor, place_P: Tensor
) -> Tensor:
    conv1, conv2 = encoder.conv1, encoder.conv2
    x_QD = _product_gelu(conv1, windows(conv1, mel_NM[rows_Q].masked_fill(gap_Q1, 0)))
    x_RD = _product_gelu(conv2, windows(conv2, x_QD.masked_fill(gap_Q1, 0)))
    return x_RD[real_P] + encoder.positions_TD[place_P]


def _between(block: Block, following: Block, x_PD: Tensor, mixed_PJK: Tensor) -> tuple[Tensor, ...]:
    x_PD = _end(block, x_PD, mixed_PJK)
    return (x_PD, *before_attention(following, x_PD))


def _end(block: Block, x_PD: Tensor, mixed_PJK: Tensor) -> Tensor:
    x_PD = x_PD + block.attention.out(mixed_PJK.flatten(1))
    widen, _, narrow = block.mlp
    return x_PD + narrow(_product_gelu(widen, block.mlp_norm(x_PD)))


def _end_and_norm(block: Block, norm: nn.LayerNorm, x_PD: Tensor, mixed_PJK: Tensor) -> Tensor:
    return norm(_end(block, x_PD, mixed_PJK))


_PIECES = (_stem, before_attention, _between, _end, _end_and_norm)


@lru_cache
def compiled_pieces() -> tuple[Callable, ...]:
    """The pieces, compiled when first called; the same functions for every block of every encoder."""
    return tuple(torch.compile(piece, dynamic=True) for piece in _PIECES)


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
