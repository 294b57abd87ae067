"""Adapters against what they adapt to: our own embedder, and the recorded contracts of harnesses.

The harnesses themselves run in `compat/`; what needs no other package is held here.
"""

import importlib
import inspect

import numpy as np
import pytest
import torch

from conftest import SAMPLE_RATE_HZ, tone
from uniwhisper.embedding.embedder import Embedder
from uniwhisper.embedding.waves import encode_waves, pad_waves, windows_of
from uniwhisper.integrations import hear, xares, xares_llm
from uniwhisper.integrations.s3prl import UpstreamExpert
from uniwhisper.model.encoder import WhisperEncoder
from uniwhisper.model.pooling import masked_mean
from uniwhisper.model.weights import load_encoder

SECONDS = [0.31, 5.0, 31.7, 1.0, 60.0]


@pytest.fixture(scope="module")
def encoder(tiny_model) -> WhisperEncoder:
    return load_encoder(tiny_model).encoder


@pytest.fixture(scope="module")
def waves() -> list[torch.Tensor]:
    noise = torch.Generator().manual_seed(0)
    return [
        torch.from_numpy(tone(seconds, 200 + 90 * number)) + 0.01 * torch.randn(len(tone(seconds)), generator=noise)
        for number, seconds in enumerate(SECONDS)
    ]


def test_waves_give_what_the_embedder_gives(tiny_model, encoder, waves):
    with torch.inference_mode():
        frames_BTD, counts_B = encode_waves(encoder, *pad_waves(waves))
        vectors_BD = masked_mean(frames_BTD, counts_B)
    embedder = Embedder.from_pretrained(tiny_model, device="cpu")
    sources = [(wave_S.numpy(), SAMPLE_RATE_HZ) for wave_S in waves]
    np.testing.assert_allclose(vectors_BD.numpy(), embedder.embed(sources).vectors, atol=1e-5)
    for frames_TD, count, source in zip(frames_BTD, counts_B, sources, strict=True):
        np.testing.assert_allclose(frames_TD[:count].numpy(), embedder.frames(source).vectors, atol=1e-5)
        assert not frames_TD[count:].any()


def test_a_clip_alone_and_in_a_batch(encoder, waves):
    batch_BTD, counts_B = encode_waves(encoder, *pad_waves(waves))
    alone_1TD, count_1 = encode_waves(encoder, waves[2][None])
    assert count_1.tolist() == [counts_B[2]]
    torch.testing.assert_close(batch_BTD[2, : count_1[0]], alone_1TD[0], atol=1e-5, rtol=0)


def test_windows_cover_every_sample_once():
    windows = windows_of([1, 480_000, 480_001])
    assert [(window.clip, window.start, window.samples) for window in windows] == [
        (0, 0, 1),
        (1, 0, 480_000),
        (2, 0, 480_000),
        (2, 480_000, 1),
    ]


def test_gradients_reach_the_weights(tiny_model, waves):
    encoder = load_encoder(tiny_model).encoder
    frames_BTD, counts_B = encode_waves(encoder, *pad_waves(waves[:2]))
    masked_mean(frames_BTD, counts_B).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in encoder.parameters())


@pytest.mark.parametrize(
    ("shape", "counts"),
    [((8,), None), ((0, 8), None), ((2, 8), [8]), ((2, 8), [8, 9]), ((2, 8), [0, 8])],
)
def test_waves_that_do_not_fit_are_refused(encoder, shape, counts):
    with pytest.raises(ValueError, match="expected"):
        encode_waves(encoder, torch.zeros(shape), None if counts is None else torch.tensor(counts))


# X-ARES: `audio_encoder_checker.py` of 0.1.3, rule by rule.


@pytest.fixture
def chosen_model(tiny_model, monkeypatch):
    monkeypatch.setenv("UNIWHISPER_MODEL", str(tiny_model))
    return tiny_model


@pytest.mark.parametrize("module", ["xares", "xares_llm"])
def test_harnesses_find_exactly_one_encoder_in_the_file(module):
    names = dir(importlib.import_module(f"uniwhisper.integrations.{module}"))
    assert [name for name in names if name.endswith("Encoder")] == ["UniWhisperEncoder"]


@pytest.mark.usefixtures("chosen_model")
def test_xares_encoder_meets_the_checker():
    encoder = xares.UniWhisperEncoder()
    assert isinstance(encoder, torch.nn.Module) and not encoder.training
    assert (encoder.sampling_rate, encoder.output_dim, encoder.hop_size_in_ms) == (16_000, 32, 20.0)
    with torch.inference_mode():
        frames = encoder(torch.randn(2, 50_000))
        assert frames.shape == (2, 157, 32)  # 50,000 samples are 156.25 hops
        assert encoder(torch.randn(50_000)).shape == (1, 157, 32)


@pytest.mark.usefixtures("chosen_model")
def test_xares_padding_changes_no_direction(waves):
    """X-ARES pads to the longest clip of a batch, drops the lengths and averages all frames."""
    encoder = xares.UniWhisperEncoder()
    with torch.inference_mode():
        padded_BTD = encoder(pad_waves(waves[:2])[0])
        alone_BTD = encoder(waves[0][None])
    padded, alone = padded_BTD[0].mean(dim=0), alone_BTD[0].mean(dim=0)
    torch.testing.assert_close(torch.cosine_similarity(padded, alone, dim=0), torch.tensor(1.0), atol=1e-5, rtol=0)
    normalise = torch.nn.LayerNorm(32, eps=0)
    torch.testing.assert_close(normalise(padded), normalise(alone), atol=1e-3, rtol=0)


@pytest.mark.usefixtures("chosen_model")
def test_xares_keeps_silence_and_the_asked_number_of_frames():
    encoder = xares.UniWhisperEncoder()
    assert xares.unpadded_counts(torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])).tolist() == [2, 3]
    wave_BS = torch.zeros(1, 16_000)
    wave_BS[0, 0] = 1
    assert encoder(wave_BS).shape == (1, 50, 32)


# XARES-LLM: `XEncoder` of 0.0.12, as recorded from its checker and its shipped example.


def test_xares_llm_signature_and_contract(tiny_model, waves):
    parameters = inspect.signature(xares_llm.UniWhisperEncoder.forward).parameters
    assert [(name, parameter.default) for name, parameter in parameters.items()] == [
        ("self", inspect.Parameter.empty),
        ("audio", inspect.Parameter.empty),
        ("audio_attention_mask", None),
    ]
    encoder = xares_llm.UniWhisperEncoder(source=str(tiny_model))
    with torch.inference_mode():
        features, mask = encoder(torch.randn(3, 50_000), None)
        assert features.shape == (3, 157, encoder.output_dim) and mask is None
        wave_BS, counts_B = pad_waves(waves[:2])
        masked, mask = encoder(wave_BS, (torch.arange(wave_BS.shape[1]) < counts_B[:, None]).long())
        alone, _ = encoder(waves[0][None])
    assert mask.shape == masked.shape[:2] and mask.sum(dim=1).tolist() == [16, 250]  # 0.31 s and 5 s
    torch.testing.assert_close(masked[0][mask[0].bool()], alone[0], atol=1e-5, rtol=0)


# s3prl.


def test_s3prl_gives_every_layer(tiny_model, encoder, waves):
    expert = UpstreamExpert(ckpt=str(tiny_model))
    assert expert.get_downsample_rates("hidden_states") == 320
    given = expert(waves)
    wave_BS, counts_B = pad_waves(waves)
    assert len(given["hidden_states"]) == 3
    for layer, hidden_BTD in enumerate(given["hidden_states"]):
        expected_BTD, _ = encode_waves(encoder, wave_BS, counts_B, layer=layer)
        torch.testing.assert_close(hidden_BTD, expected_BTD, atol=1e-5, rtol=0)
    assert given["frame_counts"].tolist() == [16, 250, 1585, 50, 3000]
    assert not any(block._forward_hooks or block._forward_pre_hooks for block in expert.encoder.blocks)


# HEAR: the rules of hearvalidator 2021.0.6, without TensorFlow.


@pytest.fixture(scope="module")
def hear_model(tiny_model):
    return hear.load_model(str(tiny_model))


def test_hear_model_says_what_it_is(hear_model):
    assert isinstance(hear_model, torch.nn.Module)
    assert hear_model.sample_rate in {16_000, 22_050, 32_000, 44_100, 48_000}
    assert isinstance(hear_model.scene_embedding_size, int)
    assert isinstance(hear_model.timestamp_embedding_size, int)
    assert list(inspect.signature(hear.load_model).parameters) == ["model_file_path"]
    assert inspect.signature(hear.load_model).parameters["model_file_path"].default == ""


@pytest.mark.parametrize("seconds", [1.07, 1.98, 4.0, 61.0])
def test_hear_timestamps(hear_model, seconds):
    audio = torch.rand(2, int(seconds * hear_model.sample_rate)) * 2 - 1
    embeddings, times = hear.get_timestamp_embeddings(audio, hear_model)
    assert embeddings.dtype == times.dtype == torch.float32
    assert embeddings.shape == (*times.shape, hear_model.timestamp_embedding_size)
    assert torch.equal(times, torch.arange(times.shape[1]).float().mul(20).expand(2, -1))
    assert 1000 * seconds - 20 <= times.max() < 1000 * seconds


def test_hear_timestamp_is_the_centre(hear_model):
    """A click moves the frame whose timestamp it lies on more than any other."""
    audio = torch.zeros(2, SAMPLE_RATE_HZ)
    audio[1, 8_000] = 1.0  # 500 ms
    embeddings, times = hear.get_timestamp_embeddings(audio, hear_model)
    stem, _ = encode_waves(hear_model.encoder, audio, layer=0)
    change_T = (stem[1] - stem[0]).norm(dim=1)
    assert times[0, change_T.argmax()] == 500
    assert embeddings.shape[1] == len(change_T)


def test_hear_scenes(hear_model, tiny_model):
    audio = torch.rand(4, int(2.74 * 16_000)) * 2 - 1
    scenes = hear.get_scene_embeddings(audio, hear_model)
    assert scenes.dtype == torch.float32 and scenes.shape == (4, hear_model.scene_embedding_size)
    ours = Embedder.from_pretrained(tiny_model, device="cpu").embed([(wave.numpy(), 16_000) for wave in audio])
    np.testing.assert_allclose(scenes.numpy(), ours.vectors, atol=1e-5)
