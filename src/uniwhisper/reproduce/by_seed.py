"""Which runs of two rows are compared with one another: those of one seed, and a floor with all."""

from collections.abc import Mapping
from typing import TypeVar

from uniwhisper.reproduce.job import Job
from uniwhisper.reproduce.rows import ROWS

Result = TypeVar("Result")


def pairs_of(results: Mapping[Job, Result], first: str, second: str) -> dict[int, tuple[Result, Result]]:
    """Training seed -> results of both rows, in the order of seeds; empty: the rows have no seed in common.

    A row in which nothing is trained and that was judged once stands beside every seed of the other: it is the same
    floor for each.
    """
    of_first, of_second = _floor_everywhere(results, first, second), _floor_everywhere(results, second, first)
    return {seed: (of_first[seed], of_second[seed]) for seed in sorted(of_first.keys() & of_second.keys())}


def _floor_everywhere(results: Mapping[Job, Result], row: str, other: str) -> dict[int, Result]:
    """Seed -> the row's result; of a floor that was judged once also for all seeds of `other`."""
    own = {job.seed: result for job, result in results.items() if job.row == row}
    if ROWS[row].objective is None and len(own) == 1:
        (floor,) = own.values()
        return own | {job.seed: floor for job in results if job.row == other}
    return own
