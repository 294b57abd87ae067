"""A folder of folders, or a CSV, to labelled files; and which of them are held out."""

import csv
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uniwhisper.audio.find import find_audio
from uniwhisper.core.errors import ManifestError
from uniwhisper.core.identity import content_fold, hash_file
from uniwhisper.core.placeholders import is_placeholder

TRAIN, TEST = "train", "test"
COLUMNS = ("path", "label", "split")
DELIMITERS = (",", "\t", ";")
"""A spreadsheet writes semicolons where numbers have decimal commas, and tabs into a .tsv."""
FOLDS = 5  # one of five parts of the audio is held out


@dataclass(frozen=True)
class LabelledFiles:
    """N files with their labels; `split` says which are held out, None where nobody said."""

    paths: list[Path]
    labels: list[str]
    split: list[str] | None = None

    @property
    def classes(self) -> list[str]:
        return sorted(set(self.labels))

    @property
    def placeholders(self) -> dict[str, int]:
        """Classes such as `N/A` and `nan`, which may mean that there is none -> number of files."""
        return {label: count for label, count in sorted(Counter(self.labels).items()) if is_placeholder(label)}


def read_labels(source: Path, columns: Mapping[str, str] | None = None) -> LabelledFiles:
    """Files and labels of `source`.

    Args:
        source: a folder with a folder per class, at any depth below which its files lie; or a CSV with the columns
            `path` (relative to the CSV) and its `label`, and if wanted `split` (`train` or `test`), parted by one of
            `DELIMITERS`.
        columns: name of these columns -> name in the CSV, where they differ, as in a corpus's `corpus.json`.

    Raises:
        ManifestError: it cannot be read as either, a column is not there, a file has two labels, fewer than two
            classes, a class of a single file, or a recording that `split` both trains on and tests.
        AudioError: a folder without audio.
    """
    source = Path(source)
    columns = columns or {}
    if columns.keys() - set(COLUMNS) or (columns and source.is_dir()):
        raise ManifestError(
            "columns cannot be named so",
            expected=f"of a CSV, names for {', '.join(COLUMNS)}",
            got=f"{source}, a folder" if source.is_dir() else ", ".join(sorted(columns.keys() - set(COLUMNS))),
            fix="leave --column out" if source.is_dir() else "for example --column path=file --column label=class",
        )
    found = _from_folder(source) if source.is_dir() else _from_csv(source, columns)
    counts = Counter(found.labels)
    small = [label for label, count in sorted(counts.items()) if count < 2]
    if len(counts) < 2 or small:
        raise ManifestError(
            f"{source} cannot be learned from",
            expected="two or more classes of at least two files each",
            got=f"classes of one file: {', '.join(small[:5])}" if small else f"{len(counts)} class",
            fix="add files, or leave small classes out",
        )
    return found


def _from_folder(folder: Path) -> LabelledFiles:
    paths = find_audio([folder])
    loose = [path for path in paths if path.parent == folder]
    if loose:
        raise ManifestError(
            f"{folder} has files outside of class folders",
            expected="a folder per class, with the class's files in it",
            got=f"{len(loose)} files such as {loose[0].name}",
            fix="move them into the folder of their class, or write a CSV with the columns path,label",
        )
    return LabelledFiles(paths, [path.relative_to(folder).parts[0] for path in paths])


def _from_csv(path: Path, columns: Mapping[str, str]) -> LabelledFiles:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = file.readline()
            file.seek(0)
            reader = csv.DictReader(file, delimiter=_delimiter(header, {columns.get(n, n) for n in ("path", "label")}))
            rows, lines = [], []
            for row in reader:
                rows.append(row)
                lines.append(reader.line_num)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(
            f"{path} cannot be read",
            expected="a folder of class folders, or a CSV in UTF-8",
            got=(getattr(error, "strerror", None) or str(error))[:200],
            fix="name a folder or a CSV with the columns path,label",
        ) from None
    there = [*(reader.fieldnames or ())]
    names = {ours: columns.get(ours, ours) for ours in COLUMNS if ours != "split" or ours in there or ours in columns}
    if not rows or not set(names.values()) <= set(there):
        fix = "say what they are called here: --column path=… --column label=…" if rows else None
        if rows and len(there) == 1:
            fix = "part the columns by commas, tabs or semicolons"
        raise _bad_csv(
            path,
            f"the columns {' and '.join(names.values())}, and at least one row",
            f"the columns {', '.join(there) or 'of an empty file'}" + ("" if rows else ", and no row"),
            fix=fix,
        )
    rows = [{ours: row[name] for ours, name in names.items()} for row in rows]
    for number, row in zip(lines, rows, strict=True):
        if not (row["path"] or "").strip() or not (row["label"] or "").strip():
            raise _bad_csv(path, "a path and a label in every row", f"line {number} without")
    first: dict[str, tuple[int, str]] = {}
    for number, row in zip(lines, rows, strict=True):
        line, label = first.setdefault(os.path.normpath(row["path"]), (number, row["label"]))
        if label != row["label"]:
            got = f"{row['path']} as {label} in line {line} and as {row['label']} in line {number}"
            raise _bad_csv(path, "one label for each file", got, fix="leave one of the lines out")
    split = None
    if "split" in names:
        split = [row["split"] for row in rows]
        other = [(line, each) for line, each in zip(lines, split, strict=True) if each not in (TRAIN, TEST)]
        if other or len(set(split)) < 2:
            got = f"{other[0][1] or 'nothing'} in line {other[0][0]}" if other else f"{split[0]} alone"
            fix = f"write {TRAIN} or {TEST} there, or leave the column out: then a part is held out by content"
            raise _bad_csv(path, f"{TRAIN} and {TEST}, both, in the column {names['split']}", got, fix=fix)
        untaught = sorted({r["label"] for r in rows} - {r["label"] for r in rows if r["split"] == TRAIN})
        if untaught:
            raise _bad_csv(path, "every class among the rows to train on", f"only tested: {', '.join(untaught[:5])}")
    files = LabelledFiles([path.parent / row["path"] for row in rows], [row["label"] for row in rows], split)
    if split is not None and (both := _on_both_sides(files)):
        raise _bad_csv(
            path,
            "each recording to train on or to test, not both",
            f"{len(both)} {'row' if len(both) == 1 else 'rows'} to test with the bytes of a row to train on, such as "
            f"{rows[both[0]]['path']}",
            fix=f"leave them out of one side, or leave the column {names['split']} out: then copies stay together",
        )
    return files


def _on_both_sides(files: LabelledFiles) -> list[int]:
    """Rows to test whose bytes are trained on too. What cannot be read is named when it is embedded."""

    def known(rows: list[int], what: Callable[[Path], Any]) -> dict[int, Any]:
        found = {}
        for row in rows:
            with suppress(OSError, ValueError):  # a name may hold a zero byte
                found[row] = what(files.paths[row])
        return found

    def shared(rows: dict[int, Any]) -> list[int]:
        sides = [{each for row, each in rows.items() if files.split[row] == side} for side in (TRAIN, TEST)]
        return [row for row, each in rows.items() if each in sides[0] & sides[1]]

    sizes = known(list(range(len(files.paths))), lambda path: path.stat().st_size)
    alike = shared({row: size for row, size in sizes.items() if size})  # empty files are no recordings
    return [row for row in shared(known(alike, hash_file)) if files.split[row] == TEST]


def _delimiter(header: str, wanted: set[str]) -> str:
    """What parts the names of a header so that the wanted ones are among them; a comma where nothing does."""
    return next((one for one in DELIMITERS if wanted <= set(next(csv.reader([header], delimiter=one), []))), ",")


def _bad_csv(path: Path, expected: str, got: str, fix: str | None = None) -> ManifestError:
    return ManifestError(
        f"{path} is no list of labelled files",
        expected=expected,
        got=got,
        fix=fix or "write the line path,label (or path,label,split) first, then a line per file: dog.wav,bark,train",
    )


def held_out(files: LabelledFiles, rows: Sequence[int]) -> np.ndarray:
    """(N,) bool over `rows` (places in `files` that could be used): which are held out from training.

    Without a column `split`, a fifth of the audio by the hash of its content: the same whenever it is asked, whatever
    the files are called, and copies of one recording fall on one side. Of every class at least one clip stays on
    either side, unless all its clips are copies of each other.
    """
    if files.split is not None:
        return np.array([files.split[row] == TEST for row in rows])
    hashes = [hash_file(files.paths[row]) for row in rows]
    labels = np.array([files.labels[row] for row in rows])
    out_N = np.array([content_fold(audio_hash, FOLDS) == 0 for audio_hash in hashes])
    for label in set(labels):
        members = np.flatnonzero(labels == label)
        distinct = sorted({hashes[member] for member in members})
        if len(distinct) > 1 and out_N[members].all() | ~out_N[members].any():
            # By hash again: of the smallest content, all copies change sides.
            moved = [member for member in members if hashes[member] == distinct[0]]
            out_N[moved] = ~out_N[moved]
    return out_N
