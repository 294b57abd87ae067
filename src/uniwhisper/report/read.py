"""Result files read back, each checked by itself."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uniwhisper.report.results import (
    Average,
    Result,
    ResultError,
    Score,
    TaskResult,
    optional,
    optional_share,
    share,
)
from uniwhisper.report.xares import FORMAT, as_clean

FORMAT_VERSION = 2
_NOT_SCORED = "of a kind that this protocol does not score"


def read_result(path: Path) -> Result:
    """One result file, checked.

    Raises:
        ResultError: it is no result, of another version, or incomplete.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.get("format") not in ("uniwhisper-result", FORMAT):
            raise ValueError("its `format` is not uniwhisper-result")
        if content.get("format_version") != FORMAT_VERSION:
            raise ValueError(f"format_version {content.get('format_version')!r}")
        return _result(path, as_clean(content) if content["format"] == FORMAT else content)
    except KeyError as error:
        reason = f"it lacks {error}"
    except json.JSONDecodeError as error:
        reason = f"no JSON: {error}"
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
    trained_on, clips_file = model.get("trained_on"), content["clips_file"]
    return Result(
        file=file,
        label=str(model["label"]),
        source=str(model["source"]),
        width=int(model["width"]),
        identity={str(key): str(value) for key, value in model["identity"].items()},
        trained_on=None if trained_on is None else tuple(map(str, trained_on)),
        hop_seconds=optional(model.get("hop_seconds")),
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
        # Results of before had every task of their suite.
        not_run=tuple(map(_not_run, content.get("not_run", ()))),
        clips_file=None if clips_file is None else {key: str(clips_file[key]) for key in ("name", "sha256")},
    )


def _not_run(named: str | tuple[str, str]) -> tuple[str, str]:
    name, reason = (named, _NOT_SCORED) if isinstance(named, str) else named
    return str(name), str(reason)


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
        most_common=optional_share(content["most_common"]),
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
    if task.scored and not any(task.scores.values()):
        raise ValueError(f"task {task.name} has no score")
    return task


def _score(content: Mapping[str, Any]) -> Score:
    return Score(
        value=share(content["score"]),
        low=optional_share(content["low"]),
        high=optional_share(content["high"]),
        spread=optional(content.get("spread")),
        seed_spread=optional(content.get("seed_spread")),
        folds=tuple((str(fold["fold"]), share(fold["score"])) for fold in content.get("folds", ())),
        directions={
            str(direction): {str(metric): share(each["score"]) for metric, each in metrics.items()}
            for direction, metrics in content.get("directions", {}).items()
        },
    )


def _average(content: Mapping[str, Any]) -> Average:
    return Average(
        value=share(content["score"]),
        low=optional_share(content["low"]),
        high=optional_share(content["high"]),
        clip_weighted=optional_share(content["clip_weighted"]),
        domains={str(domain): share(score) for domain, score in content["domains"].items()},
        tasks=tuple(map(str, content["tasks"])),
    )
