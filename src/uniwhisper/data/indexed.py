"""A manifest too large to hold: its records stay in the file and are read when asked for.

Beside `manifest.jsonl` lies one file of 16 bytes a clip: where its line begins, its length, its fold key. It is written
once, by reading and checking the whole manifest as `Manifest.read` does, named after the manifest's hash, and mapped into
memory from then on.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from uniwhisper.core.errors import ManifestError
from uniwhisper.core.files import atomic_output
from uniwhisper.data.index import ClipIndex, fold_key
from uniwhisper.data.manifest import Manifest, Record, read_header, read_record

_ROW = np.dtype([("line", "<i8"), ("samples", "<i4"), ("fold_key", "<u4")])
_ROWS_AT_ONCE = 1 << 20


class LazyRecords(Sequence[Record]):
    """Records of a manifest file, each parsed when it is asked for."""

    def __init__(self, path: Path, lines_N: np.ndarray, end: int) -> None:
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
        return read_record(self._path, place + 2, line.removesuffix("\n"))

    def __reduce__(self):
        return LazyRecords, (self._path, self._lines_N, self._end)


@dataclass(frozen=True)
class IndexedManifest(Manifest):
    """A `Manifest` whose records are read from its file; what it checks was checked when the index was written."""

    index: ClipIndex | None = None
    known_hash: str = ""

    def __post_init__(self) -> None:
        pass

    @property
    def hash(self) -> str:  # type: ignore[override]
        return self.known_hash

    @classmethod
    def open(cls, path: Path, *, root: Path | None = None) -> "IndexedManifest":
        """The manifest of a file, or of the folder that `data prepare` wrote.

        The first call reads all of it and writes the index; later ones take well under a second.

        Raises:
            ManifestError: as `Manifest.read`.
            OutputError: the index cannot be written.
        """
        path = Path(path) / "manifest.jsonl" if Path(path).is_dir() else Path(path)
        header, corpora, start = read_header(path)
        index_path = path.parent / f"index-{header['hash'][:16]}.npy"
        size = path.stat().st_size
        if not index_path.exists():
            _write_index(path, index_path, header["hash"], corpora, start)
        rows_N = np.load(index_path, mmap_mode="r")
        names = json.loads(index_path.with_suffix(".json").read_text())
        if names["bytes"] != size:
            raise ManifestError(
                f"{path} was changed after its index was written",
                expected=f"{names['bytes']} bytes",
                got=f"{size}",
                fix=f"delete {index_path}; it is made again",
            )
        index = ClipIndex(
            samples_N=rows_N["samples"],
            fold_keys_N=rows_N["fold_key"],
            corpora={name: range(*places) for name, places in names["corpora"].items()},
        )
        records = LazyRecords(path, rows_N["line"], size)
        return cls(
            records,  # type: ignore[arg-type]
            corpora,
            root or path.parent / header["root"],
            tuple(header["skipped"]),
            index,
            header["hash"],
        )

    @cached_property
    def counts(self) -> dict[str, dict[str, float]]:
        """Clips and hours of each corpus, from the index."""
        assert self.index is not None, "an indexed manifest has its index"
        return {
            name: {
                "clips": len(places),
                "hours": round(int(self.index.samples_N[places.start : places.stop].sum()) / 16_000 / 3600, 4),
            }
            for name, places in self.index.corpora.items()
        }
