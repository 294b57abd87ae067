"""Samples -> log-mel spectrogram, batched, on CPU or GPU, for clips of unequal length.

Notable: equal to what Whisper sees when every clip is padded to 30 s, without that padding. Whisper's extractor pads a
clip with zeros to 30 s, reflects those 30 s at both ends, and normalises by the maximum over all 3,000 columns.
Here a clip is reflected at its left edge, continued with zeros at the right, and, only where a column reaches past
30 s, reflected there. The maximum is taken over every column that touches the clip, also those not returned.

Precision. In the weak bands of a loud pure tone, rounding inside a float32 transform moves a log-mel value by nearly
1e-4. On a CPU the transform is therefore the reference's own (float32, same library, same rounding); elsewhere it is
float64, so that only the reference's rounding is left between the two. The mel projection is float64 on every device:
neither TF32 nor autocast touches float64, so no global switch has to be set, and a clip's columns do not depend on
the size of its batch.

Sources: Whisper (Radford et al., 2022, section 2.2); mel scale and filters: Slaney, Auditory Toolbox (1998).
Letters: B clips, S samples, M mel bins, F mels in time, K frequencies of the Fourier transform.
"""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from uniwhisper.core.units import FFT_SAMPLES, MEL_HOP_SAMPLES, SAMPLE_RATE_HZ, WINDOW_SAMPLES, mel_count

POWER_FLOOR = 1e-10
DYNAMIC_RANGE = 8.0  # in log10 of power, below the clip's maximum

# Slaney's mel scale: linear up to a break, logarithmic above it.
_LINEAR_HZ_PER_MEL = 200 / 3
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP = math.log(6.4) / 27


def log_mel(
    wave_BS: Tensor, sample_counts_B: Tensor, *, mel_bins: int, transform: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """Log-mel spectrogram of each clip, normalised within that clip.

    Args:
        wave_BS: floating point, 16 kHz mono, padded on the right. What stands in the padding is ignored, even NaN.
        sample_counts_B: integers, real samples of each clip; 1 <= count <= min(S, 480,000). On the CPU, in page-locked
            memory, they save waiting for a GPU.
        mel_bins: M, 80 or 128 for Whisper's checkpoints.
        transform: dtype of the Fourier transform. None: the one that is within 1e-4 of the reference (see above).
            float32 on a GPU, where half precision follows, halves the memory that log-mel moves.

    Returns:
        mel_BMF: float32, one column per 10 ms, zero in the padding; on the device of `wave_BS`.
        mel_counts_B: int64, ceil(sample_counts / 160); on the same device.

    Raises:
        ValueError: shapes that do not fit together, or a count out of range. A longer clip is for the caller to cut
            into windows, each of which then has its own maximum.
    """
    counts = _checked_counts(wave_BS, sample_counts_B)
    sample_counts_B = sample_counts_B.to(wave_BS.device, torch.int64, non_blocking=True)
    mel_counts_B = mel_count(sample_counts_B)

    transform = transform or (torch.float32 if wave_BS.device.type == "cpu" else torch.float64)
    power_BKF = _power_spectrum(_virtual_window(wave_BS, sample_counts_B, max(counts)).to(transform))
    log_BMF = (mel_filters(mel_bins, wave_BS.device) @ power_BKF.double()).clamp(min=POWER_FLOOR).log10()

    # Columns beyond a clip's own see only zeros: they hold the floor, and nothing is below the floor.
    log_BMF = torch.maximum(log_BMF, log_BMF.amax(dim=(1, 2), keepdim=True) - DYNAMIC_RANGE)
    log_BMF = log_BMF[:, :, : mel_count(max(counts))]
    real_BF = torch.arange(log_BMF.shape[2], device=wave_BS.device) < mel_counts_B[:, None]
    return torch.where(real_BF[:, None, :], (log_BMF + 4) / 4, 0).float(), mel_counts_B


def _checked_counts(wave_BS: Tensor, sample_counts_B: Tensor) -> list[int]:
    if wave_BS.ndim != 2 or not wave_BS.is_floating_point() or sample_counts_B.shape != wave_BS.shape[:1]:
        raise ValueError(
            "log_mel takes floating-point samples (B, S) and B counts; got "
            f"{wave_BS.dtype} {tuple(wave_BS.shape)} and counts {tuple(sample_counts_B.shape)}"
        )
    if len(wave_BS) == 0:
        raise ValueError("log_mel takes at least one clip; got an empty batch")
    counts = [int(count) for count in sample_counts_B.tolist()]
    limit = min(wave_BS.shape[1], WINDOW_SAMPLES)
    for index, count in enumerate(counts):
        if not 1 <= count <= limit:
            raise ValueError(
                f"clip {index} of the batch has {count} samples; expected 1 to {limit} (the batch is "
                f"{wave_BS.shape[1]} wide, a window {WINDOW_SAMPLES}); cut longer audio into windows"
            )
    return counts


def _virtual_window(wave_BS: Tensor, sample_counts_B: Tensor, longest: int) -> Tensor:
    """(B, S'): of the reflected 30 s, what the columns touching the longest clip reach."""
    half = FFT_SAMPLES // 2
    columns = min(-(-(longest + half) // MEL_HOP_SAMPLES), WINDOW_SAMPLES // MEL_HOP_SAMPLES)
    end = (columns - 1) * MEL_HOP_SAMPLES + half
    inside = min(end, WINDOW_SAMPLES)

    real_BS = torch.arange(longest, device=wave_BS.device) < sample_counts_B[:, None]
    # torch.where, not a product: NaN times zero is NaN.
    clean_BS = torch.where(real_BS, wave_BS[:, :longest], 0)
    extended_BS = F.pad(clean_BS, (0, max(0, inside - longest)))[:, :inside]
    # `inside` is at least one hop and a half transform, so the reflection never runs out of samples.
    return F.pad(extended_BS[:, None], (half, end - inside), mode="reflect")[:, 0]


def _power_spectrum(wave_BS: Tensor) -> Tensor:
    frames_BFS = wave_BS.unfold(1, FFT_SAMPLES, MEL_HOP_SAMPLES) * _hann_window(wave_BS.device, wave_BS.dtype)
    spectrum_BFK = torch.fft.rfft(frames_BFS)
    return (spectrum_BFK.real.square() + spectrum_BFK.imag.square()).transpose(1, 2)


@lru_cache
def _hann_window(device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):  # a cached inference tensor would fail in a later training step
        window_S = torch.hann_window(
            FFT_SAMPLES, dtype=torch.float32, device="cpu"
        )  # the reference's values everywhere
        return window_S.to(device, dtype)


@lru_cache
def mel_filters(mel_bins: int, device: torch.device) -> Tensor:
    """(M, K) float64: triangles of equal area, evenly spaced on Slaney's mel scale over 0 to 8,000 Hz."""
    if mel_bins < 1:
        raise ValueError(f"mel_bins is {mel_bins}; expected at least 1, for Whisper's checkpoints 80 or 128")
    with torch.inference_mode(False):
        highest_hz = SAMPLE_RATE_HZ / 2
        highest_mel = _BREAK_MEL + math.log(highest_hz / _BREAK_HZ) / _LOG_STEP
        edges_hz = _mel_to_hz(torch.linspace(0, highest_mel, mel_bins + 2, dtype=torch.float64))
        left_M1, centre_M1, right_M1 = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
        hz_K = torch.linspace(0, highest_hz, FFT_SAMPLES // 2 + 1, dtype=torch.float64)
        rising_MK = (hz_K - left_M1) / (centre_M1 - left_M1)
        falling_MK = (right_M1 - hz_K) / (right_M1 - centre_M1)
        triangles_MK = torch.minimum(rising_MK, falling_MK).clamp(min=0)
        return (triangles_MK * (2 / (right_M1 - left_M1))).to(device)


def _mel_to_hz(mel: Tensor) -> Tensor:
    linear_hz = mel * _LINEAR_HZ_PER_MEL
    return torch.where(mel < _BREAK_MEL, linear_hz, _BREAK_HZ * torch.exp((mel - _BREAK_MEL) * _LOG_STEP))
