"""Labels to targets as X-ARES 0.1.3 makes them.

Source: `tasks/desed_task.py`, `tasks/maestro_task.py`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from uniwhisper.core.errors import UserError
from uniwhisper.evaluation.spans import Span

DESED_CLASSES = (
    "Cat",
    "Speech",
    "Running_water",
    "Dishes",
    "Electric_shaver_toothbrush",
    "Vacuum_cleaner",
    "Blender",
    "Alarm_bell_ringing",
    "Dog",
    "Frying",
)
DESED_SECONDS = 10
LOWEST_PITCH, PITCHES = 21, 87
"""MIDI notes 21 (A0) to 107: the piano's highest key, 108, has no class."""
PITCH_NAMES = tuple(f"{note:03d}" for note in range(LOWEST_PITCH, LOWEST_PITCH + PITCHES))


class EventTargets(Sequence[np.ndarray]):
    """Float32 targets (T, C) of clips, made when one is asked for: all of MAESTRO's would fill 10 GB."""

    def __init__(self, spans: Sequence[Sequence[Span]], classes: Sequence[str], *, hop_seconds: float) -> None:
        """`spans`: of each clip, of no class but `classes`; these are notes if they are `PITCH_NAMES`."""
        self._spans, self._classes, self._hop_seconds = spans, classes, hop_seconds

    def __len__(self) -> int:
        return len(self._spans)

    def __getitem__(self, index: int) -> np.ndarray:
        spans = self._spans[index]
        if tuple(self._classes) == PITCH_NAMES:
            notes = [{"note": int(each.name), "start": each.start_seconds, "end": each.end_seconds} for each in spans]
            return note_frames(notes, hop_seconds=self._hop_seconds)
        events = [{"label": each.name, "onset": each.start_seconds, "offset": each.end_seconds} for each in spans]
        return event_frames(events, self._classes, hop_seconds=self._hop_seconds)


def frame_index(seconds: float, hop_seconds: float) -> int:
    """First frame at or after a time."""
    return math.ceil(seconds / hop_seconds)


def event_frames(
    events: Sequence[Mapping[str, Any]],
    classes: Sequence[str] = DESED_CLASSES,
    *,
    hop_seconds: float,
    seconds: float = DESED_SECONDS,
) -> np.ndarray:
    """Float32 (T, C), T = ceil(seconds / hop): 1 from an event's `onset` up to its `offset` (seconds).

    Labels separated by commas share the interval, so a clip-level label fills the whole of it.

    Raises:
        UserError: a label that is no class.
    """
    target_TC = np.zeros((frame_index(seconds, hop_seconds), len(classes)), dtype=np.float32)
    for event in events:
        start, end = (frame_index(event[edge], hop_seconds) for edge in ("onset", "offset"))
        for name in event["label"].split(","):
            target_TC[start:end, _index(name, classes)] = 1
    return target_TC


def note_frames(notes: Sequence[Mapping[str, Any]], *, hop_seconds: float) -> np.ndarray:
    """Float32 (T, 87) up to the last note's `end`: 1 from `start` to `end` (seconds) in the column of MIDI `note`.

    Raises:
        UserError: a pitch that has no class.
    """
    length = max((frame_index(note["end"], hop_seconds) for note in notes), default=0)
    target_TC = np.zeros((length, PITCHES), dtype=np.float32)
    for note in notes:
        column = note["note"] - LOWEST_PITCH
        if not 0 <= column < PITCHES:
            raise UserError(
                f"note {note['note']} has no class",
                expected=f"MIDI notes {LOWEST_PITCH} to {LOWEST_PITCH + PITCHES - 1}, as in X-ARES",
                got=str(note["note"]),
                fix="leave the note out of the labels, and say so",
            )
        start, end = (frame_index(note[edge], hop_seconds) for edge in ("start", "end"))
        target_TC[start:end, column] = 1
    return target_TC


def fit_length(target_TC: np.ndarray, frames: int) -> np.ndarray:
    """`target_TC` (T, C) cut, or continued with zeros, to `frames` rows."""
    return np.pad(target_TC[:frames], ((0, max(0, frames - len(target_TC))), (0, 0)))


def _index(name: str, classes: Sequence[str]) -> int:
    try:
        return classes.index(name)
    except ValueError:
        raise UserError(
            f"label {name!r} is no class of this task",
            expected=f"one of {len(classes)} classes: {', '.join(classes[:5])}, …",
            got=repr(name),
            fix="mend the label, or the task's list of classes",
        ) from None
