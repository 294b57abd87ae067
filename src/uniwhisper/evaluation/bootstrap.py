"""Percentile bootstrap over clips (Efron 1979), resampled within each fold: how far a score depends on these clips.

It does not cover the choice of training clips, speakers shared by clips, or another training of the encoder.
"""

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95


def bootstrap_draws(values_by_fold: Sequence[np.ndarray], *, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """Resampled means over folds, float64 (resamples,).

    Args:
        values_by_fold: per fold the per-clip values (1 correct, 0 wrong), any order, at least one per fold.
        seed: the same seed gives the same draws.
    """
    generator = np.random.default_rng(seed)
    draws = np.zeros(resamples)
    for values in values_by_fold:
        values = np.asarray(values, dtype=np.float64)
        for start in range(0, resamples, 100):
            picks = generator.integers(len(values), size=(min(100, resamples - start), len(values)))
            draws[start : start + len(picks)] += values[picks].mean(axis=1)
    return draws / len(values_by_fold)


def interval(draws: np.ndarray, *, level: float = LEVEL) -> tuple[float, float]:
    """Central interval of `draws` (float64, any length >= 1)."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
