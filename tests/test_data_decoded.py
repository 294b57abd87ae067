"""Decoded audio: the same bits from a cache and without one, and no cache that is incomplete or out of date."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from toy_corpora import SPEECH, Letters, write_corpus, write_tar, write_three_corpora
from uniwhisper.audio.load import read as read_audio
from uniwhisper.core import identity
from uniwhisper.core.errors import ManifestError
from uniwhisper.data import coded as coded_module
from uniwhisper.data.augment import power, through_drawn_codec
from uniwhisper.data.coded import code
from uniwhisper.data.config import DataConfig
from uniwhisper.data.decoded import DecodedReader, EncodedReader, decode, decoded_path
from uniwhisper.data.loader import step_batches
from uniwhisper.data.manifest import Manifest
from uniwhisper.data.prepare import prepare


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Manifest:
    folder = tmp_path_factory.mktemp("data")
    return prepare(write_three_corpora(folder / "in", clips=4), folder / "out")


@pytest.fixture(scope="module")
def lossy(tmp_path_factory) -> Manifest:
    """Clips whose decoding is not 16-bit: Vorbis, Opus, 24-bit FLAC at another rate, float wav beyond full scale."""
    folder = tmp_path_factory.mktemp("lossy")
    members = []
    for index, (extension, rate, style) in enumerate(
        [
            ("ogg", 44_100, {"format": "OGG", "subtype": "VORBIS"}),
            ("opus", 48_000, {"format": "OGG", "subtype": "OPUS"}),
            ("flac", 22_050, {"format": "FLAC", "subtype": "PCM_24"}),
            ("wav", 16_000, {"format": "WAV", "subtype": "FLOAT"}),
        ]
    ):
        wave = np.random.default_rng(index).normal(0, 0.4 if extension == "wav" else 0.1, rate)
        encoded = io.BytesIO()
        soundfile.write(encoded, wave, rate, **style)
        members += [(f"{extension}.{extension}", encoded.getvalue()), (f"{extension}.json", b'{"text": "a"}')]
    write_corpus(folder / "in" / "talk", SPEECH, members)
    return prepare(folder / "in", folder / "out")


def test_both_readers_give_the_same_bits(lossy, tmp_path):
    encoded, decoded = EncodedReader(lossy), decode(lossy, tmp_path)
    for record in lossy.records:
        exact = read_audio(lossy.audio_bytes(record))
        wave = encoded.read(record)
        assert wave.dtype == np.float32 and wave.tobytes() == decoded.read(record).tobytes()
        assert np.abs(wave - exact.clip(-1, 1)).max() <= 0.5 / 32767 + 1e-6
        assert (wave != exact).any(), "this clip would pass without rounding"


def test_a_cache_changes_no_batch(lossy, tmp_path):
    config = DataConfig(clips_per_step=6, max_seconds=2, domain_weights={"speech": 1.0}, holdout_folds=None)

    def run(cache: Path | None) -> list:
        batches = step_batches(lossy, Letters(), config, seed=0, start_step=0, stop_step=3, workers=0, cache=cache)
        return [(batch.ids, batch.wave_BS.numpy().tobytes()) for _, batch in batches]

    assert run(None) == run(tmp_path)


def test_another_decoder_does_not_find_the_old_samples(manifest, tmp_path, monkeypatch):
    before = decoded_path(manifest, tmp_path)
    asked = []
    monkeypatch.setattr("uniwhisper.data.decoded.layer_identity", lambda *layers: asked.append(layers) or "f" * 12)
    assert decoded_path(manifest, tmp_path) != before
    assert asked == [("audio",)]


def test_a_layer_is_known_by_its_sources(tmp_path, monkeypatch):
    """On a copy of the package, in which one file of each of two layers is changed."""
    for layer in ("core", "audio", "model"):
        (tmp_path / layer).mkdir()
        (tmp_path / layer / "code.py").write_text("a = 1")
    monkeypatch.setattr(identity, "__file__", str(tmp_path / "core" / "identity.py"))
    before = identity.layer_identity("audio")
    (tmp_path / "model" / "code.py").write_text("a = 2")
    assert identity.layer_identity("audio") == before != identity.layer_identity("audio", "model")
    (tmp_path / "audio" / "code.py").write_text("a = 2")
    assert identity.layer_identity("audio") != before


def test_decoded_audio_is_kept_and_checked(manifest, tmp_path):
    decode(manifest, tmp_path)
    path = decoded_path(manifest, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    stamp = path.stat().st_mtime_ns
    decode(manifest, tmp_path)
    assert path.stat().st_mtime_ns == stamp, "decoded again"
    whole = path.read_bytes()
    for part in (whole[:-2], whole[:-1], b""):
        path.write_bytes(part)
        with pytest.raises(ManifestError, match="does not fit"):
            DecodedReader(manifest, path)


def test_decoding_that_fails_leaves_nothing(tmp_path):
    write_three_corpora(tmp_path / "in", clips=2)
    manifest = prepare(tmp_path / "in", tmp_path / "out")
    write_tar(tmp_path / "in" / "tunes" / "shard-000000.tar", [("a", b"x" * 100_000)])
    with pytest.raises(ManifestError, match="tunes/m000"):
        decode(manifest, tmp_path / "cache")
    assert not list(tmp_path.rglob("*decoded*"))


def test_a_clip_after_a_codec_is_as_long_and_nearly_the_same_whoever_makes_it(lossy, tmp_path):
    plain, coded = decode(lossy, tmp_path / "one"), code(lossy, tmp_path / "one", workers=1)
    alone = np.array(coded.samples)
    assert np.array_equal(alone, code(lossy, tmp_path / "two", workers=3).samples)
    for record in lossy.records:
        before_S, after_S = plain.read(record), coded.read(record)
        assert len(after_S) == record.samples
        assert 0 < power(after_S - before_S) < power(before_S)


def test_a_recording_has_the_codec_that_its_content_decides(manifest, tmp_path):
    plain, coded = decode(manifest, tmp_path), code(manifest, tmp_path)
    for record in manifest.records:
        stream = np.random.default_rng(list(bytes.fromhex(record.sha256)))
        expected = through_drawn_codec(plain.read(record), stream)
        assert np.abs(coded.read(record) - expected).max() <= 0.5 / 32767 + 1e-6


def test_what_went_through_codecs_is_kept_until_the_code_of_either_layer_changes(manifest, tmp_path, monkeypatch):
    first = code(manifest, tmp_path)
    monkeypatch.setattr(coded_module, "write_samples", None)
    assert np.array_equal(code(manifest, tmp_path).samples, first.samples)
    asked = []
    monkeypatch.setattr(coded_module, "layer_identity", lambda *layers: asked.append(layers) or "f" * 12)
    with pytest.raises(TypeError):
        code(manifest, tmp_path)
    assert asked == [("audio", "data")]
