"""The next windows of one input: what a thread, or a process that decodes, does at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from uniwhisper.core.units import WINDOW_SECONDS

# A source is decoded two windows at a time: the second tells whether there is more, and a clip of one window costs
# one task.
CHUNK_WINDOWS = 2
CHUNK_SECONDS = CHUNK_WINDOWS * WINDOW_SECONDS


@dataclass(frozen=True, eq=False)
class Chunk:
    """The next windows of one source."""

    windows: list[np.ndarray]
    """(S,) float32, mono, 16 kHz each; the last chunk of a source has fewer than `CHUNK_WINDOWS`."""
    rest: Iterator[np.ndarray]

    @property
    def last(self) -> bool:
        return len(self.windows) < CHUNK_WINDOWS


def next_chunk(windows: Iterator[np.ndarray]) -> Chunk:
    """The next of the `windows`, (S,) float32 each, that `read_windows` gives."""
    return Chunk(list(islice(windows, CHUNK_WINDOWS)), windows)
