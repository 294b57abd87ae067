"""From waves to one vector per clip as X-ARES 0.1.3 does it: through padding, without lengths.

Clips are encoded in batches of 16 in the order of storing, padded with zeros to the longest; the encoder is given no
lengths, and a clip's vector is the mean of *all* frames that come back, those made of padding included. So a short clip
is diluted, and its vector depends on its neighbours. Source: `xares/task.py` (make_encoded_tar), `xares/trainer.py`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from uniwhisper.core.units import SAMPLE_RATE_HZ, WINDOW_SAMPLES, frame_count, mel_count
from uniwhisper.evaluation.encoders import EncoderError
from uniwhisper.features.logmel import log_mel

BATCH_CLIPS = 16
_CHUNK_SAMPLES = 10 * SAMPLE_RATE_HZ

Encode = Callable[[Tensor], Tensor]
"""Waves (B, S) float32 at 16 kHz, zero-padded, to frames (B, T, D)."""
_HOP_TOLERANCE = 0.02
_FRAMES_MORE = 2


@dataclass(frozen=True)
class TimedEncode:
    """An encoder as tasks of events need it: frame t of its output begins `hop_seconds * t` into the padded wave."""

    encode: Encode
    hop_seconds: float

    def __call__(self, wave_BS: Tensor) -> Tensor:
        """As `Encode`.

        Raises:
            EncoderError: the frames are not `hop_seconds` apart, so every label would be misplaced.
        """
        frames_BTD = self.encode(wave_BS)
        expected = wave_BS.shape[1] / SAMPLE_RATE_HZ / self.hop_seconds
        if abs(frames_BTD.shape[1] - expected) > _FRAMES_MORE + _HOP_TOLERANCE * expected:
            raise EncoderError(
                "the encoder's frames are not as far apart as it says",
                expected=f"about {expected:.0f} frames of {1000 * self.hop_seconds:g} ms for "
                f"{wave_BS.shape[1] / SAMPLE_RATE_HZ:g} s",
                got=f"{frames_BTD.shape[1]} frames",
                fix="mend the hop; an encoder that pads its input has to drop the frames over the padding",
            )
        return frames_BTD


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
    return pooled(encode, waves, batch_clips=batch_clips)[0]


def pooled(
    encode: Encode, waves: Iterable[np.ndarray], *, batch_clips: int = BATCH_CLIPS
) -> tuple[np.ndarray, np.ndarray]:
    """`pooled_vectors` of `waves`, and the bytes (N,) int64 of their float32 frames, which decide X-ARES's shards."""
    vectors, sizes = [], []
    for frames_BTD in encoded(encode, padded_batches(waves, batch_clips)):
        vectors.append(frames_BTD.mean(dim=1).cpu().numpy())
        sizes += [4 * frames_BTD[0].numel()] * len(frames_BTD)
    joined = np.concatenate(vectors) if vectors else np.zeros((0, 0), dtype=np.float32)
    return joined, np.array(sizes, dtype=np.int64)


@torch.inference_mode()
def encoded(encode: Encode, batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """Frames (B, T, D) float32 of each of `batches`, waves (B, S) float32 at 16 kHz.

    Raises:
        EncoderError: frames are not finite.
    """
    for wave_BS in batches:
        frames_BTD = encode(wave_BS).float()
        assert frames_BTD.ndim == 3 and len(frames_BTD) == len(wave_BS), "frames (B, T, D) of every wave"
        if not torch.isfinite(frames_BTD).all():
            raise EncoderError(
                "the encoder gave frames that are not finite",
                expected="finite numbers",
                got=f"{int((~torch.isfinite(frames_BTD)).sum())} that are not, in a batch of {len(wave_BS)} clips",
                fix="look at the encoder with `uniwhisper check-encoder`",
            )
        yield frames_BTD


class PaddedWhisper:
    """A Whisper encoder as X-ARES's example wraps it: chunks of 10 s, each padded to 30 s and encoded with its silence.

    So a clip of up to 10 s gives 1,500 frames of which at most 500 have sound, and its vector is two thirds silence.
    """

    def __init__(self, encoder: Any, *, trimmed: bool = False) -> None:
        """
        Args:
            encoder: a `model.WhisperEncoder`, e.g. `Embedder.encoder`. It stays where it is; waves are moved there.
            trimmed: leave out the frames over a chunk's padding, so that frames are `HOP_SECONDS` apart from the
                first to the last: what X-ARES's tasks of events take for granted, and its example does not give.
        """
        self.encoder, self.trimmed = encoder, trimmed

    def __call__(self, wave_BS: Tensor) -> Tensor:
        """Frames (B, 1500 per chunk, D) of zero-padded waves `wave_BS` (float32, 16 kHz); trimmed, 500 of 10 s."""
        return torch.cat([self._chunk(chunk_BS) for chunk_BS in wave_BS.split(_CHUNK_SAMPLES, dim=1)], dim=1)

    def _chunk(self, chunk_BS: Tensor) -> Tensor:
        # X-ARES's example first pads a last chunk to 1 s: the window of 30 s makes that invisible.
        frames_BTD = self._window(chunk_BS)
        return frames_BTD[:, : frame_count(mel_count(chunk_BS.shape[1]))] if self.trimmed else frames_BTD

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
