"""Bad input: each gets one error that names the source, what was expected, what came and what to do."""

import builtins
import io
import os
import pickle
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_files import chirp, encode_with_av, streamed_flac, tone
from uniwhisper.audio.find import find_audio
from uniwhisper.audio.load import describe, read, read_windows
from uniwhisper.core.errors import AudioError, MissingExtraError


def refusal(source: object, *, also_described: bool = True, **options: object) -> AudioError:
    """The error that `read` raises, after checking that the other two raise one too."""
    with pytest.raises(AudioError):
        list(read_windows(source, **options))
    if also_described:
        with pytest.raises(AudioError):
            describe(source, **options)
    with pytest.raises(AudioError) as caught:
        read(source, **options)
    assert all((caught.value.problem, caught.value.expected, caught.value.got, caught.value.fix))
    assert "\n" not in caught.value.one_line
    return caught.value


def wav_bytes(wave: np.ndarray, form: str = "WAV", subtype: str = "PCM_16") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, 16_000, format=form, subtype=subtype)
    return buffer.getvalue()


def test_missing_file_is_named_as_the_user_named_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    error = refusal("sub/dog.wav")
    assert error.problem == "sub/dog.wav does not exist"
    assert "no folder sub" in error.got
    assert "its folder exists" in refusal("dog.wav").got


def test_folder(tmp_path: Path) -> None:
    assert refusal(tmp_path).got == "a folder"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "dog.wav"
    path.touch(mode=0)
    assert "Permission denied" in refusal(path).got


def test_impossible_path() -> None:
    assert "null" in refusal("dog\0.wav").got


def test_empty(tmp_path: Path) -> None:
    path = tmp_path / "dog.wav"
    path.touch()
    assert refusal(path).got == "0 bytes"
    assert refusal(b"").problem == "<bytes> is empty"
    assert refusal(b"", name="row 3").problem == "row 3 is empty"


def test_zero_length(tmp_path: Path) -> None:
    path = tmp_path / "dog.wav"
    soundfile.write(path, np.zeros(0), 16_000)
    assert "length zero" in refusal(path).got
    assert "length zero" in refusal((np.zeros(0, np.float32), 16_000)).got
    assert "length zero" in refusal((np.zeros((0, 2), np.float32), 16_000)).got


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_numbers_are_counted_over_the_whole_file(tmp_path: Path, value: float) -> None:
    wave = np.zeros((16_000 * 40, 2), np.float32)
    wave[8000, 1] = wave[-1, 0] = value
    path = tmp_path / "dog.wav"
    soundfile.write(path, wave, 16_000, subtype="FLOAT")
    for source in (path, (wave, 16_000)):
        error = refusal(source, also_described=False)
        assert error.got == "2 of 640,000 samples NaN or infinite, the first at 0.500 s"


def zip_bytes() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", "b")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "a PNG image"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(100), "a JPEG image"),
        (b"%PDF-1.7\n%\xe2\xe3", "a PDF document"),
        (zip_bytes(), "a ZIP archive"),
        (b"<!DOCTYPE html><html><body>404 not found</body></html>", "an HTML page"),
        (b"<?xml version='1.0'?><x/>", "an XML document"),
        (b'{"error": "quota exceeded"}', "JSON text"),
        ("Grüße: das ist kein Ton\n".encode(), "plain text"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS pointer"),
        (b"\x1aE\xdf\xa3" + bytes(100), "WebM"),
        (b"RIFF\x10\x00\x00\x00AVI LIST" + bytes(100), "an AVI video"),
        (b"\x00\x00\x00\x18ftypheic" + b"\x00\x00\x00\x00mif1heic", "a HEIF or AVIF image"),
        (bytes(5000), "nothing but zero bytes"),
        (np.random.default_rng(0).integers(0, 256, 5000).astype(np.uint8).tobytes(), "unknown content (first bytes: "),
        (b"x", "plain text"),
        (b"\xff", "unknown content (first bytes: ff)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("name", ["dog.wav", "dog.mp3", "dog.m4a", "dog.raw"])
def test_content_that_is_not_audio_is_recognised(tmp_path: Path, content: bytes, seen: str, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    error = refusal(path)
    assert seen in error.got
    assert error.problem == f"{path} is not audio that can be read"
    assert "flac" in error.expected
    assert refusal(content).got == error.got
    assert ("lists files, name those" in error.fix) == (seen == "plain text")


@pytest.mark.parametrize("form", ["WAV", "RF64", "W64", "AIFF", "AU", "CAF"])
@pytest.mark.parametrize("missing", [1, 2, 5000])
def test_truncated_sample_chunk(tmp_path: Path, form: str, missing: int) -> None:
    path = tmp_path / "dog.wav"
    content = wav_bytes(tone(16_000, 1.0), form)
    path.write_bytes(content)
    assert len(read(path)) == 16_000
    path.write_bytes(content[:-missing])
    error = refusal(path)
    assert error.problem == f"{path} is truncated"
    assert error.expected.startswith(("32,000 bytes", "32,004 bytes", "32,008 bytes"))  # AIFF and CAF count a few more


def test_wav_with_a_cut_header() -> None:
    error = refusal(wav_bytes(tone(16_000, 1.0))[:30])
    assert "a RIFF signature followed by damaged" in error.got


@pytest.mark.parametrize("keep", [0.3, 0.5, 0.9, 0.999])
def test_truncated_flac(keep: float) -> None:
    content = wav_bytes(np.random.default_rng(0).uniform(-1, 1, 50_000), "FLAC")
    error = refusal(content[: int(len(content) * keep)], also_described=False)
    assert "truncated" in error.problem


@pytest.mark.parametrize("seconds", [1, 20])
def test_what_follows_the_promised_samples_is_looked_at(seconds: int) -> None:
    content = wav_bytes(tone(16_000, seconds), "FLAC")
    junk = np.random.default_rng(0).integers(0, 256, 5000).astype(np.uint8).tobytes()
    assert "damaged" in refusal(content + junk, also_described=False).problem


def test_flac_that_delivers_fewer_samples_than_its_header_says() -> None:
    content = bytearray(wav_bytes(tone(16_000, 1.0), "FLAC"))
    field = int.from_bytes(content[18:26], "big")
    content[18:26] = (field + 1000).to_bytes(8, "big")
    error = refusal(bytes(content), also_described=False)
    assert "truncated" in error.problem


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9])
def test_truncated_mp3_with_a_length_header(keep: float) -> None:
    content = wav_bytes(tone(16_000, 5.0), "MP3", "MPEG_LAYER_III")
    assert b"Xing" in content[:200] or b"Info" in content[:200]
    error = refusal(content[: int(len(content) * keep)], also_described=False)
    assert error.expected == "80,000 samples, as its header says"


def test_mp3_without_a_length_header_cut_inside_a_frame(tmp_path: Path) -> None:
    path = tmp_path / "dog.mp3"
    encode_with_av(path, "mp3", "libmp3lame", tone(44_100, 2.0), 44_100, write_xing="0")
    content = path.read_bytes()
    assert len(read(content)) == pytest.approx(32_000, abs=1000)
    assert "damaged or truncated" in refusal(content[:-50]).problem


def ogg_pages(content: bytes) -> list[bytes]:
    pages, at = [], 0
    while at < len(content):
        segments = content[at + 26]
        end = at + 27 + segments + sum(content[at + 27 : at + 27 + segments])
        pages.append(content[at:end])
        at = end
    return pages


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_truncated_inside_a_page_and_between_pages(subtype: str) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000 * 10)
    content = wav_bytes(noise, "OGG", subtype)
    pages = ogg_pages(content)
    assert len(pages) > 4
    assert b"".join(pages) == content
    assert len(read(content)) == 160_000
    for inside in (len(content) - 1, len(content) // 2, len(content) - len(pages[-1]) + 10):
        assert "truncated" in refusal(content[:inside]).problem
    between = refusal(b"".join(pages[:-2]))
    assert between.got == "no such page"
    # Bytes that merely look like a page start must not confuse the search.
    assert "truncated" in refusal(b"".join(pages[:-1]) + b"OggS").problem


@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}])
@pytest.mark.parametrize("keep", [0.3, 0.7, 0.99])
def test_truncated_m4a(tmp_path: Path, options: dict[str, str], keep: float) -> None:
    path = tmp_path / "dog.m4a"
    encode_with_av(path, "ipod", "aac", chirp(44_100, 3.0), 44_100, **options)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    assert refusal(path).problem == f"{path} is truncated"


def test_m4a_cut_between_its_boxes(tmp_path: Path) -> None:
    path = tmp_path / "dog.m4a"
    encode_with_av(path, "ipod", "aac", chirp(44_100, 3.0), 44_100)
    content = path.read_bytes()
    assert "'moov'" in refusal(content[: content.index(b"moov") - 4]).expected


def test_m4a_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "talk.wav"
    encode_with_av(path, "ipod", "aac", chirp(44_100, 1.0), 44_100)
    real_import = builtins.__import__

    def without_av(name: str, *rest: object, **options: object) -> object:
        if name == "av":
            raise ModuleNotFoundError("No module named 'av'", name="av")
        return real_import(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without_av)
    for verb in (read, describe, lambda source: list(read_windows(source))):
        with pytest.raises(MissingExtraError, match=r"talk\.wav") as caught:
            verb(path)
        assert caught.value.fix == "pip install 'uniwhisper[m4a]'"


def test_video_without_sound(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    assert refusal(path).problem == f"{path} holds no sound"


@pytest.mark.parametrize(
    ("source", "got"),
    [
        ((np.zeros(10, np.float32), 0), "0"),
        ((np.zeros(10, np.float32), -8000), "-8000"),
        ((np.zeros(10, np.float32), 16_000.0), "16000.0"),
        ((np.zeros(10, np.float32), True), "True"),
        ((np.zeros(10, np.float32), "16000"), "'16000'"),
        ((16_000, np.zeros(10, np.float32)), "array("),
        (([0.0, 1.0], 16_000), "builtins.list"),
        ((np.zeros(10, np.int64), 16_000), "dtype int64"),
        ((np.zeros(10, np.complex64), 16_000), "dtype complex64"),
        ((np.zeros(10, bool), 16_000), "dtype bool"),
        ((np.zeros((2, 16_000), np.float32), 16_000), "shape (2, 16000)"),
        ((np.zeros((2, 3, 4), np.float32), 16_000), "shape (2, 3, 4)"),
        ((np.float32(1), 16_000), "numpy.float32"),
        ((np.zeros(10),), "tuple"),
        (7, "int"),
        (None, "NoneType"),
    ],
    ids=str,
)
def test_unusable_arrays_and_types(source: object, got: str) -> None:
    assert got in refusal(source).got


def test_a_batch_of_arrays_is_told_apart_from_turned_channels() -> None:
    batch = np.zeros((2, 3, 400), np.float32)
    assert "samples[0].T" in refusal((batch, 16_000)).fix
    read((batch[0].T, 16_000))


def test_errors_cross_process_boundaries() -> None:
    error = refusal(b"hello")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_no_file_stays_open_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "dog.flac"
    path.write_bytes(wav_bytes(np.random.default_rng(0).uniform(-1, 1, 50_000), "FLAC")[:40_000])
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0  # noqa: PTH208
    for _ in range(5):
        refusal(path, also_described=False)
    after = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0  # noqa: PTH208
    assert after == before


def test_damaged_flac_of_unknown_length(tmp_path: Path) -> None:
    path = tmp_path / "dog.flac"
    path.write_bytes(wav_bytes(np.random.default_rng(0).uniform(-1, 1, 50_000), "FLAC"))
    assert "truncated" in refusal(streamed_flac(path)[:-5000]).problem


def overwritten(content: bytes, first: int, seed: int) -> bytes:
    """With up to eight bytes from `first` on replaced by others."""
    draw = np.random.default_rng(seed)
    changed = bytearray(content)
    for at in draw.integers(first, len(content), draw.integers(1, 9)):
        changed[at] = draw.integers(256)
    return bytes(changed)


def test_any_damage_to_an_m4a_is_one_kind_of_error(tmp_path: Path) -> None:
    path = tmp_path / "dog.m4a"
    encode_with_av(path, "ipod", "aac", chirp(16_000, 0.5), 16_000)
    content = path.read_bytes()
    outcomes = set()
    for seed in range(150):
        for verb in (describe, read):
            try:
                verb(overwritten(content, content.index(b"moov"), seed))
                outcomes.add("readable")
            except AudioError:
                outcomes.add("refused")
    assert outcomes == {"readable", "refused"}


@pytest.mark.parametrize(
    "before",
    [b"U\xc4\0\0", b"\x05\x80\x80\x80\x05"],  # language of the track; tag of the AAC decoder's settings
    ids=["no codec, because its track's kind is missing", "no sample rate"],
)
def test_m4a_whose_fields_make_no_sense(tmp_path: Path, before: bytes) -> None:
    path = tmp_path / "dog.m4a"
    encode_with_av(path, "ipod", "aac", chirp(16_000, 0.5), 16_000)
    content = bytearray(path.read_bytes())
    content[content.index(before) + len(before)] = 0xFF
    path.write_bytes(content)
    assert "FFmpeg" in refusal(path).got


def test_m4a_whose_metadata_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "dog.m4a"
    encode_with_av(path, "ipod", "aac", chirp(16_000, 0.5), 16_000)
    expected = read(path)
    path.write_bytes(path.read_bytes().replace(b"SoundHandler", b"SoundHandl\xe9r"))
    np.testing.assert_array_equal(read(path), expected)


def test_damage_that_sends_libsndfile_before_the_start_prints_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: printed.append(unraisable.exc_value))
    with suppress(AudioError):
        read(wav_bytes(tone(16_000, 0.3), "AIFF").replace(b"SSND", b"\0SND"))
    assert printed == []


def test_a_link_to_nothing_says_where_it_leads(tmp_path: Path) -> None:
    link = tmp_path / "dog.wav"
    link.symlink_to("moved/dog.wav")
    error = refusal(link)
    assert error.problem == f"{link} is a link to nothing"
    assert error.got == "a link to moved/dog.wav, which does not exist"


def test_a_folder_is_refused_with_what_lists_its_files(tmp_path: Path) -> None:
    (tmp_path / "dog.wav").touch()
    advice = refusal(tmp_path).fix
    call = advice[advice.index("find_audio(") : advice.index(" lists")]
    assert eval(call, {"find_audio": find_audio}) == [tmp_path / "dog.wav"]
