"""Embedding in parts, for inputs that outlast a process: each part of the inputs becomes one Parquet file.

Notable: a part is decided by the inputs alone, its file is named by its number and appears in one rename. So whoever
writes it, however often (a worker that was killed, a second one that took over, the same command tomorrow), its rows
are there once. What is done is skipped. Beside its rows a part remembers size and time of change of what it was read
from: where these differ it is made anew, as `make` would; a folder of another list is refused.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from uniwhisper.audio.find import find_audio
from uniwhisper.core.errors import AudioError, OutputError
from uniwhisper.core.files import atomic_output
from uniwhisper.core.identity import hash_json
from uniwhisper.embedding.embedder import Embedder
from uniwhisper.embedding.parquet import METADATA_PREFIX, metadata_of, write_vectors

CLIPS_PER_PART = 1024


@dataclass(frozen=True)
class Part:
    """Some of the inputs: paths, or one row group of a Parquet file that holds the audio itself."""

    number: int
    paths: tuple[str, ...]
    table: str | None = None
    """Parquet file with the columns `path` and `bytes`."""
    row_group: int = 0

    @property
    def identity(self) -> str:
        """Hash of what it names: a folder of parts belongs to one list of inputs."""
        return hash_json(asdict(self))

    def file_in(self, folder: Path) -> Path:
        """Where its rows are, or will be."""
        return folder / f"part-{self.number:06d}.parquet"

    def stamp(self) -> str:
        """Hash of size and time of change of every file it is read from; what is not there counts as that."""
        return hash_json([_size_and_change(path) for path in ([self.table] if self.table else self.paths)])


@dataclass(frozen=True)
class PartResult:
    """What a part's file holds."""

    number: int
    rows: int
    failures: tuple[tuple[str, str], ...]
    """(name, reason) of the inputs without a row."""
    made_anew: bool = False
    """It had been there, but its inputs changed since."""


def plan_parts(
    sources: Sequence[str], *, clips_per_part: int = CLIPS_PER_PART, on_repeat: Callable[[str], None] = lambda _: None
) -> list[Part]:
    """Parts of all inputs, in their order.

    Args:
        sources: audio files; folders of them; manifests (`.jsonl`, an object with "path" per line, relative to the
            manifest); Parquet files with a column `path`, of files, or with `path` and `bytes`, the audio itself.
        clips_per_part: of parts made of paths.
        on_repeat: told of each path that was named before, and has no second row.

    Raises:
        AudioError: a source does not exist or names no audio.
    """
    parts: list[Part] = []
    paths: list[str] = []
    for source in map(Path, sources):
        if source.suffix == ".jsonl":
            paths += _manifest(source)
        elif source.suffix == ".parquet":
            rows, groups = _parquet(source)
            paths += rows
            parts += [Part(0, (), str(source), group) for group in range(groups)]
        else:
            paths += [str(path) for path in find_audio([source])]
    named: dict[str, None] = {}
    for path in paths:
        if path in named:
            on_repeat(path)
        named[path] = None
    once = list(named)
    cuts = range(0, len(once), clips_per_part)
    parts += [Part(0, tuple(once[first : first + clips_per_part])) for first in cuts]
    return [Part(number, part.paths, part.table, part.row_group) for number, part in enumerate(parts)]


def embed_part(embedder: Embedder, part: Part, folder: Path) -> PartResult:
    """Embed a part and write its file. A file of this part that is there already is kept, unless an input has changed
    since it was made.

    Raises:
        OutputError: the file belongs to other inputs or another model, or cannot be written.
    """
    if (done := done_part(part, folder, embedder.identity)) is not None:
        return done
    # Before anything is read: what changes meanwhile is seen next time.
    stamp, made_anew = part.stamp(), part.file_in(folder).exists()
    names, audio = _contents(part)
    table = embedder.embed(audio, on_error="skip")
    failures = [(names[failure.index], failure.reason) for failure in table.failures]
    failed = {failure.index for failure in table.failures}
    table.names[:] = [name for index, name in enumerate(names) if index not in failed]
    metadata = {**metadata_of(embedder), "part": part.identity, "stamp": stamp, "failures": json.dumps(failures)}
    with atomic_output(part.file_in(folder), overwrite=True) as temporary:
        write_vectors(temporary, [table], embedder.width, metadata)
    return PartResult(part.number, len(table), tuple(failures), made_anew)


def check_folder(parts: Sequence[Part], folder: Path) -> None:
    """See that no file in `folder` is of a part beyond `parts`: its rows would be read along with theirs.

    Raises:
        OutputError: there is one.
    """
    ours = {part.file_in(folder).name for part in parts}
    others = sorted(path.name for path in folder.glob("part-*.parquet") if path.name not in ours)
    if others:
        raise OutputError(
            f"{folder} belongs to another run",
            expected=f"files of the {len(parts)} parts that the inputs make",
            got=f"{len(others)} more: {', '.join(others[:3])}",
            fix="choose another -o, or remove the folder; name all inputs of the earlier run",
        )


def done_part(part: Part, folder: Path, identity: dict[str, str]) -> PartResult | None:
    """The result of a part that was written before; None if it is to do, or its inputs changed since.

    Raises:
        OutputError: its file belongs to other inputs, or to a model of another `identity`.
    """
    import pyarrow.parquet as pq

    path = part.file_in(folder)
    if not path.exists():
        return None
    stored = pq.read_metadata(path)
    found = {key.decode(): value.decode() for key, value in (stored.metadata or {}).items()}
    expected = {"part": part.identity, **identity}
    different = [key for key, value in expected.items() if found.get(METADATA_PREFIX + key) != value]
    if different:
        raise OutputError(
            f"{path} belongs to another run",
            expected="the same inputs, weights, code and settings as when the folder was begun",
            got=f"another {', '.join(different)}",
            fix="choose another -o, or remove the folder",
        )
    if found.get(METADATA_PREFIX + "stamp") != part.stamp():
        return None
    failures = json.loads(found[METADATA_PREFIX + "failures"])
    return PartResult(part.number, stored.num_rows, tuple((name, reason) for name, reason in failures))


def _size_and_change(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 (there may be millions)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _contents(part: Part) -> tuple[list[str], list[str | bytes]]:
    """Names and audio of a part."""
    if part.table is None:
        return list(part.paths), list(part.paths)
    import pyarrow.parquet as pq

    rows = pq.ParquetFile(part.table).read_row_group(part.row_group, columns=["path", "bytes"])
    names = [f"<bytes {row}>" if name is None else name for row, name in enumerate(rows["path"].to_pylist())]
    # A cell that holds nothing is an empty file: a failure of its own, not of the part.
    return names, [content or b"" for content in rows["bytes"].to_pylist()]


def _manifest(path: Path) -> list[str]:
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        return [str(path.parent / line["path"]) for line in lines]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable(path, 'lines of JSON objects with "path"', error) from None


def _parquet(path: Path) -> tuple[list[str], int]:
    """Paths it lists, or the number of row groups that hold audio."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        columns = file.schema_arrow.names
        if "bytes" in columns and "path" in columns:
            return [], file.num_row_groups
        return [str(path.parent / name) for name in file.read(columns=["path"])["path"].to_pylist()], 0
    except (OSError, pa.ArrowException, KeyError, TypeError) as error:
        raise _unreadable(path, "a Parquet file with a column `path`", error) from None


def _unreadable(path: Path, expected: str, error: Any) -> AudioError:
    return AudioError(
        f"{path} does not list audio",
        expected=expected,
        got=str(error).splitlines()[0][:200],
        fix="mend the list, or name the audio files or their folder",
    )
