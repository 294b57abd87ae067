"""Folds, and what may be learned from which of them: nothing, from the fold that is scored."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Fold:
    """One scored fold. Indices into the clips of a task, int64, disjoint, both non-empty."""

    name: str
    reference: np.ndarray
    scored: np.ndarray


def make_folds(
    fold_of_clip: Sequence[str], scored: Sequence[str], reference: Sequence[str] | None = None
) -> list[Fold]:
    """Each scored fold against all other clips, or against those of the folds `reference`.

    Raises:
        ValueError: a scored fold, or the rest, holds no clip.
    """
    folds_N = np.asarray(fold_of_clip, dtype=object)
    folds = []
    for name in scored:
        inside_N = folds_N == name
        outside_N = ~inside_N & (True if reference is None else np.isin(fold_of_clip, list(reference)))
        if not outside_N.any() or not inside_N.any():
            raise ValueError(f"fold {name} holds {int(inside_N.sum())} of {len(folds_N)} clips")
        folds.append(Fold(name, np.flatnonzero(outside_N), np.flatnonzero(inside_N)))
    return folds


@dataclass(frozen=True)
class Standardiser:
    """Zero mean and unit (population) deviation per feature, as measured on the vectors it was fitted to."""

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def fit(cls, vectors_ND: np.ndarray) -> "Standardiser":
        """`vectors_ND`: the training fold, any float dtype. A constant feature stays at zero."""
        vectors_ND = np.asarray(vectors_ND, dtype=np.float64)
        mean, deviation = vectors_ND.mean(axis=0), vectors_ND.std(axis=0)
        # A constant column has a deviation of rounding errors, which must not be blown up to 1.
        constant = deviation <= 1e-7 * np.abs(vectors_ND).max(axis=0)
        return cls(mean, np.where(constant, np.inf, deviation))

    def __call__(self, vectors_ND: np.ndarray) -> np.ndarray:
        """Float32 standardised `vectors_ND`."""
        return ((vectors_ND - self.mean) / self.deviation).astype(np.float32)


def inner_split(
    labels_N: np.ndarray, groups: Sequence[Hashable], *, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split of a training fold into indices to fit on and indices to choose settings on, both int64 and ascending.

    Whole groups, taken in random order wherever that brings the held-out number of every class nearer to `share`.
    No group is on both sides, and every class keeps a clip to be fitted on; where groups do not allow both, nothing is
    held out and the second part is empty.

    Args:
        labels_N: int classes >= 0.
        groups: one per clip; all different for a split by clip.
        seed: of the order.
    """
    classes = int(labels_N.max()) + 1
    totals_C = np.bincount(labels_N, minlength=classes)
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    counts = {group: np.bincount(labels_N[indices], minlength=classes) for group, indices in members.items()}
    names = list(members)
    order = [names[place] for place in np.random.default_rng(seed).permutation(len(names))]
    held_C, held = np.zeros(classes, dtype=np.int64), set()
    target_C = share * totals_C
    for group in order:
        after_C = held_C + counts[group]
        nearer = np.abs(after_C - target_C).sum() < np.abs(held_C - target_C).sum()
        if nearer and (after_C < totals_C)[totals_C > 0].all():
            held_C, held = after_C, held | {group}
    if not held:
        # Few large groups: better one too large than none.
        allowed = [group for group in order if (counts[group] < totals_C)[totals_C > 0].all()]
        held = {min(allowed, key=lambda group: (counts[group].sum(), order.index(group)))} if allowed else set()
    choosing = sorted(index for group in held for index in members[group])
    fitting = sorted(set(range(len(labels_N))) - set(choosing))
    return np.array(fitting, dtype=np.int64), np.array(choosing, dtype=np.int64)
