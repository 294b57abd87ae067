"""Frames to vectors: one pooling code for every encoder, in one pass over the frames.

    mean            m_d = 1/T sum_t x_td
    mean_deviation  m_d and s_d = sqrt(1/T sum_t x_td^2 - m_d^2), one after the other: 2 D numbers

over the T real frames of a clip, in float64.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uniwhisper.audio.load import AudioSource, describe
from uniwhisper.core.errors import AudioError
from uniwhisper.core.identity import hash_file
from uniwhisper.embedding.decode import Inputs
from uniwhisper.embedding.table import Failure

FRAME_POOLINGS = ("mean", "mean_deviation")
OWN_POOLING = "own"
CODE = hash_file(Path(__file__))[:12]


@dataclass(frozen=True, eq=False)
class Block:
    """Consecutive frames of one clip, in order."""

    index: int
    """Place of the clip among the sources."""
    seconds: float
    frames_TD: np.ndarray


@dataclass(frozen=True, eq=False)
class PooledClips:
    """Rows in the order of the sources; those in `failures` have none."""

    rows: np.ndarray
    """(n,) int64: which source each row is."""
    vectors: dict[str, np.ndarray]
    """Per pooling (n, width) float32, finite."""
    frames: np.ndarray
    """(n,) int64, real frames of each clip; 0 where the encoder gives clip vectors."""
    seconds: np.ndarray
    """(n,) float64."""
    failures: list[Failure]


def gives_frames(encoder: Any) -> bool:
    return hasattr(encoder, "frame_blocks") or hasattr(encoder, "frames")


def poolings_of(encoder: Any) -> tuple[str, ...]:
    """Names of the poolings an encoder can be judged by; the first is the headline's."""
    return FRAME_POOLINGS if gives_frames(encoder) else (OWN_POOLING,)


@contextmanager
def frame_stream(
    encoder: Any, sources: Sequence[AudioSource], *, ordered: bool = True
) -> Iterator[tuple[Iterator[Block], list[Failure]]]:
    """Frames of every source and the failures among them, complete when the frames are exhausted.

    An encoder with `frame_blocks`, as our `Embedder`, is streamed in batches; another is asked for one clip at a time,
    or, where the order of a clip's blocks does not matter, in batches if it has `frame_batches`.
    """
    if hasattr(encoder, "frame_blocks"):
        # Neighbours in a batch should be of like length; the size of an encoded clip tells enough.
        order = sorted(range(len(sources)), key=lambda index: (_size(sources[index]), index))
        with Inputs([sources[index] for index in order], skip=True) as inputs:
            failures: list[Failure] = []
            yield _streamed(encoder, inputs, order, failures), failures
        return
    failures = []
    if not ordered and hasattr(encoder, "frame_batches"):
        yield (Block(*block) for block in encoder.frame_batches(sources, failures)), failures
        return
    yield _one_by_one(encoder, sources, failures), failures


def _streamed(encoder: Any, inputs: Inputs, order: list[int], failures: list[Failure]) -> Iterator[Block]:
    for block in encoder.frame_blocks(inputs):
        yield Block(order[block.index], block.seconds, block.vectors)
    failures += [Failure(order[failure.index], failure.name, failure.reason) for failure in inputs.failures]


def _one_by_one(encoder: Any, sources: Sequence[AudioSource], failures: list[Failure]) -> Iterator[Block]:
    for index, source in enumerate(sources):
        try:
            seconds = describe(source).seconds
            vectors_TD = encoder.frames(source).vectors
        except AudioError as error:
            failures.append(Failure(index, f"clip {index}", error.one_line))
            continue
        yield Block(index, seconds, vectors_TD)


def pool_clips(encoder: Any, sources: Sequence[AudioSource]) -> PooledClips:
    """Pooled vectors of `sources`; a source that fails or whose vector is not finite is named in `failures`."""
    if not gives_frames(encoder):
        return _own(encoder, sources)
    sums: dict[int, np.ndarray] = {}
    squares: dict[int, np.ndarray] = {}
    frames_N, seconds_N = np.zeros(len(sources), dtype=np.int64), np.zeros(len(sources))
    with frame_stream(encoder, sources, ordered=False) as (blocks, failures):
        for block in blocks:
            index, frames_TD = block.index, block.frames_TD.astype(np.float64)
            sums[index] = sums.get(index, 0) + frames_TD.sum(axis=0)
            squares[index] = squares.get(index, 0) + np.square(frames_TD).sum(axis=0)
            frames_N[index] += len(frames_TD)
            seconds_N[index] += block.seconds
    reasons = {failure.index: failure.reason for failure in failures}
    width = len(next(iter(sums.values()))) if sums else encoder.width
    mean_ND, deviation_ND = np.zeros((2, len(sources), width))
    for index, sum_D in sums.items():
        mean_ND[index] = sum_D / frames_N[index]
        deviation_ND[index] = np.sqrt(np.maximum(squares[index] / frames_N[index] - mean_ND[index] ** 2, 0))
    vectors = {"mean": mean_ND, "mean_deviation": np.concatenate([mean_ND, deviation_ND], axis=1)}
    return _finite(vectors, frames_N, seconds_N, reasons)


def _own(encoder: Any, sources: Sequence[AudioSource]) -> PooledClips:
    table = encoder.embed(sources, on_error="skip")
    reasons = {failure.index: failure.reason for failure in table.failures}
    good = [index for index in range(len(sources)) if index not in reasons]
    assert table.vectors.shape == (len(good), encoder.width), (
        f"embed gave {table.vectors.shape} for {len(good)} clips, width {encoder.width}"
    )
    vectors_ND = np.zeros((len(sources), encoder.width))
    seconds_N = np.zeros(len(sources))
    vectors_ND[good], seconds_N[good] = table.vectors, table.seconds
    return _finite({OWN_POOLING: vectors_ND}, np.zeros(len(sources), dtype=np.int64), seconds_N, reasons)


def _finite(
    vectors: dict[str, np.ndarray], frames_N: np.ndarray, seconds_N: np.ndarray, reasons: dict[int, str]
) -> PooledClips:
    """Leave out failures and, as further failures, rows that are not finite in float32."""
    single = {pooling: vectors_ND.astype(np.float32) for pooling, vectors_ND in vectors.items()}
    finite_N = np.logical_and.reduce([np.isfinite(vectors_ND).all(axis=1) for vectors_ND in single.values()])
    for index in np.flatnonzero(~finite_N).tolist():
        reasons.setdefault(index, "the encoder gave a vector that is not finite")
    rows = np.array([index for index in range(len(frames_N)) if index not in reasons], dtype=np.int64)
    failures = [Failure(index, f"clip {index}", reason) for index, reason in sorted(reasons.items())]
    kept = {pooling: vectors_ND[rows] for pooling, vectors_ND in single.items()}
    return PooledClips(rows, kept, frames_N[rows], seconds_N[rows], failures)


def _size(source: AudioSource) -> int:
    if isinstance(source, tuple):
        return len(source[0])
    return len(source) if isinstance(source, bytes) else Path(source).stat().st_size


def measured_hop_seconds(frames_N: np.ndarray, seconds_N: np.ndarray) -> float | None:
    """Seconds per frame, from the clips themselves: the least-squares slope of seconds against frames.

    `frames_N` (int) and `seconds_N` (float) are per clip. A slope, because an encoder may give a constant number of
    frames more. Clips all of one length: their ratio.
    None where there are no frames.
    """
    known = frames_N > 0
    if not known.any():
        return None
    frames, seconds = frames_N[known].astype(np.float64), seconds_N[known]
    spread = frames - frames.mean()
    if not spread.any():
        return float(seconds.sum() / frames.sum())
    return float(spread @ (seconds - seconds.mean()) / (spread @ spread))
