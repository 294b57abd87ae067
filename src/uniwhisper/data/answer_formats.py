"""How the answer of each kind is written, and how a written answer is read back.

    kind      value                          written
    text      str                            as it is
    label     str                            as it is
    labels    labels, in any order           alphabetical: `dog bark; rain`
    sequence  labels, in order of time       `rain; dog bark`
    yes_no    bool                           `yes`
    either    one of the two asked about     as it is
    number    int or float                   rounded: `3`
    tempo     beats per minute               rounded, with the unit: `120 BPM`
    note      name of a note                 spelled with sharps: `C#4`
    key       tonic and mode                 as it is: `A minor`
    events    (start, end, label) in seconds in order of start, end, label: `0.50-1.74 dog bark; 2.02-4.00 rain`
    notes     (start, end, note) in seconds  `0.00-0.48 C4; 0.50-1.02 E4`
    intent    (name, {slot: value})          slots alphabetical: `turn on; location: kitchen; object: lights`

Times are rounded to the nearest frame of the encoder (20 ms), half a frame up, and an event lasts at least one. An
empty list is `none`. A value in canonical form is what `parse_answer` gives: lists sorted and without repeats, times
and numbers rounded.
"""

import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from uniwhisper.core.errors import AnswerError
from uniwhisper.core.units import FRAMES_PER_SECOND
from uniwhisper.data.answers import note, note_number
from uniwhisper.data.tasks import Task

YES, NO, NONE = "yes", "no", "none"
SEPARATOR = "; "
_EVENT = re.compile(r"(\d+(?:\.\d*)?)\s*-\s*(\d+(?:\.\d*)?)\s+(\S.*)")
_NUMBER = re.compile(r"(\d+)\s*(.*)")


class Event(NamedTuple):
    """Something that sounds from one time to another; `label` is a label or the name of a note."""

    start_seconds: float
    end_seconds: float
    label: str


class Intent(NamedTuple):
    """What somebody wants, with the details of it."""

    name: str
    slots: tuple[tuple[str, str], ...]
    """(slot, value), sorted."""


Value = str | bool | int | float | tuple[str, ...] | tuple[Event, ...] | Intent


def canonical(task: Task, value: Any, labels: Collection[str] | None = None) -> Value:
    """The value as `parse_answer` would give it: checked, sorted, rounded; lists become tuples.

    Args:
        labels: every label there may be; None: those of the task, or any if it has none.

    Raises:
        AnswerError: another type, an unknown label, a number out of range, an empty text, or a label that holds what
            separates labels.
    """
    known = task.labels if labels is None else labels
    return _CANONICAL[task.answer](_Context(task, known), value)


def format_answer(task: Task, value: Any, labels: Collection[str] | None = None) -> str:
    """The answer in words; arguments and errors as `canonical`."""
    return _WRITE[task.answer](task, canonical(task, value, labels))


def parse_answer(task: Task, text: str, labels: Collection[str] | None = None) -> Value:
    """The canonical value that an answer states, however it is spaced, in capitals or not, with a full stop or without.

    Free text keeps its capitals and stops. Arguments as `canonical`.

    Raises:
        AnswerError: the text has not the form of the task's answers, or states an unknown label.
    """
    text = " ".join(text.split())
    try:
        return canonical(task, _READ[task.answer](task, text), labels)
    except AnswerError:
        if not text.endswith(".") or task.answer == "text":
            raise
        return canonical(task, _READ[task.answer](task, text.removesuffix(".")), labels)


class _Context(NamedTuple):
    task: Task
    labels: Collection[str] | None

    def refuse(self, expected: str, got: Any) -> AnswerError:
        return AnswerError(
            f"answer of task {self.task.name}",
            expected=expected,
            got=repr(got),
            fix="mend the label, or add it to the task's or corpus's labels",
        )


def _text(context: _Context, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise context.refuse("a text that is not empty", value)
    return " ".join(value.split())


def _label(context: _Context, value: Any) -> str:
    text = _text(context, value)
    if context.labels is None or text in context.labels:
        return text
    same = [label for label in context.labels if label.casefold() == text.casefold()]
    if len(same) != 1:
        raise context.refuse(f"one of {list(context.labels)}", value)
    return same[0]


def _item(context: _Context, value: Any) -> str:
    """A label that may stand in a list."""
    label = _label(context, value)
    if not listable(label):
        raise context.refuse(f"a label without `;`, which separates labels, and other than `{NONE}`", value)
    return label


def _items(context: _Context, value: Any) -> list[str]:
    if isinstance(value, str) or not isinstance(value, Collection) or isinstance(value, Mapping):
        raise context.refuse("a list of labels", value)
    return [_item(context, item) for item in value]


def _sequence(context: _Context, value: Any) -> tuple[str, ...]:
    return tuple(_items(context, value))


def _labels(context: _Context, value: Any) -> tuple[str, ...]:
    return tuple(sorted(set(_items(context, value)), key=alphabetical))


def _yes_no(context: _Context, value: Any) -> bool:
    if not isinstance(value, bool):
        raise context.refuse("yes or no (true or false)", value)
    return value


def _number(context: _Context, value: Any) -> int:
    assert context.task.range is not None, "a task whose answers are numbers has a range"
    low, high = context.task.range
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not good or not low <= math.floor(value + 0.5) <= high:
        raise context.refuse(f"a number from {low} to {high}", value)
    return math.floor(value + 0.5)


def _note(context: _Context, value: Any) -> str:
    text = _text(context, value)
    try:
        note_number(text)
    except ValueError:
        raise context.refuse("a note such as `A4`, `C#3` or `Bb2`", value) from None
    return note(text)


def _events(context: _Context, value: Any, name: Callable[[_Context, Any], str] = _item) -> tuple[Event, ...]:
    if isinstance(value, str) or not isinstance(value, Collection):
        raise context.refuse("a list of (start, end, label)", value)
    return tuple(sorted({_event(context, event, name) for event in value}))


def _event(context: _Context, value: Any, name: Callable[[_Context, Any], str]) -> Event:
    triple = isinstance(value, list | tuple) and len(value) == 3
    times = value[:2] if triple else ()
    good = triple and all(isinstance(time, int | float) and not isinstance(time, bool) for time in times)
    if not good or not 0 <= times[0] <= times[1] < math.inf:
        raise context.refuse("(start, end, label) with 0 <= start <= end in seconds", value)
    start, end = (math.floor(time * FRAMES_PER_SECOND + 0.5) for time in times)
    return Event(start / FRAMES_PER_SECOND, max(end, start + 1) / FRAMES_PER_SECOND, name(context, value[2]))


def _notes(context: _Context, value: Any) -> tuple[Event, ...]:
    return _events(context, value, _note)


def _intent(context: _Context, value: Any) -> Intent:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise context.refuse("(intent, {slot: value})", value)
    name = _item(context, value[0])
    free = _Context(context.task, None)
    slots = value[1].items() if isinstance(value[1], Mapping) else value[1]
    pairs = sorted((_item(free, slot), _item(free, filler)) for slot, filler in slots)
    if ":" in name or any(":" in slot for slot, _ in pairs) or len({slot for slot, _ in pairs}) != len(pairs):
        raise context.refuse("an intent and slots without `:`, each slot once", value)
    return Intent(name, tuple(pairs))


def listable(label: str) -> bool:
    """A label can stand in a list without being taken for two, or for none."""
    return SEPARATOR.strip() not in label and label.casefold() != NONE


def alphabetical(label: str) -> tuple[str, str]:
    """Key that sorts labels from A to Z, capitals or not."""
    return label.casefold(), label


_CANONICAL: dict[str, Callable[[_Context, Any], Value]] = {
    "text": _text,
    "label": _label,
    "labels": _labels,
    "sequence": _sequence,
    "yes_no": _yes_no,
    "either": _label,
    "number": _number,
    "tempo": _number,
    "key": _label,
    "note": _note,
    "events": _events,
    "notes": _notes,
    "intent": _intent,
}


def _write_list(_: Task, value: Any) -> str:
    return SEPARATOR.join(value) or NONE


def _write_events(_: Task, value: Any) -> str:
    return SEPARATOR.join(f"{start:.2f}-{end:.2f} {label}" for start, end, label in value) or NONE


def _write_intent(_: Task, value: Any) -> str:
    return SEPARATOR.join([value.name, *(f"{slot}: {filler}" for slot, filler in value.slots)])


_WRITE: dict[str, Callable[[Task, Any], str]] = {
    **dict.fromkeys(("text", "label", "either", "note", "key"), lambda _, value: value),
    **dict.fromkeys(("labels", "sequence"), _write_list),
    **dict.fromkeys(("events", "notes"), _write_events),
    "yes_no": lambda _, value: YES if value else NO,
    **dict.fromkeys(("number", "tempo"), lambda task, value: f"{value} {task.unit}".rstrip()),
    "intent": _write_intent,
}


def _read_list(_: Task, text: str) -> list[str]:
    return [] if text.casefold() == NONE else [part.strip() for part in text.split(SEPARATOR.strip())]


def _read_yes_no(_: Task, text: str) -> Any:
    return {YES: True, NO: False}.get(text.casefold(), text)


def _read_number(task: Task, text: str) -> Any:
    found = _NUMBER.fullmatch(text)
    fits = found is not None and found[2].casefold() in ("", task.unit.casefold())
    return int(found[1]) if found is not None and fits else text


def _read_note(_: Task, text: str) -> str:
    # What a label may hold before its note does not belong into an answer.
    return text[:1].upper() + text[1:] if " " not in text else ""


def _read_events(task: Task, text: str) -> list[Any]:
    found = [_EVENT.fullmatch(part) for part in _read_list(task, text)]
    return [(float(part[1]), float(part[2]), part[3]) if part else text for part in found]


def _read_notes(task: Task, text: str) -> list[Any]:
    return [
        (*event[:2], _read_note(task, event[2])) if len(event) == 3 else event for event in _read_events(task, text)
    ]


def _read_intent(task: Task, text: str) -> Any:
    name, *slots = _read_list(task, text) or [""]
    pairs = [tuple(part.strip() for part in slot.split(":", 1)) for slot in slots]
    return (name, pairs) if all(len(pair) == 2 for pair in pairs) else text


_READ: dict[str, Callable[[Task, str], Any]] = {
    **dict.fromkeys(("text", "label", "either", "key"), lambda _, text: text),
    **dict.fromkeys(("labels", "sequence"), _read_list),
    "yes_no": _read_yes_no,
    **dict.fromkeys(("number", "tempo"), _read_number),
    "note": _read_note,
    "events": _read_events,
    "notes": _read_notes,
    "intent": _read_intent,
}
