"""Encoders of other projects: the same numbers as their own code gives, on tiny random models of each kind."""

import io
import json
import re

import numpy as np
import pytest
import soundfile
import torch

from conftest import SAMPLE_RATE_HZ, tone
from uniwhisper.core.errors import AudioError, UserError, WeightsError
from uniwhisper.evaluation.encoders import EncoderError, open_encoder

SPEECH = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "conv_dim": (16,) * 7,
    "vocab_size": 8,
}


def noise(seconds: float, seed: int = 0, rate_hz: int = SAMPLE_RATE_HZ) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (0.1 * generator.normal(size=round(seconds * rate_hz))).astype(np.float32)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory):
    """`model_folder("wavlm")`: a tiny random checkpoint as save_pretrained writes it, and the model itself."""
    import transformers as hf

    made = {}

    def make(kind: str):
        if kind in made:
            return made[kind]
        folder = tmp_path_factory.mktemp("hf") / kind
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            match kind:
                case "whisper":
                    config = hf.WhisperConfig(
                        d_model=32,
                        encoder_layers=2,
                        encoder_attention_heads=2,
                        encoder_ffn_dim=128,
                        decoder_layers=1,
                        decoder_attention_heads=2,
                        decoder_ffn_dim=8,
                        vocab_size=16,
                        pad_token_id=0,
                        bos_token_id=1,
                        eos_token_id=2,
                        decoder_start_token_id=3,
                    )
                    model, extractor = hf.WhisperForConditionalGeneration(config), hf.WhisperFeatureExtractor()
                case "wav2vec2":
                    model = hf.Wav2Vec2ForCTC(hf.Wav2Vec2Config(**SPEECH))
                    extractor = hf.Wav2Vec2FeatureExtractor()
                case "hubert":
                    model, extractor = hf.HubertModel(hf.HubertConfig(**SPEECH)), hf.Wav2Vec2FeatureExtractor()
                case "wavlm":
                    stable = SPEECH | {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
                    model = hf.WavLMModel(hf.WavLMConfig(**stable))
                    extractor = hf.Wav2Vec2FeatureExtractor(do_normalize=False)
                case "data2vec-audio":
                    small = {name: value for name, value in SPEECH.items() if name != "num_conv_pos_embeddings"}
                    config = hf.Data2VecAudioConfig(**small, num_conv_pos_embeddings=2, conv_pos_kernel_size=3)
                    model, extractor = hf.Data2VecAudioModel(config), hf.Wav2Vec2FeatureExtractor()
                case "ast":
                    config = hf.ASTConfig(
                        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, max_length=256
                    )
                    model = hf.ASTForAudioClassification(config)
                    extractor = hf.ASTFeatureExtractor(max_length=256)
                case "clap" | "clap-fused":
                    fused = kind == "clap-fused"
                    audio = {
                        "patch_embeds_hidden_size": 8,
                        "depths": [1, 1],
                        "num_attention_heads": [1, 2],
                        "num_hidden_layers": 2,
                        "hidden_size": 16,
                        "enable_fusion": fused,
                    }
                    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 16}
                    model = hf.ClapModel(hf.ClapConfig(audio_config=audio, text_config=text, projection_dim=24))
                    extractor = hf.ClapFeatureExtractor(truncation="fusion" if fused else "rand_trunc")
        model = model.eval()
        model.save_pretrained(folder)
        extractor.save_pretrained(folder)
        made[kind] = folder, model, extractor
        return made[kind]

    return make


def open_cpu(model: object):
    return open_encoder(str(model), device="cpu").encoder


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "wavlm", "data2vec-audio"])
def test_speech_encoders_give_the_mean_of_transformers_frames(model_folder, kind):
    folder, model, extractor = model_folder(kind)
    encoder = open_cpu(folder)
    waves = [noise(seconds, seed) for seed, seconds in enumerate([0.7, 0.4, 0.7, 0.03])]
    table = encoder.embed([(wave, SAMPLE_RATE_HZ) for wave in waves])
    base = getattr(model, "wav2vec2", model)
    for wave, vector in zip(waves, table.vectors, strict=True):
        inputs = extractor(wave, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")
        with torch.inference_mode():
            expected_TD = base(inputs.input_values).last_hidden_state[0].numpy()
        np.testing.assert_allclose(vector, expected_TD.mean(axis=0), atol=2e-5)
    frames = encoder.frames((waves[0], SAMPLE_RATE_HZ))
    assert frames.hop_seconds == 0.02 and len(frames.times) == (11_200 - 400) // 320 + 1
    np.testing.assert_allclose(frames.vectors.mean(axis=0), table.vectors[0], atol=1e-6)


def test_whisper_padded_is_x_ares_and_trimmed_keeps_the_audio(model_folder):
    folder, model, extractor = model_folder("whisper")
    wave = noise(12.5)
    with torch.inference_mode():
        chunks = [
            model.model.encoder(extractor(part, sampling_rate=16_000, return_tensors="pt").input_features)
            for part in (wave[:160_000], wave[160_000:], wave)
        ]
    ten, rest, whole = (chunk.last_hidden_state[0].numpy() for chunk in chunks)
    padded, trimmed = open_cpu(f"whisper-padded:{folder}"), open_cpu(f"whisper-trimmed:{folder}")
    all_frames = np.concatenate([ten, rest])
    assert all_frames.shape == (3000, 32)
    sources = [(wave, SAMPLE_RATE_HZ)]
    np.testing.assert_allclose(padded.embed(sources).vectors[0], all_frames.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(trimmed.embed(sources).vectors[0], whole[:625].mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(trimmed.frames(sources[0]).vectors, whole[:625], atol=1e-5)
    assert padded.identity["weights"] == trimmed.identity["weights"]
    assert padded.identity["pooling"] != trimmed.identity["pooling"]


def test_whisper_without_a_prefix_is_our_own_encoder(model_folder):
    from uniwhisper.embedding.embedder import Embedder

    folder, _, _ = model_folder("whisper")
    assert isinstance(open_cpu(folder), Embedder)


def test_ast_keeps_the_columns_over_the_audio(model_folder):
    folder, model, extractor = model_folder("ast")
    encoder = open_cpu(folder)
    wave = noise(1.0)
    with torch.inference_mode():
        inputs = extractor(wave, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")
        hidden = model.audio_spectrogram_transformer(**inputs).last_hidden_state[0, 2:]
    by_column = hidden.reshape(12, 25, 32).mean(dim=0)  # (128 - 16) / 10 + 1 rows, (256 - 16) / 10 + 1 columns
    frames = encoder.frames((wave, SAMPLE_RATE_HZ))
    assert frames.vectors.shape == (10, 32)  # 98 mels, a column every 10
    np.testing.assert_allclose(frames.vectors, by_column[:10], atol=1e-5)
    assert frames.times.tolist() == pytest.approx([0.1 * place for place in range(10)])


def test_ast_columns_are_columns(model_folder):
    """A burst changes the column at its time most, whichever way the patches are laid out."""
    folder, _, _ = model_folder("ast")
    encoder = open_cpu(folder)
    quiet = 1e-3 * noise(2.0)
    burst = quiet.copy()
    burst[24_000:25_600] += noise(0.1, 3)
    quiet_TD, burst_TD = (encoder.frames((wave, SAMPLE_RATE_HZ)).vectors for wave in (quiet, burst))
    assert 14 <= np.argmax(np.linalg.norm(burst_TD - quiet_TD, axis=1)) <= 16


@pytest.mark.parametrize("kind", ["clap", "clap-fused"])
def test_clap_gives_its_projected_vector_from_48_khz(model_folder, kind):
    folder, model, extractor = model_folder(kind)
    encoder = open_cpu(folder)
    assert encoder.width == 24 and not hasattr(encoder, "frames")
    short, other = noise(1.5, 0, 48_000), noise(1.5, 1, 48_000)
    table = encoder.embed([(short, 48_000), (other, 48_000)])
    for wave, vector in zip((short, other), table.vectors, strict=True):
        inputs = extractor(wave, sampling_rate=48_000, return_tensors="pt")
        with torch.inference_mode():
            expected = model.get_audio_features(inputs.input_features, is_longer=torch.zeros(1, 1, dtype=torch.bool))
        expected = getattr(expected, "pooler_output", expected)[0].numpy()
        unit = expected / np.linalg.norm(expected)
        np.testing.assert_allclose(vector / np.linalg.norm(vector), unit, atol=1e-5)


def test_clap_weighs_windows_by_the_audio_in_them(model_folder):
    folder, _, _ = model_folder("clap")
    encoder = open_cpu(folder)
    wave = noise(12.0, 0, 48_000)
    parts = encoder.embed([(wave[:480_000], 48_000), (wave[480_000:], 48_000)]).vectors
    whole = encoder.embed([(wave, 48_000)]).vectors[0]
    np.testing.assert_allclose(whole, (10 * parts[0] + 2 * parts[1]) / 12, atol=1e-5)


def test_what_a_checkpoint_lacks_is_refused_not_drawn(model_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    folder, _, _ = model_folder("hubert")
    state = load_file(folder / "model.safetensors")
    state.pop("encoder.layers.1.attention.k_proj.weight")
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(WeightsError, match=r"drawn at random[\s\S]*1 missing .*k_proj"):
        open_cpu(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(WeightsError, match=r"preprocessor_config\.json"):
        open_cpu(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "wav2vec2-bert"}))
    with pytest.raises(WeightsError):
        open_cpu(tmp_path)
    with pytest.raises(WeightsError, match="model_type whisper"):
        open_cpu(f"whisper-padded:{folder}")


def test_other_weights_have_another_identity(model_folder, tmp_path):
    import transformers as hf

    folder, model, extractor = model_folder("hubert")
    assert open_cpu(folder).identity == open_cpu(folder).identity
    extractor.save_pretrained(tmp_path)
    other = hf.HubertModel(model.config)
    other.save_pretrained(tmp_path)
    assert open_cpu(tmp_path).identity["weights"] != open_cpu(folder).identity["weights"]
    hf.Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    assert open_cpu(tmp_path).identity["weights"] != open_cpu(folder).identity["weights"]


XARES = """
import torch

class ToyEncoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.sampling_rate = 16000
        self.output_dim = 4
        self.hop_size_in_ms = 10
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(160, 4)

    def forward(self, audio):
        if audio.ndim == 1:
            audio = audio.unsqueeze(0)
        return self.layer(audio.unfold(1, 160, 160))
"""

OURS = """
import torch

class Energy:
    sample_rate_hz, width, hop_seconds, window_seconds = 8000, 2, 0.01, 0.5
    weights = "none"

    def __call__(self, wave_BS):
        blocks = wave_BS.unfold(1, 80, 80)
        return torch.stack([blocks.mean(-1), blocks.std(-1)], dim=-1)
"""


def test_an_encoder_file_of_x_ares_works_as_it_is(tmp_path):
    path = tmp_path / "toy_encoder.py"
    path.write_text(XARES)
    judged = open_encoder(str(path), device="cpu")
    assert (judged.label, judged.source) == ("toy_encoder", "toy_encoder.py")
    wave = noise(0.5)
    frames = judged.encoder.frames((wave, SAMPLE_RATE_HZ))
    assert frames.hop_seconds == 0.01 and frames.vectors.shape == (50, 4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = torch.nn.Linear(160, 4)
    expected = layer(torch.from_numpy(wave).reshape(50, 160)).detach().numpy()
    np.testing.assert_allclose(frames.vectors, expected, atol=1e-6)


def test_ten_lines_of_a_users_own(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(OURS)
    encoder = open_cpu(path)
    wave = tone(1.23)
    table = encoder.embed([(wave, SAMPLE_RATE_HZ), b"no audio"], on_error="skip")
    assert table.vectors.shape == (1, 2) and [failure.index for failure in table.failures] == [1]
    assert table.seconds.tolist() == [pytest.approx(1.23)]
    assert len(encoder.frames((wave, SAMPLE_RATE_HZ)).times) == 123
    with pytest.raises(AudioError):
        encoder.embed([b"no audio"])
    before = encoder.identity
    path.write_text(OURS + "\n# changed\n")
    assert open_cpu(path).identity["weights"] != before["weights"]


@pytest.mark.parametrize(
    ("text", "model", "message"),
    [
        ("x = 1\n", "bad.py", "which class is the encoder"),
        (OURS, "bad.py:Nothing", "which class"),
        ("import nothing_of_this_name\n", "bad.py", "cannot be run"),
        (OURS.replace("weights =", "other ="), "bad.py", "does not say what its weights are"),
        (OURS.replace("width", "breadth"), "bad.py", "no width"),
        (
            OURS.replace("class Energy:", "class Energy:\n    def __init__(self, path): pass\n"),
            "bad.py",
            "cannot be made",
        ),
    ],
)
def test_files_without_an_encoder_are_refused(tmp_path, text, model, message):
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(EncoderError, match=re.escape(message)):
        open_cpu(tmp_path / model)


def test_a_function_that_breaks_its_word_is_refused(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(OURS.replace("dim=-1)", "dim=-1)[..., :1]"))
    with pytest.raises(EncoderError, match=r"another shape[\s\S]*\(1, 50, 1\)"):
        open_cpu(path).embed([(tone(0.5), SAMPLE_RATE_HZ)])
    with pytest.raises(EncoderError, match=r"fails on 1 waves of 0\.002 s"):
        open_cpu(path).embed([(tone(0.002), SAMPLE_RATE_HZ)])


def test_only_waves_of_equal_length_share_a_call(tmp_path):
    path = tmp_path / "mine.py"
    counted = OURS.replace('"none"', '"none"\n    calls = []')
    path.write_text(
        counted.replace("        blocks", "        self.calls.append(tuple(wave_BS.shape))\n        blocks", 1)
    )
    encoder = open_cpu(path)
    sources = [(tone(seconds), SAMPLE_RATE_HZ) for seconds in (0.3, 0.7, 0.3, 0.5)]
    together = encoder.embed(sources).vectors
    assert sorted(encoder.function._made.calls) == [(1, 1600), (2, 2400), (2, 4000)]
    alone = np.concatenate([encoder.embed([source]).vectors for source in sources])
    np.testing.assert_array_equal(together, alone)


def test_dasheng_says_which_package_it_needs(tmp_path):
    path = tmp_path / "dasheng_base.pt"
    path.write_bytes(b"")
    with pytest.raises(UserError, match="needs its own package"):
        open_cpu(f"dasheng:{path}")
    with pytest.raises(WeightsError, match="there is no file"):
        open_cpu(f"dasheng:{tmp_path}/other.pt")


def test_log_mel_frames_are_two_mels_side_by_side():
    from transformers import WhisperFeatureExtractor

    from uniwhisper.audio.load import read

    wave = noise(1.005)  # 101 mels: the last one has no partner
    frames = open_cpu("log-mel").frames((wave, SAMPLE_RATE_HZ))
    mel = WhisperFeatureExtractor()(read((wave, SAMPLE_RATE_HZ)), sampling_rate=SAMPLE_RATE_HZ, return_tensors="np")
    mel_FM = mel.input_features[0][:, :101].T
    assert frames.vectors.shape == (51, 160)
    np.testing.assert_allclose(frames.vectors[7], np.concatenate([mel_FM[14], mel_FM[15]]), atol=1e-4)
    np.testing.assert_allclose(frames.vectors[50], np.concatenate([mel_FM[100], mel_FM[100]]), atol=1e-4)


def test_audio_at_another_rate_keeps_what_16_khz_would_lose():
    from uniwhisper.audio.load import read, read_windows

    time_S = np.arange(48_000) / 48_000
    wave = np.sin(2 * np.pi * 12_000 * time_S).astype(np.float32)
    stream = io.BytesIO()
    soundfile.write(stream, wave, 48_000, format="WAV", subtype="FLOAT")
    np.testing.assert_array_equal(read(stream.getvalue(), sample_rate_hz=48_000), wave)
    windows = list(read_windows(stream.getvalue(), sample_rate_hz=48_000, window_samples=20_000))
    assert [len(window) for window in windows] == [20_000, 20_000, 8_000]
    assert np.abs(read(stream.getvalue())[100:-100]).max() < 1e-2


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "wavlm", "data2vec-audio", "whisper-trimmed", "ast"])
def test_layers_are_what_the_blocks_of_transformers_give(model_folder, kind):
    """Read off the blocks by hooks, which know nothing of hidden states."""
    from uniwhisper.evaluation.examine.every_layer import every_layer

    folder, _, _ = model_folder(kind.removesuffix("-trimmed"))
    judged = open_encoder(f"whisper-trimmed:{folder}" if kind == "whisper-trimmed" else str(folder), device="cpu")
    layers = every_layer(judged)
    assert layers.names[:2] == ("0", "1") and layers.names[-1] == "final"
    module = judged.encoder.function.module
    # The names differ between transformers' families and its versions.
    chosen = getattr(getattr(module, "encoder", module), "layers", None) or module.encoder.layer
    seen = []
    for block in chosen:
        block.register_forward_hook(lambda _, __, out: seen.append(out[0] if isinstance(out, tuple) else out))
    source = (noise(1.0), SAMPLE_RATE_HZ)
    all_TD = layers.encoder.frames(source).vectors
    parts = layers.split(all_TD)
    waves = torch.from_numpy(source[0])[None]
    for number, frames_BTD in enumerate(seen[: len(chosen)], start=1):
        if str(number) in parts:
            kept_BTD = judged.encoder.function._kept(frames_BTD, waves)
            np.testing.assert_allclose(parts[str(number)], kept_BTD[0].numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(parts["final"], judged.encoder.frames(source).vectors, rtol=1e-5, atol=1e-5)
    assert len(parts) in (len(chosen) + 1, len(chosen) + 2)
