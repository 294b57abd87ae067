"""One encoder on one suite: check all data, embed, score, and say everything that a reader of the numbers needs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from uniwhisper.core.provenance import provenance
from uniwhisper.evaluation.bootstrap import interval
from uniwhisper.evaluation.cache import VectorCache
from uniwhisper.evaluation.check import EncoderCheck
from uniwhisper.evaluation.clips import TaskClips, find_clips
from uniwhisper.evaluation.encoders import JudgedEncoder, require_identity
from uniwhisper.evaluation.scoring import MEASURES, PROTOCOL, TaskScores, score_task
from uniwhisper.evaluation.suites import Suite, SuiteError
from uniwhisper.evaluation.vectors import ClipVectors, clip_vectors

Progress = Callable[[str, int, int], None]
"""Called with a task's name, the clips done and the clips in total."""


@dataclass(frozen=True)
class Judgement:
    result: dict[str, Any]
    """The result as JSON, without the reference to the clips' file."""
    clips: dict[str, np.ndarray]
    """`<task>/id`, `/fold`, `/label`, `/classes` (strings; label and answers int64) and `/<measure>` per task."""


def evaluate(
    judged: JudgedEncoder,
    suite: Suite,
    data: Path,
    *,
    cache: VectorCache | None,
    seed: int = 0,
    command: str = "",
    check: EncoderCheck | None = None,
    on_progress: Progress = lambda *_: None,
) -> Judgement:
    """Judge an encoder by the `clean` protocol.

    Args:
        data: folder that holds the tasks' folders.
        cache: where vectors are kept; None keeps nothing.
        seed: of the probes' inner splits and of the bootstrap.
        command: what to type to get this result again; goes into the result as it is.
        check: what was found about the encoder itself; goes into the result. None: it was not checked.

    Raises:
        SuiteError: data is missing, or too few clips could be embedded. All data is checked before anything is
            embedded.
        EncoderError: the encoder failed its check.
    """
    start = perf_counter()
    identity = require_identity(judged.encoder)
    if check:
        check.require()
    found = [find_clips(task, Path(data)) for task in suite.tasks]
    tasks, clips, scored = [], {}, []
    embed_seconds = 0.0
    for task_clips in found:
        name, before = task_clips.task.name, perf_counter()
        vectors = clip_vectors(
            judged.encoder,
            task_clips,
            cache=cache,
            on_progress=lambda done, total, name=name: on_progress(name, done, total),
        )
        embed_seconds += perf_counter() - before
        scores = _score(task_clips, vectors, seed)
        scored.append(scores)
        tasks.append(_task_result(task_clips, vectors, scores))
        clips |= _clip_arrays(task_clips, vectors, scores)
    seconds = perf_counter() - start
    result = {
        "format": "uniwhisper-result",
        "format_version": 1,
        "protocol": PROTOCOL,
        "suite": {"name": suite.name, "hash": suite.hash, "description": suite.description},
        "model": {
            "label": judged.label,
            "source": judged.source,
            "width": judged.encoder.width,
            "identity": identity,
        },
        "encoder_check": check.to_json() if check else None,
        "command": command,
        "headline": _headline(suite, scored),
        "tasks": tasks,
        "seeds": {"inner_split": seed, "bootstrap": seed},
        "seconds": {"total": round(seconds, 1), "vectors": round(embed_seconds, 1)},
        "provenance": provenance(),
    }
    return Judgement(result, clips)


def _score(found: TaskClips, vectors: ClipVectors, seed: int) -> TaskScores:
    used = [found.clips[index] for index in vectors.indices]
    index_of = {label: index for index, label in enumerate(found.classes)}
    labels_N = np.array([index_of[clip.label] for clip in used], dtype=np.int64)
    folds = [clip.fold for clip in used]
    for fold in found.task.folds.scored:
        reference = {clip.label for clip in used if clip.fold != fold}
        if len(reference) < 2 or fold not in folds:
            raise SuiteError(
                f"task {found.task.name}: too few clips could be embedded to score fold {fold}",
                expected="clips in the fold, and of two or more classes outside it",
                got=f"{len(used)} of {len(found.clips)} clips"
                + (f"; first failure: {vectors.skipped[0].reason}" if vectors.skipped else ""),
                fix="mend the clips that fail, or unpack the set again",
            )
    return score_task(vectors.vectors, labels_N, folds, found.task.folds.scored, seed=seed)


def _task_result(found: TaskClips, vectors: ClipVectors, scores: TaskScores) -> dict[str, Any]:
    task = found.task
    notes = list(scores.notes)
    repeated = found.repeated_across_folds()
    if repeated:
        notes.append(f"{len(repeated)} clips have the same bytes as a clip of another fold, e.g. {repeated[0]}")
    return {
        "name": task.name,
        "description": task.description,
        "domain": task.domain,
        "metric": task.metric,
        "classes": len(found.classes),
        "most_common": scores.most_common,
        "data": found.hash,
        "clips": {
            "expected": len(found.clips),
            "used": len(vectors.indices),
            "scored": len(scores.scored),
            "skipped": [{"id": skip.id, "reason": skip.reason} for skip in vectors.skipped],
            "left_out": found.left_out,
        },
        "scores": scores.scores,
        "notes": notes,
    }


def _clip_arrays(found: TaskClips, vectors: ClipVectors, scores: TaskScores) -> dict[str, np.ndarray]:
    scored = [found.clips[vectors.indices[row]] for row in scores.scored]
    index_of = {label: index for index, label in enumerate(found.classes)}
    arrays = {
        "id": np.array([clip.id for clip in scored]),
        "fold": np.array([clip.fold for clip in scored]),
        "label": np.array([index_of[clip.label] for clip in scored], dtype=np.int64),
        "classes": np.array(found.classes),
        **scores.predicted,
    }
    return {f"{found.task.name}/{name}": values for name, values in arrays.items()}


def _headline(suite: Suite, scored: list[TaskScores]) -> dict[str, dict[str, float]]:
    """Per measure the mean of the domains' means, so that a domain of many tasks does not decide alone."""
    headline = {}
    for measure in MEASURES:
        score, draws = 0.0, np.zeros(())
        for domain in suite.domains:
            inside = [scores for task, scores in zip(suite.tasks, scored, strict=True) if task.domain == domain]
            score += float(np.mean([scores.scores[measure]["score"] for scores in inside])) / len(suite.domains)
            draws = draws + np.mean([scores.draws[measure] for scores in inside], axis=0) / len(suite.domains)
        low, high = interval(draws)
        headline[measure] = {"score": score, "low": low, "high": high}
    return headline
