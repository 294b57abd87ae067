"""Reading: every format, mixing, resampling against an analytic tone, windows, bounded memory."""

import io
import itertools
import subprocess
import sys
import tarfile
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from audio_files import chirp, encode_with_av, streamed_flac, tone
from uniwhisper.audio.load import describe, read, read_windows
from uniwhisper.audio.resample import regroup, resample

LOSSLESS = [
    ("WAV", "PCM_U8", 2**-7),
    ("WAV", "PCM_16", 2**-15),
    ("WAV", "PCM_24", 2**-22),
    ("WAV", "PCM_32", 1e-7),
    ("WAV", "FLOAT", 0),
    ("WAV", "DOUBLE", 0),
    ("WAVEX", "PCM_16", 2**-15),
    ("RF64", "PCM_16", 2**-15),
    ("W64", "PCM_16", 2**-15),
    ("FLAC", "PCM_16", 2**-15),
    ("FLAC", "PCM_24", 2**-22),
    ("AIFF", "PCM_16", 2**-15),
    ("AIFF", "FLOAT", 0),
    ("AU", "PCM_16", 2**-15),
    ("CAF", "PCM_16", 2**-15),
]
LOSSY = [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")]


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


@pytest.mark.parametrize(("form", "subtype", "step"), LOSSLESS)
@pytest.mark.parametrize("extension", ["wav", "dat", "raw"])
def test_lossless_formats_give_the_samples_written(
    tmp_path: Path, form: str, subtype: str, step: float, extension: str
) -> None:
    written = np.random.default_rng(0).uniform(-0.9, 0.9, 5003).astype(np.float32)
    path = tmp_path / f"clip.{extension}"
    soundfile.write(path, written, 16_000, format=form, subtype=subtype)
    for source in (path, str(path), path.read_bytes()):
        samples = read(source)
        assert samples.dtype == np.float32
        assert samples.shape == (5003,)
        np.testing.assert_allclose(samples, written, atol=step, rtol=0)
    info = describe(path)
    assert (info.seconds, info.sample_rate_hz, info.channels) == (5003 / 16_000, 16_000, 1)
    assert info.format == f"{form} {subtype}"


@pytest.mark.parametrize(("form", "subtype"), LOSSY)
@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_lossy_formats_give_nearly_the_samples_written(tmp_path: Path, form: str, subtype: str, rate: int) -> None:
    path = tmp_path / "clip.wav"  # a wrong extension for each of them
    soundfile.write(path, tone(rate, 2.5), rate, format=form, subtype=subtype)
    samples = read(path)
    assert len(samples) == pytest.approx(40_000, abs=1)
    assert similarity(samples[2000:-2000], tone(16_000, 2.5)[2000 : len(samples) - 2000]) > 0.999
    assert describe(path).seconds == pytest.approx(2.5, abs=1e-3)


@pytest.mark.parametrize(
    ("container", "codec", "options"),
    [("ipod", "aac", {}), ("ipod", "aac", {"movflags": "faststart"}), ("ipod", "alac", {}), ("adts", "aac", {})],
)
def test_mpeg4_audio(tmp_path: Path, container: str, codec: str, options: dict[str, str]) -> None:
    path = tmp_path / "clip.wav"
    wave = chirp(44_100, 2.0)
    encode_with_av(path, container, codec, wave, 44_100, **options)
    samples, from_bytes = read(path), read(path.read_bytes())
    np.testing.assert_array_equal(samples, from_bytes)
    # Raw AAC has no place to state the encoder's delay of 1,024 samples; the others do, and it is taken off.
    delay = round(1024 * 16_000 / 44_100) if container == "adts" else 0
    assert len(samples) - delay == pytest.approx(32_000, abs=400)
    kept = samples[delay:][2000:30_000]
    assert similarity(kept, chirp(16_000, 2.0)[2000:30_000]) > 0.98  # the delay above is rounded to a sample
    assert describe(path).seconds == pytest.approx(2.0, abs=0.05)


def test_mp3_without_length_header_is_read_to_its_end(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    wave = np.zeros(44_100 * 12, np.float32)
    wave[: 44_100 * 2] = 0.3 * np.random.default_rng(0).standard_normal(44_100 * 2)
    path = tmp_path / "clip.mp3"
    with av.open(str(path), "w", format="mp3", options={"write_xing": "0"}) as output:
        stream = output.add_stream("libmp3lame", rate=44_100, layout="mono")
        stream.codec_context.flags |= 2  # variable bit rate: noise is large, silence small
        stream.codec_context.global_quality = 2 * 118
        frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 44_100, 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    assert len(soundfile.read(path)[0]) < len(wave) / 2, "libsndfile no longer loses the end: the workaround can go"
    for source in (path, path.read_bytes()):
        assert len(read(source)) / 16_000 == pytest.approx(12, abs=0.1)
        assert describe(source).seconds == pytest.approx(12, abs=0.1)
    assert len(read(path.read_bytes() + b"TAG" + bytes(125))) == len(read(path))


def test_eight_channels_of_an_m4a_are_averaged(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path, wave = tmp_path / "dog.m4a", chirp(16_000, 1.0)
    with av.open(str(path), "w", format="ipod") as output:
        stream = output.add_stream("aac", rate=16_000, layout="7.1")
        interleaved = np.stack([wave, *[np.zeros_like(wave)] * 7], axis=1).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(interleaved, format="flt", layout="7.1")
        frame.sample_rate, frame.pts = 16_000, 0
        converter = av.AudioResampler(format="fltp", layout="7.1", rate=16_000)
        for converted in converter.resample(frame) + converter.resample(None):
            output.mux(stream.encode(converted))
        output.mux(stream.encode(None))
    # In its own process: a wrong plane count ends it without an exception.
    script = "import sys, numpy; from uniwhisper.audio.load import read; numpy.save(sys.argv[2], read(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", script, path, tmp_path / "read.npy"], check=True)
    got = np.load(tmp_path / "read.npy")[: len(wave)]
    np.testing.assert_allclose(got, wave / 8, atol=0.01)
    assert np.abs(got).max() > 0.04


def test_channels_are_averaged_before_resampling(tmp_path: Path) -> None:
    channels = np.random.default_rng(0).uniform(-0.5, 0.5, (4000, 3)).astype(np.float32)
    path = tmp_path / "clip.wav"
    soundfile.write(path, channels, 16_000, subtype="FLOAT")
    np.testing.assert_allclose(read(path), channels.astype(np.float64).mean(axis=1), atol=1e-7)
    assert describe(path).channels == 3
    np.testing.assert_array_equal(read((channels, 8000)), read((read((channels, 16_000)), 8000)))


def test_float_samples_beyond_full_scale_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "loud.wav"
    soundfile.write(path, np.array([3.5, -7.0, 0.25]), 16_000, subtype="FLOAT")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(read(path), np.float32([3.5, -7.0, 0.25]))


@pytest.mark.parametrize("sign", [1, -1])
def test_integers_that_became_floats_are_warned_of(tmp_path: Path, sign: int) -> None:
    """`samples.astype("float32")` of 16-bit samples is sound that is 90 dB too loud: kept, but not in silence."""
    pcm = sign * np.full(300_000, 3_000, np.int16)
    with pytest.warns(RuntimeWarning, match="an array holds floats far beyond full scale") as caught:
        assert read((pcm.astype(np.float32), 16_000)).max() == max(pcm)
    assert len(caught) == 1
    soundfile.write(tmp_path / "loud.wav", pcm.astype(np.float64), 16_000, subtype="FLOAT")
    with pytest.warns(RuntimeWarning, match="loud.wav holds floats"):
        read(tmp_path / "loud.wav")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read((pcm, 16_000))


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([-32768, 16384], np.int16), [-1, 0.5]),
        (np.array([-(2**31), 2**30], np.int32), [-1, 0.5]),
        (np.array([0, 128, 192], np.uint8), [-1, 0, 0.5]),
        (np.array([0.25, -2], np.float64), [0.25, -2]),
        (np.array([0.25, -2], np.float16), [0.25, -2]),
        (np.array([[1, 3], [2, 4]], np.float32), [2, 3]),
    ],
)
def test_arrays_are_scaled_as_libsndfile_scales(array: np.ndarray, expected: list[float]) -> None:
    np.testing.assert_array_equal(read((array, 16_000)), np.float32(expected))


def test_an_array_read_is_a_copy_and_the_original_stays() -> None:
    array = np.ones(100, np.float32)
    read((array, 16_000))[:] = 5
    next(read_windows((array, 16_000), window_samples=10))[:] = 5
    assert (array == 1).all()


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_resampling_equals_the_analytic_tone(rate: int) -> None:
    resampled = read((tone(rate, 20.0), rate))
    expected = tone(16_000, 20.0)
    assert len(resampled) == pytest.approx(len(expected), abs=1)
    np.testing.assert_allclose(resampled[800:-800], expected[800 : len(resampled) - 800], atol=1e-4)


def test_what_16_khz_cannot_hold_is_filtered_out() -> None:
    resampled = read((tone(48_000, 2.0, hertz=12_000), 48_000))
    assert np.abs(resampled[800:-800]).max() < 1e-4


@pytest.mark.parametrize("rate", [1, 100, 8000, 16_000, 44_100, 192_000, 4_000_000])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_shortest_clips_give_at_least_one_finite_sample(rate: int, count: int) -> None:
    samples = read((np.full(count, 0.5, np.float32), rate))
    assert len(samples) >= 1
    assert np.isfinite(samples).all()


@given(
    count=st.integers(1, 60_000),
    rate=st.sampled_from([8000, 16_000, 44_100]),
    window=st.integers(1, 70_000),
    seed=st.integers(0, 9),
)
def test_windows_concatenate_to_the_whole(count: int, rate: int, window: int, seed: int) -> None:
    source = (np.random.default_rng(seed).standard_normal((count, 2)).astype(np.float32), rate)
    whole = read(source)
    if len(whole) / window > 500:
        window = len(whole) // 500 + 1
    windows = list(read_windows(source, window_samples=window))
    assert {len(part) for part in windows[:-1]} <= {window}
    assert 1 <= len(windows[-1]) <= window
    np.testing.assert_array_equal(np.concatenate(windows), whole)


@given(lengths=st.lists(st.integers(0, 50), max_size=20), size=st.integers(1, 60))
def test_regroup_keeps_every_value_in_order(lengths: list[int], size: int) -> None:
    edges = np.cumsum([0, *lengths])
    values = np.arange(edges[-1])
    groups = list(regroup((values[a:b] for a, b in itertools.pairwise(edges)), size))
    assert [value for group in groups for value in group] == values.tolist()
    assert all(len(group) == size for group in groups[:-1])


@given(cut=st.integers(1, 9999), rate=st.sampled_from([8000, 22_050, 48_000]))
def test_resampling_does_not_depend_on_the_blocks(cut: int, rate: int) -> None:
    wave = np.random.default_rng(0).standard_normal(10_000).astype(np.float32)
    whole = np.concatenate(list(resample([wave], rate)))
    parts = np.concatenate(list(resample([wave[:cut], wave[cut:]], rate)))
    np.testing.assert_array_equal(whole, parts)


def test_path_bytes_and_array_agree_over_many_blocks(tmp_path: Path) -> None:
    wave = np.random.default_rng(0).uniform(-1, 1, (44_100 * 40, 2)).astype(np.float32)
    path = tmp_path / "clip.wav"
    soundfile.write(path, wave, 44_100, subtype="FLOAT")
    whole = read(path)
    np.testing.assert_array_equal(whole, read(path.read_bytes()))
    np.testing.assert_array_equal(whole, read((wave, 44_100)))
    np.testing.assert_array_equal(whole, np.concatenate(list(read_windows(path))))


def test_windows_of_a_long_file_need_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "hour.wav"
    second = tone(8000, 1.0)
    with soundfile.SoundFile(path, "w", 8000, 1, "PCM_16") as file:
        for _ in range(60):
            file.write(np.tile(second, 60))
    tracemalloc.start()
    total = sum(map(len, read_windows(path)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == 3600 * 16_000
    assert peak < 16 << 20, f"{peak / 2**20:.1f} MiB at the peak; the hour is {total * 4 / 2**20:.0f} MiB"


def test_describe_does_not_decode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip.flac"
    soundfile.write(path, tone(16_000, 1.0), 16_000)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(soundfile.SoundFile, "read", never)
    assert describe(path).seconds == 1.0


def test_flac_of_unknown_length(tmp_path: Path) -> None:
    path = tmp_path / "clip.flac"
    soundfile.write(path, tone(16_000, 3.0), 16_000)
    np.testing.assert_array_equal(read(streamed_flac(path)), read(path))
    assert describe(streamed_flac(path)).seconds == 3.0


@pytest.mark.parametrize("size", [0, 0x7FFF_F000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF])
def test_wav_written_into_a_pipe(tmp_path: Path, size: int) -> None:
    path = tmp_path / "clip.wav"
    soundfile.write(path, tone(16_000, 1.0), 16_000)
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = content[4:8] = size.to_bytes(4, "little")
    streamed = tmp_path / "streamed.wav"
    streamed.write_bytes(content)
    for source in (streamed, bytes(content)):
        np.testing.assert_array_equal(read(source), read(path))
    assert describe(streamed).seconds == 1.0
    assert streamed.read_bytes() == content


def memory_of(array: np.ndarray) -> int:
    """Bytes that the array keeps alive."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array.nbytes


def test_a_short_window_keeps_no_longer_block_in_memory(tmp_path: Path) -> None:
    wave_S = tone(16_000, 17.0)
    soundfile.write(tmp_path / "long.wav", wave_S, 16_000, subtype="FLOAT")
    soundfile.write(tmp_path / "short.flac", wave_S[:8000], 16_000)
    streamed = streamed_flac(tmp_path / "short.flac")
    for source in (tmp_path / "long.wav", tmp_path / "short.flac", streamed, (wave_S.astype(np.float32), 16_000)):
        *_, last_S = read_windows(source, window_samples=16 * 16_000)
        assert memory_of(last_S) <= 1.1 * last_S.nbytes


def test_the_default_window_is_thirty_seconds() -> None:
    lengths = [len(part) for part in read_windows((np.zeros(16_000 * 61, np.float32), 16_000))]
    assert lengths == [480_000, 480_000, 16_000]


@pytest.mark.shared_audio
def test_shared_clips_read_as_libsndfile_reads_them(shared_set) -> None:
    with tarfile.open(sorted(shared_set("evaluation", "fsdd").glob("*.tar"))[0]) as archive:
        members = [member for member in archive if member.name.endswith(".ogg")][:10]
        assert members
        for member in members:
            content = archive.extractfile(member).read()
            expected, rate = soundfile.read(io.BytesIO(content), dtype="float32")
            assert describe(content).seconds == pytest.approx(len(expected) / rate)
            if rate == 16_000:
                np.testing.assert_array_equal(read(content), expected)
            assert len(read(content)) == pytest.approx(len(expected) * 16_000 / rate, abs=1)


def test_reading_needs_no_optional_package() -> None:
    program = (
        "import sys, numpy; from uniwhisper.audio.load import read; read((numpy.zeros(9), 8000));"
        "print([name for name in ('av', 'torch', 'transformers', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
