"""Calibration: after training, every number of a clip's vector gets mean 0 and deviation 1 over the training clips.

Cosine compares directions from the origin, and training does not care where the origin is or which dimension is loud.
The change is folded into the scale and shift of the encoder's final normalisation and taken out again in the adapter's
first layer, so the language model reads what it read before. Only an audio token that is completed with zero frames at
the end of a clip changes: the zeros now stand for the mean frame.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from torch.nn import LayerNorm

from uniwhisper.core.errors import WeightsError
from uniwhisper.data.config import DataConfig
from uniwhisper.data.decoded import EncodedReader
from uniwhisper.data.manifest import Manifest
from uniwhisper.data.mixture import Mixture
from uniwhisper.features.logmel import log_mel
from uniwhisper.model.encoder import WhisperEncoder
from uniwhisper.model.pooling import masked_mean
from uniwhisper.model.standard import LEAST_DEVIATION, REMEMBERED_BATCHES, RunningStandard
from uniwhisper.model.uniwhisper import UniWhisper

CLIPS_AT_ONCE = 16
LEAST_CLIPS = 256


def mixture_waves(manifest: Manifest, config: DataConfig, *, clips: int, seed: int) -> Iterator[np.ndarray]:
    """Waves of `clips` draws of a mixture, as recorded: float32 at 16 kHz, no augmentation, nothing held out.

    Args:
        config: its weights of domains and corpora, held-out folds and longest clip are used.
        seed: decides the draws.
    """
    mixture = Mixture([manifest], config, seed)
    reader = EncodedReader(manifest)
    drawn = (draw for step in range(clips) for draw in mixture.step(step))
    for draw in islice(drawn, clips):
        part = draw.parts[0]
        yield reader.read(part.clip.record)[part.first : part.first + part.length]


def calibrate(model: UniWhisper, waves: Iterable[np.ndarray]) -> int:
    """Change the encoder's final normalisation and the adapter's first layer in place.

    Args:
        model: float32, in evaluation mode.
        waves: (S,) float32 at 16 kHz, at least `LEAST_CLIPS` of them and at most 30 s each.

    Returns:
        Clips the statistics were taken over.

    Raises:
        WeightsError: too few clips.
    """
    vectors_ND = torch.cat(list(_vectors(model, iter(waves)))).double()
    if len(vectors_ND) < LEAST_CLIPS:
        raise WeightsError(
            "too few clips to calibrate on",
            expected=f"at least {LEAST_CLIPS}",
            got=str(len(vectors_ND)),
            fix="ask for more with --clips, or prepare more recordings",
        )
    deviation_D = vectors_ND.std(dim=0, correction=0)
    _fold(model, vectors_ND.mean(dim=0), torch.where(deviation_D < LEAST_DEVIATION, 1.0, deviation_D))
    return len(vectors_ND)


@contextmanager
def standard_folded(encoder: WhisperEncoder, standard: RunningStandard | None) -> Iterator[None]:
    """While the block runs, what frames are standardised by is in the encoder's final normalisation instead.

    So a clip's vector is what was asked of in training.

    Args:
        standard: of the adapter, or whatever stands in its place; None: nothing was standardised, nothing to do.
    """
    if standard is None:
        yield
        return
    norm = encoder.final_norm
    kept = [(tensor, tensor.detach().clone()) for tensor in (*standard.buffers(), *norm.parameters())]
    with torch.no_grad():
        mean_D, deviation_D = standard.mean_D.clone(), standard.deviation_D()
        standard.move(mean_D, deviation_D)
        _fold_norm(norm, mean_D, deviation_D)
        standard.batches.fill_(REMEMBERED_BATCHES)  # who trains on from there goes on from these averages
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, before in kept:
                tensor.copy_(before)


@torch.no_grad()
def _fold(model: UniWhisper, mean_D: Tensor, deviation_D: Tensor) -> None:
    """Make every frame (frame - mean) / deviation; float64. The language model reads what it read before."""
    widen, standard = model.adapter.widen, model.adapter.standard
    if standard is not None:
        standard.move(mean_D, deviation_D)
    else:
        stacked_OSD = widen.weight.double().unflatten(1, (model.adapter.config.stack, -1))
        widen.bias.copy_(widen.bias.double() + (stacked_OSD * mean_D).sum(dim=(1, 2)))
        widen.weight.copy_((stacked_OSD * deviation_D).flatten(1))
    _fold_norm(model.encoder.final_norm, mean_D, deviation_D)


def _fold_norm(norm: LayerNorm, mean_D: Tensor, deviation_D: Tensor) -> None:
    norm.weight.copy_(norm.weight.double() / deviation_D)
    norm.bias.copy_((norm.bias.double() - mean_D) / deviation_D)


@torch.inference_mode()
def _vectors(model: UniWhisper, waves: Iterator[np.ndarray]) -> Iterator[Tensor]:
    device = next(model.encoder.parameters()).device
    while batch := list(islice(waves, CLIPS_AT_ONCE)):
        wave_BS, sample_counts_B = _padded(batch)
        mel_BMF, mel_counts_B = log_mel(
            wave_BS.to(device), sample_counts_B.to(device), mel_bins=model.encoder.config.mel_bins
        )
        yield masked_mean(*model.encoder(mel_BMF, mel_counts_B)).cpu()


def _padded(waves: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    sample_counts_B = torch.tensor([len(wave_S) for wave_S in waves])
    wave_BS = torch.zeros(len(waves), int(sample_counts_B.max()))
    for row_S, wave_S in zip(wave_BS, waves, strict=True):
        row_S[: len(wave_S)] = torch.from_numpy(wave_S)
    return wave_BS, sample_counts_B
