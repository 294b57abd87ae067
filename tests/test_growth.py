"""The curve of gain against training data: it finds the numbers that made it, and says nothing about what is far."""

import numpy as np
import pytest

from uniwhisper.core.errors import RecipeError
from uniwhisper.reproduce.growth import SHARES, fit, growth
from uniwhisper.reproduce.rows import ROWS


def made(share: float) -> float:
    return 0.3 - 0.1 * share**-0.4


def test_the_numbers_that_made_it_are_found():
    shares = np.array(sorted(SHARES.values()))
    curve = fit(shares, np.array([made(share) for share in shares]))
    for share in (0.2, 1.0, 4.0):
        assert curve.at(share) == pytest.approx(made(share), abs=2e-3)


def test_seeds_that_differ_widen_the_interval_and_hold_the_truth():
    generator = np.random.default_rng(0)
    exact = growth({share: [made(share)] * 3 for share in SHARES.values()})
    rough = growth({share: made(share) + generator.normal(0, 0.01, 3) for share in SHARES.values()})
    value, low, high = exact.at(1.0)
    assert high - low == pytest.approx(0, abs=1e-9)
    assert value == pytest.approx(made(1.0), abs=2e-3)
    _, low, high = rough.at(1.0)
    assert 0.002 < high - low < 0.05


@pytest.mark.parametrize("share", [0.0, -1.0, 10.1])
def test_beyond_ten_times_nothing_is_said(share):
    with pytest.raises(RecipeError):
        fit(np.array([0.25, 0.5, 1.0]), np.array([0.1, 0.2, 0.25])).at(share)


def test_shares_are_those_of_the_rows():
    assert {name: ROWS[name].share for name in SHARES} == SHARES
