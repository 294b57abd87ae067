"""Leaks are found whatever was done to the recording, and what only sounds alike is left alone."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from altered import CODECS, alter
from toy_corpora import SOUND, clip, wav, write_corpus, write_tar
from uniwhisper.audio.load import read
from uniwhisper.core.errors import ManifestError
from uniwhisper.data.archive import index_archive, read_member
from uniwhisper.data.decoded import EncodedReader
from uniwhisper.data.fingerprint import HOP_SECONDS, FingerprintIndex, fingerprint
from uniwhisper.data.manifest import Manifest
from uniwhisper.data.overlap import evaluation_archives, find_overlap, refuse_overlap, sources_of, without_overlap
from uniwhisper.data.prepare import prepare

TAGS = {**SOUND, "tasks": {"sound_tag": {"field": "label"}}, "unused": {"freesound": "a source"}}


def scene(seed: int, seconds: float) -> np.ndarray:
    """Something with attacks, bands and noise, float32 at 16 kHz; another seed shares nothing with it."""
    rng = np.random.default_rng(seed)
    count = round(16_000 * seconds)
    time_S = np.arange(count) / 16_000
    wave_S = 0.003 * rng.standard_normal(count)
    for _ in range(int(6 * seconds)):
        start, length = rng.uniform(0, seconds), rng.uniform(0.05, 0.6)
        pitch_hz, sweep = np.exp(rng.uniform(np.log(150), np.log(3000))), rng.uniform(-0.3, 0.3)
        envelope_S = np.exp(-np.clip((time_S - start) / length, 0, None)) * (time_S >= start)
        tones = sum(np.sin(2 * np.pi * k * pitch_hz * (1 + sweep * time_S / seconds) * time_S) / k for k in (1, 2, 3))
        wave_S += rng.uniform(0.02, 0.1) * envelope_S * tones
    return (0.5 * wave_S / np.abs(wave_S).max()).astype(np.float32)


def flac(wave_S: np.ndarray) -> bytes:
    return encoded(wave_S, "FLAC")


def wav_of(wave_S: np.ndarray) -> bytes:
    return encoded(wave_S, "WAV")


def encoded(wave_S: np.ndarray, format_: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.rint(32_767 * wave_S).astype(np.int16), 16_000, format=format_, subtype="PCM_16")
    return buffer.getvalue()


def pair(key: str, content: bytes, fields: dict | None = None, extension: str = "flac") -> list[tuple[str, bytes]]:
    return [(f"{key}.{extension}", content), (f"{key}.json", json.dumps(fields or {"label": "x"}).encode())]


@pytest.fixture
def both(tmp_path) -> tuple[Manifest, Path]:
    """A training set and evaluation archives that share six clips, found in four ways, and differ in the rest."""
    waves = [scene(seed, 4.0) for seed in range(8)]
    training = [member for number, wave_S in enumerate(waves) for member in pair(f"t{number}", flac(wave_S))]
    training += clip("short", {"label": "x"}, 0.4)
    training += pair("named", flac(scene(90, 1.0)), {"label": "x", "freesound": "1234"})
    write_corpus(tmp_path / "in" / "c", TAGS, training)
    altered_S = alter(waves[2], np.random.default_rng(0), "mp3")
    evaluation = [
        *pair("same_file", flac(waves[0])),
        *pair("same_sound", wav_of(waves[1]), extension="wav"),
        *pair("altered", wav_of(altered_S), extension="wav"),
        *pair("another", flac(scene(50, 4.0))),
        *pair("same_short", wav(0.4), extension="wav"),
        *pair("1-1234-A-7", flac(scene(91, 1.0))),
        # As archives of events have their labels.
        ("events.flac", flac(waves[3])),
        ("events.json", b'[{"label": "x", "onset": 0.0, "offset": 1.0}]'),
    ]
    archive = write_tar(tmp_path / "evaluation" / "set" / "e.tar", evaluation)
    return prepare(tmp_path / "in", tmp_path / "out"), archive.parent.parent


def test_each_way_to_be_on_both_sides_is_found_and_nothing_else(both):
    manifest, evaluation = both
    report = find_overlap(manifest, evaluation_archives(evaluation))
    assert {(one.key, one.training_id, one.by) for one in report.overlaps} == {
        ("same_file", "c/t0", "file"),
        ("same_sound", "c/t1", "sound"),
        ("altered", "c/t2", "fingerprint"),
        ("same_short", "c/short", "file"),
        ("1-1234-A-7", "c/named", "source"),
        ("events", "c/t3", "file"),
    }
    assert (report.training_clips, report.evaluation_clips, report.fingerprinted) == (10, 7, 5)
    clean = without_overlap(manifest, report)
    assert [record.id for record in clean.records] == ["c/t4", "c/t5", "c/t6", "c/t7"]
    refuse_overlap(find_overlap(clean, evaluation_archives(evaluation)))
    with pytest.raises(ManifestError, match="overlaps the evaluation sets") as caught:
        refuse_overlap(report)
    assert "c/named" in caught.value.got and "--allow-overlap" in caught.value.fix


def test_a_segment_of_an_evaluated_recording_is_found(tmp_path):
    """The training set holds three seconds from within a long recording, the evaluation set all of it."""
    long_S = scene(3, 12.0)
    folder = tmp_path / "in" / "c"
    folder.mkdir(parents=True)
    (folder / "corpus.json").write_text(json.dumps(TAGS))
    (folder / "long.flac").write_bytes(flac(long_S))
    row = {"file_name": "long.flac", "start_seconds": 5.0, "seconds": 3.0, "label": "x"}
    (folder / "metadata.jsonl").write_text(json.dumps(row) + "\n")
    manifest = prepare(tmp_path / "in", tmp_path / "out")
    archive = write_tar(tmp_path / "e.tar", pair("k", wav_of(long_S * 0.5), extension="wav"))
    (one,) = find_overlap(manifest, [archive]).overlaps
    assert one.by == "fingerprint"


@pytest.fixture(scope="module")
def recordings() -> tuple[dict[int, np.ndarray], FingerprintIndex]:
    """Twenty generated recordings by seed, and the index of all."""
    waves = {seed: scene(seed, 6.0) for seed in range(20)}
    return waves, FingerprintIndex((str(seed), fingerprint(wave_S)) for seed, wave_S in waves.items())


@pytest.mark.parametrize("codec", CODECS)
def test_generated_recordings_are_found_after_each_codec(recordings, codec):
    waves, index = recordings
    rng = np.random.default_rng(7)
    for seed, wave_S in waves.items():
        best, *others = index.search(fingerprint(alter(wave_S, rng, codec)))
        assert best.name == str(seed) and not others


def test_generated_recordings_that_are_not_in_the_index_are_not_found(recordings):
    _, index = recordings
    for seed in range(100, 120):
        assert index.search(fingerprint(scene(seed, 6.0))) == []


def test_the_offset_says_where_the_cut_began():
    wave_S = scene(1, 8.0)
    index = FingerprintIndex([("whole", fingerprint(wave_S))])
    (match,) = index.search(fingerprint(wave_S[16_000 * 3 : 16_000 * 6]))
    assert match.offset_seconds == pytest.approx(3.0, abs=2 * HOP_SECONDS)
    assert match.shared_seconds == pytest.approx(3.0, abs=0.1)
    index = FingerprintIndex([("cut", fingerprint(wave_S[16_000 * 3 : 16_000 * 6]))])
    (match,) = index.search(fingerprint(wave_S))
    assert match.offset_seconds == pytest.approx(-3.0, abs=2 * HOP_SECONDS)


def test_short_and_silent_clips_have_no_fingerprint_to_be_mistaken_for_another():
    assert fingerprint(scene(1, 1.9)) is None
    silence = fingerprint(np.zeros(48_000, np.float32))
    index = FingerprintIndex([("silence", silence), ("scene", fingerprint(scene(1, 3.0)))])
    assert index.search(silence) == []
    assert FingerprintIndex([]).search(silence) == []


def test_sources_by_field_and_by_esc50s_names():
    assert sources_of({"freesound": 12, "ytid": "x"}, "k") == ("freesound:12", "youtube:x")
    assert sources_of({"freesound": None}, "1-100032-A-0") == ("freesound:100032",)
    assert sources_of({}, "1-100032-A") == ()


def evaluation_clips(shared_set, names: tuple[str, ...]) -> list[tuple[str, np.ndarray]]:
    """Every clip of two seconds and more of these shared sets."""
    found = []
    for name in names:
        for path in sorted(shared_set("evaluation", name).glob("*.tar")):
            for item in index_archive(path):
                if item.fields["seconds"] >= 2.0:
                    found.append((f"{name}/{item.key}", (path, item.offset, item.size)))
    return found


@pytest.mark.shared_audio
def test_two_hundred_altered_real_clips_are_found(shared_set):
    """At least 99% of real clips, drawn from all sets with such clips, through four codecs; see `altered.py`."""
    sets = ("esc50", "ravdess", "philharmonia", "fsd_instrument10", "speechocean762_test")
    listed = evaluation_clips(shared_set, sets)
    rng = np.random.default_rng(2026)
    chosen = [listed[number] for number in rng.permutation(len(listed))[:400]]
    waves = {name: read(read_member(*place)) for name, place in chosen}
    index = FingerprintIndex((name, entry) for name, wave_S in waves.items() if (entry := fingerprint(wave_S)))
    altered = ((name, alter(wave_S, rng, CODECS[n % 4])) for n, (name, wave_S) in enumerate(waves.items()))
    pairs = [(name, wave_S) for name, wave_S in altered if wave_S is not None][:200]
    assert len(pairs) == 200
    missed = [name for name, wave_S in pairs if name not in {match.name for match in index.search(fingerprint(wave_S))}]
    assert len(missed) <= 2, missed


@pytest.mark.shared_audio
def test_real_training_clips_raise_no_false_alarm(shared_set):
    """Other recordings of the same kinds of sound: notes, effects, speech. One in a thousand may be mistaken."""
    listed = evaluation_clips(shared_set, ("esc50", "philharmonia"))
    entries = ((name, fingerprint(read(read_member(*place)))) for name, place in listed[::4])
    index = FingerprintIndex((name, entry) for name, entry in entries if entry)
    asked, found = 0, []
    for name in ("fluidr3_notes", "steinway_notes", "donateacry", "game_music"):
        for path in shared_set("training", name).glob("*.tar"):
            for item in index_archive(path)[::2]:
                if (entry := fingerprint(read(read_member(path, item.offset, item.size)))) is not None:
                    asked += 1
                    found += [(item.key, match.name) for match in index.search(entry)]
    assert asked > 500
    assert len(found) <= asked // 1000, found


def invoke(*arguments: object):
    from uniwhisper.cli.data import app

    return CliRunner().invoke(app, ["overlap", *map(str, arguments)])


def test_the_command_reports_and_writes_a_clean_manifest(both, tmp_path):
    _, evaluation = both
    done = invoke(tmp_path / "out", evaluation, "-o", tmp_path / "clean")
    assert done.exit_code == 1, done.output
    assert "6 of 10 training clips" in done.stdout and "c/t2" in done.stdout
    value = json.loads(invoke(tmp_path / "out", evaluation, "--json", "--cache", tmp_path / "cache").stdout)
    assert value["by"] == {"file": 3, "sound": 1, "fingerprint": 1, "source": 1}
    assert value["manifest_hash"] == Manifest.read(tmp_path / "out").hash
    clean = Manifest.read(tmp_path / "clean")
    assert len(clean.records) == 4 and len(clean.skipped) == 6
    assert len(EncodedReader(clean).read(clean.records[0])) == 64_000
    assert invoke(tmp_path / "clean", evaluation).exit_code == 0
    assert isinstance(invoke(tmp_path / "clean", tmp_path / "nowhere").exception, ManifestError)
