"""Where in the encoder it lies: every layer scored as `evaluate` scores the last, from one pass over the audio."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from uniwhisper.evaluation.averages import averages
from uniwhisper.evaluation.cache import VectorCache
from uniwhisper.evaluation.check import EncoderCheck
from uniwhisper.evaluation.clips import TaskClips, find_clips
from uniwhisper.evaluation.encoders import JudgedEncoder
from uniwhisper.evaluation.examine.every_layer import every_layer
from uniwhisper.evaluation.examine.subject import differences, head, subject
from uniwhisper.evaluation.kept import Kept, ScoredTask, kept_or, task_key
from uniwhisper.evaluation.pooling import FRAME_POOLINGS
from uniwhisper.evaluation.runner import Progress, check_folds, of_clips, task_result
from uniwhisper.evaluation.scoring import score_task
from uniwhisper.evaluation.suites import Suite
from uniwhisper.evaluation.trained_on import checked_against, require_unheard, trained_on
from uniwhisper.evaluation.vectors import ClipVectors, Vectors

MEASURES = ("knn", "linear")
"""What is scored unless asked otherwise: two cheap measures, one without and one with training."""
POOLING = FRAME_POOLINGS[0]


def examine_layers(
    judged: JudgedEncoder,
    suite: Suite,
    data: Path,
    *,
    cache: VectorCache | None,
    kept: Kept | None = None,
    model_folder: Path | None = None,
    measures: Sequence[str] = MEASURES,
    seed: int = 0,
    command: str = "",
    device: torch.device | str = "cpu",
    check: EncoderCheck | None = None,
    on_progress: Progress = lambda *_: None,
) -> dict[str, Any]:
    """Score the mean vector of every layer on every task of clips.

    Args:
        measures: which of `scoring.MEASURES`.
        The others: as in `runner.evaluate`.

    Returns:
        the result as JSON: `layers`, per task `scores` by layer and measure, `averages` in the same shape, and
        `differences` of the headline's mean to the encoder's output.

    Raises:
        EncoderError: the encoder gives no layers, or failed its check.
        SuiteError: data is missing, no task can be examined, too few clips could be embedded,
            or the model was trained on a task's recordings in other files.
    """
    start = perf_counter()
    layers = every_layer(judged)
    examined = subject(suite, measures)
    require_unheard(examined.suite.tasks, trained_on(judged.source, model_folder))
    if check:
        check.require()
    found = [find_clips(task, Path(data)) for task in examined.suite.tasks]
    vectors = Vectors(layers.encoder, cache)
    scored: list[ScoredTask] = []
    for task_clips in found:
        name = task_clips.task.name
        pooled = vectors.of(task_clips, on_progress=lambda done, total, name=name: on_progress(name, done, total))
        key = task_key(
            {
                "layers": vectors.identity,
                "task": repr(task_clips.task),
                "data": task_clips.hash,
                "used": pooled.indices.tolist(),
                "skipped": [[skip.id, skip.reason] for skip in pooled.skipped],
                "measures": list(measures),
                "seed": seed,
            },
            device,
        )
        make = partial(_scored, task_clips, pooled, layers.split(pooled.vectors[POOLING]), measures, seed, device)
        scored.append(kept_or(kept, key, make))
    about = head(
        "layers", judged, suite, examined,
        measures=measures, model_folder=model_folder, check=check, seed=seed, command=command,
    )  # fmt: skip
    return about | {
        "pooling": POOLING,
        "layers": [{"name": name, "width": width} for name, width in zip(layers.names, layers.widths, strict=True)],
        "averages": averages(examined.suite, scored, layers.names),
        "differences": {
            "against": layers.names[-1],
            "mean": differences(scored, layers.names[-1], measures),
        },
        "tasks": [checked_against(task.result, about["model"]["trained_on"]) for task in scored],
        "seconds": round(perf_counter() - start, 1),
    }


def _scored(
    found: TaskClips,
    pooled: ClipVectors,
    vectors: dict[str, np.ndarray],
    measures: Sequence[str],
    seed: int,
    device: torch.device | str,
) -> ScoredTask:
    check_folds(found, pooled)
    scores = score_task(vectors=vectors, **of_clips(found, pooled), measures=measures, seed=seed, device=device)
    result = task_result(found, pooled, scores.most_common)
    result["clips"]["scored"] = len(scores.scored)
    result["scores"] = scores.scores
    result["notes"] = [*scores.notes, *result["notes"]]
    return ScoredTask(result, {}, scores.draws)
