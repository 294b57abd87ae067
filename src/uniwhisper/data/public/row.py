"""What a row says: which files of a checkout become clips, with which labels, under which licence.

A row is `rows/<name>.json`. `files` is tried in order; the first whose `path` (a regular expression for the whole path
below the checkout, `/` between folders) fits a file gives its fields. A field is a template: `{group}` is a named group
of `path`, `{stem}` the file's name without its extension, `{words}` the same as plain words, `{table[x]}` the entry x
of the row of `table` that belongs to the file. A field may also be an object {template, clean, values}: `clean` is a
function of answers.py, `values` replaces what comes out (null: no such field).
"""

import csv
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

from uniwhisper.core.errors import ManifestError
from uniwhisper.data.answers import CLEANERS, file_stem
from uniwhisper.data.corpora import CorpusDescription, parse_description

_REQUIRED = {"repository", "commit", "licence", "clear_terms", "verified", "files", "corpus"}
_OPTIONAL = {"whole", "most_pieces", "table", "leave_out"}


@dataclass(frozen=True, slots=True)
class Source:
    """A checked row."""

    name: str
    repository: str
    """`owner/name` on GitHub."""
    commit: str
    """The commit that the counts in `verified` belong to; another one may hold other files."""
    licence: str
    """Of the audio, unless the fields of a file name another."""
    clear_terms: bool
    """Whether the source states terms for the audio itself that allow use for training, also commercially."""
    verified: str
    files: tuple[Mapping[str, Any], ...]
    corpus: CorpusDescription
    """Becomes the `corpus.json` beside the archives."""
    whole: bool = False
    """Clips with a text of their own: never cut, and left out above 30 seconds."""
    most_pieces: int | None = None
    """Of one recording; None: all."""
    table: Mapping[str, str] | None = None
    leave_out: Mapping[str, str] = field(default_factory=dict)
    """Path, or `path#piece` -> why it never becomes a clip."""

    def fields_of(self, path: str, table: Mapping[str, Any]) -> dict[str, Any] | None:
        """Labels of the file at `path` below the checkout; None if the row does not take it.

        Args:
            table: what `read_table` gave.

        Raises:
            ManifestError: a template names what is not there.
        """
        for entry in self.files:
            found = re.fullmatch(entry["path"], path)
            if found is None:
                continue
            stem = PurePosixPath(path).stem
            known = {"stem": stem, "words": file_stem(stem.replace("-", " ")), **found.groupdict(default="")}
            if self.table is not None:
                key = self.table["key"].format(**known)
                if key not in table:
                    return None
                known["table"] = _Entries(table[key])
            try:
                labels = {name: _field(rule, known) for name, rule in entry["fields"].items()}
            except KeyError as error:
                raise ManifestError(
                    f"{self.name}: {path}",
                    expected=f"{error} in the path or table",
                    got=f"{sorted(known)}",
                    fix="mend the row",
                ) from None
            return {name: value for name, value in labels.items() if value is not None}
        return None

    def read_table(self, root: Path) -> dict[str, Any]:
        """Key -> entries, from the file that the row's `table` names; empty without one.

        Raises:
            ManifestError: the file is missing or of another form.
        """
        if self.table is None:
            return {}
        path = root / self.table["path"]
        try:
            text = path.read_text(encoding="utf-8")
            return _READERS[self.table["form"]](text)
        except (OSError, ValueError, IndexError) as error:
            raise ManifestError(
                f"{self.name}: cannot read the table {self.table['path']}",
                expected=f"a file of the form {self.table['form']}",
                got=str(error),
                fix=f"check out {self.repository} at {self.commit}",
            ) from None


@lru_cache(maxsize=1)
def shipped_sources() -> Mapping[str, Source]:
    """Every row, by name."""
    folder = files("uniwhisper.data.public").joinpath("rows")
    rows = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".json")), key=lambda entry: entry.name)
    return {
        row.name.removesuffix(".json"): parse_source(
            json.loads(row.read_text(encoding="utf-8")), name=row.name.removesuffix(".json")
        )
        for row in rows
    }


def source_named(name: str) -> Source:
    """The row of this name.

    Raises:
        ManifestError: there is none.
    """
    if name not in shipped_sources():
        raise ManifestError(
            f"no public corpus {name!r}",
            expected=f"one of {', '.join(shipped_sources())}",
            got=repr(name),
            fix="`uniwhisper data import --list` shows what each holds",
        )
    return shipped_sources()[name]


def parse_source(value: Mapping[str, Any], *, name: str) -> Source:
    """Check a row as read from JSON.

    Raises:
        ManifestError: keys are missing or unknown, an expression is broken, or `corpus` is no description.
    """
    if not _REQUIRED <= value.keys() <= _REQUIRED | _OPTIONAL:
        raise ManifestError(
            f"row {name}",
            expected=f"{sorted(_REQUIRED)}, maybe {sorted(_OPTIONAL)}",
            got=f"{sorted(value)}",
            fix="mend it",
        )
    for entry in value["files"]:
        try:
            re.compile(entry["path"])
        except re.error as error:
            raise ManifestError(
                f"row {name}", expected="a regular expression", got=f"{entry['path']!r}: {error}", fix="mend it"
            ) from None
        unknown = {
            rule["clean"] for rule in entry["fields"].values() if isinstance(rule, Mapping) and "clean" in rule
        } - CLEANERS.keys()
        if unknown:
            raise ManifestError(f"row {name}", expected=f"cleaners from {[*CLEANERS]}", got=f"{unknown}", fix="mend it")
    checked = {
        **value,
        "files": tuple(value["files"]),
        "corpus": parse_description({"licence": value["licence"], **value["corpus"]}, name=name),
    }
    return Source(name=name, **checked)


class _Entries(dict):
    """A row of a table: a name that this row lacks is empty, as slots of an order are."""

    def __missing__(self, name: str) -> str:
        return ""


def _field(rule: str | Mapping[str, Any], known: Mapping[str, Any]) -> Any:
    if isinstance(rule, str):
        return " ".join(rule.format(**known).split()) or None
    text = rule["template"].format(**known)
    if "clean" in rule:
        text = CLEANERS[rule["clean"]](text)
    text = rule.get("values", {}).get(text, text)
    return text or None


def _json_table(text: str) -> dict[str, Any]:
    """{key: {name: text}}; the entries of an object within are lifted up, `coffeeDrink` becomes `coffee drink`."""

    def flat(row: Mapping[str, Any]) -> dict[str, str]:
        entries = {}
        for name, value in row.items():
            words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
            entries |= flat(value) if isinstance(value, dict) else {words: str(value).strip()}
        return entries

    return {key: flat(row) for key, row in json.loads(text).items()}


def _recordings_table(text: str) -> dict[str, Any]:
    """{group: [{recording_id: key, name: text}]}."""
    return {row["recording_id"]: row for rows in json.loads(text).values() for row in rows}


def _bar_table(text: str) -> dict[str, Any]:
    """Lines `key|text`, as in LJ Speech."""
    rows = csv.reader(io.StringIO(text), delimiter="|", quoting=csv.QUOTE_NONE)
    return {row[0]: {"text": row[1]} for row in rows if row}


def _festvox_table(text: str) -> dict[str, Any]:
    """Lines `( key "text" )`, as in CMU Arctic."""
    found = re.findall(r'\(\s*(\S+)\s+"(.*)"\s*\)', text)
    if not found:
        raise ValueError('no line `( key "text" )`')
    return {key: {"text": sentence} for key, sentence in found}


def _markdown_table(text: str) -> dict[str, Any]:
    """Rows of a Markdown table, by their first cell."""
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in text.splitlines() if "|" in line]
    names, body = rows[0], rows[2:]
    return {row[0]: dict(zip(names, row, strict=False)) for row in body}


def _csv_table(text: str) -> dict[str, Any]:
    """Comma-separated with a line of names; the first column is the key."""
    rows = list(csv.DictReader(io.StringIO(text)))
    return {next(iter(row.values())): row for row in rows}


_READERS = {
    "json": _json_table,
    "recordings": _recordings_table,
    "bar": _bar_table,
    "festvox": _festvox_table,
    "markdown": _markdown_table,
    "csv": _csv_table,
}
