"""Suites as data: which folders, labels and folds a judgement uses.

A suite is a JSON file, shipped (`suites/*.json`) or the user's own. It is parsed strictly: an unknown or missing key is
an error, because a misspelt rule would silently change a score. The identity of a suite is the hash of its content.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uniwhisper.core.errors import UserError
from uniwhisper.core.identity import hash_json

SHIPPED = Path(__file__).parent / "suites"
METRICS = ("accuracy",)


class SuiteError(UserError):
    """A suite file, or the data it asks for, does not hold what it should."""


@dataclass(frozen=True, kw_only=True)
class LabelRule:
    """How a clip's fields become its class."""

    field: str
    missing: str
    """What a clip without the field means: "refuse" (an error) or "leave out" (not part of the task)."""
    min_clips: int
    """Classes with fewer clips in the whole task are not part of it."""
    at_most: float | None
    """Numeric field: the first of `names` up to and including this value, the second above. None: the value itself."""
    names: tuple[str, str] | None

    def __call__(self, fields: Mapping[str, Any]) -> str | None:
        """Class of a clip with these fields; None if the field is absent or null.

        Raises:
            ValueError: `at_most` is set and the field is not a number.
        """
        value = fields.get(self.field)
        if value is None:
            return None
        if self.at_most is None:
            return str(value)
        assert self.names is not None, "at_most comes with names"
        return self.names[0] if float(value) <= self.at_most else self.names[1]


@dataclass(frozen=True, kw_only=True)
class FoldRule:
    """Which fold a clip belongs to, and which folds are scored (each against all the others)."""

    by: str
    """"archive": the group of `pattern` in the archive's name. "content": hash of the encoded audio, modulo `count`."""
    pattern: str | None
    names: tuple[str, ...]
    """Every fold, in the order of reporting. An absent one is an error."""
    scored: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Task:
    name: str
    description: str
    domain: str
    folder: str
    label: LabelRule
    folds: FoldRule
    metric: str
    expected_clips: int | None
    """Clips of the complete set; None: not known beforehand."""
    expected_classes: int | None


@dataclass(frozen=True, kw_only=True)
class Suite:
    name: str
    description: str
    tasks: tuple[Task, ...]
    hash: str

    @property
    def domains(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(task.domain for task in self.tasks))


def shipped_suites() -> list[str]:
    return sorted(path.stem for path in SHIPPED.glob("*.json"))


def load_suite(name_or_path: str | Path) -> Suite:
    """Suite by shipped name, or from the user's own JSON file.

    Raises:
        SuiteError: there is no such suite, or the file is not a suite.
    """
    text = str(name_or_path)
    path = SHIPPED / f"{text}.json" if text in shipped_suites() else Path(text)
    if not path.is_file():
        raise SuiteError(
            f"no suite {text!r}",
            expected=f"one of {', '.join(shipped_suites())}, or the path of a suite file",
            got="neither a shipped suite nor a file",
            fix="uniwhisper evaluate --list shows the shipped suites",
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return _suite(content)
    except (UnicodeDecodeError, ValueError) as error:
        raise SuiteError(
            f"{path.name} is not a suite",
            expected=f"a file like {SHIPPED.name}/mini.json of this package",
            got=str(error),
            fix="mend the file, or use a shipped suite",
        ) from None


def _suite(content: Any) -> Suite:
    take = _taker(content, "the suite")
    if (take("format"), take("format_version")) != ("uniwhisper-suite", 1):
        raise ValueError("format is not uniwhisper-suite, version 1")
    tasks = take("tasks", _is_list)
    suite = Suite(
        name=take("name", _is_name),
        description=take("description", _is_text),
        tasks=tuple(_task(task) for task in tasks),
        hash=hash_json(content),
    )
    take.finish()
    names = [task.name for task in suite.tasks]
    if not names or len(set(names)) != len(names):
        raise ValueError("tasks must be there and have different names")
    return suite


def _task(content: Any) -> Task:
    take = _taker(content, f"task {content.get('name') if isinstance(content, dict) else content!r}")
    expected = _taker(take("expected", default={}), "expected")
    task = Task(
        name=take("name", _is_name),
        description=take("description", _is_text),
        domain=take("domain", _is_name),
        folder=take("folder", lambda folder: not Path(folder).is_absolute() and ".." not in Path(folder).parts),
        label=_label(take("label")),
        folds=_folds(take("folds")),
        metric=take("metric", lambda metric: metric in METRICS),
        expected_clips=expected("clips", _is_count, default=None),
        expected_classes=expected("classes", _is_count, default=None),
    )
    expected.finish()
    take.finish()
    return task


def _label(content: Any) -> LabelRule:
    take = _taker(content, "label")
    at_most, names = take("at_most", _is_number, default=None), take("names", _is_texts, default=None)
    rule = LabelRule(
        field=take("field", _is_text),
        missing=take("missing", lambda missing: missing in ("refuse", "leave out"), default="refuse"),
        min_clips=take("min_clips", _is_count, default=1),
        at_most=at_most,
        names=None if names is None else tuple(names),
    )
    take.finish()
    if (at_most is None) != (names is None) or (names is not None and len(names) != 2):
        raise ValueError("at_most comes with exactly two names")
    return rule


def _folds(content: Any) -> FoldRule:
    take = _taker(content, "folds")
    by = take("by", lambda by: by in ("archive", "content"))
    pattern = None
    if by == "archive":
        pattern = take("pattern", lambda pattern: re.compile(pattern).groups == 1)
        names = tuple(take("names", _is_texts))
    else:
        names = tuple(str(fold) for fold in range(take("count", _is_count)))
    scored = tuple(take("scored", _is_texts, default=names))
    take.finish()
    if len(set(names)) < 2 or not scored or not set(scored) <= set(names):
        raise ValueError("folds need two or more names, and scored ones among them")
    return FoldRule(by=by, pattern=pattern, names=names, scored=scored)


def _is_name(text: Any) -> bool:
    """Names go into file names and pages."""
    return isinstance(text, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", text) is not None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_texts(value: Any) -> bool:
    return _is_list(value) and all(map(_is_text, value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


_REQUIRED = object()


class _taker:  # noqa: N801 (reads as a verb where it is used)
    """Take known keys from a JSON object, then refuse what is left."""

    def __init__(self, content: Any, what: str) -> None:
        if not isinstance(content, dict):
            raise ValueError(f"{what} is not a JSON object")
        self.left, self.what = dict(content), what

    def __call__(self, key: str, good: Callable[[Any], bool] = lambda _: True, *, default: Any = _REQUIRED) -> Any:
        if key not in self.left:
            if default is _REQUIRED:
                raise ValueError(f"{self.what} lacks {key!r}")
            return default
        value = self.left.pop(key)
        try:
            fine = good(value)
        except (TypeError, re.error):
            fine = False
        if not fine:
            raise ValueError(f"{self.what}: {key} cannot be {value!r}")
        return value

    def finish(self) -> None:
        if self.left:
            raise ValueError(f"{self.what}: unknown {', '.join(map(repr, sorted(self.left)))}")
