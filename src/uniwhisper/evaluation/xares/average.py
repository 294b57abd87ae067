"""Weighted averages of X-ARES, and whether its published ones follow from its published rows.

    python -m uniwhisper.evaluation.xares.average

The weight of a task is a number set by hand in X-ARES's code (`eval_weight`), not the size of its test: seven large
tests are capped to 2,000, and LibriSpeech-100h alone is 10,000 of 38,752.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROUNDING = 0.001
"""Rows and averages are printed to three decimals: an average of exact rows may differ by twice half a unit."""


@dataclass(frozen=True)
class PublishedAverage:
    name: str
    encoder: str
    published: float
    recomputed: float

    @property
    def follows(self) -> bool:
        return abs(self.recomputed - self.published) <= ROUNDING


@cache
def published() -> dict[str, Any]:
    """The published rows, weights and averages, with their source."""
    return json.loads((Path(__file__).parent / "published.json").read_text(encoding="utf-8"))


def weights() -> dict[str, int]:
    """Weight of each of the 22 public tasks, by its formal name."""
    return {task["name"]: task["weight"] for task in published()["tasks"]}


def weighted_average(scores: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """sum(score * weight) / sum(weight) over exactly the tasks that have a score.

    Raises:
        KeyError: a task without a weight.
        ZeroDivisionError: no task, or none with a weight.
    """
    return sum(score * weights[task] for task, score in scores.items()) / sum(weights[task] for task in scores)


def recompute() -> list[PublishedAverage]:
    """Every published average against the one that follows from the published rows."""
    facts, found = published(), []
    for average in facts["averages"]:
        tasks = [*facts["tasks"], *(facts["private_tasks"] if average["private"] else [])]
        rows = [task for task in tasks if task[average["measure"]] is not None]
        weight_of = {task["name"]: task["weight"] for task in rows}
        for column, encoder in enumerate(facts["encoders"]):
            scores = {task["name"]: task[average["measure"]][column] for task in rows}
            printed = average["published"][column]
            found.append(PublishedAverage(average["name"], encoder, printed, weighted_average(scores, weight_of)))
    return found


def table(averages: Sequence[PublishedAverage]) -> str:
    """Markdown, one row per average."""
    lines = ["| average | encoder | published | from the rows | follows |", "|---|---|---:|---:|---|"]
    for average in averages:
        verdict = "yes" if average.follows else f"no, {average.recomputed - average.published:+.4f}"
        lines.append(
            f"| {average.name} | {average.encoder} | {average.published:.3f} | {average.recomputed:.4f} | {verdict} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(recompute()))
