"""What examinations share: which tasks of a suite they can use, and what their results say of encoder and suite."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from uniwhisper.core.provenance import provenance
from uniwhisper.evaluation.averages import place_of, weights_of
from uniwhisper.evaluation.bootstrap import difference
from uniwhisper.evaluation.check import EncoderCheck
from uniwhisper.evaluation.encoders import JudgedEncoder, require_identity
from uniwhisper.evaluation.kept import ScoredTask
from uniwhisper.evaluation.protocol import protocol_of
from uniwhisper.evaluation.scoring import measures_of
from uniwhisper.evaluation.suites import Suite, SuiteError
from uniwhisper.evaluation.trained_on import trained_on

KINDS = ("clip", "multilabel")


@dataclass(frozen=True)
class Subject:
    """The tasks that are examined, and those that are not, each with its reason."""

    suite: Suite
    """Only the tasks that are examined."""
    left_out: list[dict[str, str]]


def subject(suite: Suite, measures: Sequence[str]) -> Subject:
    """The tasks of clips that `measures` can score.

    Raises:
        SuiteError: there is none.
    """
    left_out = []
    for task in suite.tasks:
        if task.kind not in KINDS:
            left_out.append({"task": task.name, "reason": f"of the kind {task.kind}: only tasks of clips are examined"})
        elif not measures_of(measures, several=task.kind == "multilabel"):
            left_out.append({"task": task.name, "reason": f"several classes a clip: not for {', '.join(measures)}"})
    names = {entry["task"] for entry in left_out}
    tasks = tuple(task for task in suite.tasks if task.name not in names)
    if not tasks:
        raise SuiteError(
            f"nothing of suite {suite.name} can be examined",
            expected=f"a task of the kinds {' or '.join(KINDS)} and a measure for it",
            got="; ".join(f"{entry['task']}: {entry['reason']}" for entry in left_out),
            fix="choose another suite or --task, or add --measure linear",
        )
    return Subject(replace(suite, tasks=tasks), left_out)


def head(
    kind: str,
    judged: JudgedEncoder,
    suite: Suite,
    subject: Subject,
    *,
    measures: Sequence[str],
    model_folder: Path | None,
    check: EncoderCheck | None,
    seed: int,
    command: str,
) -> dict[str, Any]:
    """The part of a result that says what was examined, with what and how; JSON."""
    return {
        "format": f"uniwhisper-{kind}",
        "format_version": 1,
        "protocol": protocol_of(subject.suite),
        "suite": {"name": suite.name, "hash": suite.hash, "description": suite.description},
        "model": {
            "label": judged.label,
            "source": judged.source,
            "width": judged.encoder.width,
            "identity": require_identity(judged.encoder),
            "trained_on": trained_on(judged.source, model_folder),
        },
        "encoder_check": check.to_json() if check else None,
        "command": command,
        "measures": measures_of(measures, several=False),
        "left_out": subject.left_out,
        "seeds": {"first": seed},
        "provenance": provenance(),
    }


def differences(scored: Sequence[ScoredTask], against: str, measures: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Mean of domains of every column minus that of the column `against`, paired, over the tasks of the headline.

    A column is what scores stand under: a layer, a condition. Per column and measure `value`, `low`, `high`, `p`; no
    interval where a task has no draws. Columns that are not scored on the tasks `against` is scored on do not occur.
    """
    tasks = [task for task in scored if task.result["variant_of"] is None and not task.result["in_domain"]]
    columns = list(dict.fromkeys(column for task in tasks for column in task.result["scores"]))
    found: dict[str, dict[str, Any]] = {}
    for measure in measures:
        inside = [task for task in tasks if place_of(task.result, against, measure)]
        weights = np.array(weights_of([task.result for task in inside]))
        for column in columns if inside else ():
            if any(place_of(task.result, column, measure) is None for task in inside):
                continue
            first, first_R = _mean(inside, weights, against, measure)
            second, second_R = _mean(inside, weights, column, measure)
            entry: dict[str, float | None] = {"value": second - first, "low": None, "high": None, "p": None}
            if first_R is not None and second_R is not None:
                each = difference(second - first, first_R, second_R)
                entry |= {"low": each.low, "high": each.high, "p": each.p}
            found.setdefault(column, {})[measure] = entry
    return found


def _mean(
    tasks: Sequence[ScoredTask], weights: np.ndarray, column: str, measure: str
) -> tuple[float, np.ndarray | None]:
    """Weighted score of a column, and its draws if all tasks have some."""
    score = float(weights @ np.array([task.result["scores"][column][measure]["score"] for task in tasks]))
    draws = [task.draws[column][measure] for task in tasks if measure in task.draws.get(column, {})]
    return score, weights @ np.stack(draws) if len(draws) == len(tasks) else None
