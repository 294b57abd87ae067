"""Publishing: the hub's mixin, and a folder that transformers' own classes load."""

import json

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor, WhisperForAudioClassification, WhisperModel

from conftest import SAMPLE_RATE_HZ
from uniwhisper.core.errors import OutputError
from uniwhisper.core.units import WINDOW_SAMPLES
from uniwhisper.embedding.embedder import Embedder
from uniwhisper.features.logmel import log_mel
from uniwhisper.integrations.hub import HubEncoder
from uniwhisper.integrations.transformers_folder import export_transformers
from uniwhisper.model.config import EncoderConfig
from uniwhisper.model.encoder import WhisperEncoder
from uniwhisper.model.weights import encoder_identity, load_encoder


@pytest.fixture(scope="module")
def encoder() -> WhisperEncoder:
    """Weights that half precision cannot hold exactly."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return WhisperEncoder(EncoderConfig(mel_bins=80, width=32, heads=2, layers=2)).eval()


@pytest.mark.parametrize("half", [False, True])
def test_saved_and_loaded_is_the_same(encoder, tmp_path, half):
    if half:
        encoder = load_encoder().encoder  # published in half precision
    HubEncoder(encoder, source="x").save_pretrained(tmp_path / "model")
    loaded = HubEncoder.from_pretrained(tmp_path / "model")
    assert encoder_identity(loaded.encoder) == encoder_identity(encoder)
    header = (tmp_path / "model" / "encoder.safetensors").read_bytes()[:4000]
    assert (b'"F16"' in header, b'"F32"' in header) == (half, not half)
    embedder = Embedder.from_pretrained(tmp_path / "model", device="cpu")
    assert embedder.identity == loaded.embedder.identity
    clip = (np.random.default_rng(0).standard_normal(20_000).astype(np.float32), SAMPLE_RATE_HZ)
    assert np.array_equal(embedder.embed([clip]).vectors, loaded.embedder.embed([clip]).vectors)


def test_the_folder_says_what_it_is_and_carries_no_code(encoder, tmp_path):
    HubEncoder(encoder, source="x").save_pretrained(tmp_path / "model")
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert names == {
        *("config.json", "encoder.safetensors", "README.md", "modules.json", "config_sentence_transformers.json")
    }
    card = (tmp_path / "model" / "README.md").read_text()
    assert encoder_identity(encoder) in card and "library_name: uniwhisper" in card
    assert json.loads((tmp_path / "model" / "config.json").read_text())["format"] == "uniwhisper"


def test_a_card_that_is_there_stays(encoder, tmp_path):
    (tmp_path / "README.md").write_text("mine")
    HubEncoder(encoder, source="x").save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_another_model_is_not_replaced(encoder, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(OutputError, match="another kind"):
        HubEncoder(encoder, source="x").save_pretrained(tmp_path)
    assert (tmp_path / "config.json").read_text() == '{"model_type": "bert"}'


def test_pushing_uploads_the_folder(encoder, monkeypatch):
    from huggingface_hub import HfApi

    uploaded = {}

    def upload_folder(self, *, repo_id, folder_path, **_):  # noqa: ARG001
        from pathlib import Path

        uploaded[repo_id] = sorted(path.name for path in Path(folder_path).iterdir())
        return "commit"

    class Created:
        repo_id = "someone/encoder"

    monkeypatch.setattr(HfApi, "create_repo", lambda *_, **__: Created)
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    assert HubEncoder(encoder, source="x").push_to_hub("someone/encoder") == "commit"
    assert {"config.json", "encoder.safetensors", "README.md"} <= set(uploaded["someone/encoder"])


@pytest.fixture(scope="module")
def exported(encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("transformers") / "model"
    export_transformers(encoder, folder)
    return folder


@pytest.fixture(scope="module")
def window() -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal(WINDOW_SAMPLES)).astype(np.float32)


@pytest.mark.parametrize("kind", [WhisperModel, WhisperForAudioClassification])
def test_transformers_gives_our_frames(encoder, exported, window, kind):
    model, info = kind.from_pretrained(exported, output_loading_info=True)
    ours_alone = {key for key in info["missing_keys"] if not key.startswith(("classifier.", "projector."))}
    assert not ours_alone and not info["mismatched_keys"]
    assert all(key.startswith("decoder.") for key in info["unexpected_keys"])
    mel_BMF, counts_B = log_mel(torch.from_numpy(window)[None], torch.tensor([WINDOW_SAMPLES]), mel_bins=80)
    with torch.inference_mode():
        theirs = model.encoder(mel_BMF).last_hidden_state
        ours, _ = encoder(mel_BMF, counts_B)
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=0)


def test_nothing_of_whisper_model_is_drawn_at_random(exported):
    _, info = WhisperModel.from_pretrained(exported, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]


def test_transformers_finds_its_feature_extractor(exported, window):
    theirs = WhisperFeatureExtractor.from_pretrained(exported)(
        window, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt"
    ).input_features
    ours, _ = log_mel(torch.from_numpy(window)[None], torch.tensor([WINDOW_SAMPLES]), mel_bins=80)
    torch.testing.assert_close(theirs, ours, atol=1e-4, rtol=0)


def test_the_export_comes_back_as_the_same_weights(encoder, exported):
    assert load_encoder(exported).identity == encoder_identity(encoder)


def test_an_export_replaces_nothing_unasked(encoder, exported):
    with pytest.raises(OutputError, match="exists"):
        export_transformers(encoder, exported)
    export_transformers(encoder, exported, overwrite=True)
