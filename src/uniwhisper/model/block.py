"""One transformer block of the encoder, and the pieces that compiled encoders are made of.

Notable: attention sees clips, everything else sees rows. What lies between two attentions is one piece: the end of a
block, its sum, and the beginning of the next. Compiled, that sum is written once and not read again, and in the
backward pass the two gradients that meet there are added where they are needed.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint

from uniwhisper.model.attention import attend
from uniwhisper.model.config import Recompute
from uniwhisper.model.float8 import Float8Linear, Float8Mlp, fits, float8_linear, to_float8
from uniwhisper.model.gelu import Gelu
from uniwhisper.model.packing import Packing


class SelfAttention(nn.Module):
    """Weights of multi-head attention; `model.attention` computes it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def split(self, x_PD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value of `x_PD`, each (P, heads, width / heads)."""
        layers = (self.query, self.key, self.value)
        if x_PD.device.type == "cpu":
            parts = [layer(x_PD) for layer in layers]
        else:
            # One product as wide as three keeps a GPU busier; joining the weights costs less than 1 % of a full batch.
            bias_D = self.query.bias
            bias = torch.cat([bias_D, torch.zeros_like(bias_D), self.value.bias])
            product = float8_linear if isinstance(self.query, Float8Linear) else linear
            parts = product(x_PD, torch.cat([layer.weight for layer in layers]), bias).chunk(3, dim=1)
        query, key, value = (part.unflatten(1, (self.heads, -1)) for part in parts)
        return query, key, value


class Block(nn.Module):
    """Pre-norm transformer block: attention, then a GELU layer four times as wide."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), Gelu(), nn.Linear(4 * width, width))
        self.pieces = PIECES
        """What `forward` calls; compiled or not."""
        self.recompute: Recompute | None = None
        """None: every activation that the backward pass needs is kept."""

    def to_float8(self) -> None:
        """From now on multiply in float8, where its widths allow that; the parameters stay the same ones."""
        to_float8(self.attention)
        if fits(self.mlp[0]):
            self.mlp = Float8Mlp(*self.mlp)

    def forward(self, x_PD: Tensor, packing: Packing) -> Tensor:
        """Transform `x_PD` (P packed real frames, as `packing` says); same shape."""
        if self.recompute == "layers" and torch.is_grad_enabled():
            return _computed_again(self._both, x_PD, packing)
        return self._both(x_PD, packing)

    def _both(self, x_PD: Tensor, packing: Packing) -> Tensor:
        mixed_PJK = attend(*self.pieces.begin(self, x_PD), packing)
        if self.recompute == "mlp" and torch.is_grad_enabled():
            return _computed_again(self.pieces.end, self, x_PD, mixed_PJK)
        return self.pieces.end(self, x_PD, mixed_PJK)


def _computed_again(function: Callable[..., Tensor], *arguments: object) -> Tensor:
    # Nothing here draws random numbers, and reading their state would wait for the GPU.
    return checkpoint(function, *arguments, use_reentrant=False, preserve_rng_state=False)


def _begin(block: Block, x_PD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return block.attention.split(block.attention_norm(x_PD))


def _end(block: Block, x_PD: Tensor, mixed_PJK: Tensor) -> Tensor:
    # Not flatten: to the compiler the width of its result would be a number that changes.
    x_PD = x_PD + block.attention.out(mixed_PJK.reshape(-1, block.attention.out.in_features))
    return x_PD + block.mlp(block.mlp_norm(x_PD))


def _between(block: Block, following: Block, x_PD: Tensor, mixed_PJK: Tensor) -> tuple[Tensor, ...]:
    x_PD = _end(block, x_PD, mixed_PJK)
    return (x_PD, *_begin(following, x_PD))


def _end_and_norm(block: Block, norm: nn.LayerNorm, x_PD: Tensor, mixed_PJK: Tensor) -> Tensor:
    return norm(_end(block, x_PD, mixed_PJK))


class Pieces(NamedTuple):
    """What blocks are made of, beside attention."""

    begin: Callable[..., tuple[Tensor, Tensor, Tensor]]
    """(block, x_PD) -> query, key and value (P, heads, width / heads) of the rows that enter `block`."""
    between: Callable[..., tuple[Tensor, ...]]
    """(block, following, x_PD, mixed_PJK) -> the rows that enter `following`, and their query, key and value."""
    end: Callable[..., Tensor]
    """(block, x_PD, mixed_PJK) -> the rows that leave `block`."""
    end_and_norm: Callable[..., Tensor]
    """(block, norm, x_PD, mixed_PJK) -> the same, normalised."""


PIECES = Pieces(_begin, _between, _end, _end_and_norm)


@lru_cache
def compiled_pieces() -> Pieces:
    """The pieces, compiled when first called for any number of rows; the same ones for every block of every encoder."""
    return Pieces(*(torch.compile(piece, dynamic=True) for piece in PIECES))


def joined(
    pieces: Pieces, blocks: Sequence[Block], norm: nn.LayerNorm | None, x_PD: Tensor, packing: Packing
) -> Tensor:
    """What calling the blocks in turn gives.

    Args:
        pieces: compiled or not.
        blocks: at least one.
        norm: for the last block's output; None: it is not normalised.
        x_PD: rows that enter the first block, packed as `packing` says.
        packing: of this batch.
    """
    parts = pieces.begin(blocks[0], x_PD)
    for block, following in pairwise(blocks):
        x_PD, *parts = pieces.between(block, following, x_PD, attend(*parts, packing))
    mixed_PJK = attend(*parts, packing)
    last = blocks[-1]
    return pieces.end(last, x_PD, mixed_PJK) if norm is None else pieces.end_and_norm(last, norm, x_PD, mixed_PJK)
