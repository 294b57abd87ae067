"""Differences between two encoders on the same clips, from their result files."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uniwhisper.core.errors import UserError
from uniwhisper.core.identity import hash_file
from uniwhisper.evaluation import bootstrap
from uniwhisper.evaluation.averages import FRAMES, SPEECH_MEASURE, place_of, weights_of
from uniwhisper.evaluation.bootstrap import Difference
from uniwhisper.evaluation.events import average_of
from uniwhisper.evaluation.retrieval.ranks import DIRECTIONS, of_clips, score_of_clips
from uniwhisper.evaluation.scoring import bootstrap_seed


class CompareError(UserError):
    """Two results cannot be compared."""


@dataclass(frozen=True, eq=False)
class Opened:
    name: str
    result: dict[str, Any]
    clips: dict[str, np.ndarray]


@dataclass(frozen=True)
class Compared:
    """Second minus first."""

    tasks: dict[tuple[str, str, str], Difference]
    """By task, pooling and measure."""
    averages: dict[tuple[str, str, str], Difference]
    """By `headline` or `in_domain`, pooling and measure: of the means of the domains' means."""


def open_result(path: Path) -> Opened:
    """A result with its clips' file.

    Raises:
        CompareError: one of the files is missing, damaged, of another version, or they do not belong together.
    """
    path = Path(path)
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        if (result["format"], result["format_version"]) != ("uniwhisper-result", 2):
            raise ValueError(f"{result['format']} {result['format_version']}")
        beside = path.with_name(Path(result["clips_file"]["name"]).name)
        if hash_file(beside) != result["clips_file"]["sha256"]:
            raise ValueError(f"{beside.name} is not the file that was written with it")
        with np.load(beside, allow_pickle=False) as file:
            clips = {name: file[name] for name in file.files}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CompareError(
            f"{path} cannot be compared",
            expected="a result of version 2 with its .npz beside it, as `uniwhisper evaluate` writes them",
            got=f"it lacks {error}" if isinstance(error, KeyError) else _why(error),
            fix="check the path, keep both files under the names they were written with, or evaluate again",
        ) from None
    return Opened(path.name, result, clips)


def _why(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"no JSON: {error}"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{Path(error.filename).name}: {error.strerror}"
    return getattr(error, "strerror", None) or str(error)


def compare(first: Opened, second: Opened) -> Compared:
    """Paired differences of every task and average that both have.

    Raises:
        CompareError: protocols, suites, data, seeds or used clips differ.
    """
    poolings, draws = paired_draws(first, second)
    scores = [{task["name"]: task["scores"] for task in opened.result["tasks"]} for opened in (first, second)]
    tasks: dict[tuple[str, str, str], Difference] = {}
    for (task, pooling, measure), sides in draws.items():
        one, other = (side[task][pooling][measure]["score"] for side in scores)
        tasks[task, pooling, measure] = bootstrap.difference(other - one, *sides)
    return Compared(tasks, _averages(first, second, poolings, draws))


def paired_draws(
    first: Opened, second: Opened
) -> tuple[list[str], dict[tuple[str, str, str], tuple[np.ndarray, np.ndarray]]]:
    """Poolings that both have, and by task, pooling and measure the resampled scores of both (float64, resamples).

    Row by row both are of the same clips.

    Raises:
        CompareError: as `compare`.
    """
    _refuse_unequal(first, second)
    draws: dict[tuple[str, str, str], tuple[np.ndarray, np.ndarray]] = {}
    poolings = [pooling for pooling in first.result["poolings"] if pooling in second.result["poolings"]]
    if not poolings:
        # Of no option: `own` is what an encoder without frames gives, the others are made of frames.
        fix = "`uniwhisper report` shows both in one table; frames of the one that has `own` would make them alike"
        raise _unequal("poolings", first, second, first.result["poolings"], second.result["poolings"], fix)
    for one, other in zip(first.result["tasks"], second.result["tasks"], strict=True):
        if not (one["scores"] and other["scores"]):
            continue  # of a kind that neither could be scored on: no clip of it is in the files
        weights_RQ = _clip_weights(first, one["name"])
        for pooling in [*poolings, FRAMES]:
            for measure in one["scores"].get(pooling, {}):
                if measure in other["scores"].get(pooling, {}):
                    key = (one["name"], pooling, measure)
                    draws[key] = _draws(first, second, *key, one["metric"], weights_RQ)
    return poolings, draws


def _clip_weights(opened: Opened, task: str) -> np.ndarray:
    """How often each clip of a task is drawn: the same for every measure."""
    seed = bootstrap_seed(opened.result["seeds"]["first"], task)
    return bootstrap.clip_weights(opened.clips[f"{task}/group"].tolist(), seed=seed)


def _draws(
    first: Opened, second: Opened, task: str, pooling: str, measure: str, metric: str, weights_RQ: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Resampled scores of both, row by row with the same clips; seeds are drawn apart."""
    seed = bootstrap_seed(first.result["seeds"]["first"], task)
    folds = first.clips[f"{task}/fold"].tolist()
    draws = []
    for place, opened in enumerate((first, second)):
        name = f"{task}/{pooling}/{measure}"
        if metric == "recall_at_1":
            ranks_SP = {direction: opened.clips[f"{name}_{direction}"] for direction in DIRECTIONS}
            values_SQ = score_of_clips(of_clips(ranks_SP, opened.clips[f"{task}/caption_clip"]))
            draws.append(bootstrap.score_draws(values_SQ, weights_RQ, folds, seed=seed + place))
        elif measure == SPEECH_MEASURE:
            errors_SQ, words_Q = opened.clips[f"{name}_errors"], opened.clips[f"{task}/words"]
            draws.append(bootstrap.rate_draws(errors_SQ, words_Q, weights_RQ, seed=seed + place))
        elif pooling == FRAMES:
            counts_SQC3 = opened.clips[f"{name}_counts"]
            draws.append(bootstrap.f1_draws(counts_SQC3, weights_RQ, average=average_of(metric), seed=seed + place))
        elif metric == "mAP":
            logits_SQC, truth_QC = opened.clips[name], opened.clips[f"{task}/label"]
            draws.append(bootstrap.average_precision_draws(logits_SQC, truth_QC, weights_RQ, folds, seed=seed + place))
        else:
            right_SQ = opened.clips[name] == opened.clips[f"{task}/label"]
            draws.append(bootstrap.score_draws(right_SQ, weights_RQ, folds, seed=seed + place))
    return draws[0], draws[1]


def _averages(
    first: Opened, second: Opened, poolings: list[str], draws: dict[tuple[str, str, str], tuple[np.ndarray, np.ndarray]]
) -> dict[tuple[str, str, str], Difference]:
    found = {}
    by_name = {task["name"]: task for task in first.result["tasks"]}
    for side in ("headline", "in_domain"):
        for pooling in poolings:
            for measure, average in first.result["averages"][side].get(pooling, {}).items():
                tasks = [by_name[name] for name in average["tasks"]]
                other = second.result["averages"][side].get(pooling, {}).get(measure)
                places = [(task["name"], *(place_of(task, pooling, measure) or ("", ""))) for task in tasks]
                if other is None or other["tasks"] != average["tasks"] or not all(place in draws for place in places):
                    continue
                weights = np.array(weights_of(tasks))
                sides = (weights @ np.stack([draws[place][side_] for place in places]) for side_ in (0, 1))
                found[side, pooling, measure] = bootstrap.difference(other["score"] - average["score"], *sides)
    return found


def _refuse_unequal(first: Opened, second: Opened) -> None:
    checks = {
        # First: what a protocol says depends on the kinds of tasks that the suite has.
        "suites": lambda o: [o.result["suite"]["name"], o.result["suite"]["hash"]],
        "protocols": lambda o: o.result["protocol"],
        "seeds": lambda o: o.result["seeds"],
        "data": lambda o: [[task["name"], task["data"]] for task in o.result["tasks"]],
        "numbers of clips": lambda o: [[task["name"], task["clips"]["scored"]] for task in o.result["tasks"]],
    }
    for what, part in checks.items():
        if part(first) != part(second):
            raise _unequal(what, first, second, part(first), part(second))
    for task in first.result["tasks"]:
        name = f"{task['name']}/id"
        ids = [opened.clips[name].tolist() if name in opened.clips else [] for opened in (first, second)]
        if ids[0] != ids[1]:
            raise _unequal(f"scored clips of {task['name']}", first, second, "its clips", "others")


_EVALUATE_ALIKE = "evaluate both with the same --suite, --task, --data and --protocol; vectors once computed are kept"


def _unequal(
    what: str, first: Opened, second: Opened, one: Any, other: Any, fix: str = _EVALUATE_ALIKE
) -> CompareError:
    def short(value: Any) -> str:
        text = json.dumps(value, ensure_ascii=False)
        return text if len(text) <= 200 else text[:200] + " …"

    return CompareError(
        f"results with different {what} cannot be compared",
        expected=f"{first.name}: {short(one)}",
        got=f"{second.name}: {short(other)}",
        fix=fix,
    )
