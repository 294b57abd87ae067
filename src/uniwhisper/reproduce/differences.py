"""The difference between two rows, each trained with several seeds: its interval covers the seeds too.

The bootstrap is that of `evaluation.compare_pairs`, a pair for each training seed.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from uniwhisper.core.errors import RecipeError
from uniwhisper.evaluation import bootstrap
from uniwhisper.evaluation.averages import FRAMES, place_of
from uniwhisper.evaluation.bootstrap import Difference
from uniwhisper.evaluation.compare import Opened, common_poolings, paired_draws, weighted_draws
from uniwhisper.evaluation.compare_pairs import mean_differences
from uniwhisper.evaluation.paired import Place

MEASURES = ("mlp", "knn")
HEADLINE = "headline"


def differences(pairs: Sequence[tuple[Opened, Opened]]) -> dict[tuple[str, str], Difference]:
    """Second minus first: by `headline` (mean of the domains' means), domain or task, and measure.

    Tasks are those of the headline that both rows have; the pooling is the first that they have.

    Args:
        pairs: results of both rows, one pair for each training seed.

    Raises:
        CompareError: results that cannot be compared.
        RecipeError: no pair.
    """
    if not pairs:
        raise RecipeError(
            "nothing to compare", expected="at least one seed of both rows", got="none", fix="run both rows"
        )
    return _differences(pairs, _groups)


def of_tasks(pairs: Sequence[tuple[Opened, Opened]], names: Sequence[str]) -> dict[tuple[str, str], Difference]:
    """As `differences`, of single tasks by name, whether or not they are in the headline; those that both scored."""

    def groups(first: Opened, second: Opened, pooling: str, measure: str) -> dict[str, list[str]]:
        scored = [
            {task["name"] for task in side.result["tasks"] if place_of(task, pooling, measure)}
            for side in (first, second)
        ]
        return {name: [name] for name in names if name in scored[0] & scored[1]}

    return _differences(pairs, groups)


def _differences(
    pairs: Sequence[tuple[Opened, Opened]], groups: Callable[[Opened, Opened, str, str], Mapping[str, list[str]]]
) -> dict[tuple[str, str], Difference]:
    """Of the groups of tasks that `groups` finds in the first pair, for a pooling and a measure."""
    poolings, draws = paired_draws(pairs, wanted=_wanted([side for pair in pairs for side in pair]))
    first, second = pairs[0]
    parts = {
        (name, measure): [(task, *_place(first, task, poolings[0], measure)) for task in tasks]
        for measure in MEASURES
        for name, tasks in groups(first, second, poolings[0], measure).items()
    }
    return {key: found.mean for key, found in mean_differences(pairs, draws, parts).items()}


def levels(runs: Sequence[Opened]) -> dict[str, tuple[float, float, float] | None]:
    """By measure the score of the headline over a row's training seeds and its interval, as of `differences`.

    None: a run has no such score.

    Args:
        runs: results of one row, one for each training seed.
    """
    poolings, draws = paired_draws([(run, run) for run in runs], wanted=_wanted(runs))
    found: dict[str, tuple[float, float, float] | None] = {}
    for measure in MEASURES:
        averages = [run.result["averages"]["headline"].get(poolings[0], {}).get(measure) for run in runs]
        if None in averages:
            found[measure] = None
            continue
        of_runs = []
        for run, average, drawn in zip(runs, averages, draws, strict=True):
            places = [(task, *_place(run, task, poolings[0], measure)) for task in average["tasks"]]
            of_runs.append(weighted_draws(run, places, drawn, 0))
        low, high = bootstrap.interval(bootstrap.over_training_seeds(np.stack(of_runs)))
        found[measure] = (float(np.mean([average["score"] for average in averages])), low, high)
    return found


def _wanted(opened: Sequence[Opened]) -> Callable[[Place], bool]:
    """Where a score of `MEASURES` may stand: in the first pooling that all have, or of frames, whose names differ."""
    pooling = common_poolings(opened)[0]
    return lambda place: place[1] == FRAMES or (place[1] == pooling and place[2] in MEASURES)


def _groups(first: Opened, second: Opened, pooling: str, measure: str) -> dict[str, list[str]]:
    lists = [side.result["averages"]["headline"].get(pooling, {}).get(measure) for side in (first, second)]
    if None in lists:
        return {}
    tasks = [name for name in lists[0]["tasks"] if name in lists[1]["tasks"]]
    groups = {HEADLINE: tasks}
    for name in tasks:
        groups.setdefault(_task(first, name)["domain"], []).append(name)
    return groups | {name: [name] for name in tasks}


def _task(opened: Opened, name: str) -> dict:
    return next(task for task in opened.result["tasks"] if task["name"] == name)


def _place(opened: Opened, task: str, pooling: str, measure: str) -> tuple[str, str]:
    place = place_of(_task(opened, task), pooling, measure)
    assert place is not None, f"{task} is in the average of {measure}"
    return place
