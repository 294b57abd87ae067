"""The ladder of epochs: settings are compared on its rungs, and the best goes on for as long as its curve rises."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from uniwhisper.evaluation.probe import Trainer, train_together

RUNGS = 3
"""Numbers of epochs asked at, each twice the one before; the last is for a fold's best setting."""
DOUBLINGS = 3
"""How often the epochs may be doubled while a curve still rises."""

Rank = tuple[float, float]
"""Inner score, and the loss taken negative: a small held-out part is soon answered without a mistake."""


@dataclass(frozen=True)
class Choice:
    """What one fold's probe was chosen from; its fields are what a result says of it."""

    chosen: dict[str, float]
    """`penalty`, or `epochs` with what else a setting of the probe has."""
    curve: dict[str, list[float]]
    """`inner`, the inner scores, at `penalties` or at `epochs` of the chosen setting."""
    inner_clips: int
    underfit: bool
    """Whether the inner score still rose clearly at the weakest penalty or the last number of epochs allowed."""


@dataclass(frozen=True)
class Climbed:
    """How far one place got on the ladder."""

    trainer: int
    """Which setting's was the best."""
    ranks: list[Rank]
    """Of that setting, rung by rung."""
    rising: bool
    """Whether the last rung allowed was still clearly better than the one before."""
    clips: int
    epochs: int
    """At the best rung."""

    def choice(self, chosen: dict[str, float], unit: int) -> Choice:
        """What a result says of it; `chosen`: the settings with the epochs."""
        curve = {
            "epochs": [unit * 2**rung for rung in range(len(self.ranks))],
            "inner": [score for score, _ in self.ranks],
        }
        return Choice(chosen, curve, self.clips, self.rising)


def climb(
    trainers: Sequence[Trainer],
    sizes: Sequence[int],
    rank: Callable[[int, np.ndarray], Rank],
    *,
    unit: int,
    rungs: int = RUNGS,
) -> list[Climbed]:
    """Halving, then going on: every setting to the last rung but one, a place's best further while it rises.

    Args:
        trainers: one per setting, each with one problem per place.
        sizes: clips that choose, of each place.
        rank: of a place and its outputs, float32 (Q, C).
        unit: epochs of the first rung.
        rungs: at least 2.
    """
    places = range(len(sizes))
    ranks: list[list[list[Rank]]] = [[[] for _ in places] for _ in trainers]
    for rung in range(rungs - 1):
        train_together([(trainer, _further(rung) * unit) for trainer in trainers])
        for trainer, mine in zip(trainers, ranks, strict=True):
            for place, outputs in enumerate(trainer.ask()):
                mine[place].append(rank(place, outputs))
    winners = [best([max(mine[place]) for mine in ranks]) for place in places]
    won = [ranks[winner][place] for place, winner in enumerate(winners)]
    rising = _go_on(trainers, unit, winners, won, sizes, rank, rungs)
    return [
        Climbed(winners[place], won[place], place in rising, sizes[place], unit * 2 ** best(won[place]))
        for place in places
    ]


def _go_on(
    trainers: Sequence[Trainer],
    unit: int,
    winners: Sequence[int],
    ranks: Sequence[list[Rank]],
    sizes: Sequence[int],
    rank: Callable[[int, np.ndarray], Rank],
    rungs: int,
) -> set[int]:
    """Train each place's winner to the ladder's end and beyond, adding to its ranks; the places that rise even then."""
    waiting = [[place for place, winner in enumerate(winners) if winner == row] for row in range(len(trainers))]
    for trainer, mine in zip(trainers, waiting, strict=True):
        trainer.keep(mine)
    for rung in range(rungs - 1, rungs + DOUBLINGS):
        going = [row for row, mine in enumerate(waiting) if mine]
        train_together([(trainers[row], _further(rung) * unit) for row in going])
        for row in going:
            for place, outputs in zip(waiting[row], trainers[row].ask(), strict=True):
                ranks[place].append(rank(place, outputs))
            kept = [at for at, place in enumerate(waiting[row]) if rises(ranks[place], sizes[place])]
            waiting[row] = [waiting[row][at] for at in kept]
            trainers[row].keep(kept)
    return {place for mine in waiting for place in mine}


def first_rung(least_steps: int, steps_per_epoch: int, rungs: int = RUNGS) -> int:
    """Epochs of the first rung, so that the last has `least_steps` steps or more."""
    return max(1, -(-least_steps // (2 ** (rungs - 1) * steps_per_epoch)))


def _further(rung: int) -> int:
    """Units from the rung before (from nothing at first)."""
    return 2 ** max(rung - 1, 0)


def best(ranks: Sequence[Rank]) -> int:
    """The highest inner score; among equals the lowest loss, then the earlier."""
    return max(range(len(ranks)), key=ranks.__getitem__)


def enough(ranks: Sequence[Rank], clips: int) -> int:
    """The earliest rung whose inner score is within a quarter of the clips' standard error of the highest."""
    highest = max(score for score, _ in ranks)
    margin = 0.25 * float(np.sqrt(highest * (1 - highest) / clips))
    return next(rung for rung, (score, _) in enumerate(ranks) if score >= highest - margin)


def rises(ranks: Sequence[Rank], clips: int) -> bool:
    """Whether the last is the best, and better than the one before by more than half the clips' standard error."""
    before, last = ranks[-2][0], ranks[-1][0]
    return best(ranks) == len(ranks) - 1 and last - before > 0.5 * float(np.sqrt(last * (1 - last) / clips))
