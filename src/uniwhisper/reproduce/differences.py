"""The difference between two rows, each trained with several seeds: its interval covers the seeds too.

Bootstrap, level by level: training seeds (the two rows' runs of one seed stay together), then speakers or source
groups, then clips; the last two as `evaluation.bootstrap` draws them, with the same clips for both rows.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from uniwhisper.core.errors import RecipeError
from uniwhisper.evaluation import bootstrap
from uniwhisper.evaluation.averages import place_of, weights_of
from uniwhisper.evaluation.bootstrap import Difference
from uniwhisper.evaluation.compare import Opened, paired_draws

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
    return _differences(pairs, {measure: _groups(*pairs[0], measure) for measure in MEASURES})


def of_tasks(pairs: Sequence[tuple[Opened, Opened]], names: Sequence[str]) -> dict[tuple[str, str], Difference]:
    """As `differences`, of single tasks by name, whether or not they are in the headline; those that both scored."""
    first, second = pairs[0]
    pooling = _pooling(first, second)
    groups: dict[str, dict[str, list[str]]] = {}
    for measure in MEASURES:
        scored = [
            {task["name"] for task in side.result["tasks"] if place_of(task, pooling, measure)}
            for side in (first, second)
        ]
        groups[measure] = {name: [name] for name in names if name in scored[0] & scored[1]}
    return _differences(pairs, groups)


def _differences(
    pairs: Sequence[tuple[Opened, Opened]], groups: Mapping[str, Mapping[str, list[str]]]
) -> dict[tuple[str, str], Difference]:
    paired = [paired_draws(first, second) for first, second in pairs]
    found = {}
    for measure, of_measure in groups.items():
        for name, tasks in of_measure.items():
            observed, draws = [], []
            for (first, second), (poolings, drawn) in zip(pairs, paired, strict=True):
                weights = weights_of([_task(first, task) for task in tasks])
                places = [(task, *_place(first, task, poolings[0], measure)) for task in tasks]
                scores = [[_task(side, t)["scores"][p][m]["score"] for t, p, m in places] for side in (first, second)]
                observed.append(float(np.dot(weights, np.subtract(scores[1], scores[0]))))
                sides = [weights @ np.stack([drawn[place][side] for place in places]) for side in (0, 1)]
                draws.append(sides[1] - sides[0])
            drawn_R = over_training_seeds(np.stack(draws))
            found[name, measure] = bootstrap.difference(float(np.mean(observed)), np.zeros_like(drawn_R), drawn_R)
    return found


def level(runs: Sequence[Opened], measure: str) -> tuple[float, float, float] | None:
    """Score of the headline over a row's training seeds and its interval, as of `differences`.

    None: a run has no such score.

    Args:
        runs: results of one row, one for each training seed.
    """
    observed, draws = [], []
    for run in runs:
        pooling = run.result["poolings"][0]
        average = run.result["averages"]["headline"].get(pooling, {}).get(measure)
        if average is None:
            return None
        tasks = average["tasks"]
        weights = weights_of([_task(run, task) for task in tasks])
        _, drawn = paired_draws(run, run)
        draws.append(weights @ np.stack([drawn[task, *_place(run, task, pooling, measure)][0] for task in tasks]))
        observed.append(average["score"])
    return float(np.mean(observed)), *bootstrap.interval(over_training_seeds(np.stack(draws)))


def over_training_seeds(draws_SR: np.ndarray) -> np.ndarray:
    """float64 (resamples,): in each column of `draws_SR` the mean over training seeds drawn with replacement.

    Args:
        draws_SR: float64, per training seed and resample a difference.
    """
    seeds, resamples = draws_SR.shape
    generator = np.random.default_rng([seeds, resamples])
    times_RS = generator.multinomial(seeds, [1 / seeds] * seeds, size=resamples) / seeds
    return (times_RS * draws_SR.T).sum(axis=1)


def _groups(first: Opened, second: Opened, measure: str) -> dict[str, list[str]]:
    pooling = _pooling(first, second)
    lists = [side.result["averages"]["headline"].get(pooling, {}).get(measure) for side in (first, second)]
    if None in lists:
        return {}
    tasks = [name for name in lists[0]["tasks"] if name in lists[1]["tasks"]]
    groups = {HEADLINE: tasks}
    for name in tasks:
        groups.setdefault(_task(first, name)["domain"], []).append(name)
    return groups | {name: [name] for name in tasks}


def _pooling(first: Opened, second: Opened) -> str:
    return next(name for name in first.result["poolings"] if name in second.result["poolings"])


def _task(opened: Opened, name: str) -> dict:
    return next(task for task in opened.result["tasks"] if task["name"] == name)


def _place(opened: Opened, task: str, pooling: str, measure: str) -> tuple[str, str]:
    place = place_of(_task(opened, task), pooling, measure)
    assert place is not None, f"{task} is in the average of {measure}"
    return place
