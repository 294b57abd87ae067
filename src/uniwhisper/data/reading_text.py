"""What a small language model reads before it is frozen, so that it knows the form it will be asked in.

Questions about a text that stands where the sound will stand. Made of instructions and labels alone: what people say in
a corpus stays out, since a transcript that the language model has read could be recited instead of heard.
"""

import hashlib
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from uniwhisper.core.units import HOP_SECONDS
from uniwhisper.data.answer_formats import format_answer
from uniwhisper.data.answers import note_number, recording_name
from uniwhisper.data.instructions import WHAT_IS_SAID, answers, ask_pair
from uniwhisper.data.manifest import Manifest
from uniwhisper.data.tasks import OVERLAP, Task, all_tasks

POSITION_SECONDS = 4 * HOP_SECONDS
"""What one audio token lasts with the default adapter, and so one position of the text before a question."""
_PER_WORDING = 200
_NAMES = 1000
_MOST_POSITIONS = 24

Layout = tuple[tuple[str | None, int], ...]
"""(label, positions it fills) one after the other; None: nothing is heard."""


@dataclass(frozen=True, slots=True)
class ReadingText:
    """Material for reading exercises, in words."""

    copy_instructions: tuple[str, ...]
    """Instructions that ask for the spoken words."""
    questions: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    """(instruction, answer, what there is to hear, in any order)."""
    layouts: tuple[tuple[str, str, Layout], ...] = ()
    """(instruction, answer, what there is to hear, where)."""


def no_reading_text() -> ReadingText:
    """What is left where there is no prepared corpus: copying."""
    return ReadingText(all_tasks()["transcription"].wordings)


def reading_text(manifest: Manifest) -> ReadingText:
    """Every wording with every answer that occurs, pairs of answers, and answers in order; the same every time."""
    tasks = all_tasks()
    found: dict[str, set[str]] = defaultdict(set)
    for record in manifest.records:
        for task, value in answers(manifest, record).items():
            if task not in WHAT_IS_SAID:
                found[task].add(format_answer(tasks[task], value))
    questions = {
        (wording, answer, (answer,))
        for name in found
        for wording in _open_wordings(tasks[name])
        for answer in found[name]
    }
    for record in manifest.records[:: max(1, len(manifest.records) // _NAMES)]:
        name = recording_name(hashlib.sha256(record.sha256.encode()).hexdigest())  # of no recording there is
        questions |= {(wording, name, (name,)) for wording in tasks["recording"].wordings}
    generator = np.random.default_rng(0)
    layouts = []
    for task in tasks.values():
        kinds = [sorted(found[base]) for base in task.made.of if len(found[base]) > 4] if task.made else []
        for wording in range(len(task.wordings) if kinds else 0):
            for _ in range(_PER_WORDING):
                labels = kinds[generator.integers(len(kinds))]
                chosen = [labels[place] for place in generator.permutation(len(labels))[:5]]
                if task.made.arranged == OVERLAP:
                    questions.add(_pair(task, wording, chosen, generator))
                else:
                    layouts.append(_layout(task, wording, chosen, generator))
    return ReadingText(tasks["transcription"].wordings, tuple(sorted(questions)), tuple(layouts))


def _open_wordings(task: Task) -> tuple[str, ...]:
    return () if "{" in task.wordings[0] else task.wordings


def _pair(
    task: Task, wording: int, chosen: list[str], generator: np.random.Generator
) -> tuple[str, str, tuple[str, ...]]:
    one, other, absent, *_ = chosen
    candidate = one if generator.random() < 0.5 else absent
    question = ask_pair(task, wording, one, other, candidate=candidate)
    return question.instruction, question.answer, (one, other)


def _layout(task: Task, wording: int, chosen: list[str], generator: np.random.Generator) -> tuple[str, str, Layout]:
    fewest, most = task.made.clips
    heard = chosen[: int(generator.integers(fewest, most + 1))]
    gaps = generator.integers(0, 5, size=len(heard))
    lengths = generator.integers(2, _MOST_POSITIONS, size=len(heard))
    layout: list[tuple[str | None, int]] = []
    events, position = [], 0
    for label, gap, length in zip(heard, gaps.tolist(), lengths.tolist(), strict=True):
        layout += [(None, gap), (label, length)]
        events.append(((position + gap) * POSITION_SECONDS, (position + gap + length) * POSITION_SECONDS, label))
        position += gap + length
    named = {}
    if task.answer == "either":
        first, second = generator.permutation(heard)
        named = {"candidate": str(first), "other": str(second)}
    value = {
        "events": events,
        "notes": events,
        "number": len(heard),
        "sequence": heard,
        "either": heard[0],
    }.get(task.answer)
    if task.name == "higher_note":
        numbers = [note_number(note) for note in heard]
        value = "first" if numbers[0] > numbers[1] else "second"
    assert value is not None, f"{task.name}: how a layout answers it is not written here"
    return task.wordings[wording].format(**named), format_answer(task, value), tuple(layout)
