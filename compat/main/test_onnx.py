import subprocess
import sys
from functools import partial

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from uniwhisper.embedding import waves
from uniwhisper.embedding.waves import encode_waves, pad_waves
from uniwhisper.features.logmel import log_mel
from uniwhisper.integrations.onnx import OPSET, export_onnx, quantise_int8
from uniwhisper.model.pooling import masked_mean
from uniwhisper.model.weights import load_encoder


@pytest.fixture(scope="module")
def encoder():
    return load_encoder().encoder


@pytest.fixture(scope="module")
def exported(encoder, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "encoder.onnx"
    export_onnx(encoder, path)
    return path


@pytest.fixture(scope="module")
def session(exported):
    return onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])


def noise(*lengths: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(sum(lengths))
    return [0.1 * torch.randn(length, generator=generator) for length in lengths]


def both(session, encoder, clips):
    """onnxruntime's and PyTorch's vectors, frames and counts."""
    wave_BS, counts_B = pad_waves(clips)
    given = session.run(None, {"samples": wave_BS.numpy(), "sample_counts": counts_B.numpy()})
    with torch.inference_mode():
        frames_BTD, frame_counts_B = encode_waves(encoder, wave_BS, counts_B)
        return given, (masked_mean(frames_BTD, frame_counts_B).numpy(), frames_BTD.numpy(), frame_counts_B.numpy())


def test_samples_in(session, encoder, record_property):
    """Samples to vectors and frames, packaged model: batches of 1 to 3 clips of 1 sample to 30 s"""
    worst = 0.0
    for lengths in ([16_000], [1], [300, 161, 80_000], [480_000], [480_000, 479_841], [159, 160]):
        given, expected = both(session, encoder, noise(*lengths))
        worst = max(worst, *(float(np.abs(given[part] - expected[part]).max()) for part in (0, 1)))
        assert np.array_equal(given[2], expected[2])
    record_property("opset", OPSET)
    record_property("largest difference", f"{worst:.1e}")
    assert worst <= 1e-4


def test_loud_tones(session, encoder, monkeypatch, record_property):
    """The same for loud pure tones, beside PyTorch with its Fourier transform in float64"""
    # In the weak bands of a loud tone a float32 transform, which a CPU uses to be bit-equal to Whisper's, is the one
    # that is off.
    monkeypatch.setattr(waves, "log_mel", partial(log_mel, transform=torch.float64))
    tones = [
        0.5 * torch.sin(2 * torch.pi * hertz * torch.arange(length) / 16_000)
        for hertz, length in ((440, 479_841), (3_000, 48_000), (60, 16_000))
    ]
    given, expected = both(session, encoder, tones)
    worst = max(float(np.abs(given[part] - expected[part]).max()) for part in (0, 1))
    record_property("largest difference", f"{worst:.1e}")
    assert worst <= 1e-4


def test_what_lies_in_the_padding_has_no_effect(session):
    """Another clip's length and what lies in the padding change nothing."""
    wave_BS, counts_B = pad_waves(noise(30_000, 9_000))
    clean = session.run(None, {"samples": wave_BS.numpy(), "sample_counts": counts_B.numpy()})
    wave_BS[1, 9_000:] = 5.0
    dirty = session.run(None, {"samples": wave_BS.numpy(), "sample_counts": counts_B.numpy()})
    alone = session.run(None, {"samples": wave_BS[1:, :9_000].numpy(), "sample_counts": counts_B[1:].numpy()})
    for part in range(3):
        assert np.array_equal(clean[part], dirty[part])
    np.testing.assert_allclose(clean[0][1], alone[0][0], atol=1e-5)


def test_mels_in(encoder, tmp_path, record_property):
    """Log-mel in instead of samples"""
    export_onnx(encoder, tmp_path / "mels.onnx", from_samples=False)
    session = onnxruntime.InferenceSession(tmp_path / "mels.onnx", providers=["CPUExecutionProvider"])
    worst = 0.0
    for lengths in ([16_000], [480_000, 7_000], [300]):
        wave_BS, counts_B = pad_waves(noise(*lengths))
        mels, mel_counts = log_mel(wave_BS, counts_B, mel_bins=80)
        given = session.run(None, {"mels": mels.numpy(), "mel_counts": mel_counts.numpy()})
        with torch.inference_mode():
            frames_BTD, frame_counts_B = encoder(mels, mel_counts)
        worst = max(worst, float(np.abs(given[1] - frames_BTD.numpy()).max()))
        assert np.array_equal(given[2], frame_counts_B.numpy())
    record_property("largest difference", f"{worst:.1e}")
    assert worst <= 1e-4


def test_one_file_with_dynamic_axes(exported):
    """`onnx.checker` accepts the file; clips and samples are free dimensions."""
    model = onnx.load(exported)
    onnx.checker.check_model(model, full_check=True)
    assert [entry.version for entry in model.opset_import if entry.domain == ""] == [OPSET]
    (samples, counts) = model.graph.input
    assert all(dimension.dim_param for dimension in samples.type.tensor_type.shape.dim)
    assert counts.type.tensor_type.shape.dim[0].dim_param == samples.type.tensor_type.shape.dim[0].dim_param
    assert [path.name for path in exported.parent.iterdir()] == [exported.name]


def test_int8(exported, session, tmp_path, record_property):
    """int8 weights for CPUs: cosine with the float vectors, size"""
    quantise_int8(exported, tmp_path / "int8.onnx")
    small = onnxruntime.InferenceSession(tmp_path / "int8.onnx", providers=["CPUExecutionProvider"])
    wave_BS, counts_B = pad_waves(noise(80_000, 16_000, 300))
    feed = {"samples": wave_BS.numpy(), "sample_counts": counts_B.numpy()}
    full, rough = session.run(None, feed)[0], small.run(None, feed)[0]
    cosine = (full * rough).sum(axis=1) / np.linalg.norm(full, axis=1) / np.linalg.norm(rough, axis=1)
    sizes = [(path.stat().st_size / 1e6) for path in (exported, tmp_path / "int8.onnx")]
    record_property("least cosine", f"{cosine.min():.4f}")
    record_property("size", f"{sizes[0]:.0f} MB to {sizes[1]:.0f} MB")
    assert cosine.min() > 0.999 and sizes[1] < 0.4 * sizes[0]


def test_the_verb_says_nothing_that_is_not_ours(tmp_path):
    """In a process of its own: the exporters' loggers keep the standard error of when they were imported."""
    words = ["export", "onnx", "--int8", "-o", str(tmp_path / "encoder.onnx")]
    done = subprocess.run([sys.executable, "-m", "uniwhisper", *words], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
