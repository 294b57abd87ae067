"""What one task looks at or decodes, in a thread or in another process."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from uniwhisper.audio.load import AudioSource, describe, read_windows
from uniwhisper.core.errors import UserError
from uniwhisper.core.units import WINDOW_SECONDS

# A source is decoded two windows at a time: the second tells whether there is more, and a clip of one window costs
# one task.
CHUNK_WINDOWS = 2
CHUNK_SECONDS = CHUNK_WINDOWS * WINDOW_SECONDS

Named = tuple[AudioSource, str]
"""A source and what errors call it."""


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
    """The next of the `windows` that `read_windows` gives; (S,) float32 each."""
    return Chunk(list(islice(windows, CHUNK_WINDOWS)), windows)


def headers(named: list[Named]) -> list[float | UserError]:
    """Seconds of each source as its header says, or why there is none."""
    found: list[float | UserError] = []
    for source, name in named:
        try:
            found.append(describe(source, name=name).seconds)
        except UserError as error:
            found.append(error)
    return found


def whole_clips(named: list[Named]) -> list[list[np.ndarray] | UserError | None]:
    """All windows of each source, or its error; None of one that is longer than a chunk after all."""
    found: list[list[np.ndarray] | UserError | None] = []
    for source, name in named:
        try:
            windows = list(islice(read_windows(source, name=name), CHUNK_WINDOWS + 1))
            found.append(windows if len(windows) <= CHUNK_WINDOWS else None)
        except UserError as error:
            found.append(error)
    return found
