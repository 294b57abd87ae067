"""Result files read back, and refused where numbers in one table would not mean the same."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uniwhisper.core.errors import UserError
from uniwhisper.core.identity import hash_json


class ResultError(UserError):
    """A result file cannot be used, or not together with the others."""


@dataclass(frozen=True)
class Score:
    value: float
    low: float
    high: float
    spread: float | None
    """Sample deviation over folds; None for one fold, and for means over tasks."""
    folds: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class TaskResult:
    name: str
    description: str
    domain: str
    metric: str
    classes: int
    most_common: float
    data: str
    expected: int
    used: int
    scored: int
    skipped: tuple[tuple[str, str], ...]
    """Id and reason of each clip that could not be used."""
    left_out: dict[str, int]
    scores: dict[str, Score]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    file: str
    label: str
    source: str
    width: int
    identity: dict[str, str]
    protocol: dict[str, Any]
    suite: dict[str, str]
    seeds: dict[str, int]
    seconds: dict[str, float]
    command: str
    provenance: dict[str, Any]
    headline: dict[str, Score]
    tasks: tuple[TaskResult, ...]


@dataclass(frozen=True)
class Comparison:
    """Results that may stand in one table: same protocol, suite, clips and seeds."""

    results: tuple[Result, ...]
    """Each encoder once, the lowest mean of the last measure first."""
    duplicates: tuple[str, ...]
    """Files left out because another one holds the same encoder with the same scores."""

    @property
    def measures(self) -> tuple[str, ...]:
        return tuple(self.results[0].headline)

    @property
    def labels(self) -> list[str]:
        """A name per result, all different: where two share one, the start of the weights' hash is added."""
        names = [result.label for result in self.results]
        return [
            name
            if names.count(name) == 1
            else f"{name} {result.identity['weights'][:6]} {result.identity['code'][-6:]}"
            for name, result in zip(names, self.results, strict=True)
        ]


def find_results(paths: Sequence[Path]) -> list[Path]:
    """Result files as named, and the `.json` files of folders (not below), sorted.

    Raises:
        ResultError: nothing is there.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        files += sorted(path.glob("*.json")) if path.is_dir() else [path]
    missing = [str(file) for file in files if not file.is_file()]
    if missing or not files:
        raise ResultError(
            "no results to report",
            expected="result files, or folders that hold some",
            got=f"no such file: {', '.join(missing)}" if missing else "no .json file",
            fix="write some with `uniwhisper evaluate … -o results/`",
        )
    return list(dict.fromkeys(files))


def read_result(path: Path) -> Result:
    """One result file, checked.

    Raises:
        ResultError: it is no result, of another version, or incomplete.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.get("format") != "uniwhisper-result":
            raise ValueError("its `format` is not uniwhisper-result")
        if content.get("format_version") != 1:
            raise ValueError(f"format_version {content.get('format_version')!r}")
        return _result(Path(path).name, content)
    except KeyError as error:
        reason = f"it lacks {error}"
    except (OSError, ValueError, TypeError, AttributeError) as error:
        reason = str(error)
    raise ResultError(
        f"{path} cannot be used",
        expected="a result file of version 1, as `uniwhisper evaluate` writes it",
        got=reason,
        fix="evaluate again, or move the file out of the folder",
    )


def compare(results: Sequence[Result], *, allow_skips: bool = False) -> Comparison:
    """See that the results may stand in one table, and drop copies.

    Args:
        allow_skips: accept results of encoders that could not use every clip.

    Raises:
        ResultError: protocols, suites, clips or seeds differ; clips were skipped; or one encoder has two scores.
    """
    assert results, "find_results gives at least one"
    checks: list[tuple[str, Callable[[Result], Any], str]] = [
        ("protocols", lambda result: result.protocol, "report one protocol at a time"),
        ("suites", lambda result: result.suite["name"], "choose one with --suite"),
        ("versions of one suite", lambda result: result.suite["hash"], "evaluate all encoders on the same suite file"),
        ("numbers of clips", lambda result: [task.expected for task in result.tasks], "evaluate all on the same data"),
        ("data", lambda result: [(task.name, task.data) for task in result.tasks], "evaluate all on the same data"),
        ("seeds", lambda result: result.seeds, "evaluate all with the same --seed"),
    ]
    for what, property_of, fix in checks:
        for other in results[1:]:
            if property_of(other) != property_of(results[0]):
                raise _mixed(what, results[0], other, property_of, fix)
    if not allow_skips:
        for result in results:
            _refuse_skips(result)
    kept: dict[str, Result] = {}
    duplicates = []
    for result in results:
        key = hash_json(result.identity)
        if key not in kept:
            kept[key] = result
        elif kept[key].headline == result.headline and kept[key].tasks == result.tasks:
            duplicates.append(result.file)
        else:
            raise ResultError(
                "one encoder has two different scores",
                expected="one result per encoder, or identical copies",
                got=f"{kept[key].file} and {result.file}",
                fix="evaluate it again, and keep one of the files",
            )
    last = list(results[0].headline)[-1]
    ordered = sorted(kept.values(), key=lambda result: (result.headline[last].value, result.label))
    return Comparison(tuple(ordered), tuple(duplicates))


def _mixed(what: str, first: Result, other: Result, property_of: Callable[[Result], Any], fix: str) -> ResultError:
    def show(result: Result) -> str:
        text = json.dumps(property_of(result), ensure_ascii=False)
        return f"{result.file}: {text if len(text) <= 200 else text[:200] + ' …'}"

    return ResultError(
        f"a table cannot mix {what}",
        expected=show(first),
        got=show(other),
        fix=fix,
    )


def _refuse_skips(result: Result) -> None:
    skipped = [(task.name, clip, reason) for task in result.tasks for clip, reason in task.skipped]
    if skipped:
        task, clip, reason = skipped[0]
        raise ResultError(
            f"{result.file}: {len(skipped)} clips were skipped",
            expected="every clip of the suite used, so that encoders are compared on the same clips",
            got=f"first: {task} {clip}: {reason}",
            fix="mend the clips and evaluate again, or add --allow-skips",
        )


def _result(file: str, content: dict[str, Any]) -> Result:
    model = content["model"]
    tasks = tuple(map(_task, content["tasks"]))
    headline = {measure: _score(score) for measure, score in content["headline"].items()}
    if not tasks or not headline or any(task.scores.keys() != headline.keys() for task in tasks):
        raise ValueError("tasks and headline do not hold the same measures")
    if not {"weights", "code", "pooling", "layer"} <= model["identity"].keys():
        raise ValueError("the model's identity is incomplete")
    return Result(
        file=file,
        label=str(model["label"]),
        source=str(model["source"]),
        width=int(model["width"]),
        identity={str(key): str(value) for key, value in model["identity"].items()},
        protocol=dict(content["protocol"]),
        suite={key: str(content["suite"][key]) for key in ("name", "hash", "description")},
        seeds=dict(content["seeds"]),
        seconds=dict(content["seconds"]),
        command=str(content["command"]),
        provenance=dict(content["provenance"]),
        headline=headline,
        tasks=tasks,
    )


def _task(content: dict[str, Any]) -> TaskResult:
    clips = content["clips"]
    task = TaskResult(
        name=str(content["name"]),
        description=str(content["description"]),
        domain=str(content["domain"]),
        metric=str(content["metric"]),
        classes=int(content["classes"]),
        most_common=_share(content["most_common"]),
        data=str(content["data"]),
        expected=int(clips["expected"]),
        used=int(clips["used"]),
        scored=int(clips["scored"]),
        skipped=tuple((str(skip["id"]), str(skip["reason"])) for skip in clips["skipped"]),
        left_out={str(reason): int(count) for reason, count in clips["left_out"].items()},
        scores={str(measure): _score(score) for measure, score in content["scores"].items()},
        notes=tuple(map(str, content["notes"])),
    )
    if task.used + len(task.skipped) != task.expected:
        raise ValueError(f"task {task.name}: {task.used} used and {len(task.skipped)} skipped of {task.expected} clips")
    return task


def _score(content: dict[str, Any]) -> Score:
    folds = tuple((str(fold["fold"]), _share(fold["score"])) for fold in content.get("folds", ()))
    spread = content.get("spread")
    value, low, high = (_share(content[key]) for key in ("score", "low", "high"))
    return Score(value, low, high, None if spread is None else _share(spread), folds)


def _share(value: Any) -> float:
    number = float(value)
    if not (math.isfinite(number) and -1e-9 <= number <= 1 + 1e-9):
        raise ValueError(f"a score of {value!r}")
    return number
