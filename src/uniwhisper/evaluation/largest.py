"""The k largest of every row, exactly and with a fixed order of equals, without looking at whole rows."""

import torch

_BUCKET_CLIPS = 64


def nearest(similarity_QN: torch.Tensor, k: int) -> torch.Tensor:
    """Indices of the k largest per row; among equals the lower index, which topk alone does not promise.

    Args:
        similarity_QN: float32 or float64, N >= k.
        k: how many.
    """
    more = min(k + 1, similarity_QN.shape[1])
    values_QK, nearest_QK = largest(similarity_QN, more)
    # Equal values inside the k, or across their edge: only then does the order of equals matter.
    ambiguous_Q = (values_QK[:, :-1] == values_QK[:, 1:]).any(dim=1)
    nearest_QK = nearest_QK[:, :k].clone()
    if ambiguous_Q.any():
        ordered_QN = similarity_QN[ambiguous_Q].sort(dim=1, descending=True, stable=True).indices
        nearest_QK[ambiguous_Q] = ordered_QN[:, :k]
    return nearest_QK


def largest(
    similarity_QN: torch.Tensor, k: int, bucket_clips: int = _BUCKET_CLIPS
) -> tuple[torch.Tensor, torch.Tensor]:
    """Values and indices of the k largest per row, the largest first; among equals any.

    The k largest lie in the k buckets of clips with the largest maxima, so `topk` need not look at the whole row.

    Args:
        similarity_QN: float32 or float64, N >= k.
        k: how many.
        bucket_clips: neighbouring clips whose maximum is taken first.
    """
    clips = similarity_QN.shape[1]
    whole = clips // bucket_clips * bucket_clips
    if whole // bucket_clips <= k:
        return similarity_QN.topk(k, dim=1)
    maxima_QB = similarity_QN[:, :whole].unflatten(1, (-1, bucket_clips)).amax(dim=2)
    buckets_QK = maxima_QB.topk(k, dim=1).indices
    inside_E = torch.arange(bucket_clips, device=similarity_QN.device)
    rest_E = torch.arange(whole, clips, device=similarity_QN.device)
    looked_QE = (buckets_QK[:, :, None] * bucket_clips + inside_E).flatten(1)
    looked_QE = torch.cat([looked_QE, rest_E.expand(len(looked_QE), -1)], dim=1)
    values_QK, places_QK = similarity_QN.gather(1, looked_QE).topk(k, dim=1)
    return values_QK, looked_QE.gather(1, places_QK)
