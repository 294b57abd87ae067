"""From frames to one vector per clip."""

import torch
from torch import Tensor


def masked_mean(frames_BTD: Tensor, frame_counts_B: Tensor) -> Tensor:
    """Mean over the real frames of each clip.

    Args:
        frames_BTD: any floating dtype; what lies in the padding, NaN included, has no effect.
        frame_counts_B: integers, real frames of each clip; 1 <= count <= T.

    Returns:
        vectors_BD: summed in float32, or in the dtype of `frames_BTD` if that is wider.
    """
    assert frames_BTD.shape[:1] == frame_counts_B.shape, "one count per clip"
    counts_B1 = frame_counts_B.to(frames_BTD.device)[:, None]
    padding_BT = torch.arange(frames_BTD.shape[1], device=frames_BTD.device) >= counts_B1
    wide_BTD = frames_BTD.to(torch.promote_types(frames_BTD.dtype, torch.float32))
    return wide_BTD.masked_fill(padding_BT[..., None], 0).sum(dim=1) / counts_B1
