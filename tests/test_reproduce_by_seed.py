"""Which runs are compared: written out by hand."""

from uniwhisper.reproduce.by_seed import pairs_of
from uniwhisper.reproduce.job import Job


def test_rows_are_paired_by_seed_and_a_floor_judged_once_with_every_seed():
    results = {
        Job("U", 2): "u2", Job("U", 1): "u1", Job("U", 0): "u0",
        Job("S", 0): "s0", Job("S", 2): "s2",
        Job("log-mel", 0): "floor", Job("random", 1): "r1", Job("random", 2): "r2", Job("C", 9): "c9",
    }  # fmt: skip
    assert pairs_of(results, "S", "U") == {0: ("s0", "u0"), 2: ("s2", "u2")}
    assert list(pairs_of(results, "log-mel", "U").items()) == [
        (0, ("floor", "u0")), (1, ("floor", "u1")), (2, ("floor", "u2"))
    ]  # fmt: skip
    assert pairs_of(results, "S", "log-mel") == {0: ("s0", "floor"), 2: ("s2", "floor")}
    # Random weights of several seeds are several floors; a trained row of one seed is none.
    assert pairs_of(results, "random", "U") == {1: ("r1", "u1"), 2: ("r2", "u2")}
    assert pairs_of(results, "C", "U") == {}
    assert pairs_of(results, "log-mel", "random") == {1: ("floor", "r1"), 2: ("floor", "r2")}
