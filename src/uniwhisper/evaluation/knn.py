"""k nearest neighbours by true cosine similarity, with softmax-weighted votes.

For a query q and reference vectors r_n with classes c_n (Wu et al. 2018, section 3.4, weights normalised):

    s_n     = <q, r_n> / (|q| |r_n|)                 0 where a vector is zero
    K       = the k largest s_n                       ties: the earlier clip
    w_n     = exp(s_n / T) / sum_{m in K} exp(s_m / T)
    score_c = sum_{n in K, c_n = c} w_n               answer: the largest, ties: the lower class

Both sides are normalised per clip. (X-ARES normalises its reference matrix per feature instead, so its kNN is another
measure; its figures are not comparable.) Large searches on a CPU find K by bounds (`pruned`): the same clips.
"""

import numpy as np
import torch

from uniwhisper.evaluation import pruned

NEIGHBOURS = 10
TEMPERATURE = 0.07


def knn_predict(
    reference_ND: np.ndarray,
    labels_N: np.ndarray,
    queries_QD: np.ndarray,
    *,
    k: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Class of each query, int64 (Q,), by the formula above.

    Args:
        reference_ND: float32 or float64, N >= 1; computed in its own precision.
        labels_N: int classes >= 0.
        queries_QD: same width and dtype as the reference.
        k: neighbours; all N where there are fewer.
        temperature: T above.
        device: where to compute.
    """
    assert reference_ND.shape[1] == queries_QD.shape[1], "reference and queries differ in width"
    reference_ND, queries_QD = _unit(reference_ND).to(device), _unit(queries_QD).to(device)
    labels_N = torch.from_numpy(np.asarray(labels_N, dtype=np.int64)).to(device)
    classes = int(labels_N.max()) + 1
    if not len(queries_QD):
        return np.zeros(0, dtype=np.int64)
    k = min(k, len(labels_N))
    on_cpu = reference_ND.device.type == "cpu"  # a GPU's product is quicker than what pruning would save
    search = pruned.prepare(reference_ND, len(queries_QD), k) if on_cpu else None
    if search is None:
        scores_QK, nearest_QK = pruned.full(reference_ND, queries_QD, k)
    else:
        scores_QK, nearest_QK = search.nearest(queries_QD, k)
    weights_QK = (scores_QK / temperature).softmax(dim=1)
    scores_QC = torch.zeros(len(queries_QD), classes, dtype=weights_QK.dtype, device=device)
    scores_QC.scatter_add_(1, labels_N[nearest_QK], weights_QK)
    return scores_QC.cpu().numpy().argmax(axis=1)  # NumPy's argmax promises the first of equals


def _unit(vectors_ND: np.ndarray) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.from_numpy(np.ascontiguousarray(vectors_ND)), dim=1)
