"""Windows cut into segments of equal length, and their vectors: one recording, a vector every few seconds."""

from collections.abc import Iterator

import numpy as np

from uniwhisper.core.errors import UserError
from uniwhisper.core.units import SAMPLE_RATE_HZ, WINDOW_FRAMES, WINDOW_SAMPLES
from uniwhisper.embedding.clips import Encoded, not_finite
from uniwhisper.embedding.decode import Window
from uniwhisper.embedding.table import SegmentBlock


def segment_samples(every_seconds: float) -> int:
    """Samples of a segment.

    Raises:
        UserError: a window of 30 s is no whole number of such segments, or these are no whole number of samples, or
            shorter than a frame.
    """
    possible = [WINDOW_SAMPLES // count for count in range(1, WINDOW_FRAMES + 1) if WINDOW_SAMPLES % count == 0]
    samples = every_seconds * SAMPLE_RATE_HZ
    if samples not in possible:
        nearest = min(possible, key=lambda one: abs(one - samples))
        raise UserError(
            "segments cannot be of this length",
            expected="30 seconds over a whole number, in whole samples and at least a frame: 1, 2.5, 5, 10, 30, …",
            got=f"{every_seconds!r}",
            fix=f"take {nearest / SAMPLE_RATE_HZ:.10g}",
        )
    return int(samples)


def cut(windows: Iterator[Window], samples: int) -> Iterator[Window]:
    """Each window in pieces of `samples` samples, the last of an input maybe shorter; nothing is copied."""
    for window in windows:
        for first in range(0, len(window.samples), samples):
            yield Window(window.planned, window.samples[first : first + samples])


def segment_blocks(encoded: Encoded) -> Iterator[SegmentBlock]:
    """The mean over frames of every segment, summed in float64; those of one input and batch together.

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
            counts_N = np.array([len(piece.samples) for piece in pieces[first:last]])
            ends_N = start + np.cumsum(counts_N)
            if not np.isfinite(means_BD[first:last]).all():
                raise not_finite(planned.name)
            yield SegmentBlock(
                index=index,
                name=planned.name,
                start_seconds=(ends_N - counts_N) / SAMPLE_RATE_HZ,
                seconds=counts_N / SAMPLE_RATE_HZ,
                vectors=means_BD[first:last],
            )
            first, start = last, int(ends_N[-1])
