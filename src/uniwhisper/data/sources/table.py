"""A table (CSV, TSV or JSONL) beside a folder of audio: one row a clip.

The columns `file_name`, `id`, `start_seconds`, `seconds` say where the audio is, every other column is a label. The
layout is that of Hugging Face's `audiofolder`: `metadata.csv` or `metadata.jsonl` with `file_name` relative to it.
Other names are declared in `corpus.json`: `"columns": {"file_name": "path", "id": "utt"}`.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from uniwhisper.core.errors import ManifestError
from uniwhisper.data.sources.clip import OnProblem, SourceClip, problem
from uniwhisper.data.storage import Store, is_inside

TABLE_NAMES = ("metadata.jsonl", "metadata.csv", "metadata.tsv")
TABLE_ENDINGS = (".jsonl", ".csv", ".tsv")
PLACE_COLUMNS = ("file_name", "id", "start_seconds", "seconds")
_SEPARATORS = {".csv": ",", ".tsv": "\t"}


def table_clips(store: Store, table: str, *, columns: Mapping[str, str], on_problem: OnProblem) -> Iterator[SourceClip]:
    """Clips of the table named `table`, row by row.

    Args:
        columns: name of this module's columns -> name in the table, where they differ.

    Raises:
        ManifestError: (through `on_problem`) a line that cannot be read, with its number; a row without a file or
            with one outside the folder; a start or length that is no number. Raised at once: a declared column that the
            table does not have, for without a start every row would be its whole recording.
    """
    names = {name: columns.get(name, name) for name in PLACE_COLUMNS}
    missing = {name: column for name, column in columns.items() if name in PLACE_COLUMNS}
    same_in_all_rows = PurePosixPath(table).suffix in _SEPARATORS
    there: dict[str, None] = {}  # in their order
    for number, row in rows(store, table, on_problem):
        there.update(dict.fromkeys(row))
        missing = {name: column for name, column in missing.items() if column not in row}
        if missing and same_in_all_rows:
            break
        try:
            yield _clip(row, names, f"{table}, line {number}")
        except ManifestError as error:
            on_problem(error)
    if missing and there:
        name, column = next(iter(missing.items()))
        expected = f"the column {column!r}, which corpus.json declares for {name}"
        fix = f'correct "{name}" of "columns" in corpus.json, or take it out'
        raise problem(table, expected=expected, got=f"the columns {', '.join(map(repr, there))}", fix=fix)


def rows(store: Store, table: str, on_problem: OnProblem) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, {column: value}) of a CSV, TSV or JSONL file. Empty cells are None."""
    with store.open(table) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        suffix = PurePosixPath(table).suffix
        try:
            if suffix in _SEPARATORS:
                yield from _separated(text, table, _SEPARATORS[suffix], on_problem)
            else:
                yield from _json_lines(text, table, on_problem)
        except UnicodeDecodeError as error:
            on_problem(problem(table, expected="UTF-8", got=str(error), fix="save the table as UTF-8"))


def _separated(text: io.TextIOWrapper, table: str, separator: str, on_problem: OnProblem):
    quoting = csv.QUOTE_NONE if separator == "\t" else csv.QUOTE_MINIMAL
    reader = csv.DictReader(text, delimiter=separator, quoting=quoting)
    for row in reader:
        if None in row or None in row.values():
            cells = len(reader.fieldnames) + len(row.get(None, ())) - sum(value is None for value in row.values())
            expected, got = f"{len(reader.fieldnames)} cells", f"{cells}"
            fix = "mend the line; a cell that holds the separator is put in double quotes"
            on_problem(problem(f"{table}, line {reader.line_num}", expected=expected, got=got, fix=fix))
            continue
        yield reader.line_num, {name: cell_value(cell) for name, cell in row.items()}


def _json_lines(text: io.TextIOWrapper, table: str, on_problem: OnProblem):
    for number, line in enumerate(text, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"{type(row).__name__}, not an object")
        except ValueError as error:
            where = f"{table}, line {number}"
            on_problem(problem(where, expected="a JSON object", got=str(error), fix="mend or remove this line"))
            continue
        yield number, row


def cell_value(cell: str) -> Any:
    """Value of a cell of text: None if empty, a number or JSON list or object if that loses nothing, else the text."""
    if not cell.strip():
        return None
    if cell[0] in "[{":
        try:
            return json.loads(cell)
        except ValueError:
            return cell
    for kind in (int, float):
        try:
            number = kind(cell)
        except ValueError:
            continue
        if str(number) == cell and number == number and abs(number) != float("inf"):
            return number
    return cell


def _clip(row: dict[str, Any], names: Mapping[str, str], where: str) -> SourceClip:
    place = {name: row.pop(column, None) for name, column in names.items()}
    file = place["file_name"]
    if file is None:
        got = f"the columns {sorted(row)}"
        fix = 'fill the cell, or declare its column in corpus.json: "columns": {"file_name": "…"}'
        raise problem(where, expected=f"a file in the column {names['file_name']!r}", got=got, fix=fix)
    file = str(file)
    if not is_inside(file):
        fix = "put the audio below the corpus's folder and name it relative to that"
        raise problem(where, expected="a relative path inside the corpus's folder", got=repr(file), fix=fix)
    start, seconds = (_number(place[name], names[name], where) for name in ("start_seconds", "seconds"))
    key = str(place["id"]) if place["id"] is not None else str(PurePosixPath(file).with_suffix(""))
    if start is None:
        return SourceClip(key, file, row if seconds is None else {**row, "seconds": seconds})
    if place["id"] is None:
        key = f"{key}@{round(1000 * start):08d}"
    return SourceClip(key, file, row, start_seconds=start, seconds=seconds)


def _number(value: Any, column: str, where: str) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if isinstance(value, bool) or not 0 <= number < float("inf"):
        raise problem(where, expected=f"{column} as a number of seconds >= 0", got=repr(value), fix="mend the cell")
    return number
