"""Self-attention over clips of unequal length, on packed frames.

The real frames of a batch lie one after the other in one tensor, so that the linear layers compute nothing on padding.
Only `attend` needs to know where one clip ends and the next begins: a kernel for packed sequences (cumulative lengths)
would replace its inside and nothing else. Measurements: docs/decisions/0003-encoder-any-length.md.

Letters, beside those in docs/shapes.md: P real frames of the batch · J attention heads · K width of a head.
"""

from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention


@dataclass(frozen=True)
class Packing:
    """Where the real frames of a padded batch lie."""

    counts: tuple[int, ...]
    """Real frames of each clip, at least 1."""
    rows_P: Tensor | None
    """int64, index of each real frame among the B·T padded ones; None if all of them are real."""

    @classmethod
    def of(cls, counts: list[int], device: torch.device) -> "Packing":
        """Packing of a batch padded to its longest clip; `counts` are the real frames of each clip."""
        longest = max(counts)
        if min(counts) == longest:
            return cls(tuple(counts), None)
        real_BT = torch.arange(longest) < torch.tensor(counts)[:, None]
        return cls(tuple(counts), real_BT.flatten().nonzero().squeeze(1).to(device))

    def pack(self, padded_BTx: Tensor) -> Tensor:
        """The real frames of `padded_BTx` (B, T, …) alone: (P, …), same dtype."""
        every = padded_BTx.flatten(0, 1)
        return every if self.rows_P is None else every.index_select(0, self.rows_P)

    def unpack(self, packed_Px: Tensor) -> Tensor:
        """`packed_Px` (P, …) as (B, T, …), same dtype, zeros in the padding."""
        batch_shape = (len(self.counts), max(self.counts))
        if self.rows_P is None:
            return packed_Px.unflatten(0, batch_shape)
        every = packed_Px.new_zeros(batch_shape[0] * batch_shape[1], *packed_Px.shape[1:])
        return every.index_copy(0, self.rows_P, packed_Px).unflatten(0, batch_shape)


def attend(query_PJK: Tensor, key_PJK: Tensor, value_PJK: Tensor, packing: Packing) -> Tensor:
    """Each frame attends to all frames of its own clip and to no other.

    Args:
        query_PJK, key_PJK, value_PJK: one dtype; packed as `packing` says.
        packing: of this batch.

    Returns:
        mixed_PJK: dtype of the query.
    """
    # A kernel launch costs more than some wasted arithmetic on an accelerator, and less than it on a CPU.
    if packing.rows_P is None or query_PJK.device.type == "cpu":
        return attend_by_length(query_PJK, key_PJK, value_PJK, packing)
    return attend_padded(query_PJK, key_PJK, value_PJK, packing)


def attend_by_length(query_PJK: Tensor, key_PJK: Tensor, value_PJK: Tensor, packing: Packing) -> Tensor:
    """One call per run of neighbouring clips of equal length: no mask, and no arithmetic on padding.

    Takes `query_PJK`, `key_PJK` and `value_PJK` and gives the same as `attend`.
    """
    runs = [(len(list(run)), count) for count, run in groupby(packing.counts)]
    rows = [clips * count for clips, count in runs]
    mixed = []
    for run, *parts in zip(runs, *(x_PJK.split(rows) for x_PJK in (query_PJK, key_PJK, value_PJK)), strict=True):
        query, key, value = (x_PJK.unflatten(0, run).transpose(1, 2) for x_PJK in parts)
        mixed.append(scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(0, 1))
    return torch.cat(mixed)


def attend_padded(query_PJK: Tensor, key_PJK: Tensor, value_PJK: Tensor, packing: Packing) -> Tensor:
    """One call for the whole batch, with a mask that hides the padded keys.

    Takes `query_PJK`, `key_PJK` and `value_PJK` and gives the same as `attend`.
    """
    assert packing.rows_P is not None, "an unpadded batch needs no mask"
    query, key, value = (packing.unpack(x_PJK).transpose(1, 2) for x_PJK in (query_PJK, key_PJK, value_PJK))
    ones_P = torch.ones_like(packing.rows_P, dtype=torch.bool)
    visible_B11T = packing.unpack(ones_P)[:, None, None]
    # cuDNN's backward pass gives NaN for masked bfloat16 at some lengths (PyTorch issue 196678).
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]):
        mixed_BJTK = scaled_dot_product_attention(query, key, value, attn_mask=visible_B11T)
    return packing.pack(mixed_BJTK.transpose(1, 2))
