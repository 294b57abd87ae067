"""A manifest too large to hold: its records stay in the file and are read when asked for.

Beside `manifest.jsonl` lies a file of 16 bytes a clip: where its line begins, its length, its fold key. It is made
once, by hashing the whole manifest against the hash its header states, and mapped into memory from then on. A manifest
whose hash is right holds the records that were checked when it was written; each is checked again when it is read.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from uniwhisper.core.errors import ManifestError
from uniwhisper.core.files import atomic_output
from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.data.corpora import parse_description
from uniwhisper.data.index import FOLD_DIGITS, ClipIndex, fold_key
from uniwhisper.data.manifest import MANIFEST_NAME, Manifest, Record, left_out_of, parse_header, parse_record, root_of

_ROW = np.dtype([("line", "<i8"), ("samples", "<i4"), ("fold_key", "<u4")])
MOST_CLIPS_IN_MEMORY = 1_000_000
_ROWS_AT_ONCE = 1 << 18
# The end of a record in canonical form. Labels come before it and can hold anything, so it is sought at the line's end.
_TAIL = re.compile(
    rb'"samples":(\d+),"sha256":"([0-9a-f]{%d})[0-9a-f]+","size":\d+(?:,"start_seconds":[-+.e\d]+)?}$' % FOLD_DIGITS
)


class LazyRecords(Sequence[Record]):
    """Records of a manifest file, each parsed when it is asked for."""

    def __init__(self, path: Path, lines_N: np.ndarray, end: int) -> None:
        """`lines_N` (int64): first byte of each record's line; `end`: bytes of the file."""
        self._path, self._lines_N, self._end = path, lines_N, end
        self._file: int | None = None

    def __len__(self) -> int:
        return len(self._lines_N)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        place = range(len(self))[place]
        first = int(self._lines_N[place])
        last = int(self._lines_N[place + 1]) if place + 1 < len(self) else self._end
        if self._file is None:
            self._file = os.open(self._path, os.O_RDONLY)
        # pread, not seek and read: processes that were forked share the file's position.
        line = os.pread(self._file, last - first, first).decode("utf-8")
        return parse_record(self._path, place + 2, line.removesuffix("\n"))

    def __reduce__(self):
        return LazyRecords, (self._path, self._lines_N, self._end)


@dataclass(frozen=True)
class IndexedManifest(Manifest):
    """A `Manifest` whose records are read from its file one by one."""

    index: ClipIndex | None = None
    stated_hash: str = ""

    def __post_init__(self) -> None:
        """Order and uniqueness of ids were checked when the manifest was written, and its hash when it was indexed."""

    @cached_property
    def hash(self) -> str:
        """As `Manifest.hash`."""
        return self.stated_hash

    @cached_property
    def counts(self) -> dict[str, dict[str, float]]:  # type: ignore[override]
        """As `Manifest.counts`."""
        assert self.index is not None, "an indexed manifest has its index"
        samples_N = self.index.samples_N
        return {
            name: {
                "clips": len(places),
                "hours": round(int(samples_N[places.start : places.stop].sum()) / SAMPLE_RATE_HZ / 3600, 4),
            }
            for name, places in self.index.corpora.items()
        }

    @classmethod
    def open(cls, path: Path, *, root: Path | None = None) -> "IndexedManifest":
        """The manifest of a file, or of the folder that `data prepare` wrote; arguments as `Manifest.read`.

        The first call reads all of it and writes the index beside it; later ones read the header.

        Raises:
            ManifestError: no manifest, not in the form it is written in, or content that does not fit the hash.
            OutputError: the index cannot be written.
        """
        path = Path(path) / MANIFEST_NAME if Path(path).is_dir() else Path(path)
        try:
            with path.open("rb") as file:
                header = parse_header(path, file.readline().decode("utf-8").removesuffix("\n"))
        except (OSError, UnicodeDecodeError) as error:
            raise ManifestError(
                f"cannot read the manifest {path}",
                expected=f"the folder or file written by `data prepare` ({MANIFEST_NAME})",
                got=getattr(error, "strerror", None) or str(error),
                fix="run `uniwhisper data prepare FOLDER -o OUT` and name OUT",
            ) from None
        corpora = {name: parse_description(value, name=name) for name, value in header["corpora"].items()}
        # The size tells a manifest that was changed under an unchanged header from the one that was indexed.
        size = path.stat().st_size
        folder = path.parent / f"index-{header['hash'][:16]}-{size}"
        if not folder.exists():
            described = (json.dumps({name: corpora[name].as_json()}, **_CANONICAL).encode() for name in sorted(corpora))
            _write_index(path, folder, header["hash"], described)
        rows_N = np.load(folder / "clips.npy", mmap_mode="r")
        places = json.loads((folder / "corpora.json").read_text(encoding="utf-8"))
        index = ClipIndex(rows_N["samples"], rows_N["fold_key"], {name: range(*span) for name, span in places.items()})
        return cls(
            records=LazyRecords(path, rows_N["line"], size),  # type: ignore[arg-type]
            corpora=corpora,
            root=root or root_of(path, header),
            skipped=tuple(header["skipped"]),
            left_out=left_out_of(path, header),
            index=index,
            stated_hash=header["hash"],
        )


def open_manifest(path: Path) -> Manifest:
    """`Manifest.read`, or `IndexedManifest.open` where the records would take gigabytes; errors as theirs."""
    file = Path(path) / MANIFEST_NAME if Path(path).is_dir() else Path(path)
    if file.is_file():
        with file.open("rb") as content:
            header = parse_header(file, content.readline().decode("utf-8", "replace").removesuffix("\n"))
        if _stated_clips(header.get("counts")) > MOST_CLIPS_IN_MEMORY:
            return IndexedManifest.open(path)
    return Manifest.read(path)


def _stated_clips(counts: Any) -> int:
    """0 where the header does not say."""
    rows = counts.values() if isinstance(counts, dict) else ()
    clips = [row.get("clips") for row in rows if isinstance(row, dict)]
    return sum(count for count in clips if isinstance(count, int))


_CANONICAL: dict[str, Any] = {"sort_keys": True, "separators": (",", ":"), "ensure_ascii": False}


def _write_index(path: Path, folder: Path, stated: str, described: Iterator[bytes]) -> None:
    digest = hashlib.sha256()

    def add(part: bytes) -> None:
        digest.update(len(part).to_bytes(8, "little") + part)

    for part in described:
        add(part)
    places: dict[str, list[int]] = {}
    with atomic_output(folder, overwrite=True, folder_with="corpora.json") as temporary:
        temporary.mkdir()
        with path.open("rb") as file, (temporary / "rows").open("wb") as rows:
            at, waiting, number, marker = len(file.readline()), [], 0, b""
            for number, raw in enumerate(file):
                line = raw.removesuffix(b"\n")
                add(line)
                found = _TAIL.search(line)
                if found is None or marker == b"" or not line.startswith(marker, line.find(b'"corpus":')):
                    # Another corpus, or a line that is not in canonical form: the full check says what is wrong.
                    record = parse_record(path, number + 2, line.decode("utf-8", "replace"))
                    samples, key = record.samples, fold_key(record.sha256)
                    if places.setdefault(record.corpus, [number, number])[1] != number:
                        raise ManifestError(
                            f"{path}, line {number + 2}",
                            expected="records sorted by id",
                            got=f"{record.corpus} again after another corpus",
                            fix="write it again with `uniwhisper data prepare FOLDER -o OUT --overwrite`",
                        )
                    marker = b'"corpus":' + json.dumps(record.corpus, ensure_ascii=False).encode() + b","
                    span = places[record.corpus]
                else:
                    samples, key = int(found[1]), int(found[2], 16)
                span[1] = number + 1
                waiting.append((at, samples, key))
                at += len(raw)
                if len(waiting) == _ROWS_AT_ONCE:
                    rows.write(np.array(waiting, dtype=_ROW).tobytes())
                    waiting = []
            rows.write(np.array(waiting, dtype=_ROW).tobytes())
        if digest.hexdigest() != stated:
            raise ManifestError(
                f"{path} was changed after it was written",
                expected=f"hash {stated}",
                got=f"hash {digest.hexdigest()}",
                fix="write it again with `uniwhisper data prepare FOLDER -o OUT --overwrite`",
            )
        rows_N = np.memmap(temporary / "rows", dtype=_ROW, mode="r")
        np.save(temporary / "clips.npy", rows_N)
        (temporary / "rows").unlink()
        (temporary / "corpora.json").write_text(json.dumps(places), encoding="utf-8")
