"""Padded waves of any length to frames: for programs that hold arrays and make their own batches.

`Embedder` reads files and bounds its memory; other packages hand over arrays, know their own batches
and may want gradients. Windows and means are the same: `tests/test_integrations.py` compares the two.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from uniwhisper.core.units import SAMPLE_RATE_HZ, WINDOW_SAMPLES, frame_count, mel_count
from uniwhisper.embedding.device import full_float32
from uniwhisper.features.logmel import log_mel
from uniwhisper.model.encoder import WhisperEncoder

# Seconds of padded audio that go through the encoder at once.
BATCH_SECONDS = 480


@dataclass(frozen=True)
class Window:
    """At most 30 s of one clip of a batch."""

    clip: int
    start: int
    """First sample."""
    samples: int

    @property
    def frames(self) -> int:
        return frame_count(mel_count(self.samples))


def windows_of(sample_counts: list[int]) -> list[Window]:
    """Windows of every clip, clip by clip and in order; all but a clip's last are 30 s long."""
    return [
        Window(clip, start, min(count - start, WINDOW_SAMPLES))
        for clip, count in enumerate(sample_counts)
        for start in range(0, count, WINDOW_SAMPLES)
    ]


def encode_waves(
    encoder: WhisperEncoder, wave_BS: Tensor, sample_counts_B: Tensor | None = None, *, layer: int | None = None
) -> tuple[Tensor, Tensor]:
    """Frames of each clip, 20 ms apart; differentiable with respect to the encoder's weights.

    Args:
        encoder: in float32.
        wave_BS: floating point, 16 kHz mono, padded on the right, any length; moved to the encoder's device.
        sample_counts_B: integers, real samples of each clip, at least 1. None: all S are real.
        layer: as in `WhisperEncoder.forward`.

    Returns:
        frames_BTD: float32, exact zeros in the padding.
        frame_counts_B: int64, the sum over the clip's windows of ceil(samples / 320).

    Raises:
        ValueError: shapes that do not fit together, or a clip without samples.
    """
    counts = checked_counts(wave_BS, sample_counts_B)
    device = encoder.positions_TD.device
    wave_BS = wave_BS.to(device, torch.float32)
    parts: list[list[Tensor]] = [[] for _ in counts]
    for batch in _batches(windows_of(counts)):
        for window, frames_TD in zip(batch, encode_windows(encoder, wave_BS, batch, layer=layer), strict=True):
            parts[window.clip].append(frames_TD)
    clips = [torch.cat(frames) for frames in parts]
    frame_counts_B = torch.tensor([len(frames_TD) for frames_TD in clips], device=device)
    return pad_sequence(clips, batch_first=True), frame_counts_B


def encode_windows(
    encoder: WhisperEncoder, wave_BS: Tensor, windows: list[Window], *, layer: int | None = None
) -> list[Tensor]:
    """The real frames (T, D) of each window of `wave_BS` (float32, on the encoder's device), in one pass."""
    cut = [wave_BS[window.clip, window.start : window.start + window.samples] for window in windows]
    with full_float32(wave_BS.device):
        mel_BMF, mel_counts_B = log_mel(
            pad_sequence(cut, batch_first=True),
            torch.tensor([window.samples for window in windows], device=wave_BS.device),
            mel_bins=encoder.config.mel_bins,
        )
        frames_BTD, _ = encoder(mel_BMF, mel_counts_B, layer=layer)
    return [frames_TD[: window.frames] for frames_TD, window in zip(frames_BTD, windows, strict=True)]


def checked_counts(wave_BS: Tensor, sample_counts_B: Tensor | None) -> list[int]:
    """Real samples of each clip of `wave_BS`; errors as in `encode_waves`, which `sample_counts_B` is from."""
    if wave_BS.ndim != 2 or not wave_BS.is_floating_point() or not len(wave_BS):
        raise ValueError(f"expected floating-point samples (B, S), got {wave_BS.dtype} {tuple(wave_BS.shape)}")
    if sample_counts_B is None:
        counts = [wave_BS.shape[1]] * len(wave_BS)
    else:
        if sample_counts_B.shape != wave_BS.shape[:1] or sample_counts_B.is_floating_point():
            raise ValueError(
                f"expected an integer per clip, got {sample_counts_B.dtype} {tuple(sample_counts_B.shape)} "
                f"for {len(wave_BS)} clips"
            )
        counts = [int(count) for count in sample_counts_B.tolist()]
    if min(counts) < 1 or max(counts) > wave_BS.shape[1]:
        raise ValueError(f"expected 1 to {wave_BS.shape[1]} samples in each clip, got {min(counts)} to {max(counts)}")
    return counts


def pad_waves(waves: list[Tensor]) -> tuple[Tensor, Tensor]:
    """wave_BS and sample_counts_B (int64) of `waves`: clips (S,) of one dtype and unequal length."""
    return pad_sequence(waves, batch_first=True), torch.tensor([len(wave_S) for wave_S in waves])


def _batches(windows: list[Window]) -> list[list[Window]]:
    size = max(1, int(BATCH_SECONDS * SAMPLE_RATE_HZ / max(window.samples for window in windows)))
    return [windows[start : start + size] for start in range(0, len(windows), size)]
