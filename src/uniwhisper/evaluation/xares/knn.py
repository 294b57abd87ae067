"""kNN as X-ARES 0.1.3 computes it, which is not by cosine.

For a query q and the reference matrix R (N x D, row n of class c_n):

    s_n     = sum_d (q_d / |q|) R_nd / sqrt(sum_m R_md^2)     each *feature* of the reference has norm 1 over the clips
    K       = the 10 largest s_n
    w_n     = exp(s_n / 0.07) / sum_{m in K} exp(s_m / 0.07)
    score_c = sum_{n in K, c_n = c} w_n                       answer: the largest

Its reference is transposed before it is normalised, so the norm runs over the clips instead of the features (X-ARES
0.1.3, `xares/trainer.py`, class `KNN`). The similarities shrink as 1/sqrt(N), so the weights become uniform, and clips
that are large in any feature become everybody's neighbour.
"""

import numpy as np
import torch
from torch.nn import functional as F

from uniwhisper.core.errors import UserError

NEIGHBOURS = 10
TEMPERATURE = 0.07
_BLOCK_QUERIES = 1024


def knn_predict(reference_ND: np.ndarray, labels_N: np.ndarray, queries_QD: np.ndarray) -> np.ndarray:
    """Class of each query, int64 (Q,), by the formula above, in float32.

    Args:
        reference_ND: float vectors of the reference clips, as they are.
        labels_N: int classes >= 0.
        queries_QD: float vectors of the scored clips, as they are.

    Raises:
        UserError: fewer reference clips than neighbours, which X-ARES cannot answer either.
    """
    assert reference_ND.shape[1] == queries_QD.shape[1], "reference and queries differ in width"
    if len(reference_ND) < NEIGHBOURS:
        raise UserError(
            "too few reference clips for the kNN of X-ARES",
            expected=f"{NEIGHBOURS} or more",
            got=str(len(reference_ND)),
            fix="use a larger set, or the protocol `clean`",
        )
    columns_DN = F.normalize(_float32(reference_ND).T, dim=1)
    labels_N = torch.from_numpy(np.asarray(labels_N, dtype=np.int64))
    classes = int(labels_N.max()) + 1
    answers = []
    for block_QD in _float32(queries_QD).split(_BLOCK_QUERIES):
        nearest = (F.normalize(block_QD, dim=1) @ columns_DN).topk(NEIGHBOURS)
        weights_QK = (nearest.values / TEMPERATURE).softmax(dim=1)
        scores_QC = torch.zeros(len(block_QD), classes).scatter_add_(1, labels_N[nearest.indices], weights_QK)
        answers.append(scores_QC.argmax(dim=1).numpy())
    return np.concatenate(answers) if answers else np.zeros(0, dtype=np.int64)


def _float32(vectors_ND: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(vectors_ND, dtype=np.float32))
