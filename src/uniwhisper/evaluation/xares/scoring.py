"""One clip task by the protocol `xares`: vectors, targets and splits in, scores out.

X-ARES runs once, from seed 42, in an order that it cannot repeat; here every seed is one such run, and their spread is
what a single figure of X-ARES hides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from uniwhisper.evaluation.xares import knn, order, probe
from uniwhisper.evaluation.xares.metrics import accuracy, mean_average_precision

BATCH_CLIPS = 32
EPOCHS = 10

PROTOCOL: dict[str, Any] = {
    "name": "xares",
    "version": 2,
    "reproduces": "xares 0.1.3",
    "vectors": "mean over all frames of zero-padded batches of one split, padding included",
    "crops": "the first crop of each clip",
    "knn": {
        "similarity": "query normalised per clip, reference per feature over its clips",
        "k": knn.NEIGHBOURS,
        "temperature": knn.TEMPERATURE,
        "metric": "accuracy",
    },
    "probe": {
        "model": "LayerNorm and one linear layer",
        "optimiser": "Adam",
        "learning_rate": [probe.LEARNING_RATE, probe.LAST_LEARNING_RATE],
        "schedule": "cosine by epoch",
        "order": "buffers of 2000 and 512 clips",
        "chosen_on": "the split that X-ARES names; in folds the scored fold itself",
    },
    "events": "the probe on every frame, at the encoder's true hop; F1 of segments",
    "retrieval": "two towers from scratch on pooled vectors and captions' tokens; recall at 1, both directions",
    "speech": "adapter before a frozen causal language model; 1 - WER in lower case",
    "score": "mean over folds",
    "average": "weights of X-ARES over exactly the tasks that were run",
}


@dataclass(frozen=True)
class ClipScores:
    probe: list[float]
    """Per seed the mean over folds of the task's metric."""
    knn: float | None
    """Mean over folds of the accuracy; None where X-ARES has no kNN."""
    probe_folds: list[list[float]]
    """Per seed, per fold."""
    knn_folds: list[float]


def score_clips(
    vectors_ND: np.ndarray,
    targets: np.ndarray,
    split_of_clip: Sequence[str],
    *,
    splits: Mapping[str, str] | None = None,
    batch_clips: int = BATCH_CLIPS,
    epochs: int = EPOCHS,
    with_knn: bool = True,
    seeds: Sequence[int] = (0,),
    classes: int | None = None,
    frame_bytes_N: np.ndarray | None = None,
    device: torch.device | str = "cpu",
) -> ClipScores:
    """Score a clip task.

    Args:
        vectors_ND: float32, pooled as X-ARES pools, in the order of the archives.
        targets: int64 classes (N,); or float32 0/1 (N, C) where a clip has several, scored by mean average precision.
        split_of_clip: the fold or split of each row.
        splits: names of the splits `train`, `valid` and `test`, of which two may be one. None: every name is a fold,
            trained on all others, chosen and scored on itself.
        batch_clips, epochs: of the task.
        with_knn: whether X-ARES runs kNN on the task.
        seeds: of the orders; all are trained together.
        classes: width of the linear layer; None: the highest class there is.
        frame_bytes_N: int, of each row's frames, by which X-ARES closes shards at 3 GB; None: shards of 2,000 clips.
        device: where to train.
    """
    split_N = np.asarray(split_of_clip, dtype=object)
    rows = {name: np.flatnonzero(split_N == name) for name in dict.fromkeys(split_of_clip)}
    sizes_N = np.zeros(len(split_N), dtype=np.int64) if frame_bytes_N is None else frame_bytes_N
    shards = {name: [clips[s] for s in order.stored_shards(sizes_N[clips])] for name, clips in rows.items()}
    if splits is None:
        others = {name: [shard for other in rows if other != name for shard in shards[other]] for name in rows}
        folds = [(others[name], rows[name], rows[name]) for name in rows]
    else:
        folds = [(shards[splits["train"]], rows[splits["valid"]], rows[splits["test"]])]
    metric = accuracy if targets.ndim == 1 else mean_average_precision
    if classes is None:
        classes = int(targets.max()) + 1 if targets.ndim == 1 else targets.shape[1]
    runs = [
        probe.ProbeRun(order.epoch_orders(training, epochs=epochs, seed=seed), choosing, scored)
        for seed in seeds
        for training, choosing, scored in folds
    ]
    answers = probe.train_probes(
        vectors_ND,
        targets,
        runs,
        weights=probe.initial_weights(len(folds), vectors_ND.shape[1], classes, epochs=epochs) * len(seeds),
        batch_clips=batch_clips,
        score=metric,
        device=device,
    )
    scores_SF = np.array(
        [metric(answer.logits, targets[run.scored]) for answer, run in zip(answers, runs, strict=True)]
    )
    scores_SF = scores_SF.reshape(len(seeds), len(folds))
    knn_folds = [_knn(vectors_ND, targets, np.concatenate(fold[0]), fold[2]) for fold in folds] if with_knn else []
    return ClipScores(
        probe=scores_SF.mean(axis=1).tolist(),
        knn=float(np.mean(knn_folds)) if with_knn else None,
        probe_folds=scores_SF.tolist(),
        knn_folds=knn_folds,
    )


def _knn(vectors_ND: np.ndarray, labels_N: np.ndarray, reference: np.ndarray, scored: np.ndarray) -> float:
    predicted_Q = knn.knn_predict(vectors_ND[reference], labels_N[reference], vectors_ND[scored])
    return float(np.mean(predicted_Q == labels_N[scored]))
