"""Questions about the clips that recipes hold out: one task, one wording, one answer each.

Which clips is decided by their content and a seed alone: two manifests that share clips ask about the same ones first.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from uniwhisper.core.errors import ManifestError
from uniwhisper.core.identity import content_fold
from uniwhisper.core.units import WINDOW_SAMPLES
from uniwhisper.data.answer_formats import Value, format_answer
from uniwhisper.data.instructions import answers
from uniwhisper.data.manifest import Manifest, Record
from uniwhisper.data.tasks import FORBID, Task, simple_tasks

CLOSED = ("label", "note", "key", "number", "tempo", "yes_no")
"""Kinds of answers that are one of a list."""
_LISTS = ("labels", "sequence")


@dataclass(frozen=True, slots=True)
class HeldOutClip:
    """A clip and its answer to one task."""

    record: Record
    value: Value

    @property
    def group(self) -> str:
        """Speaker where the corpus names one, else the recording: what is drawn together by a bootstrap."""
        speaker = self.record.fields.get("speaker")
        return self.record.sha256 if speaker in (None, "") else f"{self.record.corpus}/{speaker}"


@dataclass(frozen=True)
class HeldOutTask:
    """What one task asks of which clips."""

    task: Task
    instruction: str
    """The task's first wording."""
    clips: tuple[HeldOutClip, ...]
    """At least one; in order of their ids."""
    available: int
    """Held-out clips that can answer, of which `clips` are chosen."""
    too_long: int
    """Held-out clips that are longer than a window, where a part has another answer: not asked."""
    options: tuple[str, ...]
    """Every answer to this task in the manifest, in words, sorted; empty where answers are not one of a list."""
    labels: tuple[str, ...] | None
    """Every label in the manifest's answers, sorted; None: free text, times, numbers."""
    most_common: str | None
    """The answer, in words, of most clips that are not held out (the first in sorted order of several); None: all are
    held out."""


def held_out_tasks(
    manifest: Manifest, tasks: Sequence[str] | None, *, folds: int, most: int | None, seed: int
) -> list[HeldOutTask]:
    """The tasks that held-out clips can answer alone, in the order of the table.

    Args:
        tasks: names; None: all that a held-out clip can answer.
        folds: content folds, of which the first is held out; 1: every clip is.
        most: clips of a task, chosen by content; None: all.
        seed: of the choice.

    Raises:
        ManifestError: an unknown task, or one that no held-out clip can answer; no task at all.
    """
    known = simple_tasks()
    unknown = [name for name in tasks or () if name not in known]
    if unknown:
        raise ManifestError(f"no task {unknown[0]!r}", expected=", ".join(known), got=unknown[0], fix="correct --task")
    found: dict[str, list[HeldOutClip]] = {}
    heard: dict[str, Counter[Value]] = {}
    trained: dict[str, Counter[Value]] = {}
    for record in manifest.records:
        held_out = content_fold(record.sha256, folds) == 0
        for name, value in answers(manifest, record).items():
            if tasks is not None and name not in tasks:
                continue
            heard.setdefault(name, Counter())[value] += 1
            if held_out:
                found.setdefault(name, []).append(HeldOutClip(record, value))
            else:
                trained.setdefault(name, Counter())[value] += 1
    absent = [name for name in tasks or () if name not in found]
    if absent or not found:
        raise ManifestError(
            "nothing to ask" if not absent else f"no held-out clip can answer {absent[0]!r}",
            expected=f"an answer of a clip of content fold 0 of {folds}",
            got=f"answers to {', '.join(found) or 'nothing'}",
            fix="leave that --task out, or lower --folds (1: every clip)",
        )
    return [
        made
        for name in known
        if name in found
        and (made := _of_task(known[name], found[name], heard[name], trained.get(name), most, seed)) is not None
    ]


def _of_task(
    task: Task,
    found: list[HeldOutClip],
    heard: Counter[Value],
    trained: Counter[Value] | None,
    most: int | None,
    seed: int,
) -> HeldOutTask | None:
    whole = [clip for clip in found if clip.record.samples <= WINDOW_SAMPLES or task.augment["crop"] != FORBID]
    if not whole:
        return None
    chosen = sorted(whole, key=lambda clip: _place(clip.record, seed))[:most]
    in_words = {value: format_answer(task, value) for value in heard}
    labels: set[str] | None = None
    if task.answer in _LISTS:
        labels = {label for value in heard if isinstance(value, tuple) for label in map(str, value)}
    elif task.answer in ("label", "key"):
        labels = set(in_words.values())
    common = None if trained is None else min(trained, key=lambda value: (-trained[value], in_words[value]))
    return HeldOutTask(
        task=task,
        instruction=task.wordings[0],
        clips=tuple(sorted(chosen, key=lambda clip: clip.record.id)),
        available=len(whole),
        too_long=len(found) - len(whole),
        options=tuple(sorted(set(in_words.values()))) if task.answer in CLOSED else (),
        labels=None if labels is None else tuple(sorted(labels)),
        most_common=None if common is None else in_words[common],
    )


def _place(record: Record, seed: int) -> bytes:
    return hashlib.sha256(
        f"{seed}|{record.corpus}|{record.sha256}|{record.start_seconds}|{record.id}".encode()
    ).digest()
