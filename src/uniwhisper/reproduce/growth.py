"""Gain against training data: a power law fitted to the rows that train on parts of the clips, with its interval.

    gain(share) = ceiling - lost * share ** -rate

Three numbers, fitted by least squares; the interval is the bootstrap of training seeds (whole curves are drawn again).
Asked beyond ten times the data that was measured, it refuses to answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from uniwhisper.core.errors import RecipeError
from uniwhisper.evaluation.bootstrap import interval

SHARES = {"U-eighth": 1 / 8, "U-quarter": 1 / 4, "U-half": 1 / 2, "U": 1.0}
"""Row -> part of the clips."""
RATES = np.geomspace(0.02, 3.0, 120)
FARTHEST = 10.0
RESAMPLES = 500


@dataclass(frozen=True)
class Curve:
    """A fitted gain."""

    ceiling: float
    lost: float
    rate: float

    def at(self, share: float) -> float:
        """Gain with `share` times the clips of U.

        Raises:
            RecipeError: more than ten times, which nothing measured says anything about.
        """
        if not 0 < share <= FARTHEST:
            raise RecipeError(
                "gain against training data", expected=f"above 0, to {FARTHEST:g} times the clips", got=f"{share:g}",
                fix="train on more clips to know more",
            )  # fmt: skip
        return self.ceiling - self.lost * share**-self.rate


@dataclass(frozen=True)
class Growth:
    """A curve and how far it depends on the training seeds."""

    curve: Curve
    drawn: tuple[Curve, ...]
    """Curves of training seeds drawn again."""

    def at(self, share: float) -> tuple[float, float, float]:
        """Gain and its interval with `share` times the clips; errors as `Curve.at`."""
        return self.curve.at(share), *interval(np.array([curve.at(share) for curve in self.drawn]))


def fit(shares_P: np.ndarray, gains_P: np.ndarray) -> Curve:
    """Least squares: linear in ceiling and loss for each rate of a grid.

    Args:
        shares_P: float64, parts of the clips, at least three different ones.
        gains_P: float64, gain at each.
    """
    assert len(set(shares_P.tolist())) >= 3, "a curve of three numbers takes three shares"
    # Simple regression on share ** -rate, for all rates at once.
    powers_RP = shares_P ** -RATES[:, None]
    around_RP = powers_RP - powers_RP.mean(axis=1, keepdims=True)
    lost_R = -(around_RP @ gains_P) / np.square(around_RP).sum(axis=1)
    ceiling_R = gains_P.mean() + lost_R * powers_RP.mean(axis=1)
    errors_R = np.square(ceiling_R[:, None] - lost_R[:, None] * powers_RP - gains_P).sum(axis=1)
    best = int(np.argmin(errors_R))
    return Curve(float(ceiling_R[best]), float(lost_R[best]), float(RATES[best]))


def growth(gains: Mapping[float, Sequence[float]]) -> Growth:
    """Fit of the mean over seeds, and of seeds drawn with replacement.

    Args:
        gains: share -> gain over S of each training seed, the seeds in one order for all shares.
    """
    shares_P = np.array(sorted(gains))
    gains_PS = np.array([gains[share] for share in sorted(gains)])
    generator = np.random.default_rng(0)
    seeds = gains_PS.shape[1]
    draws = (gains_PS[:, generator.integers(seeds, size=seeds)].mean(axis=1) for _ in range(RESAMPLES))
    return Growth(fit(shares_P, gains_PS.mean(axis=1)), tuple(fit(shares_P, drawn_P) for drawn_P in draws))
