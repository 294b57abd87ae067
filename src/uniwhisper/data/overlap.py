"""Leaks: clips of evaluation sets that are also in a training set, found in four ways.

- source: both clips name the same source, such as a Freesound or YouTube id, in fields that the corpora declare.
- file: the encoded audio is the same, byte for byte.
- sound: the decoded 16-bit samples are the same (another container, other tags).
- fingerprint: they share two seconds of sound, though re-encoded, resampled, louder or cut (`fingerprint.py`).

The evaluation sets are indexed, since they are small; training clips pass by one at a time and leave nothing behind.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from uniwhisper.audio.load import read
from uniwhisper.core.errors import ManifestError
from uniwhisper.core.identity import hash_bytes
from uniwhisper.data.archive import ArchivedClip, index_archive, read_member
from uniwhisper.data.decoded import ClipReader, EncodedReader, to_int16
from uniwhisper.data.fingerprint import Fingerprint, FingerprintIndex, fingerprint
from uniwhisper.data.manifest import Manifest, Record
from uniwhisper.data.parallel import Progress, in_threads

WAYS = ("source", "file", "sound", "fingerprint")
# Field -> the namespace its values are ids in. ESC-50 names its files `fold-freesound-take-class`.
SOURCE_FIELDS: Mapping[str, str] = {
    "freesound": "freesound",
    "freesound_id": "freesound",
    "youtube": "youtube",
    "youtube_id": "youtube",
    "ytid": "youtube",
}
_ESC50_KEY = re.compile(r"^[1-5]-(\d+)-[A-Z]-\d{1,2}$")


@dataclass(frozen=True, slots=True)
class Overlap:
    """One clip found on both sides."""

    training_id: str
    archive: Path
    """Evaluation archive."""
    key: str
    """Of the clip in that archive."""
    by: Literal["source", "file", "sound", "fingerprint"]
    """The surest way that found it, in the order of `WAYS`."""
    detail: str = ""
    """For source the id, for fingerprint the share of differing bits and the seconds in common."""


@dataclass(frozen=True, slots=True)
class OverlapReport:
    """What comparing a training set with evaluation archives gave."""

    manifest_hash: str
    evaluation_hash: str
    """Of the evaluation clips' audio, in the order of their hashes."""
    training_clips: int
    evaluation_clips: int
    fingerprinted: int
    """Evaluation clips long enough for a fingerprint."""
    overlaps: tuple[Overlap, ...]

    @property
    def training_ids(self) -> list[str]:
        """Training clips that are also evaluated on, sorted."""
        return sorted({overlap.training_id for overlap in self.overlaps})

    def to_json(self) -> dict[str, Any]:
        """For `run.json` and `--json`: sums, and each overlap."""
        value = {key: part for key, part in asdict(self).items() if key != "overlaps"}
        value["overlapping_training_clips"] = len(self.training_ids)
        value["by"] = dict(Counter(overlap.by for overlap in self.overlaps))
        value["overlaps"] = [
            {**asdict(overlap), "archive": f"{overlap.archive.parent.name}/{overlap.archive.name}"}
            for overlap in self.overlaps
        ]
        return value


@dataclass(frozen=True, slots=True)
class _Known:
    """An evaluation clip, as far as it is compared."""

    archive: Path
    key: str
    samples: int
    file: str
    sound: str
    sources: tuple[str, ...]
    print: Fingerprint | None


def evaluation_archives(place: Path) -> list[Path]:
    """The tars below a folder, or the one named.

    Raises:
        ManifestError: there is none.
    """
    found = sorted(place.rglob("*.tar")) if place.is_dir() else [place] if place.is_file() else []
    if not found:
        got = "a folder without any" if place.is_dir() else "no such file or folder"
        fix = "name the folder of the evaluation sets"
        raise ManifestError(f"no evaluation archives in {place}", expected="tars, at any depth", got=got, fix=fix)
    return found


def find_overlap(
    manifest: Manifest,
    archives: Sequence[Path],
    *,
    reader: ClipReader | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> OverlapReport:
    """Every clip of `archives` that is in the manifest.

    Args:
        reader: gives the training set's sound; None: every clip is decoded.
        workers: threads; None: one for each usable core.
        progress: told how many clips of both sides are done.

    Raises:
        ManifestError: an archive cannot be read, or changed since it was prepared.
        AudioError: a clip of `archives` cannot be decoded.
    """
    reader = reader or EncodedReader(manifest)
    listed = [(path, clip) for path in archives for clip in index_archive(path, list_field="events")]
    total = len(listed) + len(manifest.records)
    clips: list[_Known] = []
    for clip in in_threads(_know, listed, workers):
        clips.append(clip)
        if progress is not None:
            progress(len(clips), total)
    index = FingerprintIndex((str(number), clip.print) for number, clip in enumerate(clips) if clip.print is not None)
    tables = {way: defaultdict(list) for way in ("source", "file", "sound")}
    for number, clip in enumerate(clips):
        tables["file"][clip.file].append(number)
        tables["sound"][clip.sound].append(number)
        for source in clip.sources:
            tables["source"][source].append(number)
    lengths = {clip.samples for clip in clips}

    def compare(record: Record) -> dict[int, tuple[str, str]]:
        """Evaluation clip -> (way, detail)."""
        found: dict[int, tuple[str, str]] = {}
        for source in sources_of(record.fields, record.id.partition("/")[2]):
            found |= dict.fromkeys(tables["source"].get(source, ()), ("source", source))
        for number in tables["file"].get(record.sha256, ()):
            found.setdefault(number, ("file", ""))
        wave_S = reader.read(record)
        if record.samples in lengths:
            for number in tables["sound"].get(_hash_sound(wave_S), ()):
                found.setdefault(number, ("sound", ""))
        asked = fingerprint(wave_S)
        for match in index.search(asked) if asked is not None else ():
            detail = f"{100 * match.error_rate:.1f}% of bits differ over {match.shared_seconds:.1f} s"
            found.setdefault(int(match.name), ("fingerprint", detail))
        return found

    overlaps = []
    for done, (record, found) in enumerate(
        zip(manifest.records, in_threads(compare, manifest.records, workers), strict=True), start=1
    ):
        overlaps += [
            Overlap(record.id, clips[number].archive, clips[number].key, way, detail)
            for number, (way, detail) in found.items()
        ]
        if progress is not None:
            progress(len(clips) + done, total)
    return OverlapReport(
        manifest_hash=manifest.hash,
        evaluation_hash=hash_bytes(sorted(clip.file.encode() for clip in clips)),
        training_clips=len(manifest.records),
        evaluation_clips=len(clips),
        fingerprinted=len(index),
        overlaps=tuple(sorted(overlaps, key=lambda one: (one.training_id, str(one.archive), one.key))),
    )


def sources_of(fields: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Where a clip comes from, as `namespace:id`, by its labels and its key."""
    found = [f"{space}:{fields[name]}" for name, space in SOURCE_FIELDS.items() if fields.get(name) not in (None, "")]
    if named := _ESC50_KEY.match(key):
        found.append(f"freesound:{named[1]}")
    return tuple(dict.fromkeys(found))


def without_overlap(manifest: Manifest, report: OverlapReport) -> Manifest:
    """The manifest without the training clips that the report names; they are listed among its skipped."""
    assert report.manifest_hash == manifest.hash, "the report is about another manifest"
    leaking = set(report.training_ids)
    kept = (record for record in manifest.records if record.id not in leaking)
    lines = [f"{name}: also in an evaluation set" for name in report.training_ids]
    return Manifest.of(kept, manifest.corpora, manifest.root, [*manifest.skipped, *lines], manifest.left_out)


def refuse_overlap(report: OverlapReport) -> None:
    """Raise unless nothing overlaps.

    Raises:
        ManifestError: some training clip is also evaluated on.
    """
    if not report.overlaps:
        return
    first = report.overlaps[0]
    raise ManifestError(
        "the training set overlaps the evaluation sets",
        expected="no clip of the evaluation sets among the training clips",
        got=f"{len(report.training_ids)} training clips, e.g. {first.training_id}, which is "
        f"{first.archive.parent.name}/{first.archive.name}: {first.key} (by {first.by})",
        fix="`uniwhisper data overlap TRAIN EVAL -o CLEAN` writes a manifest without them; or --allow-overlap",
    )


def _know(item: tuple[Path, ArchivedClip]) -> _Known:
    path, clip = item
    content = read_member(path, clip.offset, clip.size)
    wave_S = read(content, name=f"{path.name}: {clip.key}")
    return _Known(
        archive=path,
        key=clip.key,
        samples=len(wave_S),
        file=hashlib.sha256(content).hexdigest(),
        sound=_hash_sound(wave_S),
        sources=sources_of(clip.fields, clip.key),
        print=fingerprint(wave_S),
    )


def _hash_sound(wave_S: np.ndarray) -> str:
    return hashlib.sha256(to_int16(wave_S).tobytes()).hexdigest()
