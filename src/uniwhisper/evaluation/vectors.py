"""Vectors of a task's clips: from the cache where they are there, else embedded and put there."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from uniwhisper.evaluation.cache import VectorCache, cache_key
from uniwhisper.evaluation.clips import TaskClips
from uniwhisper.evaluation.encoders import ClipEncoder, require_identity

# Encoded clips in memory at a time: enough for an encoder to sort by length.
_CHUNK_CLIPS = 512


@dataclass(frozen=True)
class Skipped:
    id: str
    reason: str


@dataclass(frozen=True)
class ClipVectors:
    indices: np.ndarray
    """(n,) int64, ascending: which clips have a vector."""
    vectors: np.ndarray
    """(n, D) float32, finite, one row per index."""
    skipped: list[Skipped]
    """The other clips, each with its reason."""
    embedded: int
    """Clips that were embedded now, not read from the cache."""


def clip_vectors(
    encoder: ClipEncoder,
    found: TaskClips,
    *,
    cache: VectorCache | None,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> ClipVectors:
    """One vector per clip of `found`. A clip that failed before is tried again: what it lacked may have come.

    Args:
        cache: None keeps nothing.
        on_progress: called with clips done and in total.
    """
    identity = require_identity(encoder)
    key, total = cache_key(identity, found.audio_hash), len(found.clips)
    vectors_ND = np.full((total, encoder.width), np.nan, dtype=np.float32)
    stored = cache.load(key, clips=total, width=encoder.width) if cache else None
    if stored is not None:
        vectors_ND[stored[0]] = stored[1]
    missing = np.flatnonzero(~np.isfinite(vectors_ND).all(axis=1))
    skipped: list[Skipped] = []
    for start in range(0, len(missing), _CHUNK_CLIPS):
        chunk = missing[start : start + _CHUNK_CLIPS]
        on_progress(total - len(missing) + start, total)
        skipped += _embed(encoder, found, chunk, vectors_ND)
    on_progress(total, total)
    indices_N = np.flatnonzero(np.isfinite(vectors_ND).all(axis=1))
    if cache and len(missing) > len(skipped):
        cache.save(key, indices_N, vectors_ND[indices_N], identity)
    return ClipVectors(indices_N, vectors_ND[indices_N], skipped, len(missing) - len(skipped))


def _embed(encoder: ClipEncoder, found: TaskClips, chunk: np.ndarray, vectors_ND: np.ndarray) -> list[Skipped]:
    """Fill the rows `chunk`; the clips that have no vector are returned."""
    table = encoder.embed([found.clips[index].audio() for index in chunk], on_error="skip")
    reasons = {failure.index: failure.reason for failure in table.failures}
    good = [place for place in range(len(chunk)) if place not in reasons]
    assert table.vectors.shape == (len(good), encoder.width), (
        f"embed gave {table.vectors.shape} for {len(good)} clips, width {encoder.width}"
    )
    vectors_ND[chunk[good]] = table.vectors
    for place, finite in zip(good, np.isfinite(table.vectors).all(axis=1), strict=True):
        if not finite:
            reasons[place] = "the encoder gave a vector that is not finite"
    return [Skipped(found.clips[chunk[place]].id, reason) for place, reason in sorted(reasons.items())]
