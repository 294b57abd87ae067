"""A probe's settings, chosen inside the training fold, and the answers of the probe they give.

Per scored fold: the training fold is split into clips to fit on and whole groups of clips to choose on, and the
settings that answer those best are used on the whole training fold; only that answers the scored fold.

    linear  solved for one penalty after the other, from strong to weak, until two in a row are no better; one answer
    mlp     every setting is trained to the last rung but one, a fold's best goes on to the last, and to twice as many
            epochs while its curve still rises; five answers, one per seed
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import torch

from uniwhisper.evaluation.axes import Axes
from uniwhisper.evaluation.folds import Fold, Standardiser, inner_split
from uniwhisper.evaluation.ladder import Choice, Rank, best, climb, enough, first_rung, rises
from uniwhisper.evaluation.linear import LinearProbe
from uniwhisper.evaluation.metrics import loss_of_logits, score_logits
from uniwhisper.evaluation.probe import HIDDEN, Problem, Setting, Stack, Trainer, train_together

SEEDS = 5
"""Of the probe with a hidden layer; the linear one has one answer, whatever the seed."""
INNER_SHARE = 0.2
INNER_SEED = 1_000_003
"""Of the inner split's order and of the fits on it; no probe that is scored has it."""
PENALTIES = (10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""Of the linear probe, as in `linear`."""
PATIENCE = 2
"""Penalties in a row that are no better, after which no weaker one is tried."""
ROUGH = 1e-3
"""Largest entry of the gradient at which a penalty is judged; what answers is solved to `linear.TOLERANCE`."""
GRID = (Setting(1e-2, 10.0, along_axes=True), Setting(3e-3, 15.0, along_axes=True), Setting(6e-3, 1.0))
LEAST_STEPS = 32
"""Of the ladder's last rung."""

Stacks = dict[bool, Stack]
"""Standardised vectors (False), and the same along their axes (True)."""


def _chosen(setting: Setting, epochs: int) -> dict[str, float]:
    return asdict(setting) | {"epochs": epochs}


DEFAULTS = {
    "linear": Choice({"penalty": 1e-2}, {"penalties": [], "inner": []}, 0, False),
    "mlp": Choice(_chosen(GRID[0], 8), {"epochs": [], "inner": []}, 0, False),
}
"""Where nothing can be held out to choose on."""


@dataclass(frozen=True, eq=False)
class ProbeAnswers:
    logits: list[list[np.ndarray]]
    """`[fold][seed]` (Q, C) float32."""
    choices: list[Choice]
    """One per fold."""


def answer(
    measures: Sequence[str],
    vectors_ND: np.ndarray,
    targets: np.ndarray,
    strata_N: np.ndarray,
    groups: Sequence[str],
    folds: Sequence[Fold],
    *,
    metric: str,
    classes: int,
    seed: int,
    device: torch.device | str = "cpu",
) -> dict[str, ProbeAnswers]:
    """Choose, train and ask the probes `measures` ("linear", "mlp") on every fold.

    Args:
        vectors_ND: float32, not standardised.
        targets: int64 classes (N,), or float32 (N, C).
        strata_N: int classes by which inner splits are kept even.
        groups: per clip what must not be on both sides of an inner split.
        seed: first of the `SEEDS` seeds of the probe with a hidden layer.
    """
    if not measures:
        return {}
    splits = [inner_split(strata_N[f.reference], [groups[i] for i in f.reference], share=INNER_SHARE, seed=INNER_SEED)
              for f in folds]  # fmt: skip
    parts = [(f.reference[fit], f.reference[choose]) for f, (fit, choose) in zip(folds, splits, strict=True)]
    places = [place for place, (_, choosing) in enumerate(parts) if len(choosing)]
    choices = {measure: [DEFAULTS[measure]] * len(folds) for measure in measures}
    if places:
        held_out = [parts[place] for place in places]
        truths = [targets[choosing] for _, choosing in held_out]
        stacks = _stacks(vectors_ND, targets, held_out, device)
        for measure in measures:
            choose = _choose_linear if measure == "linear" else _choose_hidden
            for place, choice in zip(places, choose(stacks, truths, metric, classes), strict=True):
                choices[measure][place] = choice
        del stacks  # two standardised copies of every fold; the next two need not lie beside them
    stacks = _stacks(vectors_ND, targets, [(f.reference, f.scored) for f in folds], device)
    give = {"linear": _answer_linear, "mlp": partial(_answer_hidden, seed=seed)}  # solved: the seed plays no part
    return {
        measure: ProbeAnswers(give[measure](stacks, [choice.chosen for choice in each], classes), each)
        for measure, each in choices.items()
    }


def _choose_linear(stacks: Stacks, truths: list[np.ndarray], metric: str, classes: int) -> list[Choice]:
    probe = LinearProbe(stacks[True], classes)
    ranks: list[list[Rank]] = [[] for _ in truths]
    waiting = list(range(len(truths)))
    for penalty in PENALTIES:
        solution = probe.solve([penalty] * len(waiting), tolerance=ROUGH)
        for place, logits in zip(waiting, solution.logits(), strict=True):
            ranks[place].append(_rank(metric, logits, truths[place]))
        rows = [row for row, place in enumerate(waiting) if len(ranks[place]) - best(ranks[place]) <= PATIENCE]
        if not rows:
            break
        waiting = [waiting[row] for row in rows]
        probe.keep(rows)
    choices = []
    for place, each in enumerate(ranks):
        curve = {"penalties": list(PENALTIES[: len(each)]), "inner": [score for score, _ in each]}
        underfit = len(each) == len(PENALTIES) and rises(each, len(truths[place]))
        choices.append(Choice({"penalty": PENALTIES[best(each)]}, curve, len(truths[place]), underfit))
    return choices


def _answer_linear(stacks: Stacks, chosen: list[dict[str, float]], classes: int) -> list[list[np.ndarray]]:
    solution = LinearProbe(stacks[True], classes).solve([each["penalty"] for each in chosen])
    return [[logits] for logits in solution.logits()]


def _choose_hidden(stacks: Stacks, truths: list[np.ndarray], metric: str, classes: int) -> list[Choice]:
    unit = first_rung(LEAST_STEPS, stacks[False].steps_per_epoch)
    problems = [Problem(place, INNER_SEED) for place in range(len(truths))]
    trainers = [
        Trainer(stacks[setting.along_axes], problems, setting, classes=classes, hidden=HIDDEN) for setting in GRID
    ]
    sizes = [len(truth) for truth in truths]
    climbed = climb(trainers, sizes, lambda place, logits_QC: _rank(metric, logits_QC, truths[place]), unit=unit)
    return [
        each.choice(_chosen(GRID[each.trainer], unit * 2 ** enough(each.ranks, each.clips)), unit) for each in climbed
    ]


def _answer_hidden(
    stacks: Stacks, chosen: list[dict[str, float]], classes: int, *, seed: int
) -> list[list[np.ndarray]]:
    logits: list[list[np.ndarray]] = [[np.zeros(0)] * SEEDS for _ in chosen]
    alike: dict[tuple[float, ...], list[Problem]] = defaultdict(list)
    for place, each in enumerate(chosen):
        alike[tuple(each.values())] += [Problem(place, seed + number) for number in range(SEEDS)]
    trainers = [
        (Trainer(stacks[bool(along)], problems, Setting(rate, decay), classes=classes, hidden=HIDDEN), int(epochs))
        for (rate, decay, along, epochs), problems in alike.items()
    ]
    train_together(trainers)
    for (trainer, _), problems in zip(trainers, alike.values(), strict=True):
        for problem, logits_QC in zip(problems, trainer.ask(), strict=True):
            logits[problem.fold][problem.seed - seed] = logits_QC
    return logits


def _rank(metric: str, logits_QC: np.ndarray, truth: np.ndarray) -> Rank:
    return score_logits(metric, logits_QC, truth), -loss_of_logits(logits_QC, truth)


def _stacks(
    vectors_ND: np.ndarray,
    targets: np.ndarray,
    parts: Sequence[tuple[np.ndarray, np.ndarray]],
    device: torch.device | str,
) -> Stacks:
    """Each part standardised on its own reference."""
    plain, turned = [], []
    for reference, queries in parts:
        standardise = Standardiser.fit(vectors_ND[reference])
        inputs, asked = standardise(vectors_ND[reference]), standardise(vectors_ND[queries])
        plain.append((inputs, targets[reference], asked))
        axes = Axes.fit(inputs, device)
        turned.append((axes(inputs), targets[reference], axes(asked)))
    return {False: Stack.of(plain, device), True: Stack.of(turned, device)}
