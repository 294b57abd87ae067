"""Two results of parts of one suite, cut down to the tasks that both have, so that they can be compared.

A result does not repeat a task's whole definition. The hash of its suite stands for it: that of a part is made from
the whole suite's hash and the names of its tasks (`suites.part_of`), so whoever knows the whole suite's hash can see
whether a result is of a part of it. It is known where one of the two is of the whole suite, or the suite is shipped.
"""

from collections.abc import Iterable
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
    """Names of the tasks that both have, in the suite's order."""
    only_first: tuple[str, ...] = ()
    only_second: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Neither has a task that the other lacks."""
        return not (self.only_first or self.only_second)


def common_part(first: Opened, second: Opened) -> tuple[Opened, Opened, Shared]:
    """Both with only the tasks that both have, and averages over these alone; `compare` then checks all else.

    Results of one suite, of suites that are not known to be one, or of another protocol than `clean` stay as they are.

    Raises:
        CompareError: they are of parts of one suite that share no task.
    """
    names = [[task["name"] for task in opened.result["tasks"]] for opened in (first, second)]
    whole = None
    if first.result["suite"]["hash"] != second.result["suite"]["hash"]:
        whole = _whole_of_both(first, second)
    if whole is None:
        return first, second, Shared(tuple(names[0]))
    shared = Shared(
        tuple(name for name in names[0] if name in names[1]),
        tuple(name for name in names[0] if name not in names[1]),
        tuple(name for name in names[1] if name not in names[0]),
    )
    if not shared.tasks:
        raise CompareError(
            "results without a common task cannot be compared",
            expected=f"{first.name}: {', '.join(names[0])}",
            got=f"{second.name}: {', '.join(names[1])}",
            fix="evaluate both with the same --task, or one with the whole suite; vectors once computed are kept",
        )
    return _cut(first, shared.tasks, whole), _cut(second, shared.tasks, whole), shared


def _whole_of_both(first: Opened, second: Opened) -> str | None:
    """Hash of the suite that both are of, whole or in part; None: not known to be one."""
    opened = (first, second)
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
    suite = {"name": "tasks of both", "hash": part_hash(whole, names)}
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
