"""Every format gives the same encoder and identity; everything else gives one error that helps."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from uniwhisper.core.errors import WeightsError
from uniwhisper.model.config import WHISPER_SIZES, EncoderConfig
from uniwhisper.model.encoder import WhisperEncoder
from uniwhisper.model.weights import encoder_identity, load_encoder, random_encoder, save_encoder
from whisper_reference import openai_checkpoint, reference, scramble, write_hugging_face

CONFIG = EncoderConfig(mel_bins=80, width=16, heads=2, layers=2, max_frames=20)


@pytest.fixture(scope="module")
def model():
    """transformers' Whisper with an encoder of CONFIG; every value fits into float16."""
    return reference(CONFIG).half().float()


@pytest.fixture
def ours(tmp_path) -> Path:
    """A folder in our format."""
    encoder = WhisperEncoder(CONFIG)
    scramble(encoder, seed=0)
    save_encoder(encoder, tmp_path / "ours")
    return tmp_path / "ours"


@pytest.fixture
def theirs(model, tmp_path) -> Path:
    """A folder in Hugging Face's format."""
    return write_hugging_face(model, tmp_path / "theirs", "model.encoder.")


def write_openai(model, path: Path, dtype: torch.dtype = torch.float16) -> Path:
    torch.save(openai_checkpoint(model, dtype), path)
    return path


def refusal(source: str | Path | None) -> WeightsError:
    """The error that loading `source` gives, which has all four parts."""
    with pytest.raises(WeightsError) as caught:
        load_encoder(source)
    error = caught.value
    assert all((error.problem, error.expected, error.got, error.fix))
    return error


def edit_json(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@torch.no_grad()
def test_every_format_gives_the_same_frames_and_identity(model, tmp_path):
    sources = [
        write_hugging_face(model, tmp_path / "full", "model.encoder."),
        write_hugging_face(model, tmp_path / "headless", "encoder."),
        write_hugging_face(model, tmp_path / "bare", ""),
        write_hugging_face(model, tmp_path / "half", "encoder.", torch.float16),
        write_openai(model, tmp_path / "half.pt"),
        write_openai(model, tmp_path / "single.pt", torch.float32),
        tmp_path / "full" / "model.safetensors",
    ]
    model.save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
    assert (tmp_path / "sharded" / "model.safetensors.index.json").is_file()
    sources.append(tmp_path / "sharded")

    pickled = tmp_path / "pickled"
    pickled.mkdir()
    model.config.save_pretrained(pickled)
    torch.save(model.state_dict(), pickled / "pytorch_model.bin")
    legacy = shutil.copytree(pickled, tmp_path / "legacy")
    torch.save(model.state_dict(), legacy / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    sources += [pickled, legacy]

    save_encoder(load_encoder(sources[0]).encoder, tmp_path / "ours")
    sources += [tmp_path / "ours", tmp_path / "ours" / "encoder.safetensors"]

    mel_BMF = torch.randn(1, 80, 40, generator=torch.Generator().manual_seed(0))
    expected_BTD = model.encoder(mel_BMF).last_hidden_state
    identities = set()
    for source in sources:
        loaded = load_encoder(source)
        assert loaded.source == str(source)
        assert not loaded.encoder.training
        assert {tensor.dtype for tensor in loaded.encoder.state_dict().values()} == {torch.float32}
        frames_BTD, _ = loaded.encoder(mel_BMF, torch.tensor([40]))
        torch.testing.assert_close(frames_BTD, expected_BTD, atol=1e-5, rtol=0)
        identities.add(loaded.identity)
    assert len(identities) == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_saved_identity_is_the_loaded_one(dtype, tmp_path):
    encoder = WhisperEncoder(CONFIG)
    scramble(encoder, seed=0)
    stored = save_encoder(encoder, tmp_path / "model", dtype=dtype)
    loaded = load_encoder(tmp_path / "model")
    assert loaded.identity == stored
    assert (stored == encoder_identity(encoder)) == (dtype == torch.float32)
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(loaded.encoder.state_dict()[name], tensor.to(dtype).float())
    with safe_open(tmp_path / "model" / "encoder.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt", "uniwhisper_format_version": "1", "identity": stored}


def test_identity_sees_what_no_tensor_shows():
    encoder, other = WhisperEncoder(CONFIG), WhisperEncoder(replace(CONFIG, heads=4))
    other.load_state_dict(encoder.state_dict())
    assert encoder_identity(encoder) != encoder_identity(other)


def test_a_loaded_encoder_trains_and_outlives_its_file(ours):
    encoder = load_encoder(ours).encoder.train()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    (ours / "encoder.safetensors").write_bytes(b"")
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
    encoder(torch.ones(1, 80, 8), torch.tensor([8]))[0].sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_positions_may_be_left_out(model, theirs):
    state = load_file(theirs / "model.safetensors")
    del state["model.encoder.embed_positions.weight"]
    save_file(state, theirs / "model.safetensors")
    assert torch.equal(load_encoder(theirs).encoder.positions_TD, WhisperEncoder(CONFIG).positions_TD)
    assert not torch.equal(model.encoder.embed_positions.weight, WhisperEncoder(CONFIG).positions_TD)


def test_saving_keeps_other_parts_and_leaves_nothing_else(ours):
    edit_json(ours / "config.json", adapter={"stack": 4})
    save_encoder(WhisperEncoder(replace(CONFIG, layers=1)), ours)
    config = json.loads((ours / "config.json").read_text())
    assert config["adapter"] == {"stack": 4}
    assert config["encoder"]["layers"] == 1
    assert len(load_encoder(ours).encoder.blocks) == 1
    assert sorted(path.name for path in ours.iterdir()) == ["config.json", "encoder.safetensors"]


def test_saving_what_does_not_fit_the_dtype_changes_nothing(ours):
    before = {path.name: path.read_bytes() for path in ours.iterdir()}
    encoder = WhisperEncoder(CONFIG)
    torch.nn.init.constant_(encoder.conv1.bias, 1e6)
    with pytest.raises(WeightsError, match=r"conv1\.bias not finite"):
        save_encoder(encoder, ours)
    assert {path.name: path.read_bytes() for path in ours.iterdir()} == before


def test_saving_into_another_kind_of_folder_is_refused(theirs):
    before = (theirs / "config.json").read_bytes()
    with pytest.raises(WeightsError, match="another kind of model"):
        save_encoder(WhisperEncoder(CONFIG), theirs)
    assert (theirs / "config.json").read_bytes() == before
    assert not (theirs / "encoder.safetensors").exists()


def test_random_encoder_depends_on_its_seed_alone():
    state = torch.random.get_rng_state()
    first = random_encoder("tiny", seed=0)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(1)
    assert random_encoder("tiny", seed=0).identity == first.identity
    assert random_encoder("tiny", seed=1).identity != first.identity
    with pytest.raises(WeightsError, match="no encoder size 'huge'"):
        random_encoder("huge", seed=0)


def test_parameters_of_the_sizes():
    # Counted by transformers for openai/whisper-tiny and -large-v3: their published checkpoints without the decoder.
    for size in ("tiny", "large-v3"):
        with torch.device("meta"):
            ours, theirs = WhisperEncoder(WHISPER_SIZES[size]), reference_on_meta(WHISPER_SIZES[size])
        assert sum(x.numel() for x in ours.state_dict().values()) == sum(
            x.numel() for x in theirs.state_dict().values()
        )


def reference_on_meta(config: EncoderConfig):
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder as TheirEncoder

    return TheirEncoder(
        WhisperConfig(
            num_mel_bins=config.mel_bins,
            d_model=config.width,
            encoder_attention_heads=config.heads,
            encoder_layers=config.layers,
            encoder_ffn_dim=4 * config.width,
        )
    )


def test_config_survives_json():
    for config in WHISPER_SIZES.values():
        assert EncoderConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 3}, "multiple of its 3 heads"),
        ({"layers": 0}, "layers of the encoder"),
        ({"layers": True}, "layers of the encoder"),
        ({"width": "16"}, "width of the encoder"),
        ({"width": 15, "heads": 5}, "even number"),
        ({"depth": 4}, "fields of the encoder"),
    ],
)
def test_a_config_that_makes_no_encoder_is_refused(changes, message):
    with pytest.raises(WeightsError, match=message):
        EncoderConfig.from_json(CONFIG.to_json() | changes)


def test_no_packaged_default(monkeypatch, tmp_path):
    monkeypatch.setattr("uniwhisper.model.weights.files", lambda _: tmp_path)
    assert "packaged default" in refusal(None).problem


def test_packaged_default(monkeypatch, tmp_path, ours):
    shutil.copytree(ours, tmp_path / "pretrained" / "default")
    monkeypatch.setattr("uniwhisper.model.weights.files", lambda _: tmp_path)
    assert load_encoder(None).identity == load_encoder(ours).identity


def test_nothing_there(tmp_path):
    assert "no checkpoint" in refusal(tmp_path / "absent").problem
    assert "openai/whisper-tiny" in refusal("tiny").fix


def test_incomplete_folders(tmp_path, ours, theirs):
    (tmp_path / "empty").mkdir()
    assert "config.json" in refusal(tmp_path / "empty").expected
    (ours / "encoder.safetensors").unlink()
    assert "encoder.safetensors" in refusal(ours).expected
    (theirs / "model.safetensors").unlink()
    assert "model.safetensors" in refusal(theirs).expected


@pytest.mark.parametrize("name", ["model", "encoder"])
def test_the_folder_around_a_checkpoint_names_the_one_in_it(tmp_path, ours, name):
    ours.rename(tmp_path / name)
    assert str(tmp_path / name) in refusal(tmp_path).fix
    (tmp_path / name / "config.json").unlink()
    assert "save_pretrained" in refusal(tmp_path).fix


def test_a_weights_file_without_its_config(theirs):
    (theirs / "config.json").unlink()
    assert "config.json" in refusal(theirs / "model.safetensors").expected


@pytest.mark.parametrize("kind", ["wav2vec2", "bert", None])
def test_another_architecture(theirs, kind):
    edit_json(theirs / "config.json", model_type=kind)
    assert repr(kind) in refusal(theirs).got
    (theirs / "model.safetensors").unlink()
    assert repr(kind) in refusal(theirs).got


@pytest.mark.parametrize(
    "change", [{"activation_function": "relu"}, {"scale_embedding": True}, {"encoder_ffn_dim": 17}]
)
def test_a_variant_that_computes_something_else(theirs, change):
    edit_json(theirs / "config.json", **change)
    assert next(iter(change)) in refusal(theirs).expected


def test_configs_that_are_none(ours, theirs):
    (theirs / "config.json").write_text("{")
    assert "cannot be read" in refusal(theirs).problem
    (theirs / "config.json").write_text("[]")
    assert "list" in refusal(theirs).got
    (theirs / "config.json").write_text('{"model_type": "whisper", "d_model": 16}')
    assert "num_mel_bins" in refusal(theirs).expected
    edit_json(ours / "config.json", format_version=2)
    assert '"format_version": 2' in refusal(ours).got
    edit_json(ours / "config.json", format_version=1, encoder=None)
    assert "NoneType" in refusal(ours).got


def test_tensors_that_do_not_fit(theirs):
    path = theirs / "model.safetensors"
    good = load_file(path)
    name = "model.encoder.layers.1.fc1.weight"

    save_file({key: value for key, value in good.items() if key != name}, path)
    assert name in refusal(theirs).got
    save_file(good | {"model.encoder.layers.2.fc1.weight": torch.ones(1)}, path)
    assert "layers.2.fc1.weight unknown" in refusal(theirs).got
    save_file(good | {name: torch.ones(3, 4)}, path)
    assert "(3, 4)" in refusal(theirs).got
    save_file(good | {name: torch.ones(64, 16, dtype=torch.int8)}, path)
    assert "int8" in refusal(theirs).got
    save_file(good | {name: torch.full((64, 16), float("nan"))}, path)
    assert refusal(theirs).got == "blocks.1.mlp.0.weight not finite"
    save_file({"something.else": torch.ones(1)}, path)
    assert "missing" in refusal(theirs).got


def test_a_config_of_another_size(ours):
    config = json.loads((ours / "config.json").read_text())
    edit_json(ours / "config.json", encoder=config["encoder"] | {"width": 32})
    assert "(20, 16) instead of floating (20, 32)" in refusal(ours).got
    edit_json(ours / "config.json", encoder=config["encoder"] | {"heads": 4})  # fits, but is not what was saved
    assert "not what was saved" in refusal(ours).problem


@pytest.mark.parametrize("kept", [0, 4, 200, -1])
def test_truncated_files(model, theirs, tmp_path, kept):
    for path in (theirs / "model.safetensors", write_openai(model, tmp_path / "openai.pt")):
        path.write_bytes(path.read_bytes()[:kept])
        assert "cannot be read" in refusal(path).problem


def test_files_of_something_else(tmp_path):
    for content in (b"RIFF not a checkpoint", b"\x80\x04.", os.urandom(1000)):
        (tmp_path / "file.pt").write_bytes(content)
        assert "cannot be read" in refusal(tmp_path / "file.pt").problem
    torch.save([torch.ones(1)], tmp_path / "list.pt")
    assert refusal(tmp_path / "list.pt").got == "list"
    torch.save({"dims": None, "model_state_dict": {}}, tmp_path / "nodims.pt")
    assert "n_mels" in refusal(tmp_path / "nodims.pt").expected


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_that_runs_code_is_refused_and_not_run(model, theirs, tmp_path):
    victim = tmp_path / "executed"
    pickle.loads(pickle.dumps(Malicious(victim)))  # the attack works where it is let
    assert victim.exists()
    victim.unlink()

    openai = tmp_path / "openai.pt"
    torch.save(openai_checkpoint(model) | {"extra": Malicious(victim)}, openai)
    (theirs / "model.safetensors").unlink()
    (theirs / "pytorch_model.bin").write_bytes(pickle.dumps(Malicious(victim)))
    for source in (openai, theirs):
        assert "safetensors" in refusal(source).fix
        assert not victim.exists()


def test_shards_stay_in_their_folder(model, tmp_path):
    model.save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
    index_path = tmp_path / "sharded" / "model.safetensors.index.json"
    index = json.loads(index_path.read_text())
    name, shard = next((name, shard) for name, shard in index["weight_map"].items() if name.startswith("encoder."))
    (tmp_path / "sharded" / shard).rename(tmp_path / shard)
    assert "cannot be read" in refusal(tmp_path / "sharded").problem
    index["weight_map"][name] = f"../{shard}"
    index_path.write_text(json.dumps(index))
    assert "not an index" in refusal(tmp_path / "sharded").problem


@pytest.fixture
def offline(monkeypatch, tmp_path) -> Path:
    """An empty hub cache and HF_HUB_OFFLINE=1, which the hub reads when it is imported."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_hub_id_without_network_says_how_to_pass_a_folder(offline):
    error = refusal("openai/whisper-tiny")
    assert "openai/whisper-tiny" in error.problem
    assert "pass a folder" in error.fix
    assert not list(offline.rglob("*.safetensors"))


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_a_hub_id_is_found_in_the_cache(offline, theirs, weights):
    if weights == "pytorch_model.bin":
        torch.save(load_file(theirs / "model.safetensors"), theirs / weights)
        (theirs / "model.safetensors").unlink()
    repository = offline / "models--someone--whisper-small"
    shutil.copytree(theirs, repository / "snapshots" / ("0" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    loaded = load_encoder("someone/whisper-small")
    assert loaded.source == "someone/whisper-small"
    assert loaded.identity == load_encoder(theirs).identity


def test_loading_does_not_wake_the_compiler():
    """Arithmetic on the meta device imports it, with sympy: seconds before a file is embedded."""
    code = "import sys; from uniwhisper.model.weights import load_encoder; load_encoder(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"sympy", "torch._dynamo", "transformers"} & set(done.stdout.split())
