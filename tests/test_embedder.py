"""Embedding: vectors against a computation without batches, windows packing, errors, memory, Parquet."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from uniwhisper import Embedder
from uniwhisper.core.errors import AudioError, UserError
from uniwhisper.core.units import SAMPLE_RATE_HZ, WINDOW_SAMPLES
from uniwhisper.embedding.batches import Budget, pack
from uniwhisper.embedding.decode import Inputs, Window
from uniwhisper.embedding.opening import Planned
from uniwhisper.embedding.parquet import metadata_of, write_frames, write_vectors
from uniwhisper.features.logmel import log_mel
from uniwhisper.model.config import WHISPER_SIZES, EncoderConfig
from uniwhisper.model.encoder import WhisperEncoder
from uniwhisper.model.weights import save_encoder

SMALL = EncoderConfig(mel_bins=80, width=64, heads=2, layers=2)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise whose colour and loudness change with time, so that no two windows are alike."""
    samples = max(1, round(seconds * SAMPLE_RATE_HZ))
    random = np.random.default_rng(seed)
    time = np.arange(samples) / SAMPLE_RATE_HZ
    tone = np.sin(2 * np.pi * (200 + 50 * seed) * time * (1 + 0.02 * time))
    return ((0.05 * random.standard_normal(samples) + 0.3 * tone) * (0.3 + 0.2 * np.sin(time))).astype(np.float32)


def clip(seconds: float, seed: int = 0) -> tuple[np.ndarray, int]:
    return noise(seconds, seed), SAMPLE_RATE_HZ


def relative_l2(got: np.ndarray, expected: np.ndarray) -> float:
    got, expected = got.astype(np.float64), expected.astype(np.float64)
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    torch.manual_seed(0)
    return Embedder.from_encoder(WhisperEncoder(SMALL).eval(), identity="small", source="small")


def frames_by_hand(encoder: WhisperEncoder, samples: np.ndarray, layer: int | None = None) -> np.ndarray:
    """Frames of one clip, window by window, with nothing else in the batch."""
    found = []
    for start in range(0, len(samples), WINDOW_SAMPLES):
        window_S = torch.from_numpy(samples[start : start + WINDOW_SAMPLES])
        with torch.inference_mode():
            mel, mel_counts = log_mel(window_S[None], torch.tensor([len(window_S)]), mel_bins=encoder.config.mel_bins)
            frames, counts = encoder(mel, mel_counts, layer=layer)
        found.append(frames[0, : counts[0]].numpy())
    return np.concatenate(found)


# Vectors


def test_vector_is_the_mean_of_all_frames_of_all_windows(embedder):
    samples = noise(70)
    expected = frames_by_hand(embedder.encoder, samples).astype(np.float64).mean(axis=0)
    table = embedder.embed([(samples, SAMPLE_RATE_HZ)])
    assert table.vectors.dtype == np.float32
    assert table.vectors.shape == (1, embedder.width)
    assert table.seconds.tolist() == [70.0]
    assert relative_l2(table.vectors[0], expected) < 1e-6


@pytest.mark.parametrize("size", ["tiny", "small net"])
def test_a_vector_depends_on_nothing_but_its_clip(size, embedder):
    if size == "tiny":
        torch.manual_seed(1)
        embedder = Embedder.from_encoder(WhisperEncoder(WHISPER_SIZES["tiny"]).eval(), identity="t", source="t")
    lengths = [0.5, 70, 3, 0.01, 12.34, 1 / SAMPLE_RATE_HZ, 30, 30 + 1 / SAMPLE_RATE_HZ, 5, 2.5]
    clips = [clip(seconds, seed) for seed, seconds in enumerate(lengths)]
    together = embedder.embed(clips)
    assert together.seconds == pytest.approx(lengths, abs=0.5 / SAMPLE_RATE_HZ)
    for row, source in enumerate(clips):
        assert relative_l2(together.vectors[row], embedder.embed([source]).vectors[0]) <= 1e-5, lengths[row]
    backwards = embedder.embed(clips[::-1], batch_seconds=31)
    for row in range(len(clips)):
        assert relative_l2(together.vectors[row], backwards.vectors[-1 - row]) <= 1e-5, lengths[row]


@pytest.mark.gpu
def test_a_vector_depends_on_nothing_but_its_clip_on_gpu():
    torch.manual_seed(1)
    encoder = WhisperEncoder(WHISPER_SIZES["base"]).eval()
    clips = [clip(seconds, seed) for seed, seconds in enumerate([0.5, 70, 3, 0.01, 12.34, 30, 5])]
    on_cpu = Embedder.from_encoder(encoder, identity="b", source="b").embed(clips)
    embedder = Embedder.from_encoder(encoder.cuda(), identity="b", source="b")
    together = embedder.embed(clips)
    for row, source in enumerate(clips):
        assert relative_l2(together.vectors[row], embedder.embed([source]).vectors[0]) <= 1e-5
        assert relative_l2(together.vectors[row], on_cpu.vectors[row]) <= 1e-4


@pytest.mark.parametrize("samples", [1, 2, 159, 160, 161, 399], ids=lambda samples: f"{samples} samples")
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_very_short_and_silent_clips_give_finite_vectors(embedder, samples, value):
    table = embedder.embed([(np.full(samples, value, np.float32), SAMPLE_RATE_HZ)])
    assert np.isfinite(table.vectors).all()
    assert table.vectors.shape == (1, embedder.width)


def test_long_silence_gives_a_finite_vector(embedder):
    assert np.isfinite(embedder.embed([(np.zeros(40 * SAMPLE_RATE_HZ, np.float32), SAMPLE_RATE_HZ)]).vectors).all()


def test_no_inputs_give_an_empty_table(embedder):
    table = embedder.embed([])
    assert table.vectors.shape == (0, embedder.width)
    assert (table.names, table.failures) == ([], [])


def test_inputs_of_every_kind(embedder, tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(1.5), SAMPLE_RATE_HZ, subtype="FLOAT")
    stereo = np.stack([noise(1.5), noise(1.5)], axis=1)
    table = embedder.embed([str(path), path, path.read_bytes(), clip(1.5), (stereo, SAMPLE_RATE_HZ)])
    assert table.names == [str(path), str(path), "<bytes 2>", "<array 3>", "<array 4>"]
    for vector in table.vectors:
        assert relative_l2(vector, table.vectors[0]) <= 1e-5


@pytest.mark.parametrize(
    ("bad", "got"),
    [
        (None, "NoneType"),
        (np.zeros(16), "an array without its sample rate"),
        ((16000, np.zeros(16)), "a tuple of (int, ndarray)"),
    ],
)
def test_an_input_of_the_wrong_type_is_named_by_its_place(embedder, bad, got):
    with pytest.raises(AudioError, match="input 1 ") as caught:
        embedder.embed([clip(1), bad], on_error="skip")
    assert caught.value.got == got


@pytest.mark.filterwarnings("error")  # of one dimension, `.T` is deprecated
@pytest.mark.parametrize("channels", [0, 2])
def test_a_tensor_is_told_how_to_become_an_array(embedder, channels):
    """What the message says to type is typed, for a tensor of a computation that is differentiated."""
    waves = [noise(1, seed) for seed in range(max(1, channels))]
    samples = torch.from_numpy(np.stack(waves) if channels else waves[0]).requires_grad_()  # as torchaudio loads
    with pytest.raises(AudioError, match="input 0 ") as caught:
        embedder.embed([(samples, 16_000)])
    typed = caught.value.fix.removeprefix("a tensor as an array, channels last: ")
    found = embedder.embed([eval(typed, {"samples": samples, "sample_rate_hz": 16_000})])
    expected = embedder.embed([(np.stack(waves, axis=1), 16_000)])
    np.testing.assert_array_equal(found.vectors, expected.vectors)


@pytest.mark.parametrize("layer", ["last", 2.0, -1, 99])
def test_a_layer_that_is_not_there_is_refused(layer):
    with pytest.raises(UserError, match="has no layer"):
        Embedder.from_pretrained(layer=layer)


def test_one_path_instead_of_a_list_is_refused(embedder):
    with pytest.raises(AudioError, match="takes a list"):
        embedder.embed("dog.wav")


def test_files_of_the_same_name_stay_apart(embedder, tmp_path):
    paths = [tmp_path / folder / "x.wav" for folder in ("a", "b")]
    for seed, path in enumerate(paths):
        path.parent.mkdir()
        soundfile.write(path, noise(1, seed), SAMPLE_RATE_HZ)
    table = embedder.embed(paths)
    assert table.names == [str(path) for path in paths]
    assert relative_l2(table.vectors[0], table.vectors[1]) > 1e-3


# Bad inputs


@pytest.fixture
def bad_files(tmp_path) -> list[Path]:
    """good, missing, empty, truncated at the end, good."""
    paths = [tmp_path / name for name in ("good.wav", "missing.wav", "empty.wav", "cut.flac", "also good.wav")]
    soundfile.write(paths[0], noise(1), SAMPLE_RATE_HZ)
    paths[2].touch()
    soundfile.write(paths[3], noise(65), SAMPLE_RATE_HZ)
    paths[3].write_bytes(paths[3].read_bytes()[:-40_000])
    soundfile.write(paths[4], noise(2), SAMPLE_RATE_HZ)
    return paths


def test_embed_raises_the_first_error_that_headers_show(embedder, bad_files):
    with pytest.raises(AudioError, match=r"missing\.wav"):
        embedder.embed(bad_files)
    with pytest.raises(AudioError, match=r"cut\.flac"):
        embedder.embed([bad_files[0], bad_files[3], bad_files[4]])


def test_skip_leaves_failures_out_and_names_them(embedder, bad_files):
    table = embedder.embed(bad_files, on_error="skip")
    assert table.names == [str(bad_files[0]), str(bad_files[4])]
    assert [failure.index for failure in table.failures] == [1, 2, 3]
    assert [failure.name for failure in table.failures] == [str(path) for path in bad_files[1:4]]
    assert all(failure.reason and "\n" not in failure.reason for failure in table.failures)
    assert relative_l2(table.vectors[1], embedder.embed([bad_files[4]]).vectors[0]) <= 1e-5


def test_overflow_in_the_encoder_is_an_error_of_that_clip(embedder):
    loud = (noise(1) * np.float32(1e37), SAMPLE_RATE_HZ)
    with pytest.raises(AudioError, match="<array 1> gives a vector that is not finite"):
        embedder.embed([clip(1), loud])
    table = embedder.embed([clip(1), loud], on_error="skip")
    assert (table.names, [failure.index for failure in table.failures]) == (["<array 0>"], [1])


# Frames


def test_frames_and_their_times(embedder):
    samples = noise(65.43)
    frames = embedder.frames((samples, SAMPLE_RATE_HZ))
    expected = frames_by_hand(embedder.encoder, samples)
    assert frames.vectors.dtype == np.float32
    assert frames.times.dtype == np.float64
    assert frames.vectors.shape == (len(frames.times), embedder.width) == (3272, embedder.width)  # ceil(65.43 / 0.02)
    assert frames.times[[0, 1, 1500, 3271]].tolist() == [0.0, 0.02, 30.0, 65.42]
    assert frames.hop_seconds == 0.02
    assert max(map(relative_l2, frames.vectors, expected)) <= 1e-5
    mean = frames.vectors.astype(np.float64).mean(axis=0)
    assert relative_l2(embedder.embed([(samples, SAMPLE_RATE_HZ)]).vectors[0], mean) <= 1e-5


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_layer_is_handed_to_the_encoder(embedder, layer):
    chosen = Embedder.from_encoder(embedder.encoder, identity="small", source="small", layer=layer)
    expected = frames_by_hand(embedder.encoder, noise(2), layer)
    assert relative_l2(chosen.frames(clip(2)).vectors, expected) <= 1e-5
    assert relative_l2(chosen.frames(clip(2)).vectors, embedder.frames(clip(2)).vectors) > 1e-2
    assert chosen.identity["layer"] == str(layer) != embedder.identity["layer"]


@pytest.mark.parametrize("layer", [-1, 3])
def test_a_layer_that_does_not_exist_is_refused(embedder, layer):
    with pytest.raises(UserError, match=f"no layer {layer}") as caught:
        Embedder.from_encoder(embedder.encoder, identity="small", source="small", layer=layer)
    assert "to 2" in caught.value.expected


# Memory


class ForgetfulEncoder(torch.nn.Module):
    """Runs out of memory above so many padded mels."""

    def __init__(self, encoder: WhisperEncoder, mels: int) -> None:
        super().__init__()
        self.encoder, self.mels, self.refused = encoder, mels, 0
        self.config = encoder.config

    def forward(self, mel_BMF, mel_counts_B, *, layer=None):
        if mel_BMF.shape[0] * mel_BMF.shape[2] > self.mels:
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.encoder(mel_BMF, mel_counts_B, layer=layer)


def test_out_of_memory_halves_the_batch_and_says_so(embedder):
    forgetful = ForgetfulEncoder(embedder.encoder, mels=1000)
    clips = [clip(2 + 0.1 * seed, seed) for seed in range(40)]
    small = Embedder.from_encoder(forgetful, identity="f", source="f")
    with pytest.warns(RuntimeWarning, match="out of memory on cpu: going on with batches of") as said:
        table = small.embed(clips, batch_seconds=120)
    # 120 s of audio do not fit into 1000 mels, nor do 60, 30 and 15; 7.5 do, and nothing is refused after that.
    assert forgetful.refused == len(said) <= 5
    expected = embedder.embed(clips).vectors
    assert max(map(relative_l2, table.vectors, expected)) <= 1e-5


def test_out_of_memory_with_one_clip_is_an_error(embedder):
    small = Embedder.from_encoder(ForgetfulEncoder(embedder.encoder, mels=100), identity="f", source="f")
    with (
        warnings.catch_warnings(action="ignore"),
        pytest.raises(UserError, match="<array 1> does not fit into the memory of cpu"),
    ):
        small.embed([clip(0.5), clip(5), clip(0.5)], on_error="skip")


PEAK = """
import resource, sys, torch
from uniwhisper import Embedder
from uniwhisper.model.config import EncoderConfig
from uniwhisper.model.encoder import WhisperEncoder
torch.set_num_threads(1)
encoder = WhisperEncoder(EncoderConfig(mel_bins=80, width=32, heads=1, layers=1)).eval()
embedder = Embedder.from_encoder(encoder, identity="", source="")
table = embedder.embed([sys.argv[1]])
print(float(table.seconds[0]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_mib(path: Path, seconds: float) -> float:
    with soundfile.SoundFile(path, "w", samplerate=8000, channels=1, subtype="PCM_U8") as file:
        for block in range(round(seconds / 10)):
            file.write(noise(5, block % 7)[:80_000])
    done = subprocess.run([sys.executable, "-c", PEAK, path], capture_output=True, text=True, check=True)
    embedded, kib = map(float, done.stdout.split())
    assert embedded == pytest.approx(seconds)
    return kib / 1024


def test_memory_does_not_grow_with_the_length_of_a_file(tmp_path):
    short, long = peak_mib(tmp_path / "short.wav", 600), peak_mib(tmp_path / "long.wav", 3600)
    # One hour is 220 MiB as float32 at 16 kHz, and 180,000 frames.
    assert long - short < 64, f"peak of 10 minutes: {short:.0f} MiB, of 60 minutes: {long:.0f} MiB"


def test_decoding_does_not_run_far_ahead(monkeypatch):
    """While the first window is with the encoder, only the allowed audio has been opened."""
    import uniwhisper.embedding.opening as opening

    opened = []

    def counting(source, **keywords):
        opened.append(source)
        return read_windows(source, **keywords)

    read_windows = opening.read_windows
    monkeypatch.setattr(opening, "read_windows", counting)
    with Inputs([clip(5, seed) for seed in range(50)], skip=False) as inputs:
        windows = inputs.windows(sort=True, whole_only=False, ahead_seconds=20)
        next(windows)
        assert len(opened) <= 5
        assert len([*windows]) == 49


# Batches


@given(st.lists(st.integers(1, WINDOW_SAMPLES), max_size=60), st.floats(0.1, 200))
def test_batches_keep_the_order_and_the_budget(sample_counts, seconds):
    planned = Planned(0, "", b"", 1.0)
    windows = [Window(planned, np.broadcast_to(np.float32(0), samples)) for samples in sample_counts]
    batches = list(pack(iter(windows), Budget(seconds)))
    assert [window for batch in batches for window in batch] == windows
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(window.seconds for window in batch) <= seconds


# Device and arithmetic


def test_cuda_without_a_device_is_a_user_error(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"GPU|CUDA"):
        Embedder.from_pretrained(tmp_path, device="cuda")
    with pytest.raises(UserError, match="device"):
        Embedder.from_pretrained(tmp_path, device="tpu")


@pytest.mark.parametrize("legacy", [True, False])
def test_full_float32_switches_tf32_off_and_puts_it_back(legacy):
    script = f"""
import torch
from uniwhisper.embedding.device import full_float32
torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = {legacy}
with torch.autocast("cpu", dtype=torch.bfloat16), full_float32(torch.device("cpu")):
    assert torch.backends.cuda.matmul.fp32_precision == torch.backends.cudnn.conv.fp32_precision == "ieee"
    assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
assert torch.backends.cuda.matmul.allow_tf32 is torch.backends.cudnn.allow_tf32 is {legacy}
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_from_encoder_leaves_the_encoder_as_it_is():
    encoder = WhisperEncoder(SMALL).train()
    Embedder.from_encoder(encoder, identity="", source="").embed([clip(1)])
    assert encoder.training
    assert all(parameter.requires_grad for parameter in encoder.parameters())


def test_from_pretrained_reads_a_folder_and_its_identity(tmp_path, embedder):
    save_encoder(embedder.encoder, tmp_path / "a", dtype=torch.float32)
    torch.manual_seed(9)
    save_encoder(WhisperEncoder(SMALL), tmp_path / "b", dtype=torch.float32)
    a, b = (Embedder.from_pretrained(tmp_path / name, device="cpu") for name in "ab")
    assert set(a.identity) == {"weights", "code", "pooling", "layer", "precision"}
    assert a.identity["weights"] != b.identity["weights"]
    assert relative_l2(a.embed([clip(1)]).vectors, embedder.embed([clip(1)]).vectors) <= 1e-5
    assert a.embed([clip(1)]).identity == a.identity


# Parquet


def test_vectors_in_parquet(embedder, tmp_path):
    table = embedder.embed([clip(1, seed) for seed in range(3)])
    write_vectors(tmp_path / "v.parquet", [table], embedder.width, metadata_of(embedder))
    read = pq.read_table(tmp_path / "v.parquet")
    assert read.schema.names == ["path", "seconds", "vector"]
    assert read.schema.types == [pa.string(), pa.float64(), pa.list_(pa.float32(), embedder.width)]
    assert np.array_equal(np.stack(read["vector"].to_numpy()), table.vectors)
    assert read["path"].to_pylist() == table.names
    metadata = {key.decode(): value.decode() for key, value in read.schema.metadata.items()}
    assert {key: metadata[f"uniwhisper.{key}"] for key in embedder.identity} == embedder.identity
    assert metadata["uniwhisper.source"] == "small"


def test_frames_in_parquet(embedder, tmp_path, monkeypatch):
    monkeypatch.setattr("uniwhisper.embedding.parquet.ROW_GROUP_BYTES", 2000 * 4 * embedder.width)
    clips = [clip(35), clip(0.1, 1), clip(61, 2)]
    with Inputs(clips, skip=True) as inputs:
        blocks = embedder.frame_blocks(inputs)
        rows = write_frames(tmp_path / "f.parquet", blocks, embedder.width, metadata_of(embedder))
    file = pq.ParquetFile(tmp_path / "f.parquet")
    assert file.num_row_groups > 1
    read = file.read()
    assert read.schema.names == ["path", "time_seconds", "vector"]
    assert read.schema.types == [pa.string(), pa.float64(), pa.list_(pa.float32(), embedder.width)]
    expected = [embedder.frames(source) for source in clips]
    assert rows == read.num_rows == sum(len(frames.times) for frames in expected)
    assert read["path"].to_pylist() == [f"<array {i}>" for i, frames in enumerate(expected) for _ in frames.times]
    assert read["time_seconds"].to_numpy().tolist() == [time for frames in expected for time in frames.times]
    vectors = np.stack(read["vector"].to_numpy())
    assert relative_l2(vectors, np.concatenate([frames.vectors for frames in expected])) <= 1e-5


def test_no_frame_of_a_file_that_breaks_off_is_given_out(embedder, bad_files):
    with Inputs(bad_files, skip=True) as inputs:
        names = {block.name for block in embedder.frame_blocks(inputs)}
    assert names == {str(bad_files[0]), str(bad_files[4])}
    assert [failure.index for failure in inputs.failures] == [1, 2, 3]


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_less_precision_is_asked_for_close_and_told_apart(embedder, precision):
    clips = [clip(1), clip(2)]
    before = [tensor.clone() for tensor in embedder.encoder.state_dict().values()]
    less = Embedder.from_encoder(embedder.encoder, identity="small", source="small", precision=precision)
    exact, close = embedder.embed(clips), less.embed(clips)
    cosine = torch.cosine_similarity(torch.from_numpy(exact.vectors), torch.from_numpy(close.vectors))
    assert (cosine > 0.999).all() and not np.array_equal(exact.vectors, close.vectors)
    assert (exact.identity["precision"], close.identity["precision"]) == ("float32", precision)
    assert all(torch.equal(a, b) for a, b in zip(embedder.encoder.state_dict().values(), before, strict=True))


def test_int8_vectors_and_frames_do_not_depend_on_the_batch(embedder):
    """Activations of one product share one scale there: a loud neighbour would coarsen a soft clip."""
    less = Embedder.from_encoder(embedder.encoder, identity="small", source="small", precision="int8")
    (loud, rate), (soft, _) = clip(3), clip(1)
    clips = [(soft * 0.01, rate), (loud, rate), (soft, rate)]
    together = less.embed(clips, batch_seconds=60)
    with Inputs(clips, skip=False) as inputs:
        frames = np.concatenate([block.vectors for block in less.frame_blocks(inputs)])
    for row, one in enumerate(clips):
        assert np.array_equal(less.embed([one]).vectors[0], together.vectors[row])
    assert np.array_equal(np.concatenate([less.frames(one).vectors for one in clips]), frames)


@pytest.mark.parametrize(("precision", "device"), [("fp8", "cpu"), ("int8", "cuda")])
def test_a_precision_the_device_has_not_is_refused(embedder, precision, device):
    with pytest.raises(UserError, match=f"no such precision on {device}"):
        Embedder(
            embedder.encoder, weights="w", source="s", device=torch.device(device), layer=None, precision=precision
        )
