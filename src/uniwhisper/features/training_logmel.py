"""The log-mel of training steps: `logmel.log_mel` in float32 with the Fourier transform as a matrix product.

Float64 and one cuFFT plan for each number of rows cost more than a small encoder's whole step. Here a value differs
from `log_mel` by what float32 rounding does in the weak bands of loud tones, which training does not see; embedding
keeps the exact one. Counts are read on the CPU, so nothing waits for the device.
"""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from uniwhisper.core.units import FFT_SAMPLES, MEL_HOP_SAMPLES, WINDOW_SAMPLES, mel_count
from uniwhisper.features.logmel import DYNAMIC_RANGE, POWER_FLOOR, mel_filters


def training_log_mel(wave_BS: Tensor, sample_counts_B: Tensor, *, mel_bins: int) -> tuple[Tensor, Tensor]:
    """Log-mel of each clip, normalised within that clip, as `log_mel` but for rounding.

    Args:
        wave_BS: float32 at 16 kHz on any device, zeros in the padding.
        sample_counts_B: int64 on the CPU; 1 <= count <= S < 480,000.
        mel_bins: M.

    Returns:
        mel_BMF: float32 on the device of `wave_BS`, zeros in the padding.
        mel_counts_B: int64 on the CPU.
    """
    longest = int(sample_counts_B.max())
    assert longest < WINDOW_SAMPLES, "a training clip is shorter than a window: nothing is reflected at its end"
    mel_counts_B = mel_count(sample_counts_B)
    half = FFT_SAMPLES // 2
    columns = min(-(-(longest + half) // MEL_HOP_SAMPLES), WINDOW_SAMPLES // MEL_HOP_SAMPLES)
    missing = (columns - 1) * MEL_HOP_SAMPLES + half - longest
    clean_BS = F.pad(wave_BS[:, :longest], (0, max(missing, 1 + half - longest)))
    padded_BS = torch.cat([clean_BS[:, 1 : half + 1].flip(1), clean_BS], dim=1)
    frames_BFS = padded_BS.unfold(1, FFT_SAMPLES, MEL_HOP_SAMPLES)[:, :columns]
    with torch.autocast(wave_BS.device.type, enabled=False):
        spectrum_BFK = frames_BFS @ _fourier_matrix(wave_BS.device)
        real_BFK, imaginary_BFK = spectrum_BFK.chunk(2, dim=2)
        power_BFK = real_BFK.square() + imaginary_BFK.square()
        filters_KM = mel_filters(mel_bins, wave_BS.device).float().T
        log_BFM = (power_BFK @ filters_KM).clamp(min=POWER_FLOOR).log10()
    log_BFM = torch.maximum(log_BFM, log_BFM.amax(dim=(1, 2), keepdim=True) - DYNAMIC_RANGE)
    log_BFM = log_BFM[:, : mel_count(longest)]
    counts_B = mel_counts_B.to(wave_BS.device, non_blocking=True)
    real_BF = torch.arange(log_BFM.shape[1], device=wave_BS.device) < counts_B[:, None]
    return torch.where(real_BF[..., None], (log_BFM + 4) / 4, 0).transpose(1, 2), mel_counts_B


@lru_cache
def _fourier_matrix(device: torch.device) -> Tensor:
    """(FFT_SAMPLES, 2K) float32: Hann window times cosines, then times sines."""
    with torch.inference_mode(False):
        place_S = torch.arange(FFT_SAMPLES, dtype=torch.float64)
        # Reduced modulo the period before the product with 2π: no digits are lost in large angles.
        turn_SK = (place_S[:, None] * torch.arange(FFT_SAMPLES // 2 + 1)) % FFT_SAMPLES / FFT_SAMPLES
        window_S1 = torch.hann_window(FFT_SAMPLES, dtype=torch.float64)[:, None]
        angles_SK = 2 * math.pi * turn_SK
        return torch.cat([window_S1 * angles_SK.cos(), window_S1 * angles_SK.sin()], dim=1).float().to(device)
