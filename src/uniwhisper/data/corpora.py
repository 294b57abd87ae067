"""What a corpus is: domain, licence, and which of its fields answers which task.

The shipped table is `corpora.json`. A corpus that is not in it brings a `corpus.json` of the same form in its folder:

    {"domain": "sound", "licence": "CC0", "tasks": {"sound_tag": {"field": "label", "clean": "words"}}}

A rule turns a field into an answer: `field` (or `constant`), then `exclude` (clips whose field holds a named value
have no answer; the value says why), `separator` (between several labels of one text), `clean` (a function of
answers.py), `values` (old -> new), `ranges` (upper bound of a number -> word). `values` and `ranges` may be the name of
a shared map of `corpora.json`. A field that is absent or null gives no answer.

The field holds what the task's kind of answer is made of (answer_formats.py): a label, a list of labels, a number, a
list of [start, end, label] in seconds; `clean` and `values` then apply to each label. An intent's field holds its name,
and `slots` (slot -> field) says where its details are.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from typing import Any

from uniwhisper.core.errors import AnswerError, ManifestError
from uniwhisper.data.answer_formats import Value, canonical
from uniwhisper.data.answers import CLEANERS
from uniwhisper.data.tasks import Task, all_tasks, simple_tasks

DOMAINS = ("speech", "sound", "music")
_DESCRIPTION_KEYS = {"domain", "licence", "tasks", "unused"}
_DESCRIBE = "compare with uniwhisper/data/corpora.json, which holds an entry like this for each shipped corpus"


@dataclass(frozen=True, slots=True)
class CorpusDescription:
    """A checked entry of `corpora.json`, with shared maps filled in."""

    domain: str
    licence: str
    tasks: Mapping[str, Mapping[str, Any]]
    """Task -> rule."""
    unused: Mapping[str, str] = field(default_factory=dict)
    """Fields that no task asks for -> why."""

    def as_json(self) -> dict[str, Any]:
        return {"domain": self.domain, "licence": self.licence, "tasks": self.tasks, "unused": self.unused}

    def answers(self, record_id: str, fields: Mapping[str, Any]) -> dict[str, Value]:
        """Task -> answer as a value, for the tasks that this clip can answer.

        Raises:
            ManifestError: a label that the rule does not know, or that leaves an empty answer.
        """
        tasks = all_tasks()
        found = {name: _answer(tasks[name], rule, fields, record_id) for name, rule in self.tasks.items()}
        return {task: answer for task, answer in found.items() if answer is not None}


@lru_cache(maxsize=1)
def shipped_corpora() -> Mapping[str, CorpusDescription]:
    """The corpora of `corpora.json`."""
    return {name: parse_description(value, name=name) for name, value in _table()["corpora"].items()}


def parse_description(value: Any, *, name: str) -> CorpusDescription:
    """Check a description as read from JSON.

    Raises:
        ManifestError: unknown or missing keys, domain, task, cleaner or shared map, or a value of another type.
    """

    def require(good: bool, what: str, expected: str, got: Any) -> None:
        if not good:
            raise ManifestError(f"corpus {name}: {what}", expected=expected, got=repr(got), fix=_DESCRIBE)

    require(isinstance(value, dict), "description", "a JSON object", value)
    needed = _DESCRIPTION_KEYS - {"unused"}
    require(needed <= value.keys() <= _DESCRIPTION_KEYS, "keys", f"{sorted(needed)} and maybe `unused`", sorted(value))
    require(value["domain"] in DOMAINS, "domain", f"one of {DOMAINS}", value["domain"])
    require(isinstance(value["licence"], str) and value["licence"] != "", "licence", "its name", value["licence"])
    require(isinstance(value["tasks"], dict) and value["tasks"], "tasks", "an object {task: rule}", value["tasks"])
    tasks = {}
    for task, rule in value["tasks"].items():
        require(task in simple_tasks(), "tasks", f"tasks from {list(simple_tasks())}", task)
        require(isinstance(rule, dict) and rule.keys() <= _RULE_PARTS.keys(), task, f"keys from {[*_RULE_PARTS]}", rule)
        require(("field" in rule) != ("constant" in rule), task, "`field` or `constant`", sorted(rule))
        shared = _table()["maps"]
        tasks[task] = {
            key: shared.get(part, part) if key in ("values", "ranges") and isinstance(part, str) else part
            for key, part in rule.items()
        }
        for key, part in tasks[task].items():
            good, expected = _RULE_PARTS[key]
            require(good(part), f"{task}: {key}", expected, part)
    unused = value.get("unused", {})
    require(_is_map(unused, _is_text), "unused", "an object {field: why}", unused)
    return CorpusDescription(value["domain"], value["licence"], tasks, unused)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_bound(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _is_map(value: Any, good: Callable[[Any], bool]) -> bool:
    return isinstance(value, dict) and all(map(good, value.values()))


_SHARED = "or the name of a shared map of corpora.json"
_RULE_PARTS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "field": (_is_text, "the name of a field"),
    "constant": (_is_text, "an answer"),
    "exclude": (
        lambda value: _is_map(value, lambda reasons: _is_map(reasons, _is_text)),
        "an object {field: {label: why}}",
    ),
    "separator": (lambda value: _is_text(value) and value != "", "the text between two labels of one cell"),
    "clean": (lambda value: _is_text(value) and value in CLEANERS, f"a cleaner from {list(CLEANERS)}"),
    "values": (lambda value: _is_map(value, _is_text), f"an object {{label: answer}}, {_SHARED}"),
    "slots": (lambda value: _is_map(value, _is_text), "an object {slot: the name of a field}"),
    "ranges": (
        lambda value: _is_map(value, _is_bound) and value != {},
        f"an object {{word: upper bound, or null for none}}, {_SHARED}",
    ),
}
"""What a rule may hold: key -> (is this value good, what it should be)."""


def _answer(task: Task, rule: Mapping[str, Any], fields: Mapping[str, Any], record_id: str) -> Value | None:
    where = f"{record_id}, task {task.name}"
    for name, excluded in rule.get("exclude", {}).items():
        if str(fields.get(name)) in excluded:
            return None
    raw = rule["constant"] if "constant" in rule else fields.get(rule["field"])
    if raw is None:
        return None

    def label(part: Any) -> str:
        if isinstance(part, list | dict):
            # As text it would be asked with its brackets, and nobody would notice.
            fix = "describe it under a task with several labels, such as `sound_tags`, or keep one label in the field"
            raise ManifestError(where, expected="one label", got=repr(part), fix=fix)
        return _label(rule, part, where)

    if "separator" in rule and isinstance(raw, str):
        raw = [part for part in raw.split(rule["separator"]) if part.strip()]
        if not raw:
            return None
    lists = isinstance(raw, list)
    if task.answer in ("labels", "sequence"):
        value = [label(part) for part in raw] if lists else [label(raw)]
    elif task.answer in ("events", "notes") and lists:
        value = [[*part[:2], *map(label, part[2:])] if isinstance(part, list) else part for part in raw]
    elif lists and task.answer in ("label", "text") and not [part for part in raw if part is not None]:
        return None
    elif lists and task.answer in ("label", "text") and len(raw) == 1:
        value = label(raw[0])
    elif task.answer == "intent":
        slots = {slot: fields.get(field) for slot, field in rule.get("slots", {}).items()}
        value = [label(raw), {slot: str(filler) for slot, filler in slots.items() if filler not in (None, "", "none")}]
    elif "ranges" in rule:
        value = _in_range(rule["ranges"], raw, where)
    elif task.answer in ("number", "tempo"):
        value = _number(raw)
    else:
        value = raw if task.answer in ("yes_no", "events", "notes") else label(raw)
    try:
        return canonical(task, value)
    except AnswerError as error:
        raise _unknown(where, error.expected, error.got) from None


def _number(raw: Any) -> Any:
    """Numbers that a table holds as text become numbers; what is none stays, to be refused by name."""
    try:
        return float(raw) if isinstance(raw, str) else raw
    except ValueError:
        return raw


def _label(rule: Mapping[str, Any], raw: Any, where: str) -> str:
    try:
        text = CLEANERS[rule.get("clean", "text")](str(raw))
    except ValueError as error:
        raise _unknown(where, "a label that can be read", str(error)) from None
    if "values" in rule:
        if text not in rule["values"]:
            raise _unknown(where, f"one of {list(rule['values'])}", repr(text))
        text = rule["values"][text]
    if not text:
        raise _unknown(where, "an answer that is not empty", f"{raw!r}")
    return text


def _in_range(ranges: Mapping[str, int | None], raw: Any, where: str) -> str:
    if isinstance(raw, bool) or not isinstance(raw, int | float) or raw < 0:
        raise _unknown(where, "a number >= 0", repr(raw))
    # By bound, not in the order written: a manifest's JSON has sorted keys.
    for word, upper in sorted(ranges.items(), key=lambda item: math.inf if item[1] is None else item[1]):
        if upper is None or raw <= upper:
            return word
    raise _unknown(where, f"at most {max(ranges.values())}", repr(raw))


def _unknown(where: str, expected: str, got: str) -> ManifestError:
    fix = "mend the label, add it to the corpus's `values`, or list it under `exclude` with a reason"
    if ";" in got and "`;`" in expected:
        fix = 'if these are several labels, add "separator": ";" to the rule in corpus.json; else ' + fix
    return ManifestError(where, expected=expected, got=got, fix=fix)


@lru_cache(maxsize=1)
def _table() -> Mapping[str, Any]:
    return json.loads(files("uniwhisper.data").joinpath("corpora.json").read_text(encoding="utf-8"))
