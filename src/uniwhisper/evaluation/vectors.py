"""Vectors of a suite's clips: from the cache where they are there, else embedded and put there, each sound once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from uniwhisper.audio.versions import wave_versions
from uniwhisper.core.errors import UserError
from uniwhisper.evaluation import pooling
from uniwhisper.evaluation.cache import StoredClip, VectorCache
from uniwhisper.evaluation.clips import Clip, TaskClips
from uniwhisper.evaluation.encoders import require_identity

# Clips embedded between two writes: enough for an encoder to sort by length, little to lose when interrupted.
_CHUNK_CLIPS = 256


@dataclass(frozen=True)
class Skipped:
    id: str
    reason: str


@dataclass(frozen=True, eq=False)
class ClipVectors:
    indices: np.ndarray
    """(n,) int64, ascending: which clips have a vector."""
    vectors: dict[str, np.ndarray]
    """Per pooling (n, width) float32, finite, one row per index."""
    frames: np.ndarray
    """(n,) int64 real frames of each clip; 0 where the encoder gives clip vectors."""
    seconds: np.ndarray
    """(n,) float64."""
    skipped: list[Skipped]
    """The other clips, each with its reason."""
    embedded: int
    """Clips that were embedded now, not read from the cache."""


def pooled_identity(encoder: Any) -> dict[str, str]:
    """The encoder's identity with what decodes its sound and pools its frames: the key of its vectors, but the clip."""
    versions = ", ".join(f"{name} {version or 'none'}" for name, version in wave_versions().items())
    identity = require_identity(encoder) | {"wave": versions}
    if not pooling.gives_frames(encoder):
        return identity
    return identity | {"pooling": "+".join(pooling.FRAME_POOLINGS), "pooling_code": pooling.CODE}


@dataclass(eq=False)
class Vectors:
    """What one encoder makes of clips, kept for all tasks of a run."""

    encoder: Any
    cache: VectorCache | None
    """None keeps nothing beyond this object."""
    chunk_clips: int = _CHUNK_CLIPS
    """Clips embedded between two writes; fewer where each is made in memory and long."""
    _stored: dict[str, StoredClip] = field(init=False)
    _failed: dict[str, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.poolings = pooling.poolings_of(self.encoder)
        self.identity = pooled_identity(self.encoder)
        self._stored = self.cache.load(self.identity, self.poolings) if self.cache else {}

    def of(self, found: TaskClips, *, on_progress: Callable[[int, int], None] = lambda *_: None) -> ClipVectors:
        """Vectors per clip of `found`. A clip that failed in an earlier run is tried again: it may have been mended.

        Args:
            on_progress: called with clips done and in total.
        """
        total = len(found.clips)
        missing = {clip.content: clip for clip in found.clips if not self._known(clip)}
        wanted = list(missing.values())
        for start in range(0, len(wanted), self.chunk_clips):
            on_progress(total - len(wanted) + start, total)
            self._embed(wanted[start : start + self.chunk_clips])
        on_progress(total, total)
        indices = [index for index, clip in enumerate(found.clips) if clip.content in self._stored]
        rows = [self._stored[found.clips[index].content] for index in indices]
        vectors = {
            name: np.array([row.vectors[name] for row in rows], dtype=np.float32).reshape(len(rows), -1)
            for name in self.poolings
        }
        skipped = [Skipped(clip.id, self._failed[clip.content]) for clip in found.clips if clip.content in self._failed]
        return ClipVectors(
            np.array(indices, dtype=np.int64),
            vectors,
            np.array([row.frames for row in rows], dtype=np.int64),
            np.array([row.seconds for row in rows], dtype=np.float64),
            skipped,
            sum(content in self._stored for content in missing),
        )

    def _known(self, clip: Clip) -> bool:
        return clip.content in self._stored or clip.content in self._failed

    def _embed(self, clips: list[Clip]) -> None:
        sources, opened = [], []
        for clip in clips:
            try:
                sources.append(clip.source.audio())
                opened.append(clip)
            except UserError as error:  # synthetic audio decodes its sources here
                self._failed[clip.content] = error.one_line
        pooled = pooling.pool_clips(self.encoder, sources)
        for failure in pooled.failures:
            self._failed[opened[failure.index].content] = failure.reason
        contents, stored = [], []
        for row, index in enumerate(pooled.rows.tolist()):
            contents.append(opened[index].content)
            single = {name: vectors_ND[row] for name, vectors_ND in pooled.vectors.items()}
            stored.append(StoredClip(single, int(pooled.frames[row]), float(pooled.seconds[row])))
        self._stored |= dict(zip(contents, stored, strict=True))
        if self.cache:
            self.cache.save(self.identity, contents, stored)
