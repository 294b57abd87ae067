"""k nearest neighbours by true cosine similarity, with softmax-weighted votes.

For a query q and reference vectors r_n with classes c_n (Wu et al. 2018, section 3.4, weights normalised):

    s_n     = <q, r_n> / (|q| |r_n|)                 0 where a vector is zero
    K       = the k largest s_n                       ties: the earlier clip
    w_n     = exp(s_n / T) / sum_{m in K} exp(s_m / T)
    score_c = sum_{n in K, c_n = c} w_n               answer: the largest, ties: the lower class

Both sides are normalised per clip. (X-ARES normalises its reference matrix per feature instead, so its kNN is another
measure; its figures are not comparable.)
"""

import numpy as np
import torch

NEIGHBOURS = 10
TEMPERATURE = 0.07
_BLOCK_QUERIES = 1024
_BUCKET_CLIPS = 64


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
    answers = []
    for block_QD in queries_QD.split(_BLOCK_QUERIES):
        similarity_QN = block_QD @ reference_ND.T
        nearest_QK = _nearest(similarity_QN, min(k, len(labels_N)))
        weights_QK = (similarity_QN.gather(1, nearest_QK) / temperature).softmax(dim=1)
        scores_QC = torch.zeros(len(block_QD), classes, dtype=weights_QK.dtype, device=device)
        scores_QC.scatter_add_(1, labels_N[nearest_QK], weights_QK)
        answers.append(scores_QC.cpu().numpy().argmax(axis=1))  # NumPy's argmax promises the first of equals
    return np.concatenate(answers) if answers else np.zeros(0, dtype=np.int64)


def _unit(vectors_ND: np.ndarray) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.from_numpy(np.ascontiguousarray(vectors_ND)), dim=1)


def _nearest(similarity_QN: torch.Tensor, k: int) -> torch.Tensor:
    """Indices of the k largest per row; among equals the lower index, which topk alone does not promise."""
    more = min(k + 1, similarity_QN.shape[1])
    values_QK, nearest_QK = _largest(similarity_QN, more)
    # Equal values inside the k, or across their edge: only then does the order of equals matter.
    ambiguous_Q = (values_QK[:, :-1] == values_QK[:, 1:]).any(dim=1)
    nearest_QK = nearest_QK[:, :k].clone()
    if ambiguous_Q.any():
        ordered_QN = similarity_QN[ambiguous_Q].sort(dim=1, descending=True, stable=True).indices
        nearest_QK[ambiguous_Q] = ordered_QN[:, :k]
    return nearest_QK


def _largest(similarity_QN: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Values and indices of the k largest per row; among equals any.

    The k largest lie in the k buckets of clips with the largest maxima, so `topk` need not look at the whole row.
    """
    clips = similarity_QN.shape[1]
    whole = clips // _BUCKET_CLIPS * _BUCKET_CLIPS
    if whole // _BUCKET_CLIPS <= k:
        return similarity_QN.topk(k, dim=1)
    maxima_QB = similarity_QN[:, :whole].unflatten(1, (-1, _BUCKET_CLIPS)).amax(dim=2)
    buckets_QK = maxima_QB.topk(k, dim=1).indices
    inside_E = torch.arange(_BUCKET_CLIPS, device=similarity_QN.device)
    rest_E = torch.arange(whole, clips, device=similarity_QN.device)
    looked_QE = (buckets_QK[:, :, None] * _BUCKET_CLIPS + inside_E).flatten(1)
    looked_QE = torch.cat([looked_QE, rest_E.expand(len(looked_QE), -1)], dim=1)
    values_QK, places_QK = similarity_QN.gather(1, looked_QE).topk(k, dim=1)
    return values_QK, looked_QE.gather(1, places_QK)
