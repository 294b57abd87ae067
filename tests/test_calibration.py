"""Calibrating a trained model: the vectors are centred and scaled, and what the language model reads stays."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence
from typer.testing import CliRunner

from small import small_model, write_language_model
from uniwhisper.cli.app import app
from uniwhisper.core.errors import RecipeError, WeightsError
from uniwhisper.data.prepare import prepare
from uniwhisper.embedding.embedder import Embedder
from uniwhisper.features.logmel import log_mel
from uniwhisper.model.packing import Packing
from uniwhisper.model.standard import RunningStandard
from uniwhisper.model.trained import load_trained
from uniwhisper.model.uniwhisper import UniWhisper
from uniwhisper.model.weights import load_encoder
from uniwhisper.recipes import load_recipe
from uniwhisper.reproduce.smoke_data import write_smoke_data
from uniwhisper.training.build import export_model
from uniwhisper.training.calibration import LEAST_CLIPS, calibrate
from uniwhisper.training.learner import INSTRUCTIONS
from uniwhisper.training.overrides import override


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
        heard(model.train(), noises(40))
        model.adapter.standard.end_step(applied=True)
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
    wave_BS = pad_sequence([torch.from_numpy(wave_S) for wave_S in waves], batch_first=True)
    mel_BMF, mel_counts_B = log_mel(wave_BS, counts_B, mel_bins=80)
    return model.adapter.of_means(*model.encoder.packed(mel_BMF, mel_counts_B))


def vectors_of(encoder: torch.nn.Module, waves: list[np.ndarray]) -> np.ndarray:
    embedder = Embedder.from_encoder(encoder, identity="test", source="test")
    return embedder.embed([(wave_S, 16_000) for wave_S in waves]).vectors


def test_the_standard_is_the_mean_of_all_clips_heard_in_training(language_model):
    model = small_model(language_model, unit_means=True).train()
    standard, waves = model.adapter.standard, noises(60)
    vectors_ND = vectors_of(model.encoder, waves).astype(np.float64)
    for first in (0, 20, 40):  # equally many, so the mean of steps is the mean of clips
        heard(model, waves[first : first + 5])  # micro-batches of unequal size
        heard(model, waves[first + 5 : first + 20])
        standard.end_step(applied=True)
    np.testing.assert_allclose(standard.mean_D.numpy(), vectors_ND.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(standard.deviation_D().numpy(), vectors_ND.std(axis=0), rtol=1e-3)
    before = [tensor.clone() for tensor in standard.buffers()]
    heard(model.eval(), waves[:20])
    assert all(torch.equal(a, b) for a, b in zip(before, standard.buffers(), strict=True)), "asking is not training"


def test_a_step_that_is_skipped_leaves_nothing_in_the_standard():
    standard = RunningStandard(4)
    standard.count(torch.tensor([[1.0, 2.0, 3.0, 4.0], [3.0, 2.0, 1.0, 0.0]]))
    standard.end_step(applied=True)
    before = {name: tensor.clone() for name, tensor in standard.state_dict().items()}
    standard.count(torch.full((2, 4), torch.nan))
    standard.end_step(applied=False)
    standard.end_step(applied=True)  # nothing was asked of a mean
    assert all(torch.equal(tensor, standard.state_dict()[name]) for name, tensor in before.items())
    assert standard.mean_D.tolist() == [2, 2, 2, 2]
    assert standard.deviation_D().tolist() == [1, 1, 1, 2], "1 where nothing varies"


def test_deviations_far_from_the_origin():
    standard = RunningStandard(8)
    generator = torch.Generator().manual_seed(0)
    x_ND = 50 + 0.03 * torch.randn(6400, 8, generator=generator, dtype=torch.float64)
    for batch_ND in x_ND.split(64):
        standard.count(batch_ND)
        standard.end_step(applied=True)
    torch.testing.assert_close(standard.deviation_D(), x_ND.std(dim=0, correction=0), rtol=1e-4, atol=0)


def test_after_many_batches_the_latest_count():
    standard = RunningStandard(32)
    generator = torch.Generator().manual_seed(0)
    for mean, deviation in ((0, 1), (5, 2)):
        for _ in range(300):
            standard.count(mean + deviation * torch.randn(16, 32, generator=generator))
            standard.end_step(applied=True)
    # All batches equally would give 2.5.
    assert (standard.mean_D - (5 - 5 * 0.99**300)).abs().max() < 0.3


def test_padding_and_packing_hear_the_same_where_frames_are_standardised(language_model):
    adapter = small_model(language_model, unit_means=True).eval().adapter
    generator = torch.Generator().manual_seed(0)
    adapter.standard.count(3 + 2 * torch.randn(50, 32, generator=generator))
    adapter.standard.end_step(applied=True)
    counts = [5, 8, 3]
    frames = Packing.of(counts, torch.device("cpu"))
    frames_PD = torch.randn(sum(counts), 32, generator=generator)
    packed_NH, audio = adapter.packed(frames_PD, frames)
    padded_BAH, audio_counts_B = adapter(frames.unpack(frames_PD), frames.counts_B)
    assert audio_counts_B.tolist() == list(audio.counts)
    torch.testing.assert_close(audio.pack(padded_BAH), packed_NH, rtol=1e-5, atol=1e-6)


def test_only_the_direction_of_a_mean_is_heard(language_model):
    """Twice as far from the standard in the same direction is the same to the language model; elsewhere is not."""
    model = small_model(language_model, unit_means=True).eval()
    generator = torch.Generator().manual_seed(0)
    model.adapter.standard.count(3 + 2 * torch.randn(50, 32, generator=generator))
    model.adapter.standard.end_step(applied=True)
    center_D = model.adapter.standard.mean_D.float()
    away_D = torch.randn(32, generator=generator)
    frames = Packing.of([1, 1, 1], torch.device("cpu"))
    one, two, other = model.adapter.of_means(
        torch.stack([center_D + away_D, center_D + 2 * away_D, center_D - away_D]), frames
    )
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)
    assert (one - other).abs().max() > 1e-3


def exported(model: UniWhisper, folder: Path, language_model: Path) -> Path:
    """What training leaves of `model`."""
    recipe = override(load_recipe("mini"), [f"model.language_model={language_model}"])
    INSTRUCTIONS.export(model, folder, recipe, card="")
    return folder


def test_what_is_exported_has_standard_vectors_and_the_run_goes_on_as_it_was(language_model, tmp_path):
    model = small_model(language_model, mean_tokens=3, unit_means=True).train()
    waves = noises(60)
    heard(model, waves)
    model.adapter.standard.end_step(applied=True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    made = load_trained(exported(model, tmp_path / "model", language_model))
    after = model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    vectors_ND = vectors_of(made.encoder, waves)
    assert np.abs(vectors_ND.mean(axis=0)).max() < 1e-2  # float16
    assert np.abs(vectors_ND.std(axis=0) - 1).max() < 2e-2
    assert not made.adapter.standard.mean_D.any()
    model.eval()
    with torch.inference_mode():
        distance = (heard(made, waves) - heard(model, waves)).norm() / heard(model, waves).norm()
    assert distance < 5e-3
    made.train()
    heard(made, waves[:2])  # who trains on goes on from the averages there were
    made.adapter.standard.end_step(applied=True)
    assert (made.adapter.standard.deviation_D() - 1).abs().max() < 0.1


def test_what_is_calibrated_stays_so_in_its_folder(language_model, tmp_path):
    model = small_model(language_model, mean_tokens=3, unit_means=True).train()
    heard(model, noises(20))
    model.adapter.standard.end_step(applied=True)
    made = load_trained(exported(model, tmp_path / "model", language_model))
    waves = noises(LEAST_CLIPS)
    calibrate(made, waves)
    export_model(made, tmp_path / "calibrated", language_model_source=language_model, card="")
    calibrated = load_trained(tmp_path / "calibrated")
    vectors_ND = vectors_of(calibrated.encoder, waves)
    assert np.abs(vectors_ND.mean(axis=0)).max() < 1e-2
    assert np.abs(vectors_ND.std(axis=0) - 1).max() < 2e-2
    model.eval()
    with torch.inference_mode():
        distance = (heard(calibrated, waves[:9]) - heard(model, waves[:9])).norm() / heard(model, waves[:9]).norm()
    assert distance < 1e-2


def test_the_command_takes_the_recipe_as_training_had_it(language_model, tmp_path):
    made = exported(small_model(language_model).eval(), tmp_path / "model", language_model)
    prepare(write_smoke_data(tmp_path / "data").parent / "training", tmp_path / "prepared")
    file = tmp_path / "shorter.py"
    file.write_text(
        "from dataclasses import replace\n\nfrom uniwhisper.recipes.demo import demo\n\n\ndef shorter():\n"
        "    return replace(demo(), data=replace(demo().data, max_seconds=0.5))\n"
    )
    given = {
        "as it is": ["demo"],
        "set": ["demo", "--set", "data.max_seconds=0.5"],
        "in a file": [f"{file}:shorter"],
        "unknown": ["demo", "--set", "data.longest=0.5"],
    }
    ends, identities = {}, {}
    for name, recipe in given.items():
        output = tmp_path / name
        arguments = ["calibrate", str(made), *recipe, "-o", str(output), "--data", str(tmp_path / "prepared")]
        ends[name] = CliRunner().invoke(app, [*arguments, "--clips", str(LEAST_CLIPS), "--device", "cpu"])
        identities[name] = load_encoder(output).identity if output.exists() else None
    assert isinstance(ends["unknown"].exception, RecipeError) and identities["unknown"] is None
    assert identities["set"] == identities["in a file"] != identities["as it is"] is not None


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
