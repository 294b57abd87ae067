"""The list of a training set's clips: one JSON line each, checked when read, identified by its content.

The first line is a header {format, version, hash, root, counts, corpora, skipped}, every other line a record. `hash`
covers the descriptions of the corpora and the records in the order of their ids, and nothing else: not where the
files lie, not when or in what order they were found. Everything that is drawn in training is a function of it.
Where rules left clips out, the header says by which: left_out, [{rule, clips: {corpus: count}}].
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from uniwhisper.core.errors import ManifestError
from uniwhisper.core.identity import hash_bytes
from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.data.corpora import CorpusDescription, parse_description
from uniwhisper.data.left_out import LeftOutClips
from uniwhisper.data.sources.parquet_cells import read as read_cell
from uniwhisper.data.storage import Root, Store, is_inside, is_url

FORMAT = "uniwhisper-manifest"
VERSION = 1
MANIFEST_NAME = "manifest.jsonl"
_SHA256 = re.compile("[0-9a-f]{64}")
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
    """File that holds the encoded audio: a tar, a table, or the recording itself. Relative to the manifest's root, with
    forward slashes."""
    offset: int
    """First byte of the encoded audio in that file; with `column`, the row."""
    size: int
    """Bytes of encoded audio."""
    samples: int
    """Length after decoding, mono at 16 kHz; measured, not declared."""
    sha256: str
    """Of the encoded audio; for a segment of the whole recording, so that its segments stay in one fold."""
    fields: dict[str, Any] = field(hash=False)
    """The labels as the corpus gives them."""
    column: str | None = None
    """The audio is a cell of this column of a Parquet file. None: it lies in the file as it is."""
    start_seconds: float | None = None
    """The clip is a segment that begins here in the encoded audio. None: it is all of it."""

    @property
    def seconds(self) -> float:
        return self.samples / SAMPLE_RATE_HZ

    def line(self) -> str:
        """Canonical JSON, without the line break."""
        optional = {name: value for name in _OPTIONAL_TYPES if (value := getattr(self, name)) is not None}
        return canonical({**{name: getattr(self, name) for name in _FIELD_TYPES}, **optional})


_OPTIONAL_TYPES: dict[str, type] = {"column": str, "start_seconds": float}
_FIELD_TYPES: dict[str, type] = {
    f.name: getattr(f.type, "__origin__", f.type) for f in fields(Record) if f.name not in _OPTIONAL_TYPES
}


@dataclass(frozen=True)
class Manifest:
    """Records sorted by id, the descriptions of their corpora, and the folder that archives are relative to."""

    records: tuple[Record, ...]
    corpora: Mapping[str, CorpusDescription]
    root: Root
    """Folder or URL."""
    skipped: tuple[str, ...] = ()
    """One line for each clip that was left out because it was bad."""
    left_out: LeftOutClips = field(default_factory=dict)
    """What `prepare` was told to go without; empty where it was told nothing."""

    def __post_init__(self) -> None:
        ids = [record.id for record in self.records]
        assert ids == sorted(set(ids)), "records must be sorted by id, each id once"

    @classmethod
    def of(
        cls,
        records: Iterable[Record],
        corpora: Mapping[str, CorpusDescription],
        root: Root,
        skipped: Sequence[str] = (),
        left_out: LeftOutClips | None = None,
    ) -> "Manifest":
        """A manifest of records in any order.

        Raises:
            ManifestError: two records have the same id.
        """
        ordered = sorted(records, key=lambda record: record.id)
        for one, other in pairwise(ordered):
            if one.id == other.id:
                raise duplicate_id(one, other)
        return cls(tuple(ordered), dict(corpora), root, tuple(skipped), left_out or {})

    @classmethod
    def read(cls, path: Path, *, root: Root | None = None) -> "Manifest":
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
        header = parse_header(path, lines[0])
        if lines[-1] != "":
            raise _bad_line(path, len(lines), "a complete line", "the file ends inside it")
        corpora = {name: parse_description(value, name=name) for name, value in header["corpora"].items()}
        records = tuple(parse_record(path, number, line) for number, line in enumerate(lines[1:-1], start=2))
        for number, (one, other) in enumerate(pairwise(records), start=3):
            if one.id >= other.id:
                raise _bad_line(path, number, f"an id after {one.id!r} in sorted order", repr(other.id))
        for number, record in enumerate(records, start=2):
            if record.corpus not in corpora:
                raise _bad_line(path, number, f"one of the corpora {sorted(corpora)}", f"corpus {record.corpus!r}")
        skipped, left_out = tuple(header["skipped"]), left_out_of(path, header)
        manifest = cls(records, corpora, root or root_of(path, header), skipped, left_out)
        if manifest.hash != header["hash"]:
            raise ManifestError(
                f"{path} was changed after it was written",
                expected=f"hash {header['hash']}",
                got=f"hash {manifest.hash}",
                fix=_PREPARE_AGAIN,
            )
        return manifest

    @staticmethod
    def read_corpora(path: Path) -> dict[str, CorpusDescription]:
        """Descriptions of a manifest's corpora; its records are not read.

        Raises:
            ManifestError: as `read`, about the first line.
        """
        with Path(path).open(encoding="utf-8") as file:
            header = parse_header(path, file.readline())
        return {name: parse_description(value, name=name) for name, value in header["corpora"].items()}

    @cached_property
    def hash(self) -> str:
        """SHA-256 over corpora and records: the identity of this training set."""
        return hash_bytes([*corpora_parts(self.corpora), *(record.line().encode() for record in self.records)])

    @property
    def counts(self) -> dict[str, dict[str, float]]:
        """Clips and hours of each corpus."""
        return count_clips(self.records)

    def audio_bytes(self, record: Record) -> bytes:
        """Encoded audio of a record.

        Raises:
            ManifestError: the file is missing or shorter than when the manifest was written.
        """
        store = Store(self.root)
        expected = f"{record.size} bytes at {record.offset} of {store.path(record.archive)}"
        try:
            if record.column is not None:
                return read_cell(store, record.archive, record.column, record.offset)
            content = store.read(record.archive, record.offset, record.size)
        except ManifestError as error:
            raise ManifestError(record.id, expected=error.expected, got=error.got, fix=_PREPARE_AGAIN) from None
        except OSError as error:
            got = error.strerror or str(error)
            raise ManifestError(record.id, expected=expected, got=got, fix=_PREPARE_AGAIN) from None
        if len(content) != record.size:
            raise ManifestError(record.id, expected=expected, got=f"{len(content)} bytes", fix=_PREPARE_AGAIN)
        return content

    def write(self, folder: Path, *, overwrite: bool = False) -> Path:
        """Write `folder`/manifest.jsonl in one step and return its path. The root is stored relative to `folder`."""
        from uniwhisper.data.manifest_writer import ManifestWriter

        with ManifestWriter(folder, self.corpora, self.root, overwrite=overwrite) as writer:
            for record in self.records:
                writer.add(record)
            return writer.finish(self.skipped, left_out=self.left_out).path


def count_clips(records: Iterable[Record]) -> dict[str, dict[str, float]]:
    """Corpus -> {clips, hours}, sorted by name."""
    clips: Counter[str] = Counter()
    samples: Counter[str] = Counter()
    for record in records:
        clips[record.corpus] += 1
        samples[record.corpus] += record.samples
    return {
        name: {"clips": clips[name], "hours": round(samples[name] / SAMPLE_RATE_HZ / 3600, 4)} for name in sorted(clips)
    }


def corpora_parts(corpora: Mapping[str, CorpusDescription]) -> Iterator[bytes]:
    """What the hash covers of the corpora: it comes before the records."""
    return (canonical({name: corpora[name].as_json()}).encode() for name in sorted(corpora))


def duplicate_id(one: Record, other: Record) -> ManifestError:
    """The error for two clips with the same id."""
    return ManifestError(
        other.id,
        expected="each key once in a corpus",
        got=f"it is in {one.archive} and in {other.archive}",
        fix="rename the clip in one of the archives, or put the archives in folders of their own",
    )


def root_of(path: Path, header: Mapping[str, Any]) -> Root:
    """What the archives of the manifest at `path` are relative to, as its `header` says."""
    return header["root"] if is_url(header["root"]) else path.parent / header["root"]


def left_out_of(path: Path, header: Mapping[str, Any]) -> LeftOutClips:
    """What rules left out of the manifest at `path`, as its `header` says; errors as `Manifest.read`."""
    try:
        return {
            str(rule["rule"]): {str(name): int(count) for name, count in rule["clips"].items()}
            for rule in header.get("left_out", [])
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        expected = "`left_out` as [{rule, clips: {corpus: count}}]"
        raise _bad_line(path, 1, expected, repr(header["left_out"])) from None


def parse_header(path: Path, line: str) -> dict[str, Any]:
    """The first line of the manifest at `path`, checked; errors as `Manifest.read`."""
    header = _json_line(path, 1, line)
    if header.get("format") != FORMAT or header.get("version") != VERSION:
        got = f"format {header.get('format')!r}, version {header.get('version')!r}"
        raise _bad_line(path, 1, f"format {FORMAT!r}, version {VERSION}", got)
    for name, kind in {"hash": str, "root": str, "corpora": dict, "skipped": list}.items():
        if type(header.get(name)) is not kind:
            raise _bad_line(path, 1, f"`{name}` of type {kind.__name__}", repr(header.get(name)))
    return header


def parse_record(path: Path, number: int, line: str) -> Record:
    """Line `number` of the manifest at `path`, checked; errors as `Manifest.read`."""
    value = _json_line(path, number, line)
    if value.keys() - _OPTIONAL_TYPES.keys() != _FIELD_TYPES.keys():
        expected = f"the fields {sorted(_FIELD_TYPES)}, and maybe {sorted(_OPTIONAL_TYPES)}"
        raise _bad_line(path, number, expected, f"{sorted(value)}")
    for name, kind in (_FIELD_TYPES | _OPTIONAL_TYPES).items():
        if name in value and type(value[name]) is not kind:
            raise _bad_line(path, number, f"`{name}` of type {kind.__name__}", repr(value[name]))
    record = Record(**value)
    start = record.start_seconds or 0.0
    if record.samples < 1 or record.size < 1 or record.offset < 0 or not 0 <= start < math.inf:
        got = f"samples {record.samples}, size {record.size}, offset {record.offset}, start_seconds {start}"
        raise _bad_line(path, number, "samples >= 1, size >= 1, offset >= 0, start_seconds >= 0", got)
    if not _SHA256.fullmatch(record.sha256):
        raise _bad_line(path, number, "sha256 as 64 hexadecimal digits", repr(record.sha256))
    if not is_inside(record.archive):
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


def canonical(value: Any) -> str:
    """JSON in the one form that is hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
