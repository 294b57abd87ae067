"""Vectors and folds to scores: the `clean` protocol on one task of clips.

Measures: `knn` (raw vectors), `knn_standardised`, `linear` and `mlp` (features standardised on the training fold).
Per pooling and measure: the mean over folds and seeds, both spreads, an interval, and each clip's answers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from zlib import crc32

import numpy as np
import torch

from uniwhisper.evaluation import bootstrap, knn, selection
from uniwhisper.evaluation.folds import Fold, Standardiser, make_folds
from uniwhisper.evaluation.metrics import score_logits

KNN_MEASURES = ("knn", "knn_standardised")
PROBE_MEASURES = ("linear", "mlp")
MEASURES = KNN_MEASURES + PROBE_MEASURES


@dataclass(frozen=True, eq=False)
class TaskScores:
    scores: dict[str, dict[str, dict[str, Any]]]
    """Per pooling and measure, as docs/decisions/0010-clean-2.md describes. JSON."""
    most_common: float
    """Score of always answering the training fold's most common class; 0 where a clip has several classes."""
    scored: np.ndarray
    """(Q,) rows that were scored, int64, in the order of folds."""
    answers: dict[str, dict[str, np.ndarray]]
    """Per pooling and measure, for each of `scored`: int64 (seeds, Q) classes; multi-label: float32 (seeds, Q, C)."""
    draws: dict[str, dict[str, np.ndarray]]
    """Per pooling and measure the bootstrap's resampled scores, float64. Nothing for multi-label tasks."""
    notes: list[str]
    """What a reader must know, e.g. a probe that may be underfit."""


def bootstrap_seed(seed: int, task: str) -> int:
    """Seed of a task's resampling: the same for every encoder, another for every task."""
    return crc32(task.encode()) + seed


def score_task(
    name: str,
    vectors: Mapping[str, np.ndarray],
    targets: np.ndarray,
    fold_of_clip: Sequence[str],
    group_of_clip: Sequence[str],
    scored: Sequence[str],
    *,
    metric: str,
    classes: int,
    split_by: Sequence[str],
    reference: Sequence[str] | None = None,
    measures: Sequence[str] = MEASURES,
    seed: int,
    device: torch.device | str = "cpu",
) -> TaskScores:
    """Score every fold of `scored` against the clips outside it, under every pooling.

    Args:
        name: of the task; seeds its resampling.
        vectors: per pooling (N, D) float32, finite.
        targets: int64 classes (N,), or float32 (N, C) of 0 and 1 where a clip has several (`metric` "mAP").
        fold_of_clip, group_of_clip: of each row.
        reference: folds that may be learned from; None: all but the scored one.
        measures: which of `MEASURES`; kNN is left out where a clip has several classes.
        split_by: per row what must not lie on both sides of an inner split.
        seed: the first of the probes' seeds.
        device: where kNN and probes compute.
    """
    folds = make_folds(fold_of_clip, scored, reference)
    scored_N = np.concatenate([fold.scored for fold in folds])
    rows = rows_of(folds)
    several = targets.ndim == 2
    strata_N = targets.argmax(axis=1) if several else targets
    result = TaskScores({}, 0.0 if several else _most_common(targets, folds), scored_N, {}, {}, [])
    folds_Q = [fold_of_clip[row] for row in scored_N]
    weights_RQ = None
    if not several:
        groups_Q = [group_of_clip[row] for row in scored_N]
        weights_RQ = bootstrap.clip_weights(groups_Q, seed=bootstrap_seed(seed, name))
    for pooling, vectors_ND in vectors.items():
        details: dict[str, list[dict[str, Any]]] = {}
        answers: dict[str, np.ndarray] = {}
        for measure, given in answer(
            measures_of(measures, several=several), vectors_ND, targets, strata_N, split_by, folds,
            metric=metric, classes=classes, seed=seed, device=device,
        ).items():  # fmt: skip
            answers[measure], details[measure] = given.answers, given.details
            result.notes.extend(f"{measure} on {pooling}, {remark}" for remark in given.remarks)
        result.scores[pooling], result.answers[pooling], result.draws[pooling] = {}, answers, {}
        for measure, answers_S in answers.items():
            each_FS = [
                [fold_score(metric, answers_Q[rows[place]], targets[fold.scored]) for answers_Q in answers_S]
                for place, fold in enumerate(folds)
            ]
            draws = None
            if weights_RQ is not None:
                right_SQ = answers_S == targets[scored_N]
                draws = bootstrap.score_draws(right_SQ, weights_RQ, folds_Q, seed=bootstrap_seed(seed, name))
                result.draws[pooling][measure] = draws
            result.scores[pooling][measure] = summary(folds, each_FS, draws, details[measure])
    return result


@dataclass(frozen=True, eq=False)
class Answers:
    """What one measure answers to the scored clips of all folds, one fold after the other."""

    answers: np.ndarray
    """int64 (seeds, Q) classes; multi-label: float32 (seeds, Q, C) logits."""
    details: list[dict[str, Any]]
    """JSON, per fold: what a probe was chosen from; empty for kNN."""
    remarks: list[str]
    """What a reader must know, by fold."""


def measures_of(asked: Sequence[str], *, several: bool) -> list[str]:
    """Those of `asked` that a task can be scored by, in the order of `MEASURES`; neighbours vote for one class."""
    return [measure for measure in MEASURES if measure in asked and not (several and measure in KNN_MEASURES)]


def answer(
    measures: Sequence[str],
    vectors_ND: np.ndarray,
    targets: np.ndarray,
    strata_N: np.ndarray,
    split_by: Sequence[str],
    folds: Sequence[Fold],
    *,
    metric: str,
    classes: int,
    seed: int,
    device: torch.device | str = "cpu",
) -> dict[str, Answers]:
    """Answers of each of `measures`, learned from each fold's reference alone.

    Args:
        measures: of `MEASURES`; together, so that what probes share is made once.
        vectors_ND: float32, finite, of references and scored rows.
        targets, split_by, metric, classes, seed, device: as in `score_task`.
        strata_N: int classes by which inner splits are kept even.
    """
    given = selection.answer(
        [measure for measure in measures if measure in PROBE_MEASURES],
        vectors_ND, targets, strata_N, split_by, folds,
        metric=metric, classes=classes, seed=seed, device=device,
    )  # fmt: skip
    answers = {}
    for measure in measures:
        if measure in KNN_MEASURES:
            voted_1Q = _knn(measure, vectors_ND, targets, folds, device)[None]
            answers[measure] = Answers(voted_1Q, [{} for _ in folds], [])
            continue
        logits_SQC = np.stack([np.concatenate(each) for each in zip(*given[measure].logits, strict=True)])
        choices = given[measure].choices
        answers[measure] = Answers(
            logits_SQC if targets.ndim == 2 else logits_SQC.argmax(axis=2),
            [asdict(choice) for choice in choices],
            remarks(folds, choices),
        )
    return answers


def summary(
    folds: Sequence[Fold],
    each_FS: list[list[float]],
    draws: np.ndarray | None,
    details: list[dict[str, Any]],
    *,
    together_S: np.ndarray | None = None,
) -> dict[str, Any]:
    """Scores per fold and seed as JSON: means, sample deviations (None for one), interval of `draws` (None without).

    Args:
        each_FS: score of each fold and seed.
        draws: resampled scores, float64.
        details: JSON of each fold, beside its score.
        together_S: float, score of each seed over all folds' clips together; None: the mean of the folds'.
    """
    scores_FS = np.array(each_FS)
    by_fold, by_seed = scores_FS.mean(axis=1), scores_FS.mean(axis=0) if together_S is None else together_S
    low, high = bootstrap.interval(draws) if draws is not None else (None, None)
    return {
        "score": float(by_seed.mean()),
        "low": low,
        "high": high,
        "spread": float(by_fold.std(ddof=1)) if len(by_fold) > 1 else None,
        "seeds": by_seed.tolist(),
        "seed_spread": float(by_seed.std(ddof=1)) if len(by_seed) > 1 else None,
        "folds": [
            {"fold": fold.name, "score": float(score), "clips": len(fold.scored), "seeds": list(seeds)} | detail
            for fold, score, seeds, detail in zip(folds, by_fold, each_FS, details, strict=True)
        ],
    }


def rows_of(folds: Sequence[Fold]) -> list[slice]:
    """Where each fold's clips stand when the scored clips of all folds stand one after the other."""
    ends = np.cumsum([len(fold.scored) for fold in folds]).tolist()
    return [slice(end - len(fold.scored), end) for end, fold in zip(ends, folds, strict=True)]


def fold_score(metric: str, answers_Q: np.ndarray, truth: np.ndarray) -> float:
    """Score of one fold's `answers_Q`, classes or logits as in `Answers`; `truth`: their targets."""
    return float(np.mean(answers_Q == truth)) if answers_Q.ndim == 1 else score_logits(metric, answers_Q, truth)


def _most_common(labels_N: np.ndarray, folds: Sequence[Fold]) -> float:
    commonest = [np.bincount(labels_N[fold.reference]).argmax() for fold in folds]
    return float(
        np.mean([np.mean(labels_N[fold.scored] == label) for fold, label in zip(folds, commonest, strict=True)])
    )


def _knn(
    measure: str, vectors_ND: np.ndarray, labels_N: np.ndarray, folds: Sequence[Fold], device: torch.device | str
) -> np.ndarray:
    """(Q,) int64, the folds' answers one after the other."""
    answers = []
    for fold in folds:
        reference_ND, queries_QD = vectors_ND[fold.reference], vectors_ND[fold.scored]
        if measure == "knn_standardised":
            standardise = Standardiser.fit(reference_ND)
            reference_ND, queries_QD = standardise(reference_ND), standardise(queries_QD)
        answers.append(knn.knn_predict(reference_ND, labels_N[fold.reference], queries_QD, device=device))
    return np.concatenate(answers)


def remarks(folds: Sequence[Fold], choices: list[selection.Choice]) -> list[str]:
    notes = []
    for what, picked in (
        (
            "may be underfit: its inner score still rose at the last number of epochs, or weakest penalty",
            [choice.underfit for choice in choices],
        ),
        ("nothing could be held out to choose on; default settings", [not choice.inner_clips for choice in choices]),
    ):
        names = [fold.name for fold, yes in zip(folds, picked, strict=True) if yes]
        if names:
            notes.append(f"fold {', '.join(names)}: {what}")
    return notes
