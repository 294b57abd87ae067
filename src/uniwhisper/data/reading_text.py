"""What a small language model reads before it is frozen, so that it knows the form it will be asked in.

Questions about a text that stands where the sound will stand. Made of instructions and labels alone: what people say in
a corpus stays out, since a transcript that the language model has read could be recited instead of heard.
"""

import hashlib
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from uniwhisper.core.units import HOP_SECONDS
from uniwhisper.data.answer_formats import Event, format_answer, listable
from uniwhisper.data.answers import code_name
from uniwhisper.data.instructions import WHAT_IS_SAID, answers, ask_made
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
    questions: tuple[tuple[tuple[str, str, tuple[str, ...]], ...], ...] = ()
    """Of each task: (instruction, answer, what there is to hear, in any order)."""
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
    questions: dict[str, set[tuple[str, str, tuple[str, ...]]]] = defaultdict(set)
    for task, said in found.items():
        questions[task] = {(wording, answer, (answer,)) for wording in _open_wordings(tasks[task]) for answer in said}
    for record in manifest.records[:: max(1, len(manifest.records) // _NAMES)]:
        name = code_name(hashlib.sha256(record.sha256.encode()).hexdigest())  # of no recording there is
        questions["recording"] |= {(wording, name, (name,)) for wording in tasks["recording"].wordings}
    generator = np.random.default_rng(0)
    layouts = []
    for task in tasks.values():
        kinds = [sorted(filter(listable, found[base])) for base in task.made.of] if task.made else []
        kinds = [labels for labels in kinds if len(labels) > 4]
        for wording in range(len(task.wordings) if kinds else 0):
            for _ in range(_PER_WORDING):
                labels = kinds[generator.integers(len(kinds))]
                *chosen, absent = (labels[place] for place in generator.permutation(len(labels))[:5])
                layout = _layout(task, chosen, generator)
                instruction, answer = _asked(task, wording, layout, absent, generator)
                if task.made.arranged == OVERLAP:
                    heard = tuple(label for label, _ in layout if label is not None)
                    questions[task.name].add((instruction, answer, heard))
                else:
                    layouts.append((instruction, answer, layout))
    by_task = tuple(tuple(sorted(asked)) for _, asked in sorted(questions.items()) if asked)
    return ReadingText(tasks["transcription"].wordings, by_task, tuple(layouts))


def _open_wordings(task: Task) -> tuple[str, ...]:
    return () if "{" in task.wordings[0] else task.wordings


def _asked(task: Task, wording: int, layout: Layout, absent: str, generator: np.random.Generator) -> tuple[str, str]:
    """Instruction and answer to what a layout lets hear."""
    heard, position = [], 0
    for label, positions in layout:
        if label is not None:
            heard.append(Event(position * POSITION_SECONDS, (position + positions) * POSITION_SECONDS, label))
        position += positions
    question = ask_made(task, wording, heard, absent=absent, stream=generator)
    return question.instruction, format_answer(task, question.value)


def _layout(task: Task, chosen: list[str], generator: np.random.Generator) -> Layout:
    fewest, most = task.made.clips
    layout: list[tuple[str | None, int]] = []
    for label in chosen[: int(generator.integers(fewest, most + 1))]:
        layout += [(None, int(generator.integers(5))), (label, int(generator.integers(2, _MOST_POSITIONS)))]
    return tuple(layout)
