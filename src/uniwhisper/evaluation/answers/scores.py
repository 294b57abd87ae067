"""From what was answered to scores. Higher is better but for `wer` and `cer`.

    accuracy   the answer read by the task's own parser is the right value; of free text, the same words
    wer, cer   errors over words (characters) of all references, by jiwer; can exceed 1
    f1         of labels (of the words of a caption, of the names of events): 2 tp / (2 tp + fp + fn), summed over clips
    f1_macro   the same for each label that a reference names, then their mean

An answer that cannot be read is wrong, and names nothing. A label that no clip of the manifest has cannot be read where
one label is asked for; in a list it counts as a wrong one. Free text is compared in lower case without punctuation.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from uniwhisper.core.errors import AnswerError
from uniwhisper.data.answer_formats import Event, Value, parse_answer
from uniwhisper.data.held_out import HeldOutTask
from uniwhisper.data.tasks import Task
from uniwhisper.evaluation.bootstrap import f1_draws, interval
from uniwhisper.evaluation.metrics import f1_of_counts
from uniwhisper.evaluation.speech import character_errors, word_errors

_WRITTEN_DOWN = "transcription"
_LISTS = ("labels", "sequence", "events", "notes")


@dataclass(frozen=True)
class Measured:
    """A score and its 95 % interval over groups, then clips."""

    score: float
    low: float
    high: float


def plain(text: str) -> str:
    """Lower case, single spaces, no punctuation but apostrophes within a word."""
    kept = (
        char if char in "'’" or not unicodedata.category(char).startswith(("P", "S")) else " "
        for char in text.casefold()
    )
    return " ".join(word for part in "".join(kept).split() if (word := part.strip("'’")))


def read_answer(asked: HeldOutTask, text: str) -> Value | None:
    """The value that an answer states; None: it cannot be read as one of this task's."""
    try:
        return parse_answer(asked.task, text, asked.labels)
    except AnswerError:
        return _with_unknown_labels(asked, text) if asked.task.answer in ("labels", "sequence") else None


def _with_unknown_labels(asked: HeldOutTask, text: str) -> Value | None:
    """A list of which some labels are known: these as the corpus spells them, the others as they are."""
    known = {label.casefold(): label for label in asked.labels or ()}
    try:
        items = parse_answer(asked.task, text.strip().removesuffix("."))
    except AnswerError:
        return None
    assert isinstance(items, tuple), f"{asked.task.name}: a list"
    return tuple(known.get(str(item).casefold(), str(item)) for item in items)


def score_answers(asked: HeldOutTask, said: Sequence[str], weights_RQ: np.ndarray) -> dict[str, Measured]:
    """Measure -> score of the answers `said`, one for each clip.

    Args:
        weights_RQ: how often each clip is drawn (`bootstrap.clip_weights`).

    Raises:
        MissingExtraError: jiwer is not installed.
    """
    assert len(said) == len(asked.clips), "an answer for each clip"
    truth = [clip.value for clip in asked.clips]
    found = [read_answer(asked, text) for text in said]
    task = asked.task
    right = [_same(task, one, other) for one, other in zip(truth, found, strict=True)]
    measures: dict[str, Measured] = {}
    if task.name == _WRITTEN_DOWN:
        spoken = [plain(str(value)) or str(value) for value in truth]
        heard = [plain(text) for text in said]
        for name, count in (("wer", word_errors), ("cer", character_errors)):
            errors_Q, of_Q = count(spoken, heard)
            measures[name] = _ratio(errors_Q, of_Q, weights_RQ)
    elif task.answer in (*_LISTS, "text"):
        measures |= _f1([_names(task, value) for value in truth], [_names(task, value) for value in found], weights_RQ)
        if task.answer == "text":
            # The mean over words would be one over captions' spelling.
            del measures["f1_macro"]
    measures["accuracy"] = _ratio(np.array(right, dtype=np.float64), np.ones(len(right)), weights_RQ)
    return measures


def score_ranked(asked: HeldOutTask, ranked: Sequence[str], weights_RQ: np.ndarray) -> Measured:
    """Accuracy of the likeliest of the task's options, one for each clip.

    Args:
        weights_RQ: as in `score_answers`.
    """
    right = [read_answer(asked, best) == clip.value for best, clip in zip(ranked, asked.clips, strict=True)]
    return _ratio(np.array(right, dtype=np.float64), np.ones(len(right)), weights_RQ)


def as_json(measures: dict[str, Measured]) -> dict[str, dict[str, float]]:
    """Measures as JSON objects."""
    return {name: asdict(one) for name, one in measures.items()}


def _same(task: Task, truth: Value, found: Value | None) -> bool:
    if found is None:
        return False
    if task.answer == "text":
        return plain(str(found)) == plain(str(truth))
    return found == truth


def _names(task: Task, value: Value | None) -> frozenset[str]:
    if value is None:
        return frozenset()
    if task.answer == "text":
        return frozenset(plain(str(value)).split())
    assert isinstance(value, tuple), f"{task.name}: a list of labels"
    return frozenset(item.label if isinstance(item, Event) else str(item) for item in value)


def _ratio(numerator_Q: np.ndarray, denominator_Q: np.ndarray, weights_RQ: np.ndarray) -> Measured:
    weights_RQ = weights_RQ.astype(np.float64)
    drawn_R = (weights_RQ @ numerator_Q) / np.maximum(weights_RQ @ denominator_Q, 1)
    return Measured(float(numerator_Q.sum() / max(denominator_Q.sum(), 1)), *interval(drawn_R))


def _f1(
    truth: Sequence[frozenset[str]], found: Sequence[frozenset[str]], weights_RQ: np.ndarray
) -> dict[str, Measured]:
    labels = sorted(set().union(*truth, *found))
    place = {label: number for number, label in enumerate(labels)}
    truth_QC, found_QC = (np.zeros((len(truth), len(labels))) for _ in range(2))
    for array_QC, sets in ((truth_QC, truth), (found_QC, found)):
        for clip, names in enumerate(sets):
            array_QC[clip, [place[name] for name in names]] = 1
    counts_QC3 = np.stack([truth_QC * found_QC, found_QC * (1 - truth_QC), truth_QC * (1 - found_QC)], axis=2)
    measures = {}
    for name, average in (("f1", "micro"), ("f1_macro", "macro")):
        drawn_R = f1_draws(counts_QC3[None], weights_RQ, average=average, seed=0)  # one seed: nothing is drawn of it
        measures[name] = Measured(f1_of_counts(counts_QC3.sum(axis=0), average=average), *interval(drawn_R))
    return measures
