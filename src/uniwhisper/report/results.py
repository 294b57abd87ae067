"""What the report knows of a result, whatever its protocol."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uniwhisper.core.errors import UserError


class ResultError(UserError):
    """A result file cannot be used, or not together with the others."""


@dataclass(frozen=True)
class Score:
    value: float
    low: float | None
    """Of the interval; None where the metric has none."""
    high: float | None
    spread: float | None
    """Sample deviation over folds; None for one fold."""
    seed_spread: float | None
    """Sample deviation over the probe's seeds; None for one seed."""
    folds: tuple[tuple[str, float], ...]
    directions: dict[str, dict[str, float]] = field(default_factory=dict)
    """Retrieval: other metrics by name, in each direction; empty for other tasks."""


@dataclass(frozen=True)
class Average:
    value: float
    low: float | None
    high: float | None
    clip_weighted: float | None
    """The same scores weighted by the clips of each task; None: the protocol has weights of its own."""
    domains: dict[str, float]
    tasks: tuple[str, ...]
    """Names of those in it."""


@dataclass(frozen=True)
class TaskResult:
    name: str
    description: str
    domain: str
    kind: str
    metric: str
    synthetic: bool
    variant_of: str | None
    """The task that this is another form of; a variant is in no average."""
    in_domain: bool
    """A training corpus holds audio of the same corpus: averaged apart."""
    classes: int
    most_common: float | None
    """Score of always answering the most common class; None: the protocol does not say."""
    data: str
    grouped_by: str | None
    expected: int
    used: int
    scored: int
    skipped: tuple[tuple[str, str], ...]
    """Id and reason of each clip that could not be used."""
    left_out: dict[str, int]
    scores: dict[str, dict[str, Score]]
    """By pooling and measure; empty where the encoder gives nothing that the task needs, as `notes` then says."""
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    file: Path
    label: str
    source: str
    width: int
    identity: dict[str, str]
    trained_on: tuple[str, ...] | None
    """None: the model does not say."""
    hop_seconds: float | None
    """Measured on the clips; None: the encoder gives no frames."""
    check: dict[str, Any] | None
    """What was measured of the encoder itself; None: it was not checked."""
    protocol: dict[str, Any]
    suite: dict[str, str]
    seeds: dict[str, int]
    seconds: dict[str, float]
    command: str
    provenance: dict[str, Any]
    poolings: tuple[str, ...]
    """The first is the headline's."""
    measures: tuple[str, ...]
    averages: dict[str, dict[str, dict[str, Average]]]
    """`headline` and `in_domain`, by pooling and measure."""
    tasks: tuple[TaskResult, ...]
    not_run: tuple[tuple[str, str], ...]
    """Tasks of the suite that were not scored, each with the reason."""
    clips_file: dict[str, str] | None
    """Name and SHA-256 of the file with the answer for every clip; None: the protocol keeps none."""


def optional(value: Any) -> float | None:
    """A finite number. Raises ValueError: another one."""
    if value is None:
        return None
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"a number that is {value!r}")
    return number


def optional_share(value: Any) -> float | None:
    """As `share`, None where there is none."""
    return None if value is None else share(value)


def share(value: Any) -> float:
    """A score from 0 to 1. Raises ValueError: it is none."""
    number = float(value)
    if not (math.isfinite(number) and -1e-9 <= number <= 1 + 1e-9):
        raise ValueError(f"a score of {value!r}")
    return number
