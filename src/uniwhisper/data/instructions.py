"""From a record to what can be asked of it, and from a question to its words and answer."""

from collections.abc import Iterable
from dataclasses import dataclass

from uniwhisper.data.answer_formats import Value, canonical, format_answer
from uniwhisper.data.manifest import Manifest, Record
from uniwhisper.data.tasks import FORBID, OVERLAP, Task, all_tasks

WHAT_IS_SAID = ("transcription", "speech_translation")


@dataclass(frozen=True, slots=True)
class Question:
    """A task put in words, with its answer."""

    task: str
    instruction: str
    value: Value
    """The answer as a value, in canonical form."""

    @property
    def answer(self) -> str:
        """The answer in words."""
        return format_answer(all_tasks()[self.task], self.value)


def answers(manifest: Manifest, record: Record) -> dict[str, Value]:
    """Task -> answer as a value, for the tasks about this clip alone.

    Raises:
        ManifestError: a label that the corpus's description does not know.
    """
    return manifest.corpora[record.corpus].answers(record.id, record.fields)


def corpus_licence(manifest: Manifest, corpus: str) -> str:
    """Licence of a corpus, as its description states it."""
    return manifest.corpora[corpus].licence


def askable(clip_answers: Iterable[str], *, whole: bool) -> list[tuple[Task, str]]:
    """(task, task whose answers it is made of) for a clip that can answer `clip_answers`, in the table's order.

    A task that the clip answers alone is made of its own answer. A mixture takes the first of its kinds that the clip
    has. `whole` False: the clip is too long to be used whole, so it must be cropped, for a mixture before it is mixed;
    tasks whose answer would not survive that fall away.
    """
    has, tasks = set(clip_answers), all_tasks()
    found = []
    for task in tasks.values():
        if task.made is not None and task.made.arranged != OVERLAP and task.name not in has:
            continue
        bases = (task.name,) if task.made is None or task.name in has else task.made.of
        base = next((name for name in bases if name in has), None)
        if base is not None and (whole or tasks[base].augment["crop"] != FORBID):
            found.append((task, base))
    return found


def ask(task: Task, wording: int, value: Value) -> Question:
    """A question about one clip."""
    assert task.labelled, f"{task.name} is asked of two clips"
    return Question(task.name, task.wordings[wording], value)


def ask_pair(task: Task, wording: int, value: str, partner_value: str, *, candidate: str) -> Question:
    """A question about a mixture of two clips. `candidate` is what a yes/no question asks about."""
    assert task.made is not None, f"{task.name} is asked of one clip"
    if task.answer == "labels":
        return Question(task.name, task.wordings[wording], canonical(task, (value, partner_value)))
    return Question(task.name, task.wordings[wording].format(candidate=candidate), candidate in (value, partner_value))
