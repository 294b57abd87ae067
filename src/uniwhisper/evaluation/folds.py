"""Folds, and what may be learned from which of them: nothing, from the fold that is scored."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Fold:
    """One scored fold. Indices into the clips of a task, int64, disjoint, both non-empty."""

    name: str
    reference: np.ndarray
    scored: np.ndarray


def make_folds(fold_of_clip: Sequence[str], scored: Sequence[str]) -> list[Fold]:
    """Each scored fold against all other clips.

    Raises:
        ValueError: a scored fold, or the rest, holds no clip.
    """
    folds_N = np.asarray(fold_of_clip, dtype=object)
    folds = []
    for name in scored:
        inside_N = folds_N == name
        if inside_N.all() or not inside_N.any():
            raise ValueError(f"fold {name} holds {int(inside_N.sum())} of {len(folds_N)} clips")
        folds.append(Fold(name, np.flatnonzero(~inside_N), np.flatnonzero(inside_N)))
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


def inner_split(labels_N: np.ndarray, *, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Stratified split of a training fold: indices to fit on and indices to choose a setting on, both int64.

    `labels_N`: int classes. Every class keeps at least one clip on the fitting side; a class of one clip has no other.
    """
    generator = np.random.default_rng(seed)
    fitting, choosing = [], []
    for label in np.unique(labels_N):
        clips = generator.permutation(np.flatnonzero(labels_N == label))
        held_out = min(max(1, round(share * len(clips))), len(clips) - 1)
        choosing.append(clips[:held_out])
        fitting.append(clips[held_out:])
    return np.sort(np.concatenate(fitting)), np.sort(np.concatenate(choosing))
