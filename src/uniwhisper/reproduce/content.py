"""Tasks about what is said: is S above log-mel statistics there, so that it is no weak start, and U above S?"""

from collections.abc import Mapping, Sequence
from typing import Any

from uniwhisper.evaluation.compare import Opened
from uniwhisper.evaluation.words import MEASURE_NAMES
from uniwhisper.reproduce.differences import MEASURES, of_tasks
from uniwhisper.reproduce.job import Job
from uniwhisper.reproduce.paired import paired

PAIRS = (("log-mel", "S"), ("S", "U"))
"""(First, second): second minus first; the first pair is the check."""


def content(results: Mapping[Job, Opened], names: Sequence[str]) -> list[dict[str, Any]]:
    """A JSON object for each pair, content task and measure that both rows of a pair were scored by.

    Args:
        names: the content tasks; those that the suite has not are left out.
    """
    found = []
    for first, second in PAIRS:
        pairs = paired(results, first, second)
        if not pairs:
            continue
        for (task, measure), one in of_tasks([*pairs.values()], names).items():
            found.append(
                {"first": first, "second": second, "task": task, "measure": measure, "seeds": [*pairs]}
                | {"difference": one.difference, "low": one.low, "high": one.high}
            )
    return found


def check(found: Sequence[Mapping[str, Any]]) -> str | None:
    """One line: is S above log-mel statistics on every content task? None: not both were judged on one."""
    first, second = PAIRS[0]
    asked = [one for one in found if (one["first"], one["second"]) == (first, second)]
    if not asked:
        return None
    parts = []
    for measure in MEASURES:
        by_task = {one["task"]: one for one in asked if one["measure"] == measure}
        if not by_task:
            continue
        below = [f"{task} {one['difference']:+.3f}" for task, one in by_task.items() if one["difference"] <= 0]
        clear = sum(one["low"] > 0 for one in by_task.values())
        verdict = f"NO, not on {', '.join(below)}" if below else "yes"
        parts.append(f"{MEASURE_NAMES[measure]}: {verdict} ({clear} of {len(by_task)} with the interval above 0)")
    return f"{second} above {first} statistics on the content tasks? {'. '.join(parts)}."


def markdown(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """The check and the table, line by line; nothing where no pair was judged on a content task."""
    if not found:
        return []
    line = check(found)
    lines = ["", "## Content tasks", "", *([f"**{line}**", ""] if line else [])]
    lines += ["| difference | task | MLP | kNN | seeds |", "|---|---|---:|---:|---:|"]
    rows = dict.fromkeys((one["first"], one["second"], one["task"]) for one in found)
    for first, second, task in rows:
        mine = {
            one["measure"]: one for one in found if (one["first"], one["second"], one["task"]) == (first, second, task)
        }
        cells = [
            f"{one['difference']:+.3f} [{one['low']:+.3f}, {one['high']:+.3f}]" if (one := mine.get(measure)) else "–"
            for measure in MEASURES
        ]
        seeds = len(next(iter(mine.values()))["seeds"])
        lines.append(f"| {second} − {first} | {task} | {' | '.join(cells)} | {seeds} |")
    return lines
