"""What a score is. All from 0 to 1, higher is better."""

import numpy as np

from uniwhisper.core.errors import MissingExtraError


def accuracy(predicted_Q: np.ndarray, truth_Q: np.ndarray) -> float:
    """Share of clips whose answered class is the right one."""
    return float(np.mean(predicted_Q == truth_Q))


def mean_average_precision(scores_QC: np.ndarray, truth_QC: np.ndarray) -> float:
    """Mean over classes of average precision (scikit-learn's); classes that no clip has are left out.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.metrics import average_precision_score
    except ModuleNotFoundError:
        raise MissingExtraError.of("scikit-learn", "eval", "mean average precision") from None
    there_C = truth_QC.any(axis=0)
    return float(average_precision_score(truth_QC[:, there_C], scores_QC[:, there_C], average="macro"))


def score_logits(metric: str, logits_QC: np.ndarray, truth: np.ndarray) -> float:
    """`metric` ("accuracy" or "mAP") of logits against int classes (Q,) or 0/1 (Q, C)."""
    if metric == "accuracy":
        return accuracy(logits_QC.argmax(axis=1), truth)
    assert metric == "mAP", metric
    return mean_average_precision(logits_QC, truth)


def loss_of_logits(logits_QC: np.ndarray, truth: np.ndarray) -> float:
    """Mean cross entropy against int classes (Q,), or mean binary cross entropy against 0/1 (Q, C); in nats."""
    logits_QC = logits_QC.astype(np.float64)
    if truth.ndim == 1:
        true_Q = np.take_along_axis(logits_QC, truth[:, None], axis=1)[:, 0]
        return float(np.mean(np.logaddexp.reduce(logits_QC, axis=1) - true_Q))
    return float(np.mean(np.logaddexp(0, logits_QC) - logits_QC * truth))
