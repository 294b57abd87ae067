"""How it holds: altered clips asked against clean ones.

Only the questions, the clips of the scored fold, are altered. What is learned from, kNN's reference and a probe's
training fold, stays as recorded: the situation of somebody who labelled good recordings and now hears bad ones.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from uniwhisper.audio.load import read
from uniwhisper.evaluation.averages import averages
from uniwhisper.evaluation.cache import VectorCache
from uniwhisper.evaluation.check import EncoderCheck
from uniwhisper.evaluation.clips import Clip, TaskClips, find_clips
from uniwhisper.evaluation.encoders import JudgedEncoder
from uniwhisper.evaluation.examine.alter import DEFAULT, Altered, Condition, affects
from uniwhisper.evaluation.examine.altered_scores import CLEAN, cosine_between_clips, cosines, score_altered
from uniwhisper.evaluation.examine.subject import differences, head, subject
from uniwhisper.evaluation.kept import Kept, ScoredTask, kept_or, task_key
from uniwhisper.evaluation.runner import Progress, check_folds, of_clips, task_result
from uniwhisper.evaluation.suites import Suite, SuiteError
from uniwhisper.evaluation.trained_on import checked_against, require_unheard, trained_on
from uniwhisper.evaluation.vectors import ClipVectors, Skipped, Vectors

MEASURES = ("knn",)
MOST_CLIPS = 500
# A minute of float32 samples is 4 MB, and a chunk of altered clips is in memory at once.
_CHUNK_CLIPS = 64


def examine_robustness(
    judged: JudgedEncoder,
    suite: Suite,
    data: Path,
    *,
    cache: VectorCache | None,
    kept: Kept | None = None,
    model_folder: Path | None = None,
    conditions: Sequence[Condition] = DEFAULT,
    most_clips: int | None = MOST_CLIPS,
    measures: Sequence[str] = MEASURES,
    seed: int = 0,
    command: str = "",
    device: torch.device | str = "cpu",
    check: EncoderCheck | None = None,
    on_progress: Progress = lambda *_: None,
) -> dict[str, Any]:
    """Score every task of clips under every condition, by the encoder's headline pooling.

    Args:
        conditions: all different.
        most_clips: clips of a task that are asked, even over its scored folds, chosen by the hash of their content;
            None: all.
        measures: which of `scoring.MEASURES`.
        The others: as in `runner.evaluate`.

    Returns:
        the result as JSON: `conditions`, per task `scores` by condition (`clean` first) and measure, `cosine` of each
        altered vector with the clean one, what a condition did to how many clips (`altered`), `averages` in the shape
        of `scores`, and `differences` of the headline's mean to clean.

    Raises:
        EncoderError: the encoder failed its check.
        SuiteError: data is missing, no task can be examined, too few clips could be embedded,
            or the model was trained on a task's recordings in other files.
    """
    assert len({condition.name for condition in conditions}) == len(conditions), "a condition twice"
    start = perf_counter()
    examined = subject(suite, measures)
    require_unheard(examined.suite.tasks, trained_on(judged.source, model_folder))
    if check:
        check.require()
    found = [find_clips(task, Path(data)) for task in examined.suite.tasks]
    vectors = Vectors(judged.encoder, cache, chunk_clips=_CHUNK_CLIPS)
    scored: list[ScoredTask] = []
    for task_clips in found:
        clean, asked, altered, skipped = _embedded(task_clips, vectors, conditions, most_clips, on_progress)
        check_folds(task_clips, clean)
        _check_asked(task_clips, clean, asked, skipped)
        key = task_key(
            {
                "robustness": vectors.identity,
                "task": repr(task_clips.task),
                "data": task_clips.hash,
                "used": clean.indices.tolist(),
                "asked": asked.tolist(),
                "skipped": [[skip.id, skip.reason] for skip in skipped],
                "conditions": [condition.name for condition in conditions],
                "measures": list(measures),
                "seed": seed,
            },
            device,
        )
        make = partial(_scored, task_clips, clean, asked, altered, skipped, conditions, measures, seed, device)
        scored.append(kept_or(kept, key, make))
    about = head(
        "robustness", judged, suite, examined,
        measures=measures, model_folder=model_folder, check=check, seed=seed, command=command,
    )  # fmt: skip
    names = [CLEAN, *(condition.name for condition in conditions)]
    return about | {
        "pooling": vectors.poolings[0],
        "altered": "the questions: clips of the scored fold; what is learned from stays as recorded",
        "conditions": [
            {"name": condition.name, "kind": condition.kind, "value": condition.value, "title": condition.title}
            for condition in conditions
        ],
        "averages": averages(examined.suite, scored, names),
        "differences": {"against": CLEAN, "mean": differences(scored, CLEAN, measures)},
        "tasks": [checked_against(task.result, about["model"]["trained_on"]) for task in scored],
        "seconds": round(perf_counter() - start, 1),
    }


def _embedded(
    found: TaskClips,
    vectors: Vectors,
    conditions: Sequence[Condition],
    most_clips: int | None,
    on_progress: Progress,
) -> tuple[ClipVectors, np.ndarray, dict[str, np.ndarray], list[Skipped]]:
    """Clean vectors; rows of them that are asked, ascending; per condition their altered vectors; what failed when.

    A clip that fails under one condition is asked under none, so that all conditions are of the same clips.
    """
    name = found.task.name
    clean = vectors.of(found, on_progress=lambda done, total: on_progress(name, done, total))
    wanted = _choose(found, clean, most_clips)
    clips = [found.clips[clean.indices[row]] for row in wanted]
    usable = np.ones(len(wanted), dtype=bool)
    skipped, altered = list(clean.skipped), {}
    for condition in conditions:
        changed = replace(found, clips=[_altered(clip, condition) for clip in clips])
        label = f"{name}, {condition.title}"
        got = vectors.of(changed, on_progress=lambda done, total, label=label: on_progress(label, done, total))
        skipped += [Skipped(skip.id, f"under {condition.name}: {skip.reason}") for skip in got.skipped]
        usable &= np.isin(np.arange(len(wanted)), got.indices)
        altered[condition.name] = got.indices, got.vectors[vectors.poolings[0]]
    kept = {
        name: vectors_QD[np.isin(indices, np.flatnonzero(usable))] for name, (indices, vectors_QD) in altered.items()
    }
    clean = replace(clean, vectors={"clean": clean.vectors[vectors.poolings[0]]})
    return clean, wanted[usable], kept, skipped


def _check_asked(found: TaskClips, clean: ClipVectors, asked: np.ndarray, skipped: list[Skipped]) -> None:
    folds = {found.clips[index].fold for index in clean.indices[asked]}
    for fold in found.task.folds.scored:
        if fold not in folds:
            raise SuiteError(
                f"task {found.task.name}: no clip of fold {fold} could be embedded under every condition",
                expected="one clip of the fold, or more",
                got=f"{len(skipped)} clips failed" + (f"; first: {skipped[0].reason}" if skipped else ""),
                fix="mend the clips that fail, or leave the condition out",
            )


def _altered(clip: Clip, condition: Condition) -> Clip:
    return replace(clip, source=Altered(clip.source, condition))


def _choose(found: TaskClips, clean: ClipVectors, most: int | None) -> np.ndarray:
    """Rows of `clean` that are asked, ascending."""
    scored = found.task.folds.scored
    by_fold: dict[str, list[int]] = defaultdict(list)
    contents = [found.clips[index].content for index in clean.indices]
    for row in sorted(range(len(contents)), key=lambda row: contents[row]):
        by_fold[found.clips[clean.indices[row]].fold].append(row)
    share = None if most is None else -(-most // len(scored))
    return np.array(sorted(row for fold in scored for row in by_fold[fold][:share]), dtype=np.int64)


def _scored(
    found: TaskClips,
    clean: ClipVectors,
    asked: np.ndarray,
    altered: dict[str, np.ndarray],
    skipped: list[Skipped],
    conditions: Sequence[Condition],
    measures: Sequence[str],
    seed: int,
    device: torch.device | str,
) -> ScoredTask:
    used = [found.clips[index] for index in clean.indices]
    clean_ND = clean.vectors["clean"]
    scores = score_altered(
        clean_ND=clean_ND,
        altered=altered,
        asked=asked,
        **of_clips(found, clean),
        measures=measures,
        seed=seed,
        device=device,
    )
    result = task_result(found, replace(clean, skipped=skipped), 0.0)
    result["clips"]["scored"] = len(asked)
    result["scores"] = scores.scores
    result["cosine"] = {name: _spread(cosines(altered[name], clean_ND[asked])) for name in altered}
    result["cosine_between_clips"] = cosine_between_clips(clean_ND[asked])
    # Every clip decoded once more, for the only conditions that ask how loud it is.
    louder = any(condition.kind == "gain" for condition in conditions)
    peaks = [float(np.abs(read(used[row].source.audio())).max()) for row in asked] if louder else []
    result["altered"] = {c.name: affects(c, clean.seconds[asked].tolist(), peaks) for c in conditions}
    least, median, most = np.quantile(clean.seconds[asked], [0, 0.5, 1]).tolist()
    result["seconds"] = {"least": least, "median": median, "most": most}
    result["notes"] = [*scores.notes, *result["notes"]]
    return ScoredTask(result, {}, scores.draws)


def _spread(cosines_Q: np.ndarray) -> dict[str, float]:
    """The mean, and what one clip of twenty stays below."""
    return {"mean": float(cosines_Q.mean()), "p5": float(np.quantile(cosines_Q, 0.05))}
