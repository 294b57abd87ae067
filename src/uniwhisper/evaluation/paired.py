"""Resampled scores of two results, or of many, on the same drawn clips: from the arrays beside the result files."""

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from uniwhisper.evaluation import bootstrap
from uniwhisper.evaluation.averages import FRAMES, SPEECH_MEASURE
from uniwhisper.evaluation.events import average_of
from uniwhisper.evaluation.retrieval.ranks import DIRECTIONS, of_clips, score_of_clips
from uniwhisper.evaluation.scoring import bootstrap_seed

Clips = Mapping[str, np.ndarray]
"""Of a result: its `.npz`."""
Place = tuple[str, str, str]
"""Task, pooling and measure: where a score stands."""


class DrawnClips:
    """How often each clip of a task is drawn: the same for every measure, result and pair."""

    def __init__(self, clips: Clips, task: str, first_seed: int) -> None:
        self.seed = bootstrap_seed(first_seed, task)
        self.folds: list[str] = clips[f"{task}/fold"].tolist()
        self.weights_RQ = bootstrap.clip_weights(clips[f"{task}/group"].tolist(), seed=self.seed)

    @cached_property
    def folded_RQ(self) -> np.ndarray:
        """For scores of single clips, float64: with these weights a mean over clips is the mean over folds."""
        return self.weights_RQ * bootstrap.fold_weights(self.folds)


def pair_draws(
    first: Clips, second: Clips, place: Place, metric: str, drawn: DrawnClips
) -> tuple[np.ndarray, np.ndarray]:
    """Resampled scores of both, float64 (resamples,), row by row with the same clips; seeds are drawn apart."""
    task, pooling, measure = place
    name = "/".join(place)
    draws = []
    for number, clips in enumerate((first, second)):
        seed = drawn.seed + number
        if metric == "recall_at_1":
            ranks_SP = {direction: clips[f"{name}_{direction}"] for direction in DIRECTIONS}
            values_SQ = score_of_clips(of_clips(ranks_SP, clips[f"{task}/caption_clip"]))
            draws.append(bootstrap.mean_draws(values_SQ, drawn.folded_RQ, seed=seed))
        elif measure == SPEECH_MEASURE:
            errors_SQ, words_Q = clips[f"{name}_errors"], clips[f"{task}/words"]
            draws.append(bootstrap.rate_draws(errors_SQ, words_Q, drawn.weights_RQ, seed=seed))
        elif pooling == FRAMES:
            counts_SQC3 = clips[f"{name}_counts"]
            draws.append(bootstrap.f1_draws(counts_SQC3, drawn.weights_RQ, average=average_of(metric), seed=seed))
        elif metric == "mAP":
            logits_SQC, truth_QC = clips[name], clips[f"{task}/label"]
            weights_RQ = drawn.weights_RQ
            draws.append(bootstrap.average_precision_draws(logits_SQC, truth_QC, weights_RQ, drawn.folds, seed=seed))
        else:
            right_SQ = clips[name] == clips[f"{task}/label"]
            draws.append(bootstrap.mean_draws(right_SQ, drawn.folded_RQ, seed=seed))
    return draws[0], draws[1]
