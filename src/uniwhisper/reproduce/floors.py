"""U against what was never trained, on every task of clips, those outside the headline too."""

from collections.abc import Mapping, Sequence
from typing import Any

from uniwhisper.evaluation.compare import Opened
from uniwhisper.reproduce import verdict
from uniwhisper.reproduce.by_seed import pairs_of
from uniwhisper.reproduce.differences import of_tasks
from uniwhisper.reproduce.job import Job

ROW = "U"
FLOORS = ("log-mel", "random")


def floors(results: Mapping[Job, Opened]) -> list[dict[str, Any]]:
    """A JSON object for each floor, clip task and measure that both rows were scored by."""
    found = []
    for floor in FLOORS:
        pairs = pairs_of(results, floor, ROW)
        if not pairs:
            continue
        result = next(iter(pairs.values()))[1].result
        names = [task["name"] for task in result["tasks"] if task["kind"] == "clip"]
        for (task, measure), one in of_tasks([*pairs.values()], names).items():
            found.append(
                {"floor": floor, "task": task, "measure": measure, "seeds": [*pairs]}
                | {"difference": one.difference, "low": one.low, "high": one.high}
            )
    return found


def markdown(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each floor one line that says where U is below it, and the table; nothing without floors."""
    if not found:
        return []
    of = {floor: [one for one in found if one["floor"] == floor] for floor in FLOORS}
    lines = ["", f"## {ROW} against the floors, every clip task", ""]
    lines += [f"- {verdict.answer(f'{ROW} above {floor}?', one)}" for floor, one in of.items() if one]
    lines += ["", *verdict.HEAD]
    return lines + [line for floor, one in of.items() for line in verdict.rows(f"{ROW} − {floor}", one)]
