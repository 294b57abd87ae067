"""One encoder on one suite: check all data, embed, score, and say everything that a reader of the numbers needs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from uniwhisper.core.provenance import provenance
from uniwhisper.evaluation.averages import averages
from uniwhisper.evaluation.cache import VectorCache
from uniwhisper.evaluation.check import EncoderCheck
from uniwhisper.evaluation.clips import TaskClips, find_clips, has_words
from uniwhisper.evaluation.encoders import JudgedEncoder, require_identity
from uniwhisper.evaluation.events import score_events, spans_of
from uniwhisper.evaluation.kept import Kept, ScoredTask, kept_or, task_key
from uniwhisper.evaluation.pooling import gives_frames, measured_hop_seconds
from uniwhisper.evaluation.protocol import protocol_of
from uniwhisper.evaluation.retrieval.captions import captions_of
from uniwhisper.evaluation.retrieval.scoring import score_retrieval
from uniwhisper.evaluation.retrieval.texts import WORDS, TextSide
from uniwhisper.evaluation.scoring import MEASURES, TaskScores, score_task
from uniwhisper.evaluation.speech import score_speech
from uniwhisper.evaluation.suites import Suite, SuiteError
from uniwhisper.evaluation.trained_on import checked_against, require_unheard, trained_on
from uniwhisper.evaluation.vectors import ClipVectors, Vectors

Progress = Callable[[str, int, int], None]
"""Called with a task's name, the clips done and the clips in total."""

_ON_FRAMES = {"asr": score_speech, "frame": score_events}


@dataclass(frozen=True, eq=False)
class Judgement:
    result: dict[str, Any]
    """The result as JSON (docs/decisions/0010-clean-2.md), without the reference to the clips' file."""
    clips: dict[str, np.ndarray]
    """Each clip's answers, as described there."""


def evaluate(
    judged: JudgedEncoder,
    suite: Suite,
    data: Path,
    *,
    cache: VectorCache | None,
    kept: Kept | None = None,
    model_folder: Path | None = None,
    seed: int = 0,
    command: str = "",
    device: torch.device | str = "cpu",
    check: EncoderCheck | None = None,
    texts: TextSide = WORDS,
    on_progress: Progress = lambda *_: None,
) -> Judgement:
    """Judge an encoder by the `clean` protocol.

    Args:
        data: folder that holds the tasks' folders.
        cache: where vectors are kept; None keeps nothing.
        kept: where the scores of finished tasks are kept, so that an interrupted judgement goes on; None: nowhere.
        model_folder: folder of the model, whose card may say what it was trained on; None: not known.
        seed: first of the probes' seeds, and of the bootstrap.
        command: what to type to get this result again; goes into the result as it is.
        device: where kNN and probes compute.
        check: what was found about the encoder itself; goes into the result. None: it was not checked.
        texts: what captions are to tasks of retrieval.

    Raises:
        SuiteError: data is missing, too few clips could be embedded, or the model was trained on a task's recordings in
            other files. All data is checked before anything is embedded.
        EncoderError: the encoder failed its check.
    """
    start = perf_counter()
    corpora = trained_on(judged.source, model_folder)
    identity = require_identity(judged.encoder)
    require_unheard(suite.tasks, corpora)
    if check:
        check.require()
    found = [find_clips(task, Path(data)) for task in suite.tasks]
    for task_clips in found:
        for clip in task_clips.clips:
            if task_clips.task.kind == "frame":
                spans_of(task_clips, clip)
            elif task_clips.task.kind == "retrieval":
                captions_of(task_clips.task, clip)
    vectors = Vectors(judged.encoder, cache)
    scored: list[ScoredTask] = []
    frames, seconds = [], []
    embed_seconds = 0.0
    for task_clips in found:
        name, before = task_clips.task.name, perf_counter()
        pooled = vectors.of(task_clips, on_progress=lambda done, total, name=name: on_progress(name, done, total))
        embed_seconds += perf_counter() - before
        frames.append(pooled.frames)
        seconds.append(pooled.seconds)
        key = _key(suite, texts, task_clips, pooled, vectors.identity, seed, device)
        scored.append(kept_or(kept, key, partial(_scored, judged.encoder, texts, task_clips, pooled, seed, device)))
    result = {
        "format": "uniwhisper-result",
        "format_version": 2,
        "protocol": protocol_of(suite, texts),
        "suite": {"name": suite.name, "hash": suite.hash, "description": suite.description},
        "model": {
            "label": judged.label,
            "source": judged.source,
            "width": judged.encoder.width,
            "identity": identity,
            "trained_on": corpora,
            "hop_seconds": measured_hop_seconds(np.concatenate(frames), np.concatenate(seconds)),
        },
        "encoder_check": check.to_json() if check else None,
        "command": command,
        "poolings": list(vectors.poolings),
        "measures": list(MEASURES),
        "averages": averages(suite, scored, vectors.poolings),
        "tasks": [checked_against(task.result, corpora) for task in scored],
        "seeds": {"first": seed},
        "seconds": {"total": round(perf_counter() - start, 1), "vectors": round(embed_seconds, 1)},
        "provenance": provenance(),
    }
    clips = {f"{task.result['name']}/{name}": values for task in scored for name, values in task.clips.items()}
    return Judgement(result, clips)


def _key(
    suite: Suite,
    texts: TextSide,
    found: TaskClips,
    pooled: ClipVectors,
    identity: dict[str, str],
    seed: int,
    device: torch.device | str,
) -> str:
    return task_key(
        {
            "protocol": protocol_of(replace(suite, tasks=(found.task,)), texts),
            "task": repr(found.task),
            "data": found.hash,
            "used": pooled.indices.tolist(),
            "skipped": [[skip.id, skip.reason] for skip in pooled.skipped],
            "encoder": identity,
            "seed": seed,
        },
        device,
    )


def _scored(
    encoder: Any, texts: TextSide, found: TaskClips, pooled: ClipVectors, seed: int, device: torch.device | str
) -> ScoredTask:
    check_folds(found, pooled)
    if found.task.kind == "retrieval":
        result = task_result(found, pooled, 0.0)
        return score_retrieval(found, pooled, texts, seed=seed, device=device, result=result)
    if found.task.kind in _ON_FRAMES:
        if not gives_frames(encoder):
            return _without_scores(found, pooled)
        score, result = _ON_FRAMES[found.task.kind], task_result(found, pooled, 0.0)
        return score(encoder, found, pooled, seed=seed, device=device, result=result)
    scores = score_task(vectors=pooled.vectors, **of_clips(found, pooled), seed=seed, device=device)
    result = task_result(found, pooled, scores.most_common)
    result["clips"]["scored"] = len(scores.scored)
    result["scores"] = scores.scores
    result["notes"] = [*scores.notes, *result["notes"]]
    return ScoredTask(result, _clip_arrays(found, pooled, scores), scores.draws)


def _without_scores(found: TaskClips, pooled: ClipVectors) -> ScoredTask:
    result = task_result(found, pooled, 0.0)
    result["clips"]["scored"] = 0
    result["notes"].append("needs frames, and this encoder gives one vector per clip: not scored, in no average")
    return ScoredTask(result, {}, {})


def of_clips(found: TaskClips, pooled: ClipVectors) -> dict[str, Any]:
    """Arguments of `score_task` (and of what scores like it) that a task and its used clips decide."""
    used = [found.clips[index] for index in pooled.indices]
    return {
        "name": found.task.name,
        "targets": _targets(found, pooled),
        "fold_of_clip": [clip.fold for clip in used],
        "group_of_clip": [clip.group for clip in used],
        "scored": found.task.folds.scored,
        "metric": found.task.metric,
        "classes": len(found.classes),
        "split_by": [found.task.split_of(clip.id, clip.group) for clip in used],
        "reference": found.task.folds.reference,
    }


def _targets(found: TaskClips, pooled: ClipVectors) -> np.ndarray:
    index_of = {label: index for index, label in enumerate(found.classes)}
    labels = [found.clips[index].label for index in pooled.indices]
    separator = found.task.label.separator
    if separator is None:
        return np.array([index_of[label] for label in labels], dtype=np.int64)
    targets_NC = np.zeros((len(labels), len(found.classes)), dtype=np.float32)
    for row, label in enumerate(labels):
        targets_NC[row, [index_of[each] for each in label.split(separator)]] = 1
    return targets_NC


def check_folds(found: TaskClips, pooled: ClipVectors) -> None:
    used = [found.clips[index] for index in pooled.indices]
    spoken = found.task.kind == "asr"
    askable = {clip.fold for clip in used if not spoken or has_words(clip)}
    for fold in found.task.folds.scored:
        allowed = found.task.folds.reference
        reference = {c.label for c in used if c.fold != fold and (allowed is None or c.fold in allowed)}
        if len(reference) < 2 or fold not in askable:
            raise SuiteError(
                f"task {found.task.name}: too few clips could be embedded to score fold {fold}",
                expected=f"clips{' with words' * spoken} in the fold, and of two or more classes outside it",
                got=f"{len(used)} of {len(found.clips)} clips"
                + (f"; first failure: {pooled.skipped[0].reason}" if pooled.skipped else ""),
                fix="mend the clips that fail, or unpack the set again",
            )


def task_result(found: TaskClips, pooled: ClipVectors, most_common: float) -> dict[str, Any]:
    task, notes = found.task, []
    repeated = found.repeated_across_folds()
    if repeated:
        notes.append(f"{len(repeated)} clips have the same bytes as a clip of another fold, e.g. {repeated[0]}")
    return {
        "name": task.name,
        "description": task.description,
        "domain": task.domain,
        "kind": task.kind,
        "metric": task.metric,
        "synthetic": task.synthetic,
        "variant_of": task.variant_of,
        "folder": task.folder,
        "in_domain": bool(task.in_domain_corpora),
        "in_domain_corpora": list(task.in_domain_corpora),
        "classes": len(found.classes),
        "most_common": most_common,
        "data": found.hash,
        "grouped_by": task.group.name if task.group else None,
        "clips": {
            "expected": len(found.clips),
            "used": len(pooled.indices),
            "scored": len(pooled.indices),
            "skipped": [{"id": skip.id, "reason": skip.reason} for skip in pooled.skipped],
            "left_out": found.left_out,
        },
        "scores": {},
        "notes": notes,
    }


def _clip_arrays(found: TaskClips, pooled: ClipVectors, scores: TaskScores) -> dict[str, np.ndarray]:
    scored = [found.clips[pooled.indices[row]] for row in scores.scored]
    targets = _targets(found, pooled)[scores.scored]
    return {
        "id": np.array([clip.id for clip in scored]),
        "fold": np.array([clip.fold for clip in scored]),
        "group": np.array([clip.group for clip in scored]),
        "label": targets,
        "classes": np.array(found.classes),
        **{
            f"{pooling}/{measure}": values
            for pooling, measures in scores.answers.items()
            for measure, values in measures.items()
        },
    }
