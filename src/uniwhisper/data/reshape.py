"""What changes how long a training clip is, or where and how high its sounds are; and the answers that follow.

These numbers are part of a draw: lengths are known before clips are put into steps, and answers before any sound is
read. What only colours the sound is drawn later, in `augment.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from uniwhisper.core.errors import AnswerError
from uniwhisper.core.units import SAMPLE_RATE_HZ, WINDOW_SAMPLES
from uniwhisper.data.answer_formats import Value, canonical
from uniwhisper.data.answers import SEMITONES_PER_OCTAVE, transpose
from uniwhisper.data.config import AugmentConfig
from uniwhisper.data.tasks import FORBID, Task

_STEPS = ("speed", "crop", "silence")


@dataclass(frozen=True, slots=True)
class Shape:
    """Played at another rate, then cropped, then repeated, then padded."""

    factor: float
    """Playback rate: every frequency is multiplied, every duration divided by it."""
    semitones: int
    """The same as a shift of pitch, where the factor was drawn as one; else 0."""
    crop_first: int
    """Samples cut off the front, after the change of rate."""
    voiced: int
    """Samples kept from there, at least 1."""
    repeated: int
    """Samples after these were repeated, end to end, the last time not to the end; `voiced` where they were not."""
    before: int
    """Zeros before."""
    behind: int

    @property
    def samples(self) -> int:
        """Length of the result, at most one window."""
        return self.before + self.repeated + self.behind


def unchanged(samples: int) -> Shape:
    """The shape of a clip that is left as it is."""
    return Shape(1.0, 0, 0, samples, samples, 0, 0)


def draw_shape(
    samples: int,
    asked: Sequence[tuple[Task, Value]],
    stream: np.random.Generator,
    config: AugmentConfig,
) -> tuple[Shape, list[Value]]:
    """A shape that no task of `asked` forbids, and the answers that are true of it.

    Args:
        samples: length of the clip, from 1 to `WINDOW_SAMPLES`.
        asked: (task, answer) of every question about the clip; times may be given unrounded.
    """
    # One coin per step, tossed in a fixed order: what a task forbids does not change which other steps happen.
    tosses = stream.random(len(_STEPS)) < [getattr(config, f"{name}_probability") for name in _STEPS]
    wanted = {name for name, toss in zip(_STEPS, tosses, strict=True) if toss}
    shape = _change_rate(samples, asked, stream, config) if "speed" in wanted else unchanged(samples)
    length, first, voiced = shape.voiced, 0, shape.voiced
    if "crop" in wanted and allowed("crop", asked):
        least = max(1, int(config.crop_min_seconds * SAMPLE_RATE_HZ))
        voiced = min(length, max(least, int(length * stream.uniform(*config.crop_keep_range))))
        first = int(stream.integers(length - voiced + 1))
    repeated = voiced
    # Tossed only where it can happen, so that recipes without it draw what they drew before it was there.
    if config.repeat_probability > 0:
        tossed = stream.random() < config.repeat_probability
        if tossed and allowed("repeat", asked):
            repeated = _longer(voiced, stream, config)
    before = behind = 0
    if "silence" in wanted and allowed("silence", asked):
        spare = min((WINDOW_SAMPLES - repeated) // 2, config.silence_max_seconds * SAMPLE_RATE_HZ)
        before, behind = (int(part) for part in stream.random(2) * spare)
    shape = Shape(shape.factor, shape.semitones, first, voiced, repeated, before, behind)
    return shape, [relabel(task, value, shape) for task, value in asked]


def allowed(step: str, asked: Sequence[tuple[Task, Value]]) -> bool:
    """None of the tasks forbids the step."""
    return all(task.augment[step] != FORBID for task, _ in asked)


def relabel(task: Task, value: Value, shape: Shape) -> Value:
    """The answer, in canonical form, after a change of shape; one without time and pitch stays as it is.

    Raises:
        AnswerError: the answer would leave the task's range.
    """
    change = _RELABEL.get(task.answer)
    return canonical(task, value if change is None else change(value, shape))


def _change_rate(
    samples: int, asked: Sequence[tuple[Task, Value]], stream: np.random.Generator, config: AugmentConfig
) -> Shape:
    """By any factor where all tasks allow it, else by whole semitones if they allow that; else not at all."""
    factor, semitones = stream.uniform(*config.speed_range), 0
    if not allowed("speed", asked):
        if not allowed("pitch", asked):
            return unchanged(samples)
        semitones = int(stream.integers(-config.speed_semitones, config.speed_semitones + 1))
        factor = 2 ** (semitones / SEMITONES_PER_OCTAVE)
    length = int(samples / factor)
    if not 1 <= length < WINDOW_SAMPLES:
        return unchanged(samples)
    shape = Shape(factor, semitones, 0, length, length, 0, 0)
    try:
        for task, value in asked:
            relabel(task, value, shape)
    except AnswerError:
        # A tempo that would leave the range of what is ever asked.
        return unchanged(samples)
    return shape


def _longer(samples: int, stream: np.random.Generator, config: AugmentConfig) -> int:
    """A length from `samples` to the longest that repeating makes, even in its logarithm."""
    most = config.repeat_max_seconds * SAMPLE_RATE_HZ
    return int(samples * max(1.0, most / samples) ** stream.random())


def _move_note(name: str, shape: Shape) -> str:
    return transpose(name, shape.semitones)


def _move_key(key: str, shape: Shape) -> str:
    tonic, mode = key.split(" ")
    return f"{transpose(f'{tonic}4', shape.semitones)[:-1]} {mode}"


def _move_time(event: Any, shape: Shape) -> tuple[float, float, str]:
    start, end, label = event
    before = shape.before / SAMPLE_RATE_HZ
    return start / shape.factor + before, end / shape.factor + before, label


_RELABEL: dict[str, Callable[[Any, Shape], Any]] = {
    "note": _move_note,
    "key": _move_key,
    "tempo": lambda value, shape: value * shape.factor,
    "events": lambda value, shape: [_move_time(event, shape) for event in value],
    "notes": lambda value, shape: [
        (*_move_time(event, shape)[:2], _move_note(event[2], shape)) for event in value
    ],
}  # fmt: skip
