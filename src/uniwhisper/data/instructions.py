"""From a record to what can be asked of it, and from a question to its words and answer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from uniwhisper.data.answer_formats import Event, Value, format_answer
from uniwhisper.data.answers import note_number
from uniwhisper.data.manifest import Manifest, Record
from uniwhisper.data.tasks import FORBID, Task, all_tasks

WHAT_IS_SAID = ("transcription", "speech_translation")


@dataclass(frozen=True, slots=True)
class Question:
    """A task put in words, with its answer."""

    task: str
    instruction: str
    value: Value
    """The answer as a value; in a draw, in canonical form."""

    @property
    def answer(self) -> str:
        """The answer in words."""
        return format_answer(all_tasks()[self.task], self.value)

    def with_value(self, value: Value) -> "Question":
        """The same question with another answer."""
        return replace(self, value=value)


def answers(manifest: Manifest, record: Record) -> dict[str, Value]:
    """Task -> answer as a value, for the tasks about this clip alone.

    Raises:
        ManifestError: a label that the corpus's description does not know.
    """
    return manifest.corpora[record.corpus].answers(record.id, record.fields)


def corpus_licence(manifest: Manifest, corpus: str) -> str:
    """Licence of a corpus, as its description states it."""
    return manifest.corpora[corpus].licence


@lru_cache(maxsize=4096)
def askable(clip_answers: frozenset[str], *, whole: bool) -> tuple[tuple[Task, str], ...]:
    """(task, task whose answers it is made of) for a clip that can answer `clip_answers`, in the table's order.

    A task that the clip answers alone is made of its own answer. One about several clips takes the first of its kinds
    that the clip has. `whole` False: the clip is too long to be used whole, so it must be cropped, before it is put
    together with others; tasks whose answer would not survive that fall away.
    """
    tasks = all_tasks()
    found = []
    for task in tasks.values():
        bases = (task.name,) if task.made is None or task.name in clip_answers else task.made.of
        base = next((name for name in bases if name in clip_answers), None)
        if base is not None and (whole or tasks[base].augment["crop"] != FORBID):
            found.append((task, base))
    return tuple(found)


@lru_cache(maxsize=4096)
def same_arrangement(task: str, base: str, clips: int) -> tuple[Task, ...]:
    """Tasks that the same `clips` clips, put together for `task` and known by their answers to `base`, can answer."""
    made = all_tasks()[task].made
    assert made is not None, f"{task} is asked of one clip"
    return tuple(
        other
        for other in all_tasks().values()
        if other.made is not None
        and other.made.arranged == made.arranged
        and base in other.made.of
        and other.made.clips[0] <= clips <= other.made.clips[1]
    )


def ask(task: Task, wording: int, value: Value) -> Question:
    """A question about one clip."""
    assert task.labelled, f"{task.name} is asked of several clips"
    return Question(task.name, task.wordings[wording], value)


def ask_made(
    task: Task, wording: int, heard: Sequence[Event], *, absent: str | None, stream: np.random.Generator
) -> Question:
    """A question about clips that were put together.

    Args:
        heard: from when to when each clip is heard, and its label, in order of start; the labels differ.
        absent: a label that is not heard; None: a yes/no question can only ask for one that is.
        stream: decides which label a closed question asks for. The value's times are not yet rounded.
    """
    assert task.made is not None, f"{task.name} is asked of one clip"
    labels = [event.label for event in heard]
    candidate, other = (labels[place] for place in (stream.permutation(len(labels))[[0, -1]]))
    if task.answer == "yes_no" and absent is not None and stream.random() < 0.5:
        candidate = absent
    values: dict[str, Any] = {
        "labels": tuple(labels),
        "sequence": tuple(labels),
        "yes_no": candidate in labels,
        "either": labels[0],
        "number": len(labels),
        "events": tuple(heard),
        "notes": tuple(heard),
    }
    value = _higher(labels) if task.name == "higher_note" else values[task.answer]
    return Question(task.name, task.wordings[wording].format(candidate=candidate, other=other), value)


def _higher(notes: Sequence[str]) -> str:
    first, second = map(note_number, notes)
    return "first" if first > second else "second"
