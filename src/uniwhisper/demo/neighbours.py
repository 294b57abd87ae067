"""From vectors to what a page can show: each clip's nearest neighbours."""

import numpy as np

from uniwhisper.evaluation.places import unit


def nearest(vectors_ND: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """For each row of vectors_ND the `count` other rows most similar to it by cosine, the most similar first.

    Returns:
        indices: int64 (N, K), K = min(count, N - 1); among equals the lower index comes first.
        similarities: (N, K), within [-1, 1].
    """
    unit_ND = unit(np.asarray(vectors_ND, dtype=np.float64))
    similarity_NN = np.clip(unit_ND @ unit_ND.T, -1, 1)
    np.fill_diagonal(similarity_NN, -np.inf)
    indices_NK = np.argsort(-similarity_NN, axis=1, kind="stable")[:, : min(count, len(unit_ND) - 1)]
    return indices_NK, np.take_along_axis(similarity_NN, indices_NK, axis=1)
