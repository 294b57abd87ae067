"""Events in time in the `clean` protocol: probes on frames, settings and threshold chosen inside the training fold.

The score is the F1 of segments. Its reference is cut from the labels' times themselves, not from frames, so an encoder
with coarse frames is not judged by coarse labels.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from uniwhisper.evaluation import bootstrap
from uniwhisper.evaluation.averages import FRAMES
from uniwhisper.evaluation.clips import Clip, TaskClips
from uniwhisper.evaluation.folds import Fold, inner_split, make_folds
from uniwhisper.evaluation.frame_probe import BATCH_RUNS, RUN_FRAMES, steps_per_epoch, train_frames
from uniwhisper.evaluation.kept import ScoredTask
from uniwhisper.evaluation.metrics import f1_of_counts
from uniwhisper.evaluation.pooling import measured_hop_seconds
from uniwhisper.evaluation.probe import HIDDEN, Setting
from uniwhisper.evaluation.scoring import PROBE_MEASURES, bootstrap_seed, rows_of, summary
from uniwhisper.evaluation.selection import INNER_SEED, INNER_SHARE, SEEDS
from uniwhisper.evaluation.spans import (
    Span,
    frame_targets,
    read_spans,
    segment_count,
    segment_maxima,
    segment_targets,
)
from uniwhisper.evaluation.spool import Frames, spool
from uniwhisper.evaluation.suites import SuiteError
from uniwhisper.evaluation.vectors import ClipVectors

GRID = {
    "linear": (Setting(1e-3, 0.0), Setting(1e-2, 0.0), Setting(1e-2, 3.0)),
    "mlp": (Setting(1e-3, 0.0), Setting(3e-3, 0.0), Setting(3e-3, 3.0)),
}
HIDDEN_UNITS = {"linear": 0, "mlp": HIDDEN}
LADDER = (1, 2, 4, 8)
"""Epochs asked at, in units that make the last at least `LEAST_STEPS` steps."""
LEAST_STEPS = {"linear": 512, "mlp": 256}
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Of a class's probability in a frame; one for all classes."""
PROTOCOL = {
    "model": "one linear layer, or one hidden layer as of clips, on every frame; binary cross entropy, AdamW",
    "grid": {name: [[each.learning_rate, each.weight_decay] for each in grid] for name, grid in GRID.items()},
    "batches": f"{BATCH_RUNS} runs of {RUN_FRAMES} frames",
    "epochs": {"ladder": list(LADDER), "least_steps": LEAST_STEPS},
    "thresholds": list(THRESHOLDS),
    "chosen_by": "the task's F1 on whole groups of the training fold, never scored",
    "segments": "a class is in a segment that its label overlaps; predicted where a frame of the segment is",
}


@dataclass(frozen=True, eq=False)
class _Labelled:
    """A task's clips as the probes need them."""

    frames: Frames
    classes: list[str]
    hop_seconds: float
    segment_seconds: float
    frame_targets: list[np.ndarray]
    segment_targets: list[np.ndarray]
    average: str

    def train(self, measure: str, setting: Setting, **arguments: Any) -> list[list[list[np.ndarray]]]:
        """Segments' probabilities, float32 (S, C), of every query: `[checkpoint][seed][query]`."""
        return train_frames(
            self.frames,
            self.frame_targets,
            hidden=HIDDEN_UNITS[measure],
            setting=setting,
            reduce=self._segments,
            **arguments,
        )

    def _segments(self, clip: int, logits_TC: np.ndarray) -> np.ndarray:
        maxima_SC = segment_maxima(
            logits_TC,
            segments=len(self.segment_targets[clip]),
            segment_seconds=self.segment_seconds,
            hop_seconds=self.hop_seconds,
        )
        return 1 / (1 + np.exp(-maxima_SC.clip(-50, 50)))

    def counts(self, clips: Sequence[int], answers: Sequence[np.ndarray], threshold: float) -> np.ndarray:
        """Int64 (clips, C, 3): segments rightly found, wrongly found and missed."""
        counts = np.zeros((len(clips), len(self.classes), 3), dtype=np.int64)
        for row, (clip, answer_SC) in enumerate(zip(clips, answers, strict=True)):
            truth_SC, found_SC = self.segment_targets[clip] > 0, answer_SC > threshold
            for column, both in enumerate((truth_SC & found_SC, ~truth_SC & found_SC, truth_SC & ~found_SC)):
                counts[row, :, column] = both.sum(axis=0)
        return counts


def score_events(
    encoder: Any,
    found: TaskClips,
    pooled: ClipVectors,
    *,
    seed: int,
    device: torch.device | str,
    result: dict[str, Any],
) -> ScoredTask:
    """Scores of the probes on an encoder that gives frames; `result` is the task's entry without them, and is filled.

    Raises:
        SuiteError: an event of a clip cannot be read.
    """
    clips = [found.clips[index] for index in pooled.indices]
    spans = [spans_of(found, clip) for clip in clips]
    folds = make_folds([clip.fold for clip in clips], found.task.folds.scored, found.task.folds.reference)
    split_by = [found.task.split_of(clip.id, clip.group) for clip in clips]
    scored = np.concatenate([fold.scored for fold in folds])
    answered: dict[str, list[np.ndarray]] = {measure: [] for measure in PROBE_MEASURES}
    details: dict[str, list[dict[str, Any]]] = {measure: [] for measure in PROBE_MEASURES}
    with tempfile.TemporaryDirectory(prefix="uniwhisper-frames-") as folder:
        frames = spool(encoder, [clip.source.audio() for clip in clips], pooled.frames, Path(folder) / "frames")
        task = _labelled(found, pooled, frames, spans)
        for measure in PROBE_MEASURES:
            for fold in folds:
                choice = _choose(task, measure, fold, split_by, device)
                chosen = choice["chosen"]
                (given,) = task.train(
                    measure,
                    Setting(chosen["learning_rate"], chosen["weight_decay"]),
                    reference=fold.reference.tolist(),
                    queries=fold.scored.tolist(),
                    checkpoints=(chosen["epochs"],),
                    seeds=range(seed, seed + SEEDS),
                    device=device,
                )
                counts = partial(task.counts, fold.scored.tolist(), threshold=chosen["threshold"])
                answered[measure].append(np.stack([counts(answers) for answers in given]))
                details[measure].append(choice)
    groups = [clips[clip].group for clip in scored]
    weights_RQ = bootstrap.clip_weights(groups, seed=bootstrap_seed(seed, found.task.name))
    scores, draws, arrays = {}, {}, {}
    for measure in PROBE_MEASURES:
        counts_SQC3 = np.concatenate(answered[measure], axis=1)
        draws[measure] = bootstrap.f1_draws(
            counts_SQC3, weights_RQ, average=task.average, seed=bootstrap_seed(seed, found.task.name)
        )
        each_FS = [_f1_S(counts_SQC3[:, rows], task.average).tolist() for rows in rows_of(folds)]
        together_S = _f1_S(counts_SQC3, task.average)
        scores[measure] = summary(folds, each_FS, draws[measure], details[measure], together_S=together_S)
        arrays[f"{FRAMES}/{measure}_counts"] = counts_SQC3
        result["notes"] += _remarks(measure, folds, details[measure])
    result["classes"] = len(task.classes)
    result["scores"] = {FRAMES: scores}
    result["clips"]["scored"] = len(scored)
    arrays |= {
        "id": np.array([clips[clip].id for clip in scored]),
        "fold": np.array([clips[clip].fold for clip in scored]),
        "group": np.array(groups),
        "classes": np.array(task.classes),
    }
    return ScoredTask(result, arrays, {FRAMES: draws})


def average_of(metric: str) -> str:
    """`macro` or `micro`, from a task's metric."""
    return metric.removeprefix("segment_f1_")


def spans_of(found: TaskClips, clip: Clip) -> list[Span]:
    """What goes on when in a clip of the task.

    Raises:
        SuiteError: an event cannot be read, or is of a class outside the suite's list.
    """
    rule = found.task.label
    try:
        spans = read_spans(clip.fields[rule.field])
    except (ValueError, TypeError) as error:
        raise SuiteError(
            f"task {found.task.name}: clip {clip.id} has a label of another kind",
            expected=f"in {rule.field!r} events with label, onset and offset, or note, start and end",
            got=str(error),
            fix="mend the clip's JSON",
        ) from None
    unknown = {span.name for span in spans} - set(rule.classes) if rule.classes else set()
    if unknown:
        raise SuiteError(
            f"task {found.task.name}: clip {clip.id} has an event outside the list",
            expected=f"one of {len(rule.classes or ())} classes: {', '.join((rule.classes or ())[:10])} …",
            got=", ".join(sorted(unknown)),
            fix="mend the clip's JSON, or the suite's label list",
        )
    return spans


def _labelled(found: TaskClips, pooled: ClipVectors, frames: Frames, spans: list[list[Span]]) -> _Labelled:
    hop_seconds = measured_hop_seconds(pooled.frames, pooled.seconds)
    assert hop_seconds is not None, "the encoder gives frames"
    segment_seconds = found.task.metric_arguments["segment_seconds"]
    classes = sorted({span.name for each in spans for span in each})
    if not classes:
        raise SuiteError(
            f"task {found.task.name}: nothing to find",
            expected="clips with events",
            got=f"{len(spans)} clips without any",
            fix="check the suite's label rule against the data",
        )
    return _Labelled(
        frames,
        classes,
        hop_seconds,
        segment_seconds,
        [
            frame_targets(each, classes, frames=int(count), hop_seconds=hop_seconds)
            for each, count in zip(spans, pooled.frames, strict=True)
        ],
        [
            segment_targets(
                each, classes, segments=segment_count(seconds, segment_seconds), segment_seconds=segment_seconds
            )
            for each, seconds in zip(spans, pooled.seconds.tolist(), strict=True)
        ],
        average_of(found.task.metric),
    )


def _choose(
    task: _Labelled, measure: str, fold: Fold, split_by: list[str], device: torch.device | str
) -> dict[str, Any]:
    """Setting, epochs and threshold of the highest F1 on held-out groups; among equals fewer epochs, the earlier."""
    groups = [split_by[clip] for clip in fold.reference]
    labels = np.zeros(len(fold.reference), dtype=np.int64)
    fitting, choosing = inner_split(labels, groups, share=INNER_SHARE, seed=INNER_SEED)
    reference, queries = fold.reference[fitting].tolist(), fold.reference[choosing].tolist()
    unit = max(1, -(-LEAST_STEPS[measure] // (LADDER[-1] * steps_per_epoch(task.frames, reference))))
    epochs = tuple(rung * unit for rung in LADDER)
    if not queries:
        return _choice(GRID[measure][0], epochs[-1], 0.5, [], 0)
    scores_EGH = np.zeros((len(epochs), len(GRID[measure]), len(THRESHOLDS)))
    for row, setting in enumerate(GRID[measure]):
        answers = task.train(
            measure,
            setting,
            reference=reference,
            queries=queries,
            checkpoints=epochs,
            seeds=(INNER_SEED,),
            device=device,
        )
        for rung, (given,) in enumerate(answers):
            for place, threshold in enumerate(THRESHOLDS):
                counts_QC3 = task.counts(queries, given, threshold)
                scores_EGH[rung, row, place] = f1_of_counts(counts_QC3.sum(axis=0), average=task.average)
    rung, row, place = np.unravel_index(int(scores_EGH.argmax()), scores_EGH.shape)
    curve = list(zip(epochs, scores_EGH[:, row].max(axis=1).tolist(), strict=True))
    return _choice(GRID[measure][row], epochs[rung], THRESHOLDS[place], curve, len(queries))


def _choice(
    setting: Setting, epochs: int, threshold: float, curve: list[tuple[int, float]], inner_clips: int
) -> dict[str, Any]:
    rises = len(curve) > 1 and epochs == curve[-1][0] and curve[-1][1] - curve[-2][1] > 0.01
    return {
        "chosen": {
            "learning_rate": setting.learning_rate,
            "weight_decay": setting.weight_decay,
            "epochs": epochs,
            "threshold": threshold,
        },
        "curve": {"epochs": [epoch for epoch, _ in curve], "inner": [score for _, score in curve]},
        "inner_clips": inner_clips,
        "underfit": rises,
    }


def _f1_S(counts_SQC3: np.ndarray, average: str) -> np.ndarray:
    return np.array([f1_of_counts(counts_QC3.sum(axis=0), average=average) for counts_QC3 in counts_SQC3])


def _remarks(measure: str, folds: Sequence[Fold], details: list[dict[str, Any]]) -> list[str]:
    rising = [fold.name for fold, detail in zip(folds, details, strict=True) if detail["underfit"]]
    return [f"{measure} on frames, fold {', '.join(rising)}: may be underfit"] if rising else []
