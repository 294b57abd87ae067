"""Tasks about what is said: is S above log-mel statistics there, so that it is no weak start, and U above S?"""

from collections.abc import Mapping, Sequence
from typing import Any

from uniwhisper.evaluation.compare import Opened
from uniwhisper.reproduce import verdict
from uniwhisper.reproduce.by_seed import pairs_of
from uniwhisper.reproduce.differences import of_tasks
from uniwhisper.reproduce.job import Job

PAIRS = (("log-mel", "S"), ("S", "U"))
"""(First, second): second minus first; the first pair is the check."""


def content(results: Mapping[Job, Opened], names: Sequence[str]) -> list[dict[str, Any]]:
    """A JSON object for each pair, content task and measure that both rows of a pair were scored by.

    Args:
        names: the content tasks; those that the suite has not are left out.
    """
    found = []
    for first, second in PAIRS:
        pairs = pairs_of(results, first, second)
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
    asked = _of_pair(found, first, second)
    return verdict.answer(f"{second} above {first} statistics on the content tasks?", asked) if asked else None


def markdown(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """The check and the table, line by line; nothing where no pair was judged on a content task."""
    if not found:
        return []
    line = check(found)
    lines = ["", "## Content tasks", "", *([f"**{line}**", ""] if line else []), *verdict.HEAD]
    for first, second in dict.fromkeys((one["first"], one["second"]) for one in found):
        lines += verdict.rows(f"{second} − {first}", _of_pair(found, first, second))
    return lines


def _of_pair(found: Sequence[Mapping[str, Any]], first: str, second: str) -> list[Mapping[str, Any]]:
    return [one for one in found if (one["first"], one["second"]) == (first, second)]
