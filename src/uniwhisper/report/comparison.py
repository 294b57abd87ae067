"""Which results may stand in one table; refused where their numbers would not mean the same."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uniwhisper.core.identity import hash_json
from uniwhisper.report.results import Average, Result, ResultError, Score, TaskResult

# Probes on frames stand in the columns of trained probes; speech recognition, which is one of them, in both.
_FRAMES, _SPEECH = "frames", "ctc"
_TRAINED = ("linear", "mlp")


@dataclass(frozen=True)
class Comparison:
    """Results of one protocol, suite, data and seed."""

    results: tuple[Result, ...]
    """Each encoder once, the lowest mean of the last measure first."""
    duplicates: tuple[str, ...]
    """Files left out because another one holds the same encoder with the same scores."""

    @property
    def measures(self) -> tuple[str, ...]:
        """In the order of the results; `ctc`, which has no column of its own, is not among them."""
        return tuple(dict.fromkeys(measure for result in self.results for measure in result.measures))

    @property
    def poolings(self) -> tuple[str, ...]:
        """All that any encoder was judged by."""
        return tuple(dict.fromkeys(pooling for result in self.results for pooling in result.poolings))

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


def score_of(task: TaskResult, pooling: str, measure: str) -> Score | None:
    """Score of a task in a column; None: it has nothing to say there."""
    if (score := task.scores.get(pooling, {}).get(measure)) is not None:
        return score
    on_frames = task.scores.get(_FRAMES, {})
    return on_frames.get(measure, on_frames.get(_SPEECH)) if measure in _TRAINED else None


def average_of(result: Result, side: str, pooling: str, measure: str) -> Average | None:
    """`side`: `headline` or `in_domain`."""
    return result.averages.get(side, {}).get(pooling, {}).get(measure)


def find_results(paths: Sequence[Path]) -> list[Path]:
    """Result files as named, and the `.json` files of folders (not below), sorted.

    Raises:
        ResultError: nothing is there.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        files += [file for file in sorted(path.glob("*.json")) if not _is_other(file)] if path.is_dir() else [path]
    missing = [str(file) for file in files if not file.is_file()]
    if missing or not files:
        raise ResultError(
            "no results to report",
            expected="result files, or folders that hold some",
            got=f"no such file: {', '.join(missing)}" if missing else "no .json file",
            fix="write some with `uniwhisper evaluate … -o results/`",
        )
    return list(dict.fromkeys(files))


def _is_other(file: Path) -> bool:
    """An earlier report or an examination that was written beside the results."""
    with file.open("rb") as stream:
        start = stream.read(200)
    return any(f'"uniwhisper-{kind}"'.encode() in start for kind in ("report", "layers", "robustness"))


def compare(results: Sequence[Result], *, allow_skips: bool = False) -> Comparison:
    """See that the results may stand in one table, and drop copies.

    Args:
        allow_skips: accept results of encoders that could not use every clip.

    Raises:
        ResultError: protocols, suites, clips or seeds differ; clips were skipped; or one encoder has two scores.
    """
    assert results, "find_results gives at least one"
    suites = " or ".join(f"--suite {name}" for name in sorted({result.suite["name"] for result in results}))
    checks: list[tuple[str, Callable[[Result], Any], str]] = [
        ("protocols", lambda result: result.protocol, "choose one with --protocol"),
        ("suites", lambda result: result.suite["name"], f"choose one: {suites}"),
        ("versions of one suite", lambda result: result.suite["hash"], "evaluate all encoders on the same suite file"),
        ("numbers of clips", lambda result: [task.expected for task in result.tasks], "evaluate all on the same data"),
        ("data", lambda result: [(task.name, task.data) for task in result.tasks], "evaluate all on the same data"),
        ("seeds", lambda result: result.seeds, "evaluate all with the same --seed"),
    ]
    if not allow_skips:
        for result in results:
            _refuse_skips(result)
        scored = ("numbers of scored clips", lambda result: [task.scored for task in result.tasks], "add --allow-skips")
        checks.append(scored)
    for what, property_of, fix in checks:
        for other in results[1:]:
            if property_of(other) != property_of(results[0]):
                raise _mixed(what, results[0], other, property_of, fix)
    kept: dict[str, Result] = {}
    duplicates = []
    for result in results:
        key = hash_json(result.identity)
        if key not in kept:
            kept[key] = result
        elif kept[key].averages == result.averages and kept[key].tasks == result.tasks:
            duplicates.append(result.file.name)
        else:
            raise ResultError(
                "one encoder has two different scores",
                expected="one result per encoder, or identical copies",
                got=f"{kept[key].file.name} and {result.file.name}",
                fix="evaluate it again, and keep one of the files",
            )
    ordered = sorted(kept.values(), key=lambda result: (_rank(result), result.label))
    return Comparison(tuple(ordered), tuple(duplicates))


def _rank(result: Result) -> float:
    """The headline by the last measure, which is the strongest probe; in-domain where there is nothing else."""
    for side in ("headline", "in_domain"):
        for measure in reversed(result.measures):
            if (average := average_of(result, side, result.poolings[0], measure)) is not None:
                return average.value
    return 0.0


def _mixed(what: str, first: Result, other: Result, property_of: Callable[[Result], Any], fix: str) -> ResultError:
    def show(result: Result) -> str:
        text = json.dumps(property_of(result), ensure_ascii=False)
        return f"{result.file.name}: {text if len(text) <= 200 else text[:200] + ' …'}"

    return ResultError(f"a table cannot mix {what}", expected=show(first), got=show(other), fix=fix)


def _refuse_skips(result: Result) -> None:
    skipped = [(task.name, clip, reason) for task in result.tasks for clip, reason in task.skipped]
    if skipped:
        task, clip, reason = skipped[0]
        raise ResultError(
            f"{result.file.name}: {len(skipped)} clips were skipped",
            expected="every clip of the suite used, so that encoders are compared on the same clips",
            got=f"first: {task} {clip}: {reason}",
            fix="mend the clips and evaluate again, or add --allow-skips",
        )
