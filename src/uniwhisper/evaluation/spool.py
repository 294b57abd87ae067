"""All frames of a task's clips in one file on disk, read back by the probes that train on frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uniwhisper.evaluation.pooling import frame_stream

_CHUNK_CLIPS = 256


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames of many clips, one after the other."""

    frames_TD: np.ndarray
    """(all frames, D) float32; may be a memory map."""
    starts: np.ndarray
    """(N + 1,) int64: clip n is `frames_TD[starts[n]:starts[n + 1]]`."""

    def of(self, clip: int) -> np.ndarray:
        """Frames (T, D) of one clip."""
        return self.frames_TD[self.starts[clip] : self.starts[clip + 1]]

    def batch(self, clips: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Zero-padded (B, T, D) float32 and counts (B,) int64."""
        counts_B = np.array([self.starts[clip + 1] - self.starts[clip] for clip in clips], dtype=np.int64)
        padded_BTD = np.zeros((len(clips), int(counts_B.max()), self.frames_TD.shape[1]), dtype=np.float32)
        for row, clip in enumerate(clips):
            padded_BTD[row, : counts_B[row]] = self.of(clip)
        return padded_BTD, counts_B

    def statistics(self, clips: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation (D,) of each feature over the frames of `clips`, float32; a constant feature has inf."""
        sum_D = square_D = 0.0
        total = 0
        for clip in clips:
            frames_TD = self.of(clip).astype(np.float64)
            sum_D, square_D = sum_D + frames_TD.sum(axis=0), square_D + np.square(frames_TD).sum(axis=0)
            total += len(frames_TD)
        mean_D = np.asarray(sum_D) / total
        deviation_D = np.sqrt(np.maximum(np.asarray(square_D) / total - mean_D**2, 0))
        constant = deviation_D <= 1e-6 * np.maximum(np.abs(mean_D), 1e-12)
        return mean_D.astype(np.float32), np.where(constant, np.inf, deviation_D).astype(np.float32)


def spool(encoder: Any, sources: list[Any], counts_N: np.ndarray, file: Path) -> Frames:
    """All frames in a memory-mapped file, clip by clip as they leave the encoder.

    Args:
        encoder: gives frames.
        sources: of each clip.
        counts_N: int64, frames of each clip as counted before.
        file: to write; lives as long as the caller lets it.
    """
    starts = np.concatenate([[0], np.cumsum(counts_N)]).astype(np.int64)
    frames_TD = None
    for first in range(0, len(sources), _CHUNK_CLIPS):
        filled = np.zeros(len(sources), dtype=np.int64)
        with frame_stream(encoder, sources[first : first + _CHUNK_CLIPS]) as (blocks, failures):
            for block in blocks:
                if frames_TD is None:
                    shape = (int(starts[-1]), block.frames_TD.shape[1])
                    frames_TD = np.memmap(file, dtype=np.float32, mode="w+", shape=shape)
                clip = first + block.index
                at = starts[clip] + filled[clip]
                frames_TD[at : at + len(block.frames_TD)] = block.frames_TD
                filled[clip] += len(block.frames_TD)
        assert not failures, f"{failures[0].reason}: the clip had a vector before"
        chunk = slice(first, first + _CHUNK_CLIPS)
        assert (filled[chunk] == counts_N[chunk]).all(), "the encoder gives another number of frames than before"
    assert frames_TD is not None, "folds hold clips"
    return Frames(frames_TD, starts)
