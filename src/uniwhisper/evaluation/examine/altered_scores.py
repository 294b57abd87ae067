"""Scores of altered questions: what is learned from stays clean, and each question is asked once per condition.

All conditions of a task are asked in one go, so that a probe is trained once a fold and every condition is answered by
the same probe; neighbours vote from the same clean clips.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from uniwhisper.evaluation import bootstrap
from uniwhisper.evaluation.folds import Fold, make_folds
from uniwhisper.evaluation.scoring import answer, bootstrap_seed, fold_score, measures_of, summary

CLEAN = "clean"


@dataclass(frozen=True, eq=False)
class AlteredScores:
    scores: dict[str, dict[str, dict[str, Any]]]
    """Per condition and measure, as those of `scoring.TaskScores`; `clean` comes first."""
    draws: dict[str, dict[str, np.ndarray]]
    notes: list[str]


def score_altered(
    name: str,
    clean_ND: np.ndarray,
    altered: Mapping[str, np.ndarray],
    asked: np.ndarray,
    targets: np.ndarray,
    fold_of_clip: Sequence[str],
    group_of_clip: Sequence[str],
    scored: Sequence[str],
    *,
    metric: str,
    classes: int,
    split_by: Sequence[str],
    reference: Sequence[str] | None,
    measures: Sequence[str],
    seed: int,
    device: torch.device | str = "cpu",
) -> AlteredScores:
    """Score the clips `asked` under every condition, and clean.

    Args:
        clean_ND: float32 (N, D), of all clips of the task.
        altered: per condition float32 (Q, D), of the clips `asked`.
        asked: (Q,) int64 rows of `clean_ND`, ascending; every scored fold holds some of them.
        targets, fold_of_clip, group_of_clip, split_by: of all N clips; these and the rest as in `scoring.score_task`.
    """
    conditions = [CLEAN, *altered]
    clips, questions = len(clean_ND), len(asked)
    vectors_ND = np.concatenate([clean_ND, *altered.values()])
    # Row of each question under each condition, and the clip that each row is made from.
    rows_KQ = np.stack([asked, *(clips + questions * k + np.arange(questions) for k in range(len(altered)))])
    clip_of_row = np.concatenate([np.arange(clips), *(asked for _ in altered)])
    folds = make_folds(fold_of_clip, scored, reference)
    place_in_fold = [np.flatnonzero(np.isin(asked, fold.scored)) for fold in folds]
    wide = [
        Fold(fold.name, fold.reference, rows_KQ[:, places].ravel())
        for fold, places in zip(folds, place_in_fold, strict=True)
    ]
    several = targets.ndim == 2
    strata_N = targets.argmax(axis=1) if several else targets
    in_order = np.concatenate(place_in_fold)
    weights_RQ = None
    if not several:
        groups_Q = [group_of_clip[asked[place]] for place in in_order]
        weights_RQ = bootstrap.clip_weights(groups_Q, seed=bootstrap_seed(seed, name))
    folds_Q = [fold_of_clip[asked[place]] for place in in_order]
    result = AlteredScores({condition: {} for condition in conditions}, {c: {} for c in conditions}, [])
    for measure, given in answer(
        measures_of(measures, several=several),
        vectors_ND, targets[clip_of_row], strata_N[clip_of_row], [split_by[i] for i in clip_of_row], wide,
        metric=metric, classes=classes, seed=seed, device=device,
    ).items():  # fmt: skip
        result.notes.extend(f"{measure}, {remark}" for remark in given.remarks)
        of_row = np.zeros((given.answers.shape[0], len(vectors_ND), *given.answers.shape[2:]), given.answers.dtype)
        of_row[:, np.concatenate([fold.scored for fold in wide])] = given.answers
        for condition, rows_Q in zip(conditions, rows_KQ, strict=True):
            each_FS = [
                [fold_score(metric, of_seed[rows_Q[places]], targets[asked[places]]) for of_seed in of_row]
                for places in place_in_fold
            ]
            draws = None
            if weights_RQ is not None:
                right_SQ = of_row[:, rows_Q[in_order]] == targets[asked[in_order]]
                draws = bootstrap.score_draws(right_SQ, weights_RQ, folds_Q, seed=bootstrap_seed(seed, name))
                result.draws[condition][measure] = draws
            parts = [Fold(fold.name, fold.reference, places) for fold, places in zip(folds, place_in_fold, strict=True)]
            result.scores[condition][measure] = summary(parts, each_FS, draws, given.details)
    return result


def cosines(one_ND: np.ndarray, other_ND: np.ndarray) -> np.ndarray:
    """Cosine of each row of `one_ND` with the same row of `other_ND`, both float (N, D); float64, 0 where one is 0."""
    one_ND, other_ND = one_ND.astype(np.float64), other_ND.astype(np.float64)
    lengths = np.linalg.norm(one_ND, axis=1) * np.linalg.norm(other_ND, axis=1)
    return (one_ND * other_ND).sum(axis=1) / np.where(lengths > 0, lengths, np.inf)


def cosine_between_clips(vectors_ND: np.ndarray) -> float | None:
    """Mean cosine of two different rows of `vectors_ND`, float (N, D): what other clips have anyway. None: N < 2."""
    count = len(vectors_ND)
    if count < 2:
        return None
    lengths = np.linalg.norm(vectors_ND.astype(np.float64), axis=1, keepdims=True)
    unit_ND = vectors_ND / np.where(lengths > 0, lengths, np.inf)
    sum_D = unit_ND.sum(axis=0)
    return float((sum_D @ sum_D - np.square(unit_ND).sum()) / (count * (count - 1)))
