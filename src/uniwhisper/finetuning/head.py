"""The linear head: logits = vectors · weight + bias, on vectors as they leave the encoder."""

from dataclasses import dataclass

import numpy as np

from uniwhisper.core.errors import MissingExtraError
from uniwhisper.evaluation.folds import Standardiser, inner_split

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)
INNER_SHARE = 0.2
MAX_ITERATIONS = 5000


@dataclass(frozen=True, eq=False)
class Head:
    """C classes over vectors of width D."""

    weight: np.ndarray
    """(C, D) float32."""
    bias: np.ndarray
    """(C,) float32."""

    def probabilities(self, vectors_ND: np.ndarray) -> np.ndarray:
        """(N, C) float64, softmax of the logits of `vectors_ND` (float)."""
        logits_NC = vectors_ND.astype(np.float64) @ self.weight.T.astype(np.float64) + self.bias
        odds_NC = np.exp(logits_NC - logits_NC.max(axis=1, keepdims=True))
        return odds_NC / odds_NC.sum(axis=1, keepdims=True)


def fit_head(vectors_ND: np.ndarray, classes_N: np.ndarray, *, classes: int, seed: int) -> tuple[Head, float]:
    """Multinomial logistic regression on standardised vectors; the standardisation is folded into the head.

    Args:
        vectors_ND: float32, to train on.
        classes_N: int64 classes, each of 0 to `classes` - 1 at least once.
        classes: C.
        seed: of the inner split on which the regularisation is chosen.

    Returns:
        The head, and the chosen inverse strength C of the L2 penalty.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    fitting, choosing = inner_split(classes_N, range(len(classes_N)), share=INNER_SHARE, seed=seed)
    accuracies = []
    for strength in STRENGTHS:
        head = _fit(vectors_ND[fitting], classes_N[fitting], strength, classes)
        right = head.probabilities(vectors_ND[choosing]).argmax(axis=1) == classes_N[choosing]
        accuracies.append(float(right.mean()) if len(choosing) else 0.0)
    strength = STRENGTHS[int(np.argmax(accuracies))]
    return _fit(vectors_ND, classes_N, strength, classes), strength


def _fit(vectors_ND: np.ndarray, classes_N: np.ndarray, strength: float, classes: int) -> Head:
    try:
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits
    except ModuleNotFoundError:
        raise MissingExtraError.of("scikit-learn", "eval", "fitting a classifier") from None
    standardise = Standardiser.fit(vectors_ND)
    model = LogisticRegression(C=strength, max_iter=MAX_ITERATIONS)
    with threadpool_limits(1):  # the matrices are small: more threads mostly wait for each other
        model.fit(standardise(vectors_ND), classes_N)
    weight_CD, bias_C = model.coef_, model.intercept_
    if classes == 2:  # scikit-learn keeps one row for two classes: the log-odds of the second
        weight_CD, bias_C = np.concatenate([-weight_CD, weight_CD]) / 2, np.concatenate([-bias_C, bias_C]) / 2
    weight_CD = weight_CD / standardise.deviation
    bias_C = bias_C - weight_CD @ standardise.mean
    return Head(weight_CD.astype(np.float32), bias_C.astype(np.float32))
