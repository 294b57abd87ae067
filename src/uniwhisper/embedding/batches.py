"""Windows to batches under a budget of padded audio."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from uniwhisper.embedding.decode import Window

# Padded audio per batch. A CPU gains nothing from more than a few windows at once; a GPU wants to be filled, and an
# encoder half as wide does so with twice as much.
BATCH_SECONDS = {"cpu": 120.0, "cuda": 960.0}
FULL_WIDTH = 1280
"""Of the encoder that the figure for a GPU is for: Whisper large."""
MOST_SECONDS = 3200.0
"""What Whisper tiny takes. As much again lies decoded and waiting: 200 MB."""

# What a clip costs at least: thousands of one-sample clips are not free.
MIN_CLIP_SECONDS = 0.25


def default_batch_seconds(device: torch.device, width: int) -> float:
    """Seconds of padded audio in a batch, for an encoder of this width D."""
    seconds = BATCH_SECONDS[device.type]
    return seconds if device.type == "cpu" else min(seconds * FULL_WIDTH / width, MOST_SECONDS)


@dataclass
class Budget:
    """Seconds of audio a batch may hold, padding included. Shrinks when the device's memory does not suffice."""

    seconds: float

    def allows(self, clips: int, longest_seconds: float) -> bool:
        """One clip is always allowed."""
        return clips == 1 or _cost_seconds(clips, longest_seconds) <= self.seconds

    def halve_below(self, batch: list[Window]) -> None:
        """Half of what this batch took, or of the present budget if that is less: the batch is not allowed again."""
        longest_seconds = max(window.seconds for window in batch)
        self.seconds = min(self.seconds, _cost_seconds(len(batch), longest_seconds)) / 2


def _cost_seconds(clips: int, longest_seconds: float) -> float:
    return clips * max(longest_seconds, MIN_CLIP_SECONDS)


def pack(windows: Iterator[Window], budget: Budget) -> Iterator[list[Window]]:
    """Consecutive windows together, as many as the budget allows at that moment."""
    batch: list[Window] = []
    longest = 0.0
    for window in windows:
        if batch and not budget.allows(len(batch) + 1, max(longest, window.seconds)):
            yield batch
            batch, longest = [], 0.0
        batch.append(window)
        longest = max(longest, window.seconds)
    if batch:
        yield batch
