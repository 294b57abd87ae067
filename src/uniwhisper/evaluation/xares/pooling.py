"""From waves to one vector per clip as X-ARES 0.1.3 does it: through padding, without lengths.

Clips are encoded in batches of 16 in the order of storing, padded with zeros to the longest; the encoder is given no
lengths, and a clip's vector is the mean of *all* frames that come back, those made of padding included. So a short clip
is diluted, and its vector depends on its neighbours. Source: `xares/task.py` (make_encoded_tar), `xares/trainer.py`.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from uniwhisper.core.units import SAMPLE_RATE_HZ, WINDOW_SAMPLES
from uniwhisper.features.logmel import log_mel

BATCH_CLIPS = 16
CHUNK_SECONDS = 10
SHORTEST_CHUNK_SECONDS = 1

Encode = Callable[[Tensor], Tensor]
"""Waves (B, S) float32 at 16 kHz, zero-padded, to frames (B, T, D)."""


def first_crop(wave_S: np.ndarray, seconds: float | None) -> np.ndarray:
    """The first `seconds` of float `wave_S` (16 kHz), padded with zeros to that length; None: the wave as it is.

    X-ARES cuts every clip into all its whole crops, but stores the crops of one batch under one key, and reading drops
    all but the first of a key: what is left is the first crop, and now and then one more where a batch ended inside the
    clip. Those extra crops are not reproduced.
    """
    if seconds is None:
        return wave_S
    samples = int(seconds * SAMPLE_RATE_HZ)
    cut_S = wave_S[:samples]
    return np.pad(cut_S, (0, samples - len(cut_S)))


def padded_batches(waves: Iterable[np.ndarray], batch_clips: int = BATCH_CLIPS) -> Iterator[Tensor]:
    """`waves` (S,) float to (B, longest S) float32 with zeros on the right, in their order."""
    waiting: list[np.ndarray] = []
    for wave_S in waves:
        waiting.append(wave_S)
        if len(waiting) == batch_clips:
            yield _padded(waiting)
            waiting = []
    if waiting:
        yield _padded(waiting)


def pooled_vectors(encode: Encode, waves: Iterable[np.ndarray], *, batch_clips: int = BATCH_CLIPS) -> np.ndarray:
    """One float32 vector per clip (N, D): the mean over every frame of the padded batch.

    Args:
        encode: the encoder.
        waves: float (S,) at 16 kHz, cropped, in the order of the archives.
        batch_clips: 16; 1 in three tasks of long or many clips.
    """
    pooled = []
    with torch.inference_mode():
        for wave_BS in padded_batches(waves, batch_clips):
            frames_BTD = encode(wave_BS)
            assert frames_BTD.ndim == 3 and len(frames_BTD) == len(wave_BS), "frames (B, T, D) of every wave"
            pooled.append(frames_BTD.float().mean(dim=1).cpu().numpy())
    return np.concatenate(pooled) if pooled else np.zeros((0, 0), dtype=np.float32)


class PaddedWhisper:
    """A Whisper encoder as X-ARES's example wraps it: chunks of 10 s, each padded to 30 s and encoded with its silence.

    So a clip of up to 10 s gives 1,500 frames of which at most 500 have sound, and its vector is two thirds silence.
    """

    def __init__(self, encoder: Any) -> None:
        """`encoder`: a `model.WhisperEncoder`, e.g. `Embedder.encoder`. It stays where it is; waves are moved there."""
        self.encoder = encoder

    def __call__(self, wave_BS: Tensor) -> Tensor:
        """Frames (B, 1500 per chunk, D) of zero-padded waves `wave_BS` (float32, 16 kHz)."""
        shortest = SHORTEST_CHUNK_SECONDS * SAMPLE_RATE_HZ
        chunks = wave_BS.split(CHUNK_SECONDS * SAMPLE_RATE_HZ, dim=1)
        if len(chunks) > 1 and chunks[-1].shape[1] < shortest:
            chunks = (*chunks[:-1], pad(chunks[-1], (0, shortest - chunks[-1].shape[1])))
        return torch.cat([self._window(chunk_BS) for chunk_BS in chunks], dim=1)

    def _window(self, chunk_BS: Tensor) -> Tensor:
        device = next(self.encoder.parameters()).device
        window_BS = pad(chunk_BS, (0, WINDOW_SAMPLES - chunk_BS.shape[1])).to(device)
        counts_B = torch.full((len(window_BS),), WINDOW_SAMPLES)
        mel_BMF, mel_counts_B = log_mel(window_BS, counts_B, mel_bins=self.encoder.config.mel_bins)
        return self.encoder(mel_BMF, mel_counts_B)[0]


def _padded(waves: list[np.ndarray]) -> Tensor:
    batch_BS = np.zeros((len(waves), max(map(len, waves))), dtype=np.float32)
    for row_S, wave_S in zip(batch_BS, waves, strict=True):
        row_S[: len(wave_S)] = wave_S
    return torch.from_numpy(batch_BS)
