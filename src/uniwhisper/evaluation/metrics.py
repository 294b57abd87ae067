"""What a score is. All from 0 to 1, higher is better."""

import numpy as np

from uniwhisper.core.errors import MissingExtraError


def accuracy(predicted_Q: np.ndarray, truth_Q: np.ndarray) -> float:
    """Share of clips whose answered class (`predicted_Q`, int) is the right one (`truth_Q`, int)."""
    return float(np.mean(predicted_Q == truth_Q))


def mean_average_precision(scores_QC: np.ndarray, truth_QC: np.ndarray) -> float:
    """Mean over classes of average precision (scikit-learn's); classes that no clip has are left out.

    Args:
        scores_QC: float, the higher the more likely.
        truth_QC: 0 or 1, same shape.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.metrics import average_precision_score
    except ModuleNotFoundError:
        raise MissingExtraError.of("scikit-learn", "eval", "mean average precision") from None
    there_C = truth_QC.any(axis=0)
    return float(average_precision_score(truth_QC[:, there_C], scores_QC[:, there_C], average="macro"))


def f1_of_counts(counts_C3: np.ndarray, *, average: str) -> float:
    """F1 from segments rightly found, wrongly found and missed, per class.

    Args:
        counts_C3: int or float.
        average: `micro`: of the sums over classes. `macro`: mean over classes that are there, as sed_eval takes it;
            classes that are only found wrongly are left out of it.
    """
    if average == "micro":
        counts_C3 = counts_C3.sum(axis=0, keepdims=True)
    there_C = counts_C3[:, 0] + counts_C3[:, 2] > 0
    if not there_C.any():
        return 0.0
    right, wrong, missed = counts_C3[there_C].T
    return float(np.mean(2 * right / (2 * right + wrong + missed)))


def score_logits(metric: str, logits_QC: np.ndarray, truth: np.ndarray) -> float:
    """`metric` ("accuracy" or "mAP") of `logits_QC` (float) against `truth`: int classes (Q,), or 0 and 1 (Q, C)."""
    if metric == "accuracy":
        return accuracy(logits_QC.argmax(axis=1), truth)
    assert metric == "mAP", metric
    return mean_average_precision(logits_QC, truth)


def loss_of_logits(logits_QC: np.ndarray, truth: np.ndarray) -> float:
    """Mean cross entropy in nats of `logits_QC` (float) against int `truth` (Q,); binary against 0 and 1 (Q, C)."""
    logits_QC = logits_QC.astype(np.float64)
    if truth.ndim == 1:
        true_Q = np.take_along_axis(logits_QC, truth[:, None], axis=1)[:, 0]
        return float(np.mean(np.logaddexp.reduce(logits_QC, axis=1) - true_Q))
    return float(np.mean(np.logaddexp(0, logits_QC) - logits_QC * truth))
