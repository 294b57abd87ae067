"""Linear probe: multinomial logistic regression on standardised features, trained to convergence.

Objective (scikit-learn's): sum of cross-entropies + |W|^2 / (2 C). C is chosen on a stratified inner split of the
training fold (standardised on its own fitting side), never on the fold that is scored; then the probe is fitted again
on the whole training fold. Convex, so "to convergence" has one meaning and nothing depends on a seed but the split.
"""

import warnings
from dataclasses import dataclass

import numpy as np

from uniwhisper.core.errors import MissingExtraError
from uniwhisper.evaluation.folds import Standardiser, inner_split

STRENGTHS = (0.001, 0.01, 0.1, 1.0)
INNER_SHARE = 0.2
TOLERANCE = 1e-4
MAX_ITERATIONS = 5000


@dataclass(frozen=True)
class ProbeAnswer:
    predicted: np.ndarray
    """(Q,) int64, class of each query."""
    strength: float
    """The C that was chosen."""
    inner_accuracy: tuple[float, ...]
    """Accuracy on the inner split, one per entry of `STRENGTHS`."""
    iterations: int
    converged: bool
    """Whether every fit, inner ones included, met `TOLERANCE` within `MAX_ITERATIONS`."""


def probe_predict(
    reference_ND: np.ndarray,
    labels_N: np.ndarray,
    queries_QD: np.ndarray,
    *,
    seed: int,
    strengths: tuple[float, ...] = STRENGTHS,
    max_iterations: int = MAX_ITERATIONS,
) -> ProbeAnswer:
    """Fit on the reference, answer the queries.

    Args:
        reference_ND: float vectors of the training fold, not standardised.
        labels_N: int classes, at least two different ones.
        queries_QD: float vectors of the scored fold, not standardised.
        seed: of the inner split.
        strengths: values of C in ascending order; equal accuracy chooses the smaller.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    fitting, choosing = inner_split(labels_N, share=INNER_SHARE, seed=seed)
    standardise = Standardiser.fit(reference_ND[fitting])
    inner_fits = _fits(standardise(reference_ND[fitting]), labels_N[fitting], strengths, max_iterations)
    inner_ND, accuracies, converged = standardise(reference_ND[choosing]), [], True
    for model, fine in inner_fits:
        # With one clip per class there is nothing to choose on: the strongest regularisation stands.
        accuracies.append(float(np.mean(model.predict(inner_ND) == labels_N[choosing])) if len(choosing) else 0.0)
        converged &= fine
    strength = strengths[int(np.argmax(accuracies))]

    standardise = Standardiser.fit(reference_ND)
    ((model, fine),) = _fits(standardise(reference_ND), labels_N, (strength,), max_iterations)
    predicted_Q = model.predict(standardise(queries_QD)).astype(np.int64)
    return ProbeAnswer(predicted_Q, strength, tuple(accuracies), int(model.n_iter_.max()), converged and fine)


def _fits(features_ND: np.ndarray, labels_N: np.ndarray, strengths: tuple[float, ...], max_iterations: int):
    """Yield (fitted model, converged) per strength, each started from the last: the same optimum, sooner."""
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits
    except ModuleNotFoundError:
        raise MissingExtraError.of("scikit-learn", "eval", "the linear probe") from None
    model = LogisticRegression(tol=TOLERANCE, max_iter=max_iterations, warm_start=True)
    for strength in strengths:
        model.set_params(C=strength)
        # The matrices are small: more threads mostly wait for each other, minutes of it on a busy machine.
        with warnings.catch_warnings(record=True) as caught, threadpool_limits(1):
            warnings.simplefilter("always")
            model.fit(features_ND, labels_N)
        converged = True
        for warning in caught:
            if issubclass(warning.category, ConvergenceWarning):
                converged = False
            else:
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        yield model, converged
