"""One training example before any sound is read: its recordings, where they lie, what is asked, and every answer.

A draw says all that decides lengths and answers, so that any pipeline (a loader process, a GPU that holds all
recordings) can carry it out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.data.answer_formats import Event, Value
from uniwhisper.data.config import AugmentConfig
from uniwhisper.data.instructions import Question
from uniwhisper.data.manifest import Record
from uniwhisper.data.reshape import Shape
from uniwhisper.data.tasks import OVERLAP, SEQUENCE, Task, all_tasks

MAX_GAP_SECONDS = 0.5
"""Longest silence between clips that follow one another; shorter where the whole example is short."""
_GAPS_SHARE = 0.1
_SCENE_SPREAD = 1.5  # the longest scene, over the sum of its clips


@dataclass(frozen=True, slots=True)
class Clip:
    """A record of one of the manifests, with what it can answer."""

    source: int
    """Which manifest."""
    record: Record
    answers: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of one recording within an example."""

    clip: Clip
    first: int
    """First sample taken of it."""
    length: int
    """Samples taken of it, at least 1."""
    shift: int = 0
    """Samples of the example, before its shape is changed, that come before it."""
    level_db: float = 0.0
    """Power over that of the example's first part, after both were brought to equal power; unused for the first."""

    def event(self, label: str) -> Event:
        """From when to when the part is heard."""
        return Event(self.shift / SAMPLE_RATE_HZ, (self.shift + self.length) / SAMPLE_RATE_HZ, label)


@dataclass(frozen=True, slots=True)
class Draw:
    """One example."""

    parts: tuple[Part, ...]
    shape: Shape
    """What is then done to their sum."""
    questions: tuple[Question, ...]
    """At least one; the answers are those to the shaped sound."""

    @property
    def id(self) -> str:
        """Record ids joined by ` + `."""
        return " + ".join(part.clip.record.id for part in self.parts)

    @property
    def domain(self) -> str:
        return self.parts[0].clip.record.domain

    @property
    def samples(self) -> int:
        """Length of the example as it is heard."""
        return self.shape.samples

    @property
    def tasks(self) -> list[Task]:
        """Task of each question."""
        return [all_tasks()[question.task] for question in self.questions]


def window(clip: Clip, most: int, stream: np.random.Generator) -> Part:
    """The whole clip, or a random stretch of `most` samples if it is longer."""
    length = min(clip.record.samples, most)
    return Part(clip, int(stream.integers(clip.record.samples - length + 1)), length)


def asked_of_mean(tasks: Sequence[Task], stream: np.random.Generator, share: float) -> tuple[bool, ...] | None:
    """Of each question, whether it is asked of the mean of the clip's frames; None, and no draw, if share is 0."""
    if share == 0:
        return None
    tosses = stream.random(len(tasks)) < share
    return tuple(bool(toss) and not task.ordered for task, toss in zip(tasks, tosses, strict=True))


def arrange(
    clips: Sequence[Clip], arranged: str, most: int, stream: np.random.Generator, config: AugmentConfig
) -> tuple[Part, ...]:
    """Clips put together as `tasks.Made` says, within `most` samples; in order of their start."""
    levels = stream.uniform(*config.mix_db_range, size=len(clips))
    if arranged == SEQUENCE:
        return _one_after_the_other(clips, levels, most, stream)
    # In a scene, no clip is longer than half of it, or the others could hardly be told from its background.
    parts = [window(clip, most if arranged == OVERLAP else max(1, most // 2), stream) for clip in clips]
    parts.sort(key=lambda part: -part.length)
    room = parts[0].length
    if arranged != OVERLAP:
        widest = min(most, int(_SCENE_SPREAD * sum(part.length for part in parts)))
        room = int(stream.integers(room, max(room, widest) + 1))
    placed = [
        replace(part, shift=int(stream.integers(room - part.length + 1)), level_db=float(level))
        for part, level in zip(parts, levels, strict=True)
    ]
    return tuple(sorted(placed, key=lambda part: part.shift))


def _one_after_the_other(
    clips: Sequence[Clip], levels: np.ndarray, most: int, stream: np.random.Generator
) -> tuple[Part, ...]:
    widest_gap = min(MAX_GAP_SECONDS * SAMPLE_RATE_HZ, _GAPS_SHARE * most / len(clips))
    longest = max(1, int((most - widest_gap * (len(clips) - 1)) // len(clips)))
    parts, shift = [], 0
    for clip, level in zip(clips, levels, strict=True):
        part = replace(window(clip, longest, stream), shift=shift, level_db=float(level))
        parts.append(part)
        shift += part.length + int(stream.integers(int(widest_gap) + 1))
    return tuple(parts)
