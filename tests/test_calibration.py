"""Calibrating a trained model: the vectors are centred and scaled, and what the language model reads stays."""

from pathlib import Path

import numpy as np
import pytest
import torch

from small import small_model, write_language_model
from uniwhisper.core.errors import WeightsError
from uniwhisper.embedding.embedder import Embedder
from uniwhisper.features.logmel import log_mel
from uniwhisper.model.packing import Packing
from uniwhisper.model.trained import load_trained
from uniwhisper.model.uniwhisper import UniWhisper
from uniwhisper.training.build import export_model
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


@pytest.mark.parametrize(("mean_tokens", "unit_means"), [(1, False), (3, False), (3, True)])
def test_vectors_are_standard_and_audio_tokens_stay(language_model, mean_tokens, unit_means):
    model = small_model(language_model, mean_tokens=mean_tokens, unit_means=unit_means).eval()
    if unit_means:  # as training left it
        model.train()
        heard(model, noises(40))
        model.eval()
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


def heard(model: UniWhisper, waves: list[np.ndarray]) -> torch.Tensor:
    """Audio tokens of the means of all clips in one batch."""
    counts_B = torch.tensor([len(wave_S) for wave_S in waves])
    wave_BS = torch.zeros(len(waves), int(counts_B.max()))
    for row_S, wave_S in zip(wave_BS, waves, strict=True):
        row_S[: len(wave_S)] = torch.from_numpy(wave_S)
    mel_BMF, mel_counts_B = log_mel(wave_BS, counts_B, mel_bins=80)
    return model.adapter.of_means(*model.encoder.packed(mel_BMF, mel_counts_B))


def vectors_of(encoder: torch.nn.Module, waves: list[np.ndarray]) -> np.ndarray:
    embedder = Embedder.from_encoder(encoder, identity="test", source="test")
    return embedder.embed([(wave_S, 16_000) for wave_S in waves]).vectors


def test_the_standard_is_the_mean_of_all_batches_heard_in_training(language_model):
    model = small_model(language_model, unit_means=True).train()
    waves = noises(60)
    vectors_ND = vectors_of(model.encoder, waves).astype(np.float64)
    for first in (0, 20, 40):  # equally many, so the mean of batches is the mean of clips
        heard(model, waves[first : first + 20])
    standard = model.adapter.standard
    np.testing.assert_allclose(standard.mean_D.numpy(), vectors_ND.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(standard.deviation_D().numpy(), vectors_ND.std(axis=0), rtol=1e-3)
    before = [tensor.clone() for tensor in standard.buffers()]
    model.eval()
    heard(model, waves[:20])
    assert all(torch.equal(a, b) for a, b in zip(before, standard.buffers(), strict=True)), "asking is not training"


def test_after_many_batches_the_latest_count(language_model):
    standard = small_model(language_model, unit_means=True).adapter.standard
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        standard.count(torch.randn(16, 32, generator=generator))
    for _ in range(300):
        standard.count(5 + 2 * torch.randn(16, 32, generator=generator))
    # All batches equally would give 2.5.
    assert (standard.mean_D - (5 - 5 * 0.99**300)).abs().max() < 0.3


def test_only_the_direction_of_a_mean_is_heard(language_model):
    """Twice as far from the standard in the same direction is the same to the language model; elsewhere is not."""
    model = small_model(language_model, unit_means=True).eval()
    generator = torch.Generator().manual_seed(0)
    model.adapter.standard.count(3 + 2 * torch.randn(50, 32, generator=generator))
    center_D = model.adapter.standard.mean_D
    away_D = torch.randn(32, generator=generator)
    frames = Packing.of([1, 1, 1], torch.device("cpu"))
    one, two, other = model.adapter.of_means(
        torch.stack([center_D + away_D, center_D + 2 * away_D, center_D - away_D]), frames
    )
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)
    assert (one - other).abs().max() > 1e-3


def test_what_is_exported_has_standard_vectors_and_the_run_goes_on_as_it_was(language_model, tmp_path):
    model = small_model(language_model, mean_tokens=3, unit_means=True).train()
    waves = noises(60)
    heard(model, waves)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    export_model(model, tmp_path / "model", language_model_source=language_model, card="")
    after = model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    exported = load_trained(tmp_path / "model")
    vectors_ND = vectors_of(exported.encoder, waves)
    assert np.abs(vectors_ND.mean(axis=0)).max() < 1e-2  # float16
    assert np.abs(vectors_ND.std(axis=0) - 1).max() < 2e-2
    assert not exported.adapter.standard.mean_D.any()
    model.eval()
    with torch.inference_mode():
        distance = (heard(exported, waves) - heard(model, waves)).norm() / heard(model, waves).norm()
    assert distance < 5e-3


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
