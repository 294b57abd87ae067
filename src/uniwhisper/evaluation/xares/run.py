"""A suite by the protocol `xares`: clips in, weighted averages out.

Tasks of clips, with one class or several. Frame tasks, retrieval and speech recognition need more than a suite says
(events, a tokenizer, a language model): they are functions of their own here, and are named as not run.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from uniwhisper.audio.load import read
from uniwhisper.core.errors import AudioError
from uniwhisper.core.provenance import provenance
from uniwhisper.evaluation.clips import TaskClips, find_clips
from uniwhisper.evaluation.suites import Suite, SuiteError, Task
from uniwhisper.evaluation.xares.average import weighted_average
from uniwhisper.evaluation.xares.pooling import Encode, first_crop, pooled_vectors
from uniwhisper.evaluation.xares.scoring import PROTOCOL, score_clips

KINDS = ("clip", "multilabel")
Progress = Callable[[str, int, int], None]


def evaluate(
    encode: Encode,
    model: dict[str, Any],
    suite: Suite,
    data: Path,
    *,
    seeds: Sequence[int] = (0,),
    command: str = "",
    device: torch.device | str = "cpu",
    on_progress: Progress = lambda *_: None,
) -> dict[str, Any]:
    """Judge an encoder, as it takes waves without lengths; returns the result as JSON.

    Args:
        encode: padded waves to frames.
        model: what the encoder is, for the result.
        data: folder that holds the tasks' folders.
        seeds: one run of X-ARES each.
        command: what to type to get this result again.
        device: where probes are trained.

    Raises:
        SuiteError: data is missing, or no task is one that X-ARES has and this function runs. Data is checked first.
    """
    chosen = [task for task in suite.tasks if task.xares is not None and task.kind in KINDS]
    if not chosen:
        raise SuiteError(
            f"suite {suite.name} holds nothing for the protocol xares",
            expected=f"tasks of the kinds {' and '.join(KINDS)} with X-ARES's settings",
            got=f"{len(suite.tasks)} tasks without",
            fix="use the suite xares-22, or the protocol clean",
        )
    found = [find_clips(task, Path(data)) for task in chosen]
    tasks = [_task_result(encode, clips, seeds, device, on_progress) for clips in found]
    return {
        "format": "uniwhisper-xares-result",
        "format_version": 1,
        "protocol": PROTOCOL,
        "suite": {"name": suite.name, "hash": suite.hash, "description": suite.description},
        "model": model,
        "command": command,
        "averages": {measure: _average(tasks, measure) for measure in ("probe", "knn")},
        "tasks": tasks,
        "not_run": [task.name for task in suite.tasks if task not in chosen],
        "seeds": list(seeds),
        "provenance": provenance(),
    }


def _task_result(
    encode: Encode, found: TaskClips, seeds: Sequence[int], device: torch.device | str, on_progress: Progress
) -> dict[str, Any]:
    task, settings = found.task, found.task.xares
    used, skipped = [], []

    def waves() -> Iterator[np.ndarray]:
        for place, clip in enumerate(found.clips):
            on_progress(task.name, place, len(found.clips))
            try:
                wave_S = read(clip.source.audio(), name=clip.id)
            except AudioError as error:
                skipped.append({"id": clip.id, "reason": error.one_line})
                continue
            used.append(clip)
            yield first_crop(wave_S, settings.crop_seconds)
        on_progress(task.name, len(found.clips), len(found.clips))

    vectors_ND = pooled_vectors(encode, waves(), batch_clips=settings.encode_batch)
    lost = {clip.fold for clip in found.clips} - {clip.fold for clip in used}
    if lost:
        raise SuiteError(
            f"task {task.name}: no clip of {', '.join(sorted(lost))} could be decoded",
            expected="clips in every fold",
            got=f"{len(used)} of {len(found.clips)} clips; first failure: {skipped[0]['reason']}",
            fix="mend the clips that fail, or unpack the set again",
        )
    scores = score_clips(
        vectors_ND,
        _targets(task, found.classes, [clip.label for clip in used]),
        [clip.fold for clip in used],
        splits=settings.splits or None,
        batch_clips=settings.batch,
        epochs=settings.epochs,
        with_knn=settings.knn,
        seeds=seeds,
        classes=len(found.classes),
        device=device,
    )
    return {
        "name": task.name,
        "kind": task.kind,
        "weight": settings.weight,
        "classes": len(found.classes),
        "data": found.hash,
        "clips": {"expected": len(found.clips), "used": len(used), "skipped": skipped, "left_out": found.left_out},
        "probe": {"score": float(np.mean(scores.probe)), "seeds": scores.probe, "folds": scores.probe_folds},
        "knn": None if scores.knn is None else {"score": scores.knn, "folds": scores.knn_folds},
    }


def _targets(task: Task, classes: list[str], labels: list[str]) -> np.ndarray:
    index_of = {name: index for index, name in enumerate(classes)}
    if task.kind == "clip":
        return np.array([index_of[label] for label in labels], dtype=np.int64)
    targets_NC = np.zeros((len(labels), len(classes)), dtype=np.float32)
    for row_C, label in zip(targets_NC, labels, strict=True):
        row_C[[index_of[name] for name in label.split(task.label.separator)]] = 1
    return targets_NC


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
