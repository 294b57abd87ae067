"""What embedding returns: vectors of clips, of their frames or segments, and what failed."""

from dataclasses import dataclass, field

import numpy as np

from uniwhisper.core.units import HOP_SECONDS


@dataclass(frozen=True)
class Failure:
    """One input that could not be embedded."""

    index: int
    """Place in the input, counted from 0."""
    name: str
    """The path as given; `<bytes 3>` or `<array 3>` for an input without one."""
    reason: str
    """One line: what is wrong with it, what was expected, what came, what to do."""


@dataclass(frozen=True, eq=False)
class EmbeddingTable:
    """One row per embedded clip, in the order of the input; inputs in `failures` have no row."""

    names: list[str]
    """(N,) the paths as given, so that two files of the same name in different folders stay apart."""
    seconds: np.ndarray
    """(N,) float64, length of the audio that was embedded."""
    vectors: np.ndarray
    """(N, D) float32, not normalised."""
    failures: list[Failure]
    """Inputs left out, in the order of the input; empty unless `on_error="skip"` was asked for."""
    identity: dict[str, str] = field(repr=False)
    """What the vectors were computed with: `weights`, `code`, `pooling`, `layer`."""

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        rows, width = self.vectors.shape
        size = f"{rows:,} × {width} {self.vectors.dtype}"
        return f"EmbeddingTable({size}, {self.seconds.sum():,.1f} s of audio, {len(self.failures):,} failures)"


@dataclass(frozen=True, eq=False)
class ClipBlock:
    """Vectors of some consecutive inputs, in their order; inputs that failed have no row."""

    names: list[str]
    seconds: np.ndarray
    """(n,) float64, length of the audio that was embedded."""
    vectors: np.ndarray
    """(n, D) float32."""


@dataclass(frozen=True, eq=False)
class FrameVectors:
    """The encoder's frames of one clip."""

    vectors: np.ndarray
    """(T, D) float32, not normalised."""
    times: np.ndarray
    """(T,) float64, seconds from the start of the clip to the start of each frame."""
    hop_seconds: float = HOP_SECONDS
    """Seconds from one frame to the next."""

    def __repr__(self) -> str:
        frames, width = self.vectors.shape
        return f"FrameVectors({frames:,} × {width} {self.vectors.dtype}, a frame every {self.hop_seconds:g} s)"


@dataclass(frozen=True, eq=False)
class FrameBlock:
    """Consecutive frames of one input, as they leave the encoder."""

    index: int
    """Place of the input, counted from 0."""
    name: str
    first_frame: int
    """Place of the block's first frame in the whole clip."""
    seconds: float
    """Length of the audio that the block covers."""
    vectors: np.ndarray
    """(T, D) float32."""


@dataclass(frozen=True, eq=False)
class SegmentVectors:
    """One clip's segments, each embedded as a clip of its own that was cut out of the recording at 16 kHz."""

    vectors: np.ndarray
    """(N, D) float32, not normalised."""
    start_seconds: np.ndarray
    """(N,) float64, from the start of the clip to the start of each segment."""
    seconds: np.ndarray
    """(N,) float64, length of each; the last may be shorter than the others."""

    def __repr__(self) -> str:
        segments, width = self.vectors.shape
        return f"SegmentVectors({segments:,} × {width} {self.vectors.dtype}, {self.seconds.sum():,.1f} s of audio)"


@dataclass(frozen=True, eq=False)
class SegmentBlock:
    """Consecutive segments of one input, as they leave the encoder; at least one."""

    index: int
    """Place of the input, counted from 0."""
    name: str
    start_seconds: np.ndarray
    """(n,) float64, from the start of the clip."""
    seconds: np.ndarray
    """(n,) float64."""
    vectors: np.ndarray
    """(n, D) float32."""
