"""Results of parts of one suite, cut down to the tasks that all have, so that they can be compared.

A result does not repeat a task's whole definition. The hash of its suite stands for it: that of a part is made from
the whole suite's hash and the names of its tasks (`suites.part_of`), so whoever knows the whole suite's hash can see
whether a result is of a part of it. It is known where one of them is of the whole suite, or the suite is shipped.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from uniwhisper.evaluation.averages import place_of, weights_of
from uniwhisper.evaluation.compare import CompareError, Opened
from uniwhisper.evaluation.suites import load_suite, part_hash, shipped_suites

_SAID_OF_KINDS = {"events": "frame", "retrieval": "retrieval"}
"""Parts of the protocol `clean` that a result has only if its suite has such tasks."""


@dataclass(frozen=True)
class Shared:
    tasks: tuple[str, ...]
    """Names of the tasks that all have, in the suite's order."""
    left_out: tuple[tuple[str, ...], ...]
    """Of each result the others."""

    @property
    def complete(self) -> bool:
        """None has a task that another lacks."""
        return not any(self.left_out)


def common_part(opened: Sequence[Opened]) -> tuple[list[Opened], Shared]:
    """Each with only the tasks that all have, and averages over these alone; `compare` then checks all else.

    Results of one suite, of suites that are not known to be one, or of another protocol than `clean` stay as they are.

    Raises:
        CompareError: they are of parts of one suite that share no task.
    """
    names = [[task["name"] for task in each.result["tasks"]] for each in opened]
    whole = None
    if len({each.result["suite"]["hash"] for each in opened}) > 1:
        whole = _whole_of_all(opened)
    if whole is None:
        return list(opened), Shared(tuple(names[0]), ((),) * len(opened))
    tasks = tuple(name for name in names[0] if all(name in theirs for theirs in names))
    if not tasks:
        first, *others = (f"{each.name}: {', '.join(theirs)}" for each, theirs in zip(opened, names, strict=True))
        raise CompareError(
            "results without a common task cannot be compared",
            expected=first,
            got="; ".join(others),
            fix="evaluate all with the same --task, or one with the whole suite; vectors once computed are kept",
        )
    left_out = tuple(tuple(name for name in theirs if name not in tasks) for theirs in names)
    return [_cut(each, tasks, whole) for each in opened], Shared(tasks, left_out)


def _whole_of_all(opened: Sequence[Opened]) -> str | None:
    """Hash of the suite that all are of, whole or in part; None: not known to be one."""
    if any(each.result["protocol"]["name"] != "clean" for each in opened):
        return None  # its averages are not means of domains' means
    candidates = [*(each.result["suite"]["hash"] for each in opened), *_shipped_hashes()]
    return next((whole for whole in candidates if all(_is_of(each, whole) for each in opened)), None)


def _shipped_hashes() -> Iterable[str]:
    return (load_suite(name).hash for name in shipped_suites())


def _is_of(opened: Opened, whole: str) -> bool:
    names = [task["name"] for task in opened.result["tasks"]]
    return opened.result["suite"]["hash"] in (whole, part_hash(whole, names))


def _cut(opened: Opened, names: tuple[str, ...], whole: str) -> Opened:
    """A result with only the tasks `names`, as if only they had been judged."""
    result = opened.result
    tasks = [task for task in result["tasks"] if task["name"] in names]
    kinds = {task["kind"] for task in tasks}
    kept = {key: said for key, said in result["protocol"].items() if _SAID_OF_KINDS.get(key) in (None, *kinds)}
    suite = {"name": "tasks of all", "hash": part_hash(whole, names)}
    cut = {"tasks": tasks, "protocol": kept, "suite": suite, "averages": _averages(result["averages"], tasks)}
    return replace(opened, result=result | cut)


def _averages(before: dict[str, Any], tasks: list[dict[str, Any]]) -> dict[str, Any]:
    """The same averages over those of `tasks` that were in them."""
    found: dict[str, Any] = {}
    for side, by_pooling in before.items():
        found[side] = {}
        for pooling, by_measure in by_pooling.items():
            found[side][pooling] = {}
            for measure, average in by_measure.items():
                inside = [task for task in tasks if task["name"] in average["tasks"]]
                if not inside:
                    continue
                scores = []
                for task in inside:
                    place = place_of(task, pooling, measure)
                    assert place is not None, "it stood in this average"
                    scores.append(task["scores"][place[0]][place[1]]["score"])
                score = sum(weight * each for weight, each in zip(weights_of(inside), scores, strict=True))
                found[side][pooling][measure] = {"score": score, "tasks": [task["name"] for task in inside]}
    return found
