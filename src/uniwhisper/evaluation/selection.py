"""A probe's settings, chosen inside the training fold, and the answers of the probe they give.

Per scored fold: the training fold is split into clips to fit on and whole groups of clips to choose on; every setting
of the grid is trained once and asked at several numbers of epochs; the best is then trained on the whole training fold
with several seeds, and only that answers the scored fold. While the curve of the chosen setting still rises at its end
in any fold, the number of epochs is doubled.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from uniwhisper.evaluation.folds import Fold, Standardiser, inner_split
from uniwhisper.evaluation.metrics import loss_of_logits, score_logits
from uniwhisper.evaluation.probe import BATCH_CLIPS, HIDDEN, Problem, Setting, Stack, train

SEEDS = 5
INNER_SHARE = 0.2
INNER_SEED = 1_000_003
"""Of the inner split's order and of the fits on it; no probe that is scored has it."""
GRID = {
    "linear": (Setting(1e-3, 0.0), Setting(1e-2, 0.0), Setting(1e-2, 3.0)),
    "mlp": (Setting(1e-3, 0.0), Setting(3e-3, 0.0), Setting(3e-3, 3.0)),
}
HIDDEN_UNITS = {"linear": 0, "mlp": HIDDEN}
LADDER = (1, 2, 4, 8)
"""Epochs asked at, in units that make the last at least `LEAST_STEPS` steps."""
LEAST_STEPS = {"linear": 128, "mlp": 64}
DOUBLINGS = 3
"""How often the epochs may be doubled while a curve still rises."""


@dataclass(frozen=True, eq=False)
class Training:
    """What one fold's probe was chosen from."""

    setting: Setting
    epochs: int
    curve: list[tuple[int, float]]
    """Epochs and inner score of the chosen setting."""
    underfit: bool
    """Whether the inner score still rose clearly at the last number of epochs that was allowed."""
    inner_clips: int


@dataclass(frozen=True, eq=False)
class ProbeAnswers:
    logits: list[list[np.ndarray]]
    """`[fold][seed]` (Q, C) float32."""
    trainings: list[Training]
    """One per fold."""


def answer(
    measure: str,
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
) -> ProbeAnswers:
    """Choose, train and ask the probe `measure` ("linear" or "mlp") on every fold.

    Args:
        vectors_ND: float32, not standardised.
        targets: int64 classes (N,), or float32 (N, C).
        strata_N: int classes by which inner splits are kept even.
        groups: per clip what must not be on both sides of an inner split.
        seed: first of the `SEEDS` seeds.
    """
    hidden = HIDDEN_UNITS[measure]
    splits = [inner_split(strata_N[f.reference], [groups[i] for i in f.reference], share=INNER_SHARE, seed=INNER_SEED)
              for f in folds]  # fmt: skip
    parts = [(f.reference[fit], f.reference[choose]) for f, (fit, choose) in zip(folds, splits, strict=True)]
    trainings = _choose(
        measure, vectors_ND, targets, parts, metric=metric, classes=classes, hidden=hidden, device=device
    )
    stack = _stack(vectors_ND, targets, [(f.reference, f.scored) for f in folds], device)
    logits: list[list[np.ndarray]] = [[np.zeros(0)] * SEEDS for _ in folds]
    alike: dict[tuple[Setting, int], list[Problem]] = defaultdict(list)
    for place, training in enumerate(trainings):
        alike[training.setting, training.epochs] += [Problem(place, seed + number) for number in range(SEEDS)]
    for (setting, epochs), problems in alike.items():
        (asked,) = train(stack, problems, setting, classes=classes, hidden=hidden, checkpoints=(epochs,))
        for problem, logits_QC in zip(problems, asked, strict=True):
            logits[problem.fold][problem.seed - seed] = logits_QC
    return ProbeAnswers(logits, trainings)


def _choose(
    measure: str,
    vectors_ND: np.ndarray,
    targets: np.ndarray,
    parts: list[tuple[np.ndarray, np.ndarray]],
    *,
    metric: str,
    classes: int,
    hidden: int,
    device: torch.device | str,
) -> list[Training]:
    grid = GRID[measure]
    places = [place for place, (_, choosing) in enumerate(parts) if len(choosing)]
    largest = max(len(fitting) for fitting, _ in parts)
    unit = max(1, -(-LEAST_STEPS[measure] // (LADDER[-1] * -(-largest // BATCH_CLIPS))))
    chosen: dict[int, Training] = {}
    waiting = places
    for doubling in range(DOUBLINGS + 1):
        if not waiting:
            break
        epochs = tuple(rung * unit * 2**doubling for rung in LADDER)
        stack = _stack(vectors_ND, targets, [parts[place] for place in waiting], device)
        problems = [Problem(row, INNER_SEED) for row in range(len(waiting))]
        # Score first, loss second: a small held-out part is soon answered without a mistake.
        ranks_GEF2 = np.zeros((len(grid), len(epochs), len(waiting), 2))
        for row, setting in enumerate(grid):
            asked = train(stack, problems, setting, classes=classes, hidden=hidden, checkpoints=epochs)
            for column, each in enumerate(asked):
                for part, (logits, place) in enumerate(zip(each, waiting, strict=True)):
                    truth = targets[parts[place][1]]
                    ranks_GEF2[row, column, part] = score_logits(metric, logits, truth), -loss_of_logits(logits, truth)
        still = []
        for row, place in enumerate(waiting):
            chosen[place] = _best(grid, epochs, ranks_GEF2[:, :, row], len(parts[place][1]))
            still += [place] if chosen[place].underfit else []
        waiting = still
    default = Training(grid[0], unit * LADDER[-1], [], False, 0)
    return [chosen.get(place, default) for place in range(len(parts))]


def _best(grid: Sequence[Setting], epochs: tuple[int, ...], ranks_GE2: np.ndarray, clips: int) -> Training:
    """The highest inner score; among equals the lowest loss, then fewer epochs, then the earlier setting."""
    places = [(row, column) for column in range(len(epochs)) for row in range(len(grid))]
    row, column = max(places, key=lambda place: tuple(ranks_GE2[place]))
    curve_E = ranks_GE2[row, :, 0]
    # Half the clips' standard error: a rise within chance is not a rise.
    error = 0.5 * float(np.sqrt(curve_E[-1] * (1 - curve_E[-1]) / max(1, clips)))
    underfit = column == len(epochs) - 1 and bool(curve_E[-1] - curve_E[-2] > error)
    return Training(grid[row], epochs[column], list(zip(epochs, curve_E.tolist(), strict=True)), underfit, clips)


def _stack(
    vectors_ND: np.ndarray,
    targets: np.ndarray,
    parts: Sequence[tuple[np.ndarray, np.ndarray]],
    device: torch.device | str,
) -> Stack:
    """Each part standardised on its own reference."""
    folds = []
    for reference, queries in parts:
        standardise = Standardiser.fit(vectors_ND[reference])
        folds.append((standardise(vectors_ND[reference]), targets[reference], standardise(vectors_ND[queries])))
    return Stack.of(folds, device)
