"""Clips of unequal length one behind the other, without padding between them.

Indices are computed on the device from one small tensor of counts, copied without waiting: nothing here makes the host
wait for a GPU.

Letters, beside those in docs/shapes.md: P packed rows of the whole batch · Q places of the stem's input, gaps included.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from uniwhisper.core.units import FRAME_MELS, frame_count


@dataclass(frozen=True)
class Packing:
    """Where the clips lie in a packed tensor."""

    counts: tuple[int, ...]
    """Rows of each clip, at least 1."""
    counts_B: Tensor
    """int64, the same on the device."""

    @classmethod
    def of(cls, counts: list[int], device: torch.device) -> "Packing":
        """Packing of clips with these `counts`; the tensors that come of it are on `device`."""
        return cls(tuple(counts), to_device(torch.tensor(counts), device))

    @property
    def total(self) -> int:
        """P."""
        return sum(self.counts)

    @property
    def longest(self) -> int:
        """Rows of the longest clip: the T of the padded form."""
        return max(self.counts)

    @property
    def uniform(self) -> bool:
        """Whether all clips are equally long, so that packed and padded are the same bytes."""
        return min(self.counts) == self.longest

    @cached_property
    def offsets_B1(self) -> Tensor:
        """int32 (B + 1): the row each clip begins at, and the end."""
        return torch.nn.functional.pad(self.counts_B.cumsum(0), (1, 0)).int()

    @cached_property
    def clip_P(self) -> Tensor:
        """int64: the clip that each row belongs to."""
        clip_B = torch.arange(len(self.counts), device=self.counts_B.device)
        return torch.repeat_interleave(clip_B, self.counts_B, output_size=self.total)

    @cached_property
    def place_P(self) -> Tensor:
        """int64: the place of each row in its clip."""
        starts_B = self.counts_B.cumsum(0) - self.counts_B
        return torch.arange(self.total, device=self.counts_B.device) - starts_B[self.clip_P]

    def rows_of(self, width: int) -> Tensor:
        """(P,) int64: the index of each row among the B · `width` rows of a tensor padded to `width`."""
        return self.clip_P * width + self.place_P

    def pack(self, padded_BTx: Tensor) -> Tensor:
        """The real rows of `padded_BTx` (B, T, …; T at least the longest clip) alone: (P, …), same dtype."""
        every = padded_BTx.flatten(0, 1)
        if self.uniform and padded_BTx.shape[1] == self.longest:
            return every
        return every.index_select(0, self.rows_of(padded_BTx.shape[1]))

    def unpack(self, packed_Px: Tensor) -> Tensor:
        """`packed_Px` (P, …) as (B, T, …) with T the longest clip, same dtype, zeros in the padding."""
        shape = (len(self.counts), self.longest)
        if self.uniform:
            return packed_Px.unflatten(0, shape)
        every = packed_Px.new_zeros(shape[0] * shape[1], *packed_Px.shape[1:])
        return every.index_copy(0, self.rows_of(self.longest), packed_Px).unflatten(0, shape)

    def sums(self, packed_PD: Tensor, dtype: torch.dtype) -> Tensor:
        """(B, D): the sum of each clip's rows of `packed_PD`, summed in `dtype`, in the order of the rows."""
        return torch.segment_reduce(packed_PD.to(dtype), "sum", lengths=self.counts_B)


class MelSlots:
    """The mels of all clips as one sequence for the stem's convolutions, which therefore compute nothing on padding.

    Between two clips lie one or two zeros: what a convolution of kernel 3 sees beyond a clip's edge. A slot has an even
    number of places, so that the second convolution, which takes every other, starts anew at each clip's first mel.
    """

    def __init__(self, mels: list[int], mel_counts_B: Tensor) -> None:
        """`mels`: real mels of each clip; `mel_counts_B`: the same, int64, on the device."""
        slots = Packing(
            tuple(FRAME_MELS * (count // FRAME_MELS + 1) for count in mels),
            FRAME_MELS * (mel_counts_B // FRAME_MELS + 1),
        )
        self.frames = Packing(tuple(frame_count(count) for count in mels), frame_count(mel_counts_B))
        """The packing of the frames that the stem makes."""
        self._slots, self._mel_counts_B = slots, mel_counts_B
        self.gap_Q1 = (slots.place_P >= mel_counts_B[slots.clip_P])[:, None]
        """bool (Q, 1): True where no clip is."""

    def spread(self, mel_BMF: Tensor) -> Tensor:
        """(Q, M): the real mels of `mel_BMF`, zeros between the clips. What lies in its padding, NaN too, is unread."""
        every_NM = mel_BMF.transpose(1, 2).flatten(0, 1)
        return every_NM.index_select(0, self.rows_of(mel_BMF.shape[2])).masked_fill(self.gap_Q1, 0)

    def rows_of(self, width: int) -> Tensor:
        """(Q,) int64: the mel at each place, among all of a batch padded to `width` mels; in a gap some real one."""
        slots = self._slots
        last_Q = self._mel_counts_B[slots.clip_P] - 1
        return slots.clip_P * width + torch.minimum(slots.place_P, last_Q)

    @cached_property
    def real_P(self) -> Tensor:
        """int64: of the stem's output (a row for every two places), the rows that are frames."""
        slot_counts_B = self._slots.counts_B // FRAME_MELS
        starts_B = slot_counts_B.cumsum(0) - slot_counts_B
        return starts_B[self.frames.clip_P] + self.frames.place_P


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`; if it comes from the CPU, a GPU is not waited for."""
    waits = device.type != "cuda" or tensor.device.type != "cpu"
    return tensor.to(device) if waits else tensor.pin_memory().to(device, non_blocking=True)
