"""Hierarchical bootstrap (Efron 1979; Davison & Hinkley 1997, section 3.8): how far a score depends on these clips.

Resampled with replacement, level by level: the seeds of a probe, then groups of clips (speakers, recordings, pitches; a
clip without one is its own), then the clips of each drawn group. A fold is not a level: the score's mean over folds is
written as a mean over clips with weight 1 / (folds x clips of the fold), so a draw may thin a fold out but the formula
stays the same. For two encoders groups and clips are drawn together (paired), seeds apart.

It does not cover the choice of training clips. Another training of the encoder is a level above all of these, where
there are several trainings (`over_training_seeds`).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import embedding_bag

RESAMPLES = 2000
LEVEL = 0.95


def clip_weights(groups: Sequence[str], *, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """How often each clip is drawn: float32 (resamples, Q); every row sums to about Q."""
    generator = np.random.default_rng(seed)
    members: dict[str, list[int]] = defaultdict(list)
    for clip, group in enumerate(groups):
        members[group].append(clip)
    names = sorted(members)
    times_RG = generator.multinomial(len(names), [1 / len(names)] * len(names), size=resamples)
    by_size: dict[int, list[int]] = defaultdict(list)
    for place, name in enumerate(names):
        by_size[len(members[name])].append(place)
    weights_RQ = np.zeros((resamples, len(groups)), dtype=np.float32)
    for size, places in sorted(by_size.items()):
        # A group drawn t times has its clips drawn t times anew: t x size draws among its clips.
        drawn_RGm = generator.multinomial(times_RG[:, places] * size, [1 / size] * size)
        clips_Gm = np.array([members[names[place]] for place in places])
        weights_RQ[:, clips_Gm.ravel()] = drawn_RGm.reshape(resamples, -1)
    return weights_RQ


def fold_weights(folds: Sequence[str]) -> np.ndarray:
    """(Q,) float64, summing to 1: with these weights a mean over clips is the mean over folds."""
    names, inverse_Q, counts_F = np.unique(np.asarray(folds), return_inverse=True, return_counts=True)
    return 1 / (len(names) * counts_F[inverse_Q])


def score_draws(values_SQ: np.ndarray, weights_RQ: np.ndarray, folds: Sequence[str], *, seed: int) -> np.ndarray:
    """Resampled scores, float64 (resamples,).

    Args:
        values_SQ: per seed and clip 1 for right and 0 for wrong (or any score of a clip).
        weights_RQ: from `clip_weights`.
        folds: of each clip.
        seed: of the draws of seeds.
    """
    return mean_draws(values_SQ, weights_RQ * fold_weights(folds), seed=seed)


def mean_draws(values_SQ: np.ndarray, folded_RQ: np.ndarray, *, seed: int) -> np.ndarray:
    """As `score_draws`, for many scores of the same clips: their weights are multiplied once.

    Args:
        values_SQ, seed: as in `score_draws`.
        folded_RQ: float64, the product of `clip_weights` and `fold_weights`.
    """
    scores_RS = folded_RQ @ values_SQ.T.astype(np.float64) / folded_RQ.sum(axis=1, keepdims=True)
    return _over_seeds(scores_RS, seed)


def rate_draws(errors_SQ: np.ndarray, words_Q: np.ndarray, weights_RQ: np.ndarray, *, seed: int) -> np.ndarray:
    """Resampled 1 - errors / words (not below 0), both summed over the drawn clips; float64 (resamples,).

    Args:
        errors_SQ: int, per seed and clip.
        words_Q: int, per clip.
        weights_RQ, seed: as in `score_draws`.
    """
    weights_RQ = weights_RQ.astype(np.float64)
    rates_RS = (weights_RQ @ errors_SQ.T) / np.maximum(weights_RQ @ words_Q, 1)[:, None]
    return _over_seeds(np.maximum(0, 1 - rates_RS), seed)


def f1_draws(counts_SQC3: np.ndarray, weights_RQ: np.ndarray, *, average: str, seed: int) -> np.ndarray:
    """Resampled F1 of counts summed over the drawn clips, as `metrics.f1_of_counts`; float64 (resamples,).

    Args:
        counts_SQC3: int, per seed, clip and class: rightly found, wrongly found, missed.
        average: `micro` or `macro`.
        weights_RQ, seed: as in `score_draws`.
    """
    if average == "micro":
        counts_SQC3 = counts_SQC3.sum(axis=2, keepdims=True)
    scores_RS = np.zeros((len(weights_RQ), len(counts_SQC3)))
    for row, counts_QC3 in enumerate(counts_SQC3.astype(np.float64)):
        right_RC, wrong_RC, missed_RC = np.moveaxis(np.tensordot(weights_RQ, counts_QC3, axes=1), -1, 0)
        there_RC = right_RC + missed_RC > 0
        f1_RC = 2 * right_RC / np.maximum(2 * right_RC + wrong_RC + missed_RC, 1)
        scores_RS[:, row] = (f1_RC * there_RC).sum(axis=1) / np.maximum(there_RC.sum(axis=1), 1)
    return _over_seeds(scores_RS, seed)


def average_precision_draws(
    scores_SQC: np.ndarray, truth_QC: np.ndarray, weights_RQ: np.ndarray, folds: Sequence[str], *, seed: int
) -> np.ndarray:
    """Resampled mean over folds of `metrics.mean_average_precision`, float64 (resamples,).

    Exactly what a list of clips with repetitions gives. A class of which no clip of the fold is drawn is left out of
    the fold's mean, a fold without any class out of the mean over folds; 0 where nothing is left.

    Args:
        scores_SQC: float, per seed and clip, the higher the more likely.
        truth_QC: 0 or 1.
        weights_RQ, folds, seed: as in `score_draws`; whole numbers.
    """
    weights_QR = torch.from_numpy(np.ascontiguousarray(weights_RQ.T))
    inside_of_fold = [np.flatnonzero(np.asarray(folds) == name) for name in np.unique(folds)]
    scores_RS = np.zeros((len(weights_RQ), len(scores_SQC)))
    for row, scores_QC in enumerate(scores_SQC):
        sums_R, folds_R = np.zeros(len(weights_RQ)), np.zeros(len(weights_RQ))
        for inside in inside_of_fold:
            sum_R, classes_R = np.zeros(len(weights_RQ)), np.zeros(len(weights_RQ))
            for class_ in np.flatnonzero(truth_QC[inside].any(axis=0)):
                ranked = inside[np.argsort(-scores_QC[inside, class_], kind="stable")]
                precision_R, there_R = _average_precisions(
                    scores_QC[ranked, class_], truth_QC[ranked, class_] > 0, ranked, weights_QR
                )
                sum_R, classes_R = sum_R + precision_R, classes_R + there_R
            sums_R, folds_R = sums_R + sum_R / np.maximum(classes_R, 1), folds_R + (classes_R > 0)
        scores_RS[:, row] = sums_R / np.maximum(folds_R, 1)
    return _over_seeds(scores_RS, seed)


def _average_precisions(
    scores_Q: np.ndarray, right_Q: np.ndarray, ranked: np.ndarray, weights_QR: torch.Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Of one class, per draw: average precision (0 where no clip of the class is drawn), and whether one is.

    `scores_Q` falls; clips of one score share the precision at their last one, as in scikit-learn. Only ranks at which
    a clip of the class stands count, so weights are summed from each such rank to the next and never kept for all.
    """
    last_of_tie = np.flatnonzero(np.append(scores_Q[1:] != scores_Q[:-1], True))
    places = np.flatnonzero(right_Q)
    ends, step_of_place = np.unique(last_of_tie[np.searchsorted(last_of_tie, places)] + 1, return_inverse=True)

    def summed(clips: np.ndarray, starts: np.ndarray) -> torch.Tensor:
        return embedding_bag(torch.from_numpy(clips), weights_QR, torch.from_numpy(starts), mode="sum").double()

    drawn_PR = summed(ranked[: ends[-1]], np.append(0, ends[:-1])).cumsum(0)
    right_PR = summed(ranked[places], np.searchsorted(step_of_place, np.arange(len(ends))))
    found_PR = right_PR.cumsum(0)
    precision_R = (right_PR * found_PR / drawn_PR.clamp(min=1)).sum(0) / found_PR[-1].clamp(min=1)
    return precision_R.numpy(), (found_PR[-1] > 0).numpy()


def _over_seeds(scores_RS: np.ndarray, seed: int) -> np.ndarray:
    """Mean over seeds drawn with replacement, anew in every row."""
    seeds = scores_RS.shape[1]
    generator = np.random.default_rng([seed, seeds])
    times_RS = generator.multinomial(seeds, [1 / seeds] * seeds, size=len(scores_RS)) / seeds
    return (scores_RS * times_RS).sum(axis=1)


def over_training_seeds(draws_PR: np.ndarray) -> np.ndarray:
    """float64 (resamples,): in each column of `draws_PR` the mean over training seeds drawn with replacement.

    Args:
        draws_PR: float64, per training seed and resample a difference, or a score.
    """
    seeds, resamples = draws_PR.shape
    generator = np.random.default_rng([seeds, resamples])
    times_RP = generator.multinomial(seeds, [1 / seeds] * seeds, size=resamples) / seeds
    return (times_RP * draws_PR.T).sum(axis=1)


def interval(draws: np.ndarray) -> tuple[float, float]:
    """Central interval of `draws` (float64, any length >= 1), at `LEVEL`."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class Difference:
    """Score of the second encoder minus the score of the first."""

    difference: float
    low: float
    high: float
    p: float
    """Two-sided: twice the smaller share of draws on one side of 0, at least 1 / (resamples + 1)."""


def difference(observed: float, first_R: np.ndarray, second_R: np.ndarray) -> Difference:
    """From draws of two encoders with the same clip weights (paired), row by row.

    Args:
        observed: the difference of the two scores themselves.
        first_R, second_R: float64 draws of each encoder's score.
    """
    draws_R = second_R - first_R
    low, high = interval(draws_R)
    side = min((draws_R <= 0).sum(), (draws_R >= 0).sum())
    return Difference(observed, low, high, min(1.0, 2 * (int(side) + 1) / (len(draws_R) + 1)))
