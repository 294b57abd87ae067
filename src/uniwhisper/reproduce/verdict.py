"""Differences of two rows on many tasks, in words: on which the second is below, and how many are clear."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from uniwhisper.evaluation.words import MEASURE_NAMES
from uniwhisper.reproduce.differences import MEASURES

HEAD = ("| difference | task | MLP | kNN | seeds |", "|---|---|---:|---:|---:|")
One = Mapping[str, Any]
"""`task`, `measure`, `seeds`, `difference` and its interval `low`, `high`."""


def answer(question: str, found: Sequence[One]) -> str:
    """`question` with, for each measure, whether all differences are above zero, else where they are not."""
    parts = []
    for measure in MEASURES:
        of_measure = [one for one in found if one["measure"] == measure]
        if not of_measure:
            continue
        below = [f"{one['task']} {one['difference']:+.3f}" for one in of_measure if one["difference"] <= 0]
        clear = sum(one["low"] > 0 for one in of_measure)
        verdict = f"NO, not on {', '.join(below)}" if below else "yes"
        parts.append(f"{MEASURE_NAMES[measure]}: {verdict} ({clear} of {len(of_measure)} with the interval above 0)")
    return f"{question} {'. '.join(parts)}."


def rows(pair: str, found: Sequence[One]) -> Iterator[str]:
    """A line of a table with `HEAD` for each task of one pair of rows, called `pair`."""
    for task in dict.fromkeys(one["task"] for one in found):
        mine = {one["measure"]: one for one in found if one["task"] == task}
        cells = [
            f"{one['difference']:+.3f} [{one['low']:+.3f}, {one['high']:+.3f}]" if (one := mine.get(measure)) else "–"
            for measure in MEASURES
        ]
        seeds = len(next(iter(mine.values()))["seeds"])
        yield f"| {pair} | {task} | {' | '.join(cells)} | {seeds} |"
