"""The list of a training set's clips: one JSON line each, checked when read, identified by its content.

The first line is a header {format, version, hash, root, counts, corpora, skipped}, every other line a record. `hash`
covers the descriptions of the corpora and the records in the order of their ids, and nothing else: not where the
files lie, not when or in what order they were found. Everything that is drawn in training is a function of it.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

from uniwhisper.core.errors import ManifestError
from uniwhisper.core.files import atomic_output
from uniwhisper.core.identity import hash_bytes
from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.data.archive import read_member
from uniwhisper.data.corpora import CorpusDescription, parse_description

FORMAT = "uniwhisper-manifest"
VERSION = 1
MANIFEST_NAME = "manifest.jsonl"
_PREPARE_AGAIN = "write it again with `uniwhisper data prepare FOLDER -o OUT --overwrite`"


@dataclass(frozen=True, slots=True)
class Record:
    """One clip."""

    id: str
    """`<corpus>/<key>`; unique in a manifest."""
    corpus: str
    domain: str
    """speech, sound or music."""
    archive: str
    """Path of the tar, relative to the manifest's root, with forward slashes."""
    offset: int
    """First byte of the encoded audio in the tar."""
    size: int
    """Bytes of encoded audio."""
    samples: int
    """Length after decoding, mono at 16 kHz; measured, not declared."""
    sha256: str
    """Of the encoded audio."""
    fields: dict[str, Any] = field(hash=False)
    """The labels as the corpus gives them."""

    @property
    def seconds(self) -> float:
        return self.samples / SAMPLE_RATE_HZ

    def line(self) -> str:
        """Canonical JSON, without the line break."""
        return _canonical({name: getattr(self, name) for name in _FIELD_TYPES})


_FIELD_TYPES: dict[str, type] = {f.name: getattr(f.type, "__origin__", f.type) for f in fields(Record)}


@dataclass(frozen=True)
class Manifest:
    """Records sorted by id, the descriptions of their corpora, and the folder that archives are relative to."""

    records: tuple[Record, ...]
    corpora: Mapping[str, CorpusDescription]
    root: Path
    skipped: tuple[str, ...] = ()
    """One line for each clip that was left out because it was bad."""

    def __post_init__(self) -> None:
        ids = [record.id for record in self.records]
        assert ids == sorted(set(ids)), "records must be sorted by id, each id once"

    @classmethod
    def of(
        cls,
        records: Iterable[Record],
        corpora: Mapping[str, CorpusDescription],
        root: Path,
        skipped: Sequence[str] = (),
    ) -> "Manifest":
        """A manifest of records in any order.

        Raises:
            ManifestError: two records have the same id.
        """
        ordered = sorted(records, key=lambda record: record.id)
        for one, other in pairwise(ordered):
            if one.id == other.id:
                raise duplicate_id(one, other)
        return cls(tuple(ordered), dict(corpora), root, tuple(skipped))

    @classmethod
    def read(cls, path: Path, *, root: Path | None = None) -> "Manifest":
        """Read and check a manifest.

        Args:
            path: the file, or the folder that `data prepare` wrote.
            root: folder that the archives are relative to; None: the one the manifest names.

        Raises:
            ManifestError: no such file, another format, a line that is no record (with its number), an archive path
                that leaves the root, records out of order, or content that does not fit the hash.
        """
        path = Path(path)
        if path.is_dir():
            path = path / MANIFEST_NAME
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ManifestError(
                f"cannot read the manifest {path}",
                expected=f"the folder or file written by `data prepare` ({MANIFEST_NAME})",
                got=getattr(error, "strerror", None) or str(error),
                fix="run `uniwhisper data prepare FOLDER -o OUT` and name OUT",
            ) from None
        header = _header(path, lines[0])
        if lines[-1] != "":
            raise _bad_line(path, len(lines), "a complete line", "the file ends inside it")
        corpora = {name: parse_description(value, name=name) for name, value in header["corpora"].items()}
        records = tuple(_record(path, number, line) for number, line in enumerate(lines[1:-1], start=2))
        for number, (one, other) in enumerate(pairwise(records), start=3):
            if one.id >= other.id:
                raise _bad_line(path, number, f"an id after {one.id!r} in sorted order", repr(other.id))
        for number, record in enumerate(records, start=2):
            if record.corpus not in corpora:
                raise _bad_line(path, number, f"one of the corpora {sorted(corpora)}", f"corpus {record.corpus!r}")
        manifest = cls(records, corpora, root or path.parent / header["root"], tuple(header["skipped"]))
        if manifest.hash != header["hash"]:
            raise ManifestError(
                f"{path} was changed after it was written",
                expected=f"hash {header['hash']}",
                got=f"hash {manifest.hash}",
                fix=_PREPARE_AGAIN,
            )
        return manifest

    @cached_property
    def hash(self) -> str:
        """SHA-256 over corpora and records: the identity of this training set."""
        described = (_canonical({name: self.corpora[name].as_json()}).encode() for name in sorted(self.corpora))
        return hash_bytes([*described, *(record.line().encode() for record in self.records)])

    @property
    def counts(self) -> dict[str, dict[str, float]]:
        """Clips and hours of each corpus."""
        clips = Counter(record.corpus for record in self.records)
        samples: Counter[str] = Counter()
        for record in self.records:
            samples[record.corpus] += record.samples
        return {
            name: {"clips": clips[name], "hours": round(samples[name] / SAMPLE_RATE_HZ / 3600, 4)}
            for name in sorted(clips)
        }

    def audio_bytes(self, record: Record) -> bytes:
        """Encoded audio of a record.

        Raises:
            ManifestError: the archive is missing or shorter than when the manifest was written.
        """
        path = self.root / record.archive
        try:
            return read_member(path, record.offset, record.size)
        except ManifestError as error:
            expected = f"{error.expected} of {path}"
            raise ManifestError(record.id, expected=expected, got=error.got, fix=_PREPARE_AGAIN) from None

    def write(self, folder: Path, *, overwrite: bool = False) -> Path:
        """Write `folder`/manifest.jsonl in one step and return its path. The root is stored relative to `folder`."""
        folder = Path(folder)
        header = {
            "format": FORMAT,
            "version": VERSION,
            "hash": self.hash,
            "root": Path(os.path.relpath(self.root.resolve(), folder.resolve())).as_posix(),
            "counts": self.counts,
            "corpora": {name: description.as_json() for name, description in self.corpora.items()},
            "skipped": list(self.skipped),
        }
        path = folder / MANIFEST_NAME
        with atomic_output(path, overwrite=overwrite) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.write(_canonical(header) + "\n")
            file.writelines(record.line() + "\n" for record in self.records)
        return path


def duplicate_id(one: Record, other: Record) -> ManifestError:
    """The error for two clips with the same id."""
    return ManifestError(
        other.id,
        expected="each key once in a corpus",
        got=f"it is in {one.archive} and in {other.archive}",
        fix="rename the clip in one of the archives, or put the archives in folders of their own",
    )


def parse_header(path: Path, line: str) -> dict[str, Any]:
    """The first line of the manifest at `path`, checked; errors as `Manifest.read`."""
    return _header(path, line)


def parse_record(path: Path, number: int, line: str) -> Record:
    """Line `number` of the manifest at `path`, checked; errors as `Manifest.read`."""
    return _record(path, number, line)


def _header(path: Path, line: str) -> dict[str, Any]:
    header = _json_line(path, 1, line)
    if header.get("format") != FORMAT or header.get("version") != VERSION:
        got = f"format {header.get('format')!r}, version {header.get('version')!r}"
        raise _bad_line(path, 1, f"format {FORMAT!r}, version {VERSION}", got)
    for name, kind in {"hash": str, "root": str, "corpora": dict, "skipped": list}.items():
        if type(header.get(name)) is not kind:
            raise _bad_line(path, 1, f"`{name}` of type {kind.__name__}", repr(header.get(name)))
    return header


def _record(path: Path, number: int, line: str) -> Record:
    value = _json_line(path, number, line)
    if value.keys() != _FIELD_TYPES.keys():
        raise _bad_line(path, number, f"the fields {sorted(_FIELD_TYPES)}", f"{sorted(value)}")
    for name, kind in _FIELD_TYPES.items():
        if type(value[name]) is not kind:
            raise _bad_line(path, number, f"`{name}` of type {kind.__name__}", repr(value[name]))
    record = Record(**value)
    if record.samples < 1 or record.size < 1 or record.offset < 0:
        got = f"samples {record.samples}, size {record.size}, offset {record.offset}"
        raise _bad_line(path, number, "samples >= 1, size >= 1, offset >= 0", got)
    pure = PurePosixPath(record.archive)
    if pure.is_absolute() or ".." in pure.parts:
        raise _bad_line(path, number, "an archive path inside the root", repr(record.archive))
    return record


def _json_line(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise _bad_line(path, number, "valid JSON", str(error)) from None
    if not isinstance(value, dict):
        raise _bad_line(path, number, "a JSON object", type(value).__name__)
    return value


def _bad_line(path: Path, number: int, expected: str, got: str) -> ManifestError:
    return ManifestError(f"{path}, line {number}", expected=expected, got=got, fix=_PREPARE_AGAIN)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
