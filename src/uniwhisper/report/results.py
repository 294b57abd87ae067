"""Result files read back, each checked by itself."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uniwhisper.core.errors import UserError

FORMAT_VERSION = 2


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


@dataclass(frozen=True)
class Average:
    value: float
    low: float | None
    high: float | None
    clip_weighted: float
    """The same scores weighted by the clips of each task."""
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
    most_common: float
    data: str
    grouped_by: str | None
    expected: int
    used: int
    scored: int
    skipped: tuple[tuple[str, str], ...]
    """Id and reason of each clip that could not be used."""
    left_out: dict[str, int]
    scores: dict[str, dict[str, Score]]
    """By pooling and measure."""
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
    not_run: tuple[str, ...]
    """Tasks of the suite that the protocol does not score."""
    clips_file: dict[str, str]
    """Name and SHA-256 of the file with the answer for every clip."""


def read_result(path: Path) -> Result:
    """One result file, checked.

    Raises:
        ResultError: it is no result, of another version, or incomplete.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.get("format") != "uniwhisper-result":
            raise ValueError("its `format` is not uniwhisper-result")
        if content.get("format_version") != FORMAT_VERSION:
            raise ValueError(f"format_version {content.get('format_version')!r}")
        return _result(path, content)
    except KeyError as error:
        reason = f"it lacks {error}"
    except (OSError, ValueError, TypeError, AttributeError) as error:
        reason = str(error)
    raise ResultError(
        f"{path} cannot be used",
        expected=f"a result file of version {FORMAT_VERSION}, as `uniwhisper evaluate` writes it",
        got=reason,
        fix="evaluate again, or move the file out of the folder",
    )


def _result(file: Path, content: dict[str, Any]) -> Result:
    model = content["model"]
    tasks = tuple(map(_task, content["tasks"]))
    averages = {
        side: {
            str(pooling): {str(measure): _average(average) for measure, average in measures.items()}
            for pooling, measures in poolings.items()
        }
        for side, poolings in content["averages"].items()
    }
    if not tasks or not any(measures for poolings in averages.values() for measures in poolings.values()):
        raise ValueError("it holds no scores")
    names = [task.name for task in tasks]
    if len(set(names)) < len(names):
        raise ValueError("two tasks have one name")
    if not {"weights", "code", "layer"} <= model["identity"].keys():
        raise ValueError("the model's identity is incomplete")
    trained_on = model.get("trained_on")
    return Result(
        file=file,
        label=str(model["label"]),
        source=str(model["source"]),
        width=int(model["width"]),
        identity={str(key): str(value) for key, value in model["identity"].items()},
        trained_on=None if trained_on is None else tuple(map(str, trained_on)),
        hop_seconds=_optional(model.get("hop_seconds")),
        check=content.get("encoder_check"),
        protocol=dict(content["protocol"]),
        suite={key: str(content["suite"][key]) for key in ("name", "hash", "description")},
        seeds=dict(content["seeds"]),
        seconds=dict(content["seconds"]),
        command=str(content["command"]),
        provenance=dict(content["provenance"]),
        poolings=tuple(map(str, content["poolings"])),
        measures=tuple(map(str, content["measures"])),
        averages=averages,
        tasks=tasks,
        not_run=tuple(map(str, content.get("not_run", ()))),  # results of before had every task of their suite
        clips_file={key: str(content["clips_file"][key]) for key in ("name", "sha256")},
    )


def _task(content: Mapping[str, Any]) -> TaskResult:
    clips = content["clips"]
    task = TaskResult(
        name=str(content["name"]),
        description=str(content["description"]),
        domain=str(content["domain"]),
        kind=str(content["kind"]),
        metric=str(content["metric"]),
        synthetic=bool(content["synthetic"]),
        variant_of=None if content["variant_of"] is None else str(content["variant_of"]),
        in_domain=bool(content["in_domain"]),
        classes=int(content["classes"]),
        most_common=_share(content["most_common"]),
        data=str(content["data"]),
        grouped_by=None if content["grouped_by"] is None else str(content["grouped_by"]),
        expected=int(clips["expected"]),
        used=int(clips["used"]),
        scored=int(clips["scored"]),
        skipped=tuple((str(skip["id"]), str(skip["reason"])) for skip in clips["skipped"]),
        left_out={str(reason): int(count) for reason, count in clips["left_out"].items()},
        scores={
            str(pooling): {str(measure): _score(score) for measure, score in measures.items()}
            for pooling, measures in content["scores"].items()
        },
        notes=tuple(map(str, content["notes"])),
    )
    if task.used + len(task.skipped) != task.expected:
        raise ValueError(f"task {task.name}: {task.used} used and {len(task.skipped)} skipped of {task.expected} clips")
    if not any(task.scores.values()):
        raise ValueError(f"task {task.name} has no score")
    return task


def _score(content: Mapping[str, Any]) -> Score:
    return Score(
        value=_share(content["score"]),
        low=_optional_share(content["low"]),
        high=_optional_share(content["high"]),
        spread=_optional(content.get("spread")),
        seed_spread=_optional(content.get("seed_spread")),
        folds=tuple((str(fold["fold"]), _share(fold["score"])) for fold in content.get("folds", ())),
    )


def _average(content: Mapping[str, Any]) -> Average:
    return Average(
        value=_share(content["score"]),
        low=_optional_share(content["low"]),
        high=_optional_share(content["high"]),
        clip_weighted=_share(content["clip_weighted"]),
        domains={str(domain): _share(score) for domain, score in content["domains"].items()},
        tasks=tuple(map(str, content["tasks"])),
    )


def _optional(value: Any) -> float | None:
    if value is None:
        return None
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"a number that is {value!r}")
    return number


def _optional_share(value: Any) -> float | None:
    return None if value is None else _share(value)


def _share(value: Any) -> float:
    number = float(value)
    if not (math.isfinite(number) and -1e-9 <= number <= 1 + 1e-9):
        raise ValueError(f"a score of {value!r}")
    return number
