"""Windows cut into segments of equal length, and their vectors: one recording, a vector every few seconds."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from uniwhisper.core.errors import UserError
from uniwhisper.core.units import SAMPLE_RATE_HZ, WINDOW_FRAMES, WINDOW_SAMPLES, WINDOW_SECONDS
from uniwhisper.embedding.clips import Encoded, not_finite
from uniwhisper.embedding.decode import Window


@dataclass(frozen=True, eq=False)
class SegmentVectors:
    """One clip's segments, each embedded as if it had been cut out and were a clip of its own."""

    vectors: np.ndarray
    """(N, D) float32, not normalised."""
    starts: np.ndarray
    """(N,) float64, seconds from the start of the clip to the start of each segment."""
    seconds: np.ndarray
    """(N,) float64, length of each; the last may be shorter than the others."""

    def __repr__(self) -> str:
        segments, width = self.vectors.shape
        return f"SegmentVectors({segments:,} × {width} {self.vectors.dtype}, {self.seconds.sum():,.1f} s of audio)"


@dataclass(frozen=True, eq=False)
class SegmentBlock:
    """Consecutive segments of one input, as they leave the encoder."""

    index: int
    """Place of the input, counted from 0."""
    name: str
    starts: np.ndarray
    """(n,) float64, seconds from the start of the clip."""
    seconds: np.ndarray
    """(n,) float64."""
    vectors: np.ndarray
    """(n, D) float32."""


def segment_samples(every_seconds: float) -> int:
    """Samples of a segment.

    Raises:
        UserError: a window of 30 s is no whole number of such segments, or they are shorter than a frame.
    """
    possible = [WINDOW_SAMPLES // count for count in range(1, WINDOW_FRAMES + 1) if WINDOW_SAMPLES % count == 0]
    samples = every_seconds * SAMPLE_RATE_HZ
    if samples not in possible:
        nearest = min(possible, key=lambda one: abs(one - samples))
        raise UserError(
            "segments cannot be of this length",
            expected=f"seconds of which {WINDOW_SECONDS} are a whole multiple, as 1, 2.5, 5, 10 or {WINDOW_SECONDS}",
            got=f"{every_seconds:g}",
            fix=f"take {nearest / SAMPLE_RATE_HZ:g}",
        )
    return int(samples)


def cut(windows: Iterator[Window], samples: int) -> Iterator[Window]:
    """Each window in pieces of `samples` samples, the last of an input maybe shorter; nothing is copied."""
    for window in windows:
        for first in range(0, len(window.samples), samples):
            yield Window(window.planned, window.samples[first : first + samples])


def segment_blocks(encoded: Encoded) -> Iterator[SegmentBlock]:
    """The mean over frames of every segment, those of one input and batch together.

    Args:
        encoded: pieces in the order of `cut`.

    Raises:
        AudioError: a vector is not finite.
    """
    index, start = -1, 0
    for pieces, sums_BD, frame_counts in encoded:
        means_BD = (sums_BD.numpy() / np.array(frame_counts)[:, None]).astype(np.float32)
        first = 0
        for last in range(1, len(pieces) + 1):
            planned = pieces[first].planned
            if last < len(pieces) and pieces[last].planned.index == planned.index:
                continue
            if planned.index != index:
                index, start = planned.index, 0
            samples_N = np.array([len(piece.samples) for piece in pieces[first:last]])
            ends_N = start + np.cumsum(samples_N)
            if not np.isfinite(means_BD[first:last]).all():
                raise not_finite(planned.name)
            yield SegmentBlock(
                index,
                planned.name,
                (ends_N - samples_N) / SAMPLE_RATE_HZ,
                samples_N / SAMPLE_RATE_HZ,
                means_BD[first:last],
            )
            first, start = last, int(ends_N[-1])
