"""A suite by the protocol `xares`: clips in, weighted averages out.

Every task is scored whose data are there and for which nothing is lacking (`kinds.Judged.lacks`); the others are named
with the reason. A finished task is kept, so that an interrupted run goes on behind it.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from uniwhisper.core.provenance import provenance
from uniwhisper.evaluation.clips import find_clips
from uniwhisper.evaluation.kept import Kept, ScoredTask, task_key
from uniwhisper.evaluation.suites import Suite, SuiteError, Task
from uniwhisper.evaluation.xares import kinds
from uniwhisper.evaluation.xares.average import weighted_average
from uniwhisper.evaluation.xares.scoring import PROTOCOL
from uniwhisper.evaluation.xares.stored import StoredClips

Progress = Callable[[str, int, int], None]


def evaluate(
    judged: kinds.Judged,
    model: dict[str, Any],
    suite: Suite,
    data: Path,
    *,
    seeds: Sequence[int] = (0,),
    kept: Kept | None = None,
    command: str = "",
    device: torch.device | str = "cpu",
    on_progress: Progress = lambda *_: None,
) -> dict[str, Any]:
    """Judge an encoder, as it takes waves without lengths; returns the result as JSON.

    Args:
        judged: the encoder, and what else tasks need.
        model: what the encoder is, for the result; for `kept` its `identity` decides.
        data: folder that holds the tasks' folders.
        seeds: one run of X-ARES each.
        kept: where the scores of finished tasks are kept; None: nowhere.
        command: what to type to get this result again.
        device: where probes are trained.

    Raises:
        SuiteError: a task's data are there and incomplete, a label cannot be used, or no task can be run. All this is
            checked before anything is encoded.
        EncoderError, OutputError: as `kinds.score`.
    """
    start = perf_counter()
    not_run = {task.name: reason for task in suite.tasks if (reason := _why_not(judged, task, Path(data)))}
    chosen = [task for task in suite.tasks if task.name not in not_run]
    if not chosen:
        raise SuiteError(
            f"suite {suite.name} holds nothing that the protocol xares can run here",
            expected="a task with X-ARES's settings, its data, and what it needs",
            got="; ".join(f"{name}: {reason}" for name, reason in not_run.items()),
            fix="use the suite xares-22 with --data, or the protocol clean",
        )
    found = [StoredClips(find_clips(task, Path(data)), partial(on_progress, task.name)) for task in chosen]
    for stored in found:
        kinds.check(stored)
    protocol = PROTOCOL | _brought(judged, chosen)
    tasks = [_task_result(judged, stored, protocol, model, seeds, kept, device) for stored in found]
    return {
        "format": "uniwhisper-xares-result",
        "format_version": 2,
        "protocol": protocol,
        "suite": {"name": suite.name, "hash": suite.hash, "description": suite.description},
        "model": model,
        "command": command,
        "averages": {measure: _average(tasks, measure) for measure in ("probe", "knn")},
        "tasks": tasks,
        "not_run": not_run,
        "seeds": list(seeds),
        "seconds": {"total": round(perf_counter() - start, 1)},
        "provenance": provenance(),
    }


def _why_not(judged: kinds.Judged, task: Task, data: Path) -> str | None:
    if reason := judged.lacks(task):
        return reason
    if not any((data / task.folder).glob("*.tar")):
        return f"no archives in DIR/{task.folder}"
    return None


def _brought(judged: kinds.Judged, tasks: Sequence[Task]) -> dict[str, Any]:
    """What decides scores and is neither the encoder's nor ours: results that differ in it stand in no one table."""
    parts = {"retrieval": ("tokenizer", judged.tokenizer), "asr": ("language_model", judged.speech)}
    used = [parts[kind] for kind in parts if any(task.kind == kind for task in tasks)]
    return {name: f"{part.name}, {part.identity[:12]}" for name, part in used}


def _task_result(
    judged: kinds.Judged,
    stored: StoredClips,
    protocol: dict[str, Any],
    model: dict[str, Any],
    seeds: Sequence[int],
    kept: Kept | None,
    device: torch.device | str,
) -> dict[str, Any]:
    key = _key(judged, stored, protocol, model, seeds, device) if kept else ""
    done = kept.load(key) if kept else None
    # A clip that failed before may have lacked a decoder that is there now.
    if done is not None and stored.still_fails(done.result["clips"]["skipped"]):
        return done.result
    result = _scored(judged, stored, seeds, device)
    if kept:
        kept.save(key, ScoredTask(result, {}, {}))
    return result


def _key(
    judged: kinds.Judged,
    stored: StoredClips,
    protocol: dict[str, Any],
    model: dict[str, Any],
    seeds: Sequence[int],
    device: torch.device | str,
) -> str:
    return task_key(
        {
            "protocol": protocol,
            "task": repr(stored.task),
            "data": stored.found.hash,
            "order": [clip.id for clips in stored.splits.values() for clip in clips],
            "encoder": [model["identity"], judged.timed.hop_seconds if judged.timed else None],
            "seeds": list(seeds),
        },
        device,
    )


def _scored(
    judged: kinds.Judged, stored: StoredClips, seeds: Sequence[int], device: torch.device | str
) -> dict[str, Any]:
    task, found = stored.task, stored.found
    scores = kinds.score(judged, stored, seeds, device)
    used = sum(map(len, stored.used.values()))
    stored.on_progress(len(found.clips), len(found.clips))
    return {
        "name": task.name,
        "description": task.description,
        "domain": task.domain,
        "kind": task.kind,
        "metric": task.metric,
        "weight": stored.settings.weight,
        "classes": len(task.label.classes or found.classes),
        "data": found.hash,
        "splits": [stored.settings.splits["test"]] if stored.settings.splits else list(stored.splits),
        "clips": {
            "expected": len(found.clips),
            "used": used,
            "skipped": stored.skipped,
            "left_out": found.left_out,
        },
        **scores,
    }


def _average(tasks: list[dict[str, Any]], measure: str) -> dict[str, Any] | None:
    """Weighted over exactly the tasks that have the measure; None: no task has it."""
    scores = {task["name"]: task[measure]["score"] for task in tasks if task[measure] is not None}
    if not scores:
        return None
    weights = {task["name"]: task["weight"] for task in tasks}
    return {
        "score": weighted_average(scores, weights),
        "weight": sum(weights[name] for name in scores),
        "tasks": list(scores),
    }
