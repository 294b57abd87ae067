"""What training receives: padded tensors, each with its counts, and what a log wants to know about the clips."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.data.augment import Masks
from uniwhisper.data.tokens import TextTokens


@dataclass(frozen=True, slots=True)
class Example:
    """One clip with its question, ready to be padded."""

    id: str
    domain: str
    task: str
    wave_S: np.ndarray
    """(S,) float32 at 16 kHz."""
    text: TextTokens
    masks: Masks


@dataclass(frozen=True, slots=True)
class Batch:
    """Clips with their questions."""

    wave_BS: Tensor
    """float32 at 16 kHz, zeros on the right."""
    sample_counts_B: Tensor
    """int64, at least 1."""
    tokens_BL: Tensor
    """int64: instruction, answer, end; padded on the right with 0, which is a real token: only the counts tell."""
    token_counts_B: Tensor
    """int64."""
    loss_mask_BL: Tensor
    """bool, True on the answer and the end."""
    time_masks_BK2: Tensor
    """int64, [first, one after the last) mel of each SpecAugment mask; equal numbers: no mask."""
    frequency_masks_BK2: Tensor
    """int64, the same for mel bins."""
    ids: list[str]
    domains: list[str]
    tasks: list[str]

    @property
    def audio_seconds(self) -> float:
        """Seconds of real audio, padding not counted."""
        return int(self.sample_counts_B.sum()) / SAMPLE_RATE_HZ

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Batch":
        """The same batch on a device."""
        moved = {name: getattr(self, name).to(device, non_blocking=non_blocking) for name in _TENSORS}
        return replace(self, **moved)

    def pin_memory(self) -> "Batch":
        """The same batch in page-locked memory, from which copies to a GPU need not be waited for."""
        return replace(self, **{name: getattr(self, name).pin_memory() for name in _TENSORS})

    def split(self, parts: int) -> list["Batch"]:
        """Up to `parts` batches of neighbouring clips, sizes as equal as can be, padded no more than they need."""
        bounds = np.linspace(0, len(self), min(parts, len(self)) + 1).round().astype(int)
        return [self._slice(int(first), int(last)) for first, last in pairwise(bounds)]

    def _slice(self, first: int, last: int) -> "Batch":
        samples = int(self.sample_counts_B[first:last].max())
        length = int(self.token_counts_B[first:last].max())
        return Batch(
            wave_BS=self.wave_BS[first:last, :samples],
            sample_counts_B=self.sample_counts_B[first:last],
            tokens_BL=self.tokens_BL[first:last, :length],
            token_counts_B=self.token_counts_B[first:last],
            loss_mask_BL=self.loss_mask_BL[first:last, :length],
            time_masks_BK2=self.time_masks_BK2[first:last],
            frequency_masks_BK2=self.frequency_masks_BK2[first:last],
            ids=self.ids[first:last],
            domains=self.domains[first:last],
            tasks=self.tasks[first:last],
        )


_TENSORS = (
    "wave_BS",
    "sample_counts_B",
    "tokens_BL",
    "token_counts_B",
    "loss_mask_BL",
    "time_masks_BK2",
    "frequency_masks_BK2",
)


def collate(examples: Sequence[Example]) -> Batch:
    """Pad examples into one batch, in their order."""
    assert examples, "a batch has at least one example"
    return Batch(
        wave_BS=_padded([example.wave_S for example in examples], torch.float32),
        sample_counts_B=torch.tensor([len(example.wave_S) for example in examples]),
        tokens_BL=_padded([example.text.ids for example in examples], torch.int64),
        token_counts_B=torch.tensor([len(example.text.ids) for example in examples]),
        loss_mask_BL=_padded([example.text.loss_mask for example in examples], torch.bool),
        time_masks_BK2=_padded([example.masks.time_mels for example in examples], torch.int64),
        frequency_masks_BK2=_padded([example.masks.frequency_bins for example in examples], torch.int64),
        ids=[example.id for example in examples],
        domains=[example.domain for example in examples],
        tasks=[example.task for example in examples],
    )


def _padded(rows: Sequence, dtype: torch.dtype) -> Tensor:
    """Rows of unequal length as one tensor, zeros (False) behind each."""
    tensors = [torch.as_tensor(row, dtype=dtype) for row in rows]
    result = torch.zeros((len(tensors), max(map(len, tensors)), *tensors[0].shape[1:]), dtype=dtype)
    for place, tensor in zip(result, tensors, strict=True):
        place[: len(tensor)] = tensor
    return result
