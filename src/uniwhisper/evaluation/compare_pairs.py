"""Mean differences over several pairs of results, as of two recipes that were each trained with several seeds.

Bootstrap, level by level: pairs (the two results of one training seed stay together), then what `bootstrap` draws of
each, with the same clips for all. One pair gives the interval without the first level.
"""

import re
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from uniwhisper.core.identity import hash_json
from uniwhisper.evaluation import bootstrap
from uniwhisper.evaluation.averages import weights_of
from uniwhisper.evaluation.bootstrap import Difference
from uniwhisper.evaluation.compare import (
    CompareError,
    Draws,
    Opened,
    average_places,
    paired_draws,
    weighted_draws,
)
from uniwhisper.evaluation.paired import Place

Key = TypeVar("Key", bound=Hashable)
_OF_A_SEED = re.compile(r"[-_. ]*(seed)?[-_. ]*(?<![vV\d])\d+$")  # whisper-large-v3 is no seed of whisper-large


@dataclass(frozen=True)
class OverPairs:
    mean: Difference
    """Of the mean over the pairs."""
    of_pairs: tuple[float, ...]
    """Second minus first of each pair, in their order."""


@dataclass(frozen=True)
class ComparedPairs:
    """Second minus first, as `compare.Compared`."""

    averages: dict[tuple[str, str, str], OverPairs]
    """By `headline`, `headline/` and a domain, or `in_domain`; pooling and measure."""
    tasks: dict[tuple[str, str, str], OverPairs]
    """By task, pooling and measure."""


def compare_pairs(
    pairs: Sequence[tuple[Opened, Opened]], report: Callable[[int, int], None] = lambda _done, _all: None
) -> ComparedPairs:
    """Mean differences of every task and average that all results have.

    Args:
        pairs: at least one.
        report: as of `paired_draws`.

    Raises:
        CompareError: as `refuse_repeated`; or as `compare`, whichever two of the results differ.
    """
    refuse_repeated(pairs)
    poolings, draws = paired_draws(pairs, report)
    drawn = draws[0]
    whole = average_places([each for pair in pairs for each in pair], poolings, drawn)
    averages = {key: places for key, places in whole.items() if key[0] == "headline"}
    averages |= _of_domains(pairs[0][0], averages) | whole
    tasks = {place: [place] for place in drawn}
    return ComparedPairs(mean_differences(pairs, draws, averages), mean_differences(pairs, draws, tasks))


def mean_differences(
    pairs: Sequence[tuple[Opened, Opened]], draws: Sequence[Draws], parts: Mapping[Key, Sequence[Place]]
) -> dict[Key, OverPairs]:
    """Of each part the difference of the means of the domains' means over its tasks.

    Args:
        draws: of the pairs, from `paired_draws`.
        parts: where the scores of a part's tasks stand; in `draws`.
    """
    tasks = [[{task["name"]: task for task in side.result["tasks"]} for side in pair] for pair in pairs]
    found = {}
    for key, places in parts.items():
        weights = weights_of([tasks[0][0][name] for name, _, _ in places])
        observed, drawn = [], []
        for pair, by_name, of_pair in zip(pairs, tasks, draws, strict=True):
            scores = [[side[name]["scores"][p][m]["score"] for name, p, m in places] for side in by_name]
            observed.append(float(np.dot(weights, np.subtract(scores[1], scores[0]))))
            first_R, second_R = (weighted_draws(pair[0], places, of_pair, which) for which in (0, 1))
            drawn.append(second_R - first_R)
        drawn_R = bootstrap.over_training_seeds(np.stack(drawn))
        mean = bootstrap.difference(float(np.mean(observed)), np.zeros_like(drawn_R), drawn_R)
        found[key] = OverPairs(mean, tuple(observed))
    return found


def refuse_repeated(pairs: Sequence[tuple[Opened, Opened]]) -> None:
    """Refuse pairs that are no further runs: an interval over them would be too narrow, or of nothing.

    Raises:
        CompareError: a model is on both sides, or two pairs are of the same models; or, as far as names tell, a recipe
            is on both sides, as where the results of one pair were swapped.
    """
    firsts = {_model(first): first for first, _ in pairs}
    for _, second in pairs:
        if (first := firsts.get(_model(second))) is not None:
            raise CompareError(
                "a model that is on both sides cannot be compared",
                expected="first a result of the one recipe, in every pair, and second one of the other",
                got=f"{first.name} is a first, and {second.name}, of the same model, a second",
                fix="A1.json B1.json --pair A2.json B2.json, with the models of A in no place of B",
            )
    seen: dict[tuple[str, str], tuple[Opened, Opened]] = {}
    for first, second in pairs:
        models = _model(first), _model(second)
        if (before := seen.get(models)) is not None:
            raise CompareError(
                "a pair that is given twice cannot be compared",
                expected="pairs of different models, as of different training seeds",
                got=f"{before[0].name} {before[1].name} and {first.name} {second.name}, of the same two models",
                fix="leave one of them out, or name the files of another seed",
            )
        seen[models] = first, second
    _refuse_swapped(pairs)


def _refuse_swapped(pairs: Sequence[tuple[Opened, Opened]]) -> None:
    # Two models of one name tell nothing: all may lie in folders called `model`, or be compared with themselves.
    telling = [pair for pair in pairs if _recipe(pair[0]) != _recipe(pair[1])]
    firsts = {_recipe(first): first for first, _ in telling}
    for _, second in telling:
        if (first := firsts.get(_recipe(second))) is not None:
            labels = first.result["model"]["label"], second.result["model"]["label"]
            raise CompareError(
                "a recipe that is on both sides cannot be compared",
                expected="first a result of the one recipe, in every pair, and second one of the other",
                got=f"{first.name} ({labels[0]}) is a first, and {second.name} ({labels[1]}) a second",
                fix="swap the two files of one pair: A1.json B1.json --pair A2.json B2.json; where only the names are "
                "alike, change those (`model.label` in the files)",
            )


def _recipe(opened: Opened) -> str:
    """What a model is called, without the number of its training seed."""
    return _OF_A_SEED.sub("", opened.result["model"]["label"])


def in_several(pairs: Sequence[tuple[Opened, Opened]]) -> dict[str, int]:
    """Of models that are in more than one pair: the name of a result, and in how many."""
    counted = Counter(_model(side) for pair in pairs for side in pair)
    names = {_model(side): side.name for pair in pairs for side in pair}
    return {names[model]: times for model, times in counted.items() if times > 1}


def _model(opened: Opened) -> str:
    return hash_json(opened.result["model"]["identity"])


def _of_domains(
    first: Opened, averages: Mapping[tuple[str, str, str], Sequence[Place]]
) -> dict[tuple[str, str, str], list[Place]]:
    """The parts of averages that are of one domain."""
    domains = {task["name"]: task["domain"] for task in first.result["tasks"]}
    names = dict.fromkeys(domains[name] for places in averages.values() for name, _, _ in places)
    found: dict[tuple[str, str, str], list[Place]] = {}
    for domain in names:
        for (of, pooling, measure), places in averages.items():
            inside = [place for place in places if domains[place[0]] == domain]
            if inside:
                found[f"{of}/{domain}", pooling, measure] = inside
    return found
