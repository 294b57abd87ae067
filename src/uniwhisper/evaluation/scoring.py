"""Vectors and folds to scores: the `clean` protocol on one task.

Measures: `knn` (raw vectors, the headline), `knn_standardised` and `probe` (features standardised on the training
fold). Per task: the mean over folds, their spread, a bootstrap interval over clips, and each clip's answer.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from uniwhisper.evaluation import bootstrap, knn, probe
from uniwhisper.evaluation.folds import Fold, Standardiser, make_folds

MEASURES = ("knn", "knn_standardised", "probe")

# What a number means. Results are compared only where all of this agrees; a change of method changes the version.
PROTOCOL: dict[str, Any] = {
    "name": "clean",
    "version": 1,
    "vectors": "one per clip, real frames only",
    "knn": {"similarity": "cosine", "k": knn.NEIGHBOURS, "temperature": knn.TEMPERATURE, "vectors": "raw"},
    "knn_standardised": {
        "similarity": "cosine",
        "k": knn.NEIGHBOURS,
        "temperature": knn.TEMPERATURE,
        "vectors": "standardised on the training fold",
    },
    "probe": {
        "model": "multinomial logistic regression, L2, lbfgs to convergence",
        "vectors": "standardised on the training fold",
        "strengths": list(probe.STRENGTHS),
        "chosen_on": f"stratified {probe.INNER_SHARE:.0%} of the training fold",
        "tolerance": probe.TOLERANCE,
    },
    "score": "mean over folds of accuracy",
    "interval": {"resampled": "clips within folds", "level": bootstrap.LEVEL, "resamples": bootstrap.RESAMPLES},
}


@dataclass(frozen=True)
class TaskScores:
    scores: dict[str, dict[str, Any]]
    """Per measure: score, spread, low, high and a list of folds. JSON."""
    most_common: float
    """Score of always answering the training fold's most common class."""
    scored: np.ndarray
    """(Q,) rows that were scored, int64, in the order of folds."""
    predicted: dict[str, np.ndarray]
    """Per measure the class answered for each of `scored`, int64."""
    draws: dict[str, np.ndarray]
    """Per measure the bootstrap's resampled scores, float64."""
    notes: list[str]
    """What a reader must know, e.g. a probe that did not converge."""


def score_task(
    vectors_ND: np.ndarray, labels_N: np.ndarray, fold_of_clip: list[str], scored: tuple[str, ...], *, seed: int
) -> TaskScores:
    """Score every fold of `scored` against the clips outside it.

    Args:
        vectors_ND: float32, finite.
        labels_N: int64 classes.
        fold_of_clip: fold of each row.
        seed: of the inner splits and of the bootstrap.
    """
    folds = make_folds(fold_of_clip, scored)
    answers: dict[str, list[np.ndarray]] = {measure: [] for measure in MEASURES}
    details: dict[str, list[dict[str, Any]]] = {measure: [] for measure in MEASURES}
    most_common, notes = [], []
    for fold in folds:
        reference_ND, queries_QD = vectors_ND[fold.reference], vectors_ND[fold.scored]
        classes_N, truth_Q = labels_N[fold.reference], labels_N[fold.scored]
        standardise = Standardiser.fit(reference_ND)
        fitted = _probe(fold, reference_ND, classes_N, queries_QD, seed, notes)
        given = {
            "knn": knn.knn_predict(reference_ND, classes_N, queries_QD),
            "knn_standardised": knn.knn_predict(standardise(reference_ND), classes_N, standardise(queries_QD)),
            "probe": fitted.predicted,
        }
        for measure, predicted_Q in given.items():
            answers[measure].append(predicted_Q)
            accuracy = float(np.mean(predicted_Q == truth_Q))
            details[measure].append({"fold": fold.name, "score": accuracy, "clips": len(truth_Q)})
        details["probe"][-1] |= {
            "strength": fitted.strength,
            "iterations": fitted.iterations,
            "converged": fitted.converged,
        }
        most_common.append(float(np.mean(truth_Q == np.bincount(classes_N).argmax())))

    scores, draws = {}, {}
    truth = [labels_N[fold.scored] for fold in folds]
    for measure in MEASURES:
        correct = [predicted == right for predicted, right in zip(answers[measure], truth, strict=True)]
        draws[measure] = bootstrap.bootstrap_draws(correct, seed=seed)
        scores[measure] = summary([detail["score"] for detail in details[measure]], draws[measure])
        scores[measure]["folds"] = details[measure]
    predicted = {measure: np.concatenate(answers[measure]) for measure in MEASURES}
    scored_N = np.concatenate([fold.scored for fold in folds])
    return TaskScores(scores, float(np.mean(most_common)), scored_N, predicted, draws, notes)


def summary(fold_scores: list[float], draws: np.ndarray) -> dict[str, Any]:
    """Mean, sample deviation (None for one fold) and interval of `draws` (float64)."""
    low, high = bootstrap.interval(draws)
    spread = float(np.std(fold_scores, ddof=1)) if len(fold_scores) > 1 else None
    return {"score": float(np.mean(fold_scores)), "spread": spread, "low": low, "high": high}


def _probe(
    fold: Fold, reference_ND: np.ndarray, classes_N: np.ndarray, queries_QD: np.ndarray, seed: int, notes: list[str]
) -> probe.ProbeAnswer:
    fitted = probe.probe_predict(reference_ND, classes_N, queries_QD, seed=seed)
    if not fitted.converged:
        notes.append(f"probe, fold {fold.name}: not converged after {probe.MAX_ITERATIONS} iterations")
        warnings.warn(notes[-1], stacklevel=2)
    return fitted
