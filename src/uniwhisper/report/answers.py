"""The answer for every clip, from the file beside a result: what confusion matrices are counted from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uniwhisper.core.identity import hash_file
from uniwhisper.report.results import Result, ResultError

Answers = dict[str, np.ndarray]
"""`<task>/label`, `<task>/classes`, `<task>/<pooling>/<measure>` and others, as written; empty: there is no file."""


@dataclass(frozen=True, eq=False)
class Confusion:
    """How often clips of a class were answered with another."""

    classes: tuple[str, ...]
    counts_CC: np.ndarray
    """float64, rows the true classes, columns the answers; seeds count as a share of a clip each."""

    def worst(self, most: int) -> list[tuple[str, str, float, int]]:
        """The largest confusions: true class, answer, mean count of clips, clips of the true class."""
        off_CC = self.counts_CC - np.diag(np.diag(self.counts_CC))
        order = np.argsort(-off_CC, axis=None, kind="stable")[:most]
        totals_C = self.counts_CC.sum(axis=1)
        places = [np.unravel_index(place, off_CC.shape) for place in order]
        return [
            (self.classes[true], self.classes[answer], float(off_CC[true, answer]), round(float(totals_C[true])))
            for true, answer in places
            if off_CC[true, answer] > 0
        ]


def read_answers(result: Result) -> Answers:
    """The arrays beside a result; empty where the file is not there.

    Raises:
        ResultError: the file is not the one that was written with the result.
    """
    if result.clips_file is None:
        return {}
    name = result.clips_file["name"]
    # A name from a file: nothing outside the result's own folder is opened.
    path = result.file.parent / Path(name).name
    if Path(name).name != name or not path.is_file():
        return {}
    try:
        if hash_file(path) != result.clips_file["sha256"]:
            raise ValueError("another content than when the result was written")
        with np.load(path, allow_pickle=False) as file:
            return {each: file[each] for each in file.files}
    except (OSError, ValueError) as error:
        raise ResultError(
            f"{path} does not belong to {result.file.name}",
            expected="the file that was written with the result",
            got=str(error),
            fix="copy both files again, or move this one away: the report then comes without confusion matrices",
        ) from None


def confusion(answers: Answers, task: str, pooling: str, measure: str) -> Confusion | None:
    """Confusion matrix of a task of one class per clip; None: the answers are not there, or of another kind."""
    label_N, classes_C = answers.get(f"{task}/label"), answers.get(f"{task}/classes")
    answered = answers.get(f"{task}/{pooling}/{measure}")
    if label_N is None or classes_C is None or answered is None or label_N.ndim != 1 or answered.dtype.kind != "i":
        return None
    answered_SN = answered.reshape(-1, len(label_N))
    counts_CC = np.zeros((len(classes_C), len(classes_C)))
    for answered_N in answered_SN:
        np.add.at(counts_CC, (label_N, answered_N), 1 / len(answered_SN))
    return Confusion(tuple(map(str, classes_C)), counts_CC)
