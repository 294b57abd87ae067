"""Differences between two encoders on the same clips, from their result files."""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uniwhisper.core.errors import UserError
from uniwhisper.core.identity import hash_file
from uniwhisper.evaluation import bootstrap
from uniwhisper.evaluation.averages import FRAMES, place_of, weights_of
from uniwhisper.evaluation.bootstrap import Difference
from uniwhisper.evaluation.paired import DrawnClips, Place, pair_draws

Draws = dict[Place, tuple[np.ndarray, np.ndarray]]
"""Resampled scores of the first and the second of a pair, float64 (resamples,)."""


class CompareError(UserError):
    """Two results cannot be compared."""


@dataclass(frozen=True, eq=False)
class Opened:
    name: str
    result: dict[str, Any]
    clips: dict[str, np.ndarray]


@dataclass(frozen=True)
class Compared:
    """Second minus first."""

    tasks: dict[tuple[str, str, str], Difference]
    """By task, pooling and measure."""
    averages: dict[tuple[str, str, str], Difference]
    """By `headline` or `in_domain`, pooling and measure: of the means of the domains' means."""


def open_result(path: Path) -> Opened:
    """A result with its clips' file.

    Raises:
        CompareError: one of the files is missing, damaged, of another version, or they do not belong together.
    """
    path = Path(path)
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        if (result["format"], result["format_version"]) != ("uniwhisper-result", 2):
            raise ValueError(f"{result['format']} {result['format_version']}")
        beside = path.with_name(Path(result["clips_file"]["name"]).name)
        if hash_file(beside) != result["clips_file"]["sha256"]:
            raise ValueError(f"{beside.name} is not the file that was written with it")
        with np.load(beside, allow_pickle=False) as file:
            clips = {name: file[name] for name in file.files}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CompareError(
            f"{path} cannot be compared",
            expected="a result of version 2 with its .npz beside it, as `uniwhisper evaluate` writes them",
            got=f"it lacks {error}" if isinstance(error, KeyError) else _why(error),
            fix="check the path, keep both files under the names they were written with, or evaluate again",
        ) from None
    return Opened(path.name, result, clips)


def _why(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"no JSON: {error}"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{Path(error.filename).name}: {error.strerror}"
    return getattr(error, "strerror", None) or str(error)


def compare(first: Opened, second: Opened) -> Compared:
    """Paired differences of every task and average that both have.

    Raises:
        CompareError: protocols, suites, data, seeds or used clips differ.
    """
    poolings, (draws,) = paired_draws([(first, second)])
    scores = [{task["name"]: task["scores"] for task in opened.result["tasks"]} for opened in (first, second)]
    tasks: dict[Place, Difference] = {}
    for (task, pooling, measure), sides in draws.items():
        one, other = (side[task][pooling][measure]["score"] for side in scores)
        tasks[task, pooling, measure] = bootstrap.difference(other - one, *sides)
    averages: dict[tuple[str, str, str], Difference] = {}
    for (side, pooling, measure), places in average_places((first, second), poolings, draws).items():
        one, other = (opened.result["averages"][side][pooling][measure]["score"] for opened in (first, second))
        drawn = (weighted_draws(first, places, draws, which) for which in (0, 1))
        averages[side, pooling, measure] = bootstrap.difference(other - one, *drawn)
    return Compared(tasks, averages)


def paired_draws(
    pairs: Sequence[tuple[Opened, Opened]],
    report: Callable[[int, int], None] = lambda _done, _all: None,
    *,
    wanted: Callable[[Place], bool] = lambda _place: True,
) -> tuple[list[str], list[Draws]]:
    """Poolings that all results have, and of each pair the resampled scores of every place that all have.

    Row by row all are of the same clips; a pair's draws do not depend on the other pairs.

    Args:
        pairs: at least one.
        report: told how many (tasks times pairs) are done, and of how many.
        wanted: the places whose draws are asked for; each place's do not depend on the others.

    Raises:
        CompareError: as `compare`, whichever two of the results differ.
    """
    opened = [each for pair in pairs for each in pair]
    first = opened[0]
    for other in opened[1:]:
        _refuse_unequal(first, other)
    poolings = common_poolings(opened)
    draws: list[Draws] = [{} for _ in pairs]
    tasks = first.result["tasks"]
    for number, task in enumerate(tasks):
        scores = [each.result["tasks"][number]["scores"] for each in opened]
        drawn = None
        for place, pair in enumerate(pairs):
            if all(scores):  # else of a kind that one could not be scored on: no clip of it is in its file
                drawn = drawn or DrawnClips(first.clips, task["name"], first.result["seeds"]["first"])
                for pooling in [*poolings, FRAMES]:
                    for measure in scores[0].get(pooling, {}):
                        key = (task["name"], pooling, measure)
                        if wanted(key) and all(measure in each.get(pooling, {}) for each in scores):
                            draws[place][key] = pair_draws(*(side.clips for side in pair), key, task["metric"], drawn)
            report(number * len(pairs) + place + 1, len(tasks) * len(pairs))
    return poolings, draws


def average_places(
    opened: Sequence[Opened], poolings: Sequence[str], drawn: Collection[Place]
) -> dict[tuple[str, str, str], list[Place]]:
    """By `headline` or `in_domain`, pooling and measure where the scores of an average stand that all results have.

    An average over other tasks in one of the results, or with a task that was not `drawn`, is left out.
    """
    first, *others = (each.result["averages"] for each in opened)
    by_name = {task["name"]: task for task in opened[0].result["tasks"]}
    found = {}
    for side in ("headline", "in_domain"):
        for pooling in poolings:
            for measure, average in first[side].get(pooling, {}).items():
                beside = [other[side].get(pooling, {}).get(measure) for other in others]
                if not all(other is not None and other["tasks"] == average["tasks"] for other in beside):
                    continue
                stood = {name: place_of(by_name[name], pooling, measure) for name in average["tasks"]}
                places = [(name, *place) for name, place in stood.items() if place is not None]
                if len(places) == len(stood) and all(place in drawn for place in places):
                    found[side, pooling, measure] = places
    return found


def unlike_averages(opened: Sequence[Opened]) -> list[str]:
    """A line for `headline` and `in_domain` each where it is over other tasks in some of these results.

    Nothing is compared there: a task counts as in-domain for an encoder that was trained on its corpus.
    """
    lines = []
    for side in ("headline", "in_domain"):
        sets = [
            {
                name
                for by_measure in each.result["averages"][side].values()
                for a in by_measure.values()
                for name in a["tasks"]
            }
            for each in opened
        ]
        some = sorted(set.union(*sets) - set.intersection(*sets))
        if some:
            lines.append(f"no average {side}: {', '.join(some)} counts there for some of these results only")
    return lines


def weighted_draws(opened: Opened, places: Sequence[Place], draws: Draws, which: int) -> np.ndarray:
    """Resampled mean of the domains' means over the tasks at `places`, float64 (resamples,).

    Args:
        opened: a result that has these tasks.
        draws: of a pair, from `paired_draws`.
        which: 0 for the first of the pair, 1 for the second.
    """
    by_name = {task["name"]: task for task in opened.result["tasks"]}
    weights = np.array(weights_of([by_name[name] for name, _, _ in places]))
    return weights @ np.stack([draws[place][which] for place in places])


def common_poolings(opened: Sequence[Opened]) -> list[str]:
    """Poolings that all of these results have, in the order of the first.

    Raises:
        CompareError: there is none.
    """
    first, *others = opened
    poolings = list(first.result["poolings"])
    for other in others:
        theirs = other.result["poolings"]
        common = [pooling for pooling in poolings if pooling in theirs]
        if not common:
            # Of no option: `own` is what an encoder without frames gives, the others are made of frames.
            fix = "`uniwhisper report` shows both in one table; frames of the one that has `own` would make them alike"
            raise _unequal("poolings", first, other, poolings, theirs, fix)
        poolings = common
    return poolings


def _refuse_unequal(first: Opened, second: Opened) -> None:
    checks = {
        # First: what a protocol says depends on the kinds of tasks that the suite has.
        "suites": lambda o: [o.result["suite"]["name"], o.result["suite"]["hash"]],
        "protocols": lambda o: o.result["protocol"],
        "seeds": lambda o: o.result["seeds"],
        "data": lambda o: [[task["name"], task["data"]] for task in o.result["tasks"]],
        "numbers of clips": lambda o: [[task["name"], task["clips"]["scored"]] for task in o.result["tasks"]],
    }
    for what, part in checks.items():
        if part(first) != part(second):
            raise _unequal(what, first, second, part(first), part(second))
    for task in first.result["tasks"]:
        name = f"{task['name']}/id"
        ids = [opened.clips[name].tolist() if name in opened.clips else [] for opened in (first, second)]
        if ids[0] != ids[1]:
            raise _unequal(f"scored clips of {task['name']}", first, second, "its clips", "others")


_EVALUATE_ALIKE = "evaluate both with the same --suite, --task, --data and --protocol; vectors once computed are kept"


def _unequal(
    what: str, first: Opened, second: Opened, one: Any, other: Any, fix: str = _EVALUATE_ALIKE
) -> CompareError:
    def short(value: Any) -> str:
        text = json.dumps(value, ensure_ascii=False)
        return text if len(text) <= 200 else text[:200] + " …"

    return CompareError(
        f"results with different {what} cannot be compared",
        expected=f"{first.name}: {short(one)}",
        got=f"{second.name}: {short(other)}",
        fix=fix,
    )
