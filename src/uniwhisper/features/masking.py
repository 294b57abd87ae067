"""SpecAugment: blank ranges of mels and of mel bins, as drawn by the data layer."""

import torch
from torch import Tensor


def mask_mel(mel_BMF: Tensor, mel_counts_B: Tensor, time_masks_BK2: Tensor, frequency_masks_BK2: Tensor) -> Tensor:
    """Replace masked ranges of each clip by that clip's mean value; padding stays zero.

    Args:
        mel_BMF: log-mel, zeros where padding.
        mel_counts_B: int64, real mels of each clip.
        time_masks_BK2: int64, ranges [start, stop) of mels; start == stop masks nothing.
        frequency_masks_BK2: int64, ranges [start, stop) of mel bins.

    SpecAugment: Park et al. 2019 (arXiv 1904.08779), section 2, without time warping.
    """
    if time_masks_BK2.shape[1] == 0 and frequency_masks_BK2.shape[1] == 0:
        return mel_BMF
    real_BF = torch.arange(mel_BMF.shape[2], device=mel_BMF.device) < mel_counts_B[:, None]
    hidden_BMF = _within(time_masks_BK2, mel_BMF.shape[2])[:, None, :] | _within(
        frequency_masks_BK2, mel_BMF.shape[1]
    ).unsqueeze(2)
    mean_B11 = mel_BMF.sum(dim=(1, 2), keepdim=True) / (mel_BMF.shape[1] * mel_counts_B[:, None, None])
    return torch.where(hidden_BMF & real_BF[:, None, :], mean_B11, mel_BMF)


def _within(ranges_BK2: Tensor, length: int) -> Tensor:
    """Bool (B, length): True where any of the clip's ranges [start, stop) covers the index."""
    index = torch.arange(length, device=ranges_BK2.device)
    starts_BK1, stops_BK1 = ranges_BK2[..., :1], ranges_BK2[..., 1:]
    return ((index >= starts_BK1) & (index < stops_BK1)).any(dim=1)
