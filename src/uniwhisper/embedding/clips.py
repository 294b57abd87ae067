"""Sums of windows to vectors of clips, in the order of the input, a bounded number at a time."""

from collections.abc import Iterable, Iterator
from itertools import groupby

import numpy as np
from torch import Tensor

from uniwhisper.core.errors import AudioError
from uniwhisper.embedding.decode import Inputs, Window
from uniwhisper.embedding.table import ClipBlock

Encoded = Iterable[tuple[list[Window], Tensor, list[int]]]
"""Batch by batch: windows, their sums over frames (B, D) float64 on the CPU, their numbers of frames."""

_Clip = tuple[int, float, np.ndarray]
"""Place in the input, seconds, the mean of its frames (D,) float64."""


def clip_blocks(encoded: Encoded, inputs: Inputs, width: int) -> Iterator[ClipBlock]:
    """The mean over frames of every clip, summed in float64.

    The inputs that were sorted by length together are one block: when a clip of the next begins, all of them are done.

    Args:
        encoded: the windows of `inputs`, in the order in which `Inputs.windows` gives them.
        inputs: their names, and what failed among them.
        width: D.
    """
    size = inputs.sorted_clips
    for number, clips in groupby(_clips(encoded), key=lambda clip: clip[0] // size):
        yield _block(clips, number * size, inputs, width)


def not_finite(name: str) -> AudioError:
    """The error for a clip that overflows in the encoder."""
    return AudioError(
        f"{name} gives a vector that is not finite",
        expected="audio and weights of ordinary size",
        got="an overflow or NaN in the encoder",
        fix="look at the samples' largest value; full scale is 1.0",
    )


def _clips(encoded: Encoded) -> Iterator[_Clip]:
    """Clips from their windows, which follow each other. One is given out when the next begins, so that it is known
    by then whether its end could be decoded."""
    index, seconds, frames, sum_D = -1, 0.0, 0, np.zeros(0)
    for windows, sums_BD, frame_counts in encoded:
        for window, window_sum_D, window_frames in zip(windows, sums_BD.numpy(), frame_counts, strict=True):
            if window.planned.index != index:
                if index >= 0:
                    yield index, seconds, sum_D / frames
                index, seconds, frames, sum_D = window.planned.index, 0.0, 0, np.zeros(len(window_sum_D))
            sum_D += window_sum_D
            seconds += window.seconds
            frames += window_frames
    if index >= 0:
        yield index, seconds, sum_D / frames


def _block(clips: Iterable[_Clip], first: int, inputs: Inputs, width: int) -> ClipBlock:
    """The rows of the inputs from place `first` on; `clips` in any order."""
    places = min(inputs.sorted_clips, len(inputs) - first)
    vectors_WD, seconds_W = np.zeros((places, width), dtype=np.float32), np.zeros(places)
    for index, seconds, vector_D in clips:
        vectors_WD[index - first], seconds_W[index - first] = vector_D, seconds
    for place in np.flatnonzero(~np.isfinite(vectors_WD).all(axis=1)):
        if not inputs.failed(first + place):
            inputs.fail(first + int(place), not_finite(inputs.name(first + place)))
    kept = [place for place in range(places) if not inputs.failed(first + place)]
    return ClipBlock([inputs.name(first + place) for place in kept], seconds_W[kept], vectors_WD[kept])
