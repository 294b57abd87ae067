"""Vectors to places on a map."""

import numpy as np

# Below this a map of local neighbourhoods has nothing to say that the two main directions do not.
FEWEST_FOR_TSNE = 30


def unit(vectors_ND: np.ndarray) -> np.ndarray:
    """vectors_ND, float32 or float64, each scaled to length 1; a zero vector stays zero."""
    lengths = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    return vectors_ND / np.where(lengths == 0, 1, lengths)


def places_on_map(vectors_ND: np.ndarray) -> tuple[np.ndarray, str]:
    """A point in the plane for each row of vectors_ND, and the name of the method.

    t-SNE of the unit vectors (near clips stay near, distances between groups mean little) where there are enough,
    else the two directions of largest variance. The same vectors give the same map.

    Returns:
        points: float64 (N, 2).
        method: to be printed beside the map.
    """
    unit_ND = unit(np.asarray(vectors_ND, dtype=np.float64))
    if len(unit_ND) >= FEWEST_FOR_TSNE:
        from sklearn.manifold import TSNE

        perplexity = min(20.0, (len(unit_ND) - 1) / 3)
        return TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(
            unit_ND
        ), "t-SNE of the unit vectors"
    centred_ND = unit_ND - unit_ND.mean(axis=0)
    left, scales, _ = np.linalg.svd(centred_ND, full_matrices=False)
    points = np.zeros((len(unit_ND), 2))
    points[:, : min(2, len(scales))] = (left * scales)[:, :2]
    return points, "the two directions of largest variance (PCA)"
