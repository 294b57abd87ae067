"""Calibrating a trained model: the vectors are centred and scaled, and what the language model reads stays."""

from pathlib import Path

import numpy as np
import pytest
import torch

from small import small_model, write_language_model
from uniwhisper.core.errors import WeightsError
from uniwhisper.embedding.embedder import Embedder
from uniwhisper.features.logmel import log_mel
from uniwhisper.model.uniwhisper import UniWhisper
from uniwhisper.training.calibration import LEAST_CLIPS, calibrate


@pytest.fixture(scope="module")
def language_model(tmp_path_factory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("calibration"))


def noises(count: int) -> list[np.ndarray]:
    """Noises of many lengths, levels and colours."""
    generator = np.random.default_rng(3)
    waves = []
    for _ in range(count):
        noise_S = generator.standard_normal(int(generator.integers(1_000, 12_000)))
        smooth_S = np.convolve(noise_S, np.ones(int(generator.integers(1, 40))), mode="same")
        waves.append((smooth_S * generator.uniform(0.001, 0.1)).astype(np.float32))
    return waves


def audio_tokens(model: UniWhisper, seconds: float) -> torch.Tensor:
    wave_BS = torch.from_numpy(np.random.default_rng(5).standard_normal((1, int(16_000 * seconds))).astype(np.float32))
    with torch.inference_mode():
        mel_BMF, mel_counts_B = log_mel(wave_BS * 0.1, torch.tensor([wave_BS.shape[1]]), mel_bins=80)
        return model.adapter(*model.encoder(mel_BMF, mel_counts_B))[0]


def tokens_of_mean(model: UniWhisper) -> torch.Tensor:
    mel_BMF, mel_counts_B = log_mel(
        torch.from_numpy(noises(1)[0])[None], torch.tensor([len(noises(1)[0])]), mel_bins=80
    )
    with torch.inference_mode():
        return model.adapter.of_means(*model.encoder.packed(mel_BMF, mel_counts_B))


@pytest.mark.parametrize("mean_tokens", [1, 3])
def test_vectors_are_standard_and_audio_tokens_stay(language_model, mean_tokens):
    model = small_model(language_model, mean_tokens=mean_tokens).eval()
    before = audio_tokens(model, 1.6)  # 80 frames: whole audio tokens
    of_mean = tokens_of_mean(model)
    assert of_mean.shape == (mean_tokens, model.language_model.width)
    waves = noises(LEAST_CLIPS)
    assert calibrate(model, waves) == LEAST_CLIPS
    embedder = Embedder.from_encoder(model.encoder, identity="calibrated", source="test")
    vectors_ND = embedder.embed([(wave_S, 16_000) for wave_S in waves]).vectors
    assert np.abs(vectors_ND.mean(axis=0)).max() < 1e-3
    assert np.abs(vectors_ND.std(axis=0) - 1).max() < 1e-2
    torch.testing.assert_close(audio_tokens(model, 1.6), before, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(tokens_of_mean(model), of_mean, rtol=1e-4, atol=1e-5)


def test_a_constant_dimension_is_not_blown_up(language_model):
    model = small_model(language_model).eval()
    with torch.no_grad():
        model.encoder.final_norm.weight[0] = 0
    calibrate(model, noises(LEAST_CLIPS))
    assert model.encoder.final_norm.weight[0] == 0
    assert abs(model.encoder.final_norm.bias[0]) < 1e-6


def test_too_few_clips(language_model):
    with pytest.raises(WeightsError, match="too few clips"):
        calibrate(small_model(language_model).eval(), noises(LEAST_CLIPS - 1))
