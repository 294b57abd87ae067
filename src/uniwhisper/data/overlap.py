"""Exact leak check: clips of evaluation archives that are also in a training set, as files or as decoded sound.

Equal bytes, or equal 16-bit samples after decoding (the same sound in another container or with other tags). It does
not find a clip that was re-encoded, cut or changed in level.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from uniwhisper.audio.load import read
from uniwhisper.data.archive import ArchivedClip, index_archive, read_member
from uniwhisper.data.decoded import ClipReader, EncodedReader, to_int16
from uniwhisper.data.manifest import Manifest, Record
from uniwhisper.data.parallel import in_threads


@dataclass(frozen=True, slots=True)
class Overlap:
    """One clip found on both sides."""

    training_id: str
    archive: Path
    """Evaluation archive."""
    key: str
    """Of the clip in that archive."""
    by: Literal["file", "sound"]


def find_overlap(
    manifest: Manifest, archives: Sequence[Path], *, reader: ClipReader | None = None, workers: int | None = None
) -> list[Overlap]:
    """Every clip of `archives` that is in the manifest, in the order of archives and keys.

    Args:
        reader: gives the training set's sound; None: every clip is decoded.
        workers: threads; None: one for each usable core.

    Raises:
        ManifestError: an archive cannot be read, or changed since it was prepared.
        AudioError: a clip of `archives` cannot be decoded.
    """
    reader = reader or EncodedReader(manifest)
    clips = [(path, clip) for path in archives for clip in index_archive(path)]
    hashed = list(in_threads(_hash_clip, clips, workers))
    # Only a sound of the same length can be the same: the rest of the training set is not decoded.
    lengths = {samples for samples, _, _ in hashed}
    candidates = [record for record in manifest.records if record.samples in lengths]

    by_file: dict[str, list[str]] = defaultdict(list)
    for record in manifest.records:
        by_file[record.sha256].append(record.id)
    by_sound: dict[str, list[str]] = defaultdict(list)
    hash_record: Callable[[Record], str] = lambda record: _hash_sound(reader.read(record))  # noqa: E731
    for record, sound in zip(candidates, in_threads(hash_record, candidates, workers), strict=True):
        by_sound[sound].append(record.id)

    found = []
    for (path, clip), (_, file, sound) in zip(clips, hashed, strict=True):
        same_file = by_file.get(file, [])
        found += [Overlap(training_id, path, clip.key, "file") for training_id in same_file]
        same_sound = [training_id for training_id in by_sound.get(sound, []) if training_id not in same_file]
        found += [Overlap(training_id, path, clip.key, "sound") for training_id in same_sound]
    return found


def _hash_clip(item: tuple[Path, ArchivedClip]) -> tuple[int, str, str]:
    """Samples, hash of the file, hash of the sound."""
    path, clip = item
    content = read_member(path, clip.offset, clip.size)
    wave_S = read(content, name=f"{path.name}: {clip.key}")
    return len(wave_S), hashlib.sha256(content).hexdigest(), _hash_sound(wave_S)


def _hash_sound(wave_S: np.ndarray) -> str:
    return hashlib.sha256(to_int16(wave_S).tobytes()).hexdigest()
