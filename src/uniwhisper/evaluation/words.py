"""Scores in words: the same in every table that is printed or written."""

from collections.abc import Mapping
from typing import Any

MEASURE_NAMES = {"knn": "kNN", "knn_standardised": "kNN standardised", "linear": "linear", "mlp": "MLP"}


def with_interval(score: Mapping[str, Any] | None, *, absent: str = "") -> str:
    """`0.512 [0.480, 0.541]`; without brackets where there is no interval; `absent` without a score."""
    if score is None:
        return absent
    between = "" if score["low"] is None else f" [{score['low']:.3f}, {score['high']:.3f}]"
    return f"{score['score']:.3f}{between}"


def marked(task: Mapping[str, Any]) -> str:
    """A task's name, with `~` for another side of a task and `*` for one trained on in the same corpus."""
    return f"{'~ ' if task['variant_of'] else ''}{task['name']}{'*' if task['in_domain'] else ''}"
