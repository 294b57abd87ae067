"""Frames of a split's clips in one file on disk, read back clip by clip: an epoch holds one batch in memory.

X-ARES stores every frame too, padding of the encoding batch included, one small file per clip in tars.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from uniwhisper.core.errors import OutputError
from uniwhisper.evaluation.xares.pooling import Encode, encoded


class StoredFrames(Sequence[np.ndarray]):
    """`frames[index]`: the frames (T, D) float32 of a clip, mapped from the file."""

    def __init__(self, file: Path, counts_N: np.ndarray, width: int) -> None:
        """`counts_N`: int, frames of each clip, which stand one after the other in `file`; `width`: of a frame."""
        self.counts_N, self.width = counts_N, width
        self._starts = np.concatenate([[0], np.cumsum(counts_N)]).astype(np.int64)
        self._frames_TD = np.memmap(file, dtype=np.float32, mode="r", shape=(int(self._starts[-1]), width))

    def __len__(self) -> int:
        return len(self.counts_N)

    def __getitem__(self, index: int) -> np.ndarray:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._frames_TD[self._starts[index] : self._starts[index + 1]]

    @property
    def bytes_N(self) -> np.ndarray:
        """int64, of each clip's frames."""
        return self.counts_N * (4 * self.width)


def store_frames(encode: Encode, batches: Iterable[Tensor], file: Path) -> StoredFrames:
    """Encode and write all frames of padded batches of waves (B, S), at least one; `file` lives as the caller lets it.

    Raises:
        OutputError: the file cannot be written, e.g. because the disk is full.
        EncoderError: as the encoder's.
    """
    counts: list[int] = []
    width = 0
    try:
        with file.open("wb") as stream:
            for frames_BTD in encoded(encode, batches):
                clips, frames, width = frames_BTD.shape
                stream.write(np.ascontiguousarray(frames_BTD.cpu().numpy()).data)
                counts += [frames] * clips
    except OSError as error:
        raise OutputError(
            f"frames cannot be kept in {file.parent}",
            expected="room for every frame of a task, 4 bytes a number, while the task is scored",
            got=f"{error.strerror or error} after {sum(counts):,} frames of {width} numbers",
            fix="make room, or let TMPDIR name a folder with room",
        ) from None
    return StoredFrames(file, np.array(counts, dtype=np.int64), width)


def padded_frames(clips: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Frames (T, D) of some clips to (B, longest T, D) float32 with zeros, and their counts (B,) int64."""
    counts_B = np.array([len(frames_TD) for frames_TD in clips], dtype=np.int64)
    frames_BTD = np.zeros((len(clips), counts_B.max(), clips[0].shape[1]), dtype=np.float32)
    for row_TD, frames_TD in zip(frames_BTD, clips, strict=True):
        row_TD[: len(frames_TD)] = frames_TD
    return frames_BTD, counts_B
