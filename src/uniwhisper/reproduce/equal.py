"""Rows that are compared must have had equally many steps and equally much audio: measured, not assumed."""

from collections.abc import Sequence
from dataclasses import dataclass

from uniwhisper.reproduce.compared import CHAINS, EQUAL
from uniwhisper.reproduce.job import Done, Job
from uniwhisper.reproduce.scale import EQUAL_WITHIN


@dataclass(frozen=True)
class Equality:
    """Two sides of one seed."""

    first: str
    second: str
    seed: int
    steps: tuple[int, int]
    audio_seconds: tuple[float, float]

    @property
    def holds(self) -> bool:
        """Whether steps and audio differ by at most `EQUAL_WITHIN`, relative to the first."""
        sides = (self.steps, self.audio_seconds)
        return all(abs(second - first) <= EQUAL_WITHIN * max(first, 1e-9) for first, second in sides)


def equalities(done: Sequence[Done]) -> list[Equality]:
    """Every pair of `EQUAL` of which both sides were run, for each seed."""
    by_job = {one.job: one for one in done}
    found = []
    for seed in sorted({job.seed for job in by_job}):
        for first, second in EQUAL:
            sides = [[by_job.get(Job(row, seed)) for row in CHAINS.get(name, (name,))] for name in (first, second)]
            if any(None in side for side in sides):
                continue
            steps = [sum(one.steps for one in side if one) for side in sides]
            audio = [sum(one.audio_seconds for one in side if one) for side in sides]
            found.append(Equality(first, second, seed, (steps[0], steps[1]), (audio[0], audio[1])))
    return found
