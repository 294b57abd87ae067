"""What training receives: padded tensors, each with its counts, and what a log wants to know about the clips."""

from collections.abc import Callable, Sequence
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
    """One clip with its questions, ready to be padded."""

    id: str
    domain: str
    wave_S: np.ndarray
    """(S,) float32 at 16 kHz."""
    tasks: tuple[str, ...]
    """Task of each question."""
    texts: tuple[TextTokens, ...]
    """Tokens of each question and its answer."""
    masks: Masks
    of_mean: tuple[bool, ...] | None = None
    """Of each question: whether it is asked of the mean of the clip's frames alone. None: none is."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Clips (B), and the questions about them as rows of text (R), which follow the order of their clips."""

    wave_BS: Tensor
    """float32 at 16 kHz, zeros on the right."""
    sample_counts_B: Tensor
    """int64, at least 1."""
    clip_R: Tensor
    """int64: which clip each row of text is about; never falls."""
    tokens_RL: Tensor
    """int64: instruction, answer, end; padded on the right with 0, which is a real token: only the counts tell."""
    token_counts_R: Tensor
    """int64."""
    loss_mask_RL: Tensor
    """bool, True on the answer and the end."""
    time_masks_BK2: Tensor
    """int64, [first, one after the last) mel of each SpecAugment mask; equal numbers: no mask."""
    frequency_masks_BK2: Tensor
    """int64, the same for mel bins."""
    of_mean_R: Tensor | None
    """bool: rows of text that are about the mean of the clip's frames alone; None: no run asks so."""
    ids: list[str]
    """Of each row of text: its clip's."""
    domains: list[str]
    """Of each row of text."""
    tasks: list[str]
    """Of each row of text."""

    @property
    def audio_seconds(self) -> float:
        """Seconds of real audio, padding not counted."""
        return int(self.sample_counts_B.sum()) / SAMPLE_RATE_HZ

    def __len__(self) -> int:
        """Clips."""
        return len(self.sample_counts_B)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Batch":
        """The same batch on a device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Batch":
        """The same batch in page-locked memory, from which copies to a GPU need not be waited for."""
        return self._map(Tensor.pin_memory)

    def _map(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        tensors = {name: getattr(self, name) for name in _TENSORS}
        return replace(self, **{name: change(tensor) for name, tensor in tensors.items() if tensor is not None})

    def split(self, parts: int) -> list["Batch"]:
        """Up to `parts` batches of neighbouring clips, sizes as equal as can be, padded no more than they need."""
        bounds = np.linspace(0, len(self), min(parts, len(self)) + 1).round().astype(int)
        return [self._slice(int(first), int(last)) for first, last in pairwise(bounds)]

    def _slice(self, first: int, last: int) -> "Batch":
        samples = int(self.sample_counts_B[first:last].max())
        begin, end = (int((self.clip_R < clip).sum()) for clip in (first, last))
        length = int(self.token_counts_R[begin:end].max())
        return Batch(
            wave_BS=self.wave_BS[first:last, :samples],
            sample_counts_B=self.sample_counts_B[first:last],
            clip_R=self.clip_R[begin:end] - first,
            tokens_RL=self.tokens_RL[begin:end, :length],
            token_counts_R=self.token_counts_R[begin:end],
            loss_mask_RL=self.loss_mask_RL[begin:end, :length],
            time_masks_BK2=self.time_masks_BK2[first:last],
            frequency_masks_BK2=self.frequency_masks_BK2[first:last],
            of_mean_R=None if self.of_mean_R is None else self.of_mean_R[begin:end],
            ids=self.ids[begin:end],
            domains=self.domains[begin:end],
            tasks=self.tasks[begin:end],
        )


_TENSORS = (
    "wave_BS",
    "sample_counts_B",
    "clip_R",
    "tokens_RL",
    "token_counts_R",
    "loss_mask_RL",
    "time_masks_BK2",
    "frequency_masks_BK2",
    "of_mean_R",
)


def collate(examples: Sequence[Example]) -> Batch:
    """Pad examples into one batch, in their order."""
    assert examples, "a batch has at least one example"
    rows = [(clip, example, row) for clip, example in enumerate(examples) for row in range(len(example.texts))]
    texts = [example.texts[row] for _, example, row in rows]
    return Batch(
        wave_BS=_padded([example.wave_S for example in examples], torch.float32),
        sample_counts_B=torch.tensor([len(example.wave_S) for example in examples]),
        clip_R=torch.tensor([clip for clip, _, _ in rows]),
        tokens_RL=_padded([text.ids for text in texts], torch.int64),
        token_counts_R=torch.tensor([len(text.ids) for text in texts]),
        loss_mask_RL=_padded([text.loss_mask for text in texts], torch.bool),
        time_masks_BK2=_padded([example.masks.time_mels for example in examples], torch.int64),
        frequency_masks_BK2=_padded([example.masks.frequency_bins for example in examples], torch.int64),
        of_mean_R=_of_mean(examples),
        ids=[example.id for _, example, _ in rows],
        domains=[example.domain for _, example, _ in rows],
        tasks=[example.tasks[row] for _, example, row in rows],
    )


def _of_mean(examples: Sequence[Example]) -> Tensor | None:
    flags = [example.of_mean for example in examples]
    assert all((flag is None) == (flags[0] is None) for flag in flags), "a run draws it for all examples or for none"
    return None if flags[0] is None else torch.tensor([flag for flags_of in flags for flag in flags_of or ()])


def _padded(rows: Sequence, dtype: torch.dtype) -> Tensor:
    """Rows of unequal length as one tensor, zeros (False) behind each."""
    tensors = [torch.as_tensor(row, dtype=dtype) for row in rows]
    result = torch.zeros((len(tensors), max(map(len, tensors)), *tensors[0].shape[1:]), dtype=dtype)
    for place, tensor in zip(result, tensors, strict=True):
        place[: len(tensor)] = tensor
    return result
