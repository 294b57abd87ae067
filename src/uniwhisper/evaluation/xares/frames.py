"""Frames of a split's clips, made when they are asked for: never all of them on a disk.

X-ARES stores every frame (MAESTRO, DESED and LibriSpeech at 20 ms and width 1,280: several hundred GB) and reads it
again every epoch. Here frames that fit into a given amount of memory stay there; the other clips are encoded again.
"""

from collections.abc import Callable, Sequence

import numpy as np


class FrameStore:
    """`store[index]`: the frames (T, D) of a clip, float32."""

    def __init__(self, encode: Callable[[int], np.ndarray], clips: int, *, memory_bytes: int = 4 << 30) -> None:
        """
        Args:
            encode: frames (T, D) of the clip of an index, the same each time.
            clips: how many there are.
            memory_bytes: frames kept, counted as float32. The first clips that fit are kept: every epoch asks for
                every clip, so throwing out the oldest would throw out what is asked for next.
        """
        self._encode, self._clips, self._left = encode, clips, memory_bytes
        self._kept: dict[int, np.ndarray] = {}
        self.encoded = 0
        """Clips encoded so far, again ones counted again."""

    def __len__(self) -> int:
        return self._clips

    def __getitem__(self, index: int) -> np.ndarray:
        if index in self._kept:
            return self._kept[index]
        if not 0 <= index < self._clips:
            raise IndexError(index)
        frames_TD = np.ascontiguousarray(self._encode(index), dtype=np.float32)
        self.encoded += 1
        if frames_TD.nbytes <= self._left:
            self._left -= frames_TD.nbytes
            self._kept[index] = frames_TD
        return frames_TD


def padded_frames(clips: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Frames (T, D) of some clips to (B, longest T, D) float32 with zeros, and their counts (B,) int64."""
    counts_B = np.array([len(frames_TD) for frames_TD in clips], dtype=np.int64)
    frames_BTD = np.zeros((len(clips), counts_B.max(), clips[0].shape[1]), dtype=np.float32)
    for row_TD, frames_TD in zip(frames_BTD, clips, strict=True):
        row_TD[: len(frames_TD)] = frames_TD
    return frames_BTD, counts_B
