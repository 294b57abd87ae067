"""Writing a manifest of any length: records come in any order, memory holds one piece of them.

Pieces are sorted and put aside, then merged (an external merge sort), because the order of ids is part of a manifest's
identity. Nothing is called `manifest.jsonl` before the last record is in it.
"""

import heapq
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfileobj
from typing import Self, TextIO

from uniwhisper.core.errors import ManifestError
from uniwhisper.core.files import atomic_output
from uniwhisper.core.identity import hash_bytes
from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.data.archive import raise_problem
from uniwhisper.data.corpora import CorpusDescription
from uniwhisper.data.left_out import LeftOutClips
from uniwhisper.data.manifest import FORMAT, MANIFEST_NAME, VERSION, Record, canonical, corpora_parts, duplicate_id
from uniwhisper.data.storage import Root, is_url

PIECE_RECORDS = 200_000


@dataclass(frozen=True)
class Written:
    """A manifest that was written."""

    path: Path
    hash: str
    counts: dict[str, dict[str, float]]
    """Corpus -> {clips, hours}."""
    skipped: tuple[str, ...]
    """One line for each clip that was left out because it was bad."""
    problems: tuple[ManifestError, ...] = ()
    """The same with what mends each, where `prepare` left them out."""
    notes: tuple[str, ...] = ()
    """What `prepare` says of no corpus alone."""


class ManifestWriter:
    """Context in which records are added; `finish` writes the file. Leaving without it leaves nothing.

    Args:
        folder: where `manifest.jsonl` goes.
        corpora: descriptions of the corpora that records name.
        root: what archives are relative to; stored relative to `folder` unless it is a URL.
        piece_records: records held in memory.

    Raises:
        OutputError: (on entering) the manifest exists and `overwrite` is False, or it cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        corpora: Mapping[str, CorpusDescription],
        root: Root,
        *,
        overwrite: bool = False,
        piece_records: int = PIECE_RECORDS,
    ) -> None:
        self._folder, self._corpora, self._root = Path(folder), corpora, root
        self._overwrite, self._most = overwrite, piece_records
        self._stack = ExitStack()
        self._piece: list[tuple[str, int, str]] = []
        self._pieces: list[Path] = []
        self._count = 0

    def __enter__(self) -> Self:
        self._path = self._folder / MANIFEST_NAME
        self._temporary = self._stack.enter_context(atomic_output(self._path, overwrite=self._overwrite))
        return self

    def __exit__(self, *error: object) -> bool | None:
        return self._stack.__exit__(*error)

    @property
    def count(self) -> int:
        """Records added so far."""
        return self._count

    def add(self, record: Record) -> None:
        """Take one record."""
        self._piece.append((record.id, self._count, record.line()))
        self._count += 1
        if len(self._piece) >= self._most:
            self._put_aside()

    def finish(
        self,
        skipped: Sequence[str] = (),
        *,
        left_out: LeftOutClips | None = None,
        on_problem: Callable[[ManifestError], None] = raise_problem,
    ) -> Written:
        """Merge what was added and write the manifest.

        Args:
            skipped: one line for each clip left out so far because it was bad.
            left_out: what rules left out.
            on_problem: told of each record whose id was there before; if it returns, that record is left out.

        Raises:
            ManifestError: through the default `on_problem`.
        """
        bad = list(skipped)

        def drop(error: ManifestError) -> None:
            on_problem(error)
            bad.append(error.one_line)

        self._put_aside()
        clips: Counter[str] = Counter()
        samples: Counter[str] = Counter()
        body = self._temporary.with_suffix(".body")

        def parts(file: TextIO) -> Iterator[bytes]:
            """What the hash covers; the lines are written on the way."""
            yield from corpora_parts(self._corpora)
            for line in self._merged(drop):
                file.write(line + "\n")
                record = json.loads(line)
                clips[record["corpus"]] += 1
                samples[record["corpus"]] += record["samples"]
                yield line.encode()

        with body.open("w", encoding="utf-8", newline="\n") as file:
            content_hash = hash_bytes(parts(file))
        counts = {
            name: {"clips": clips[name], "hours": round(samples[name] / SAMPLE_RATE_HZ / 3600, 4)}
            for name in sorted(clips)
        }
        root = self._root if is_url(self._root) else relative_root(Path(self._root), self._folder)
        header = {
            "format": FORMAT,
            "version": VERSION,
            "hash": content_hash,
            "root": root,
            "counts": counts,
            "corpora": {name: description.as_json() for name, description in self._corpora.items()},
            "skipped": bad,
        }
        if left_out:
            header["left_out"] = [{"rule": rule, "clips": dict(clips)} for rule, clips in left_out.items()]
        with self._temporary.open("wb") as file, body.open("rb") as records:
            file.write(canonical(header).encode() + b"\n")
            copyfileobj(records, file)
        return Written(self._path, content_hash, counts, tuple(bad))

    def _put_aside(self) -> None:
        if not self._piece:
            return
        path = self._temporary.with_suffix(f".piece{len(self._pieces)}")
        self._piece.sort()
        with path.open("w", encoding="utf-8") as file:
            file.writelines(f"{canonical([name, number])}\n{line}\n" for name, number, line in self._piece)
        self._pieces.append(path)
        self._piece = []

    def _merged(self, on_problem: Callable[[ManifestError], None]) -> Iterator[str]:
        before: tuple[str, str] | None = None
        with ExitStack() as stack:
            files = [stack.enter_context(path.open(encoding="utf-8", newline="\n")) for path in self._pieces]
            for name, _, line in heapq.merge(*map(_entries, files)):
                if before is not None and before[0] == name:
                    on_problem(duplicate_id(Record(**json.loads(before[1])), Record(**json.loads(line))))
                    continue
                yield line
                before = name, line


def relative_root(root: Path, folder: Path) -> str:
    """The root as a manifest in `folder` names it."""
    return Path(os.path.relpath(root.resolve(), folder.resolve())).as_posix()


def _entries(file: TextIO) -> Iterator[tuple[str, int, str]]:
    for line in file:
        name, number = json.loads(line)
        yield name, number, file.readline().rstrip("\n")
