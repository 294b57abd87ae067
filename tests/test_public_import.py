"""A small checkout with the real layout -> a corpus for `data prepare`; what is left out is counted and named."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from toy_corpora import SOUND, write_tar
from uniwhisper.audio.load import read
from uniwhisper.cli import app
from uniwhisper.core.errors import ManifestError, OutputError
from uniwhisper.data.archive import index_archive, read_member
from uniwhisper.data.prepare import prepare
from uniwhisper.data.public import importing
from uniwhisper.data.public.heard import Heard
from uniwhisper.data.public.importing import Omissions, clips_of, import_source, key_of
from uniwhisper.data.public.pieces import cut, encode, is_silent
from uniwhisper.data.public.row import source_named

pytest.importorskip("av", reason="writing Opus needs the extra [m4a]")
RATE = 16_000
SOUNDS = "data/resources/sounds"


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise whose level and colour wander, so that it is like no other."""
    random = np.random.default_rng(seed)
    wave_S = random.normal(size=round(seconds * RATE))
    spectrum = (
        np.fft.rfft(wave_S)
        * np.repeat(random.uniform(0.1, 1, 64), -(-(len(wave_S) // 2 + 1) // 64))[: len(wave_S) // 2 + 1]
    )
    wave_S = np.fft.irfft(spectrum, len(wave_S))
    swell = np.interp(np.arange(len(wave_S)), np.arange(0, len(wave_S) + RATE, RATE // 8),
                      random.uniform(0.2, 1, len(range(0, len(wave_S) + RATE, RATE // 8))))  # fmt: skip
    return (0.3 * swell * wave_S / np.abs(wave_S).max()).astype(np.float32)


@pytest.fixture
def checkout(tmp_path):
    """blanket's layout: a recording to cut, one with a short rest, silence, a repeat, damage, an unknown file."""
    folder = tmp_path / "blanket" / SOUNDS
    folder.mkdir(parents=True)

    def write(name, wave_S):
        soundfile.write(folder / name, wave_S, RATE, format="OGG", subtype="VORBIS")

    write("rain.ogg", noise(24.0))
    write("storm.ogg", noise(10.4, seed=1))
    write("wind.ogg", np.zeros(RATE * 3, np.float32))
    (folder / "waves.ogg").write_bytes((folder / "storm.ogg").read_bytes())
    (folder / "train.ogg").write_bytes(b"OggS but no more")
    write("unknown.ogg", noise(1.0, seed=2))
    (tmp_path / "blanket" / ".git").mkdir()
    (tmp_path / "blanket" / ".git" / "rain.ogg").write_bytes(b"not audio")
    return tmp_path / "blanket"


def test_import_gives_a_corpus_that_can_be_prepared(checkout, tmp_path):
    report = import_source(source_named("blanket_ambience"), checkout, tmp_path / "corpora")
    assert report.clips == 4 and report.hours == round(34 / 3600, 3)
    assert report.omissions.counts() == {"cannot be decoded": 1, "silent": 1, "the same samples twice": 1}
    folder = tmp_path / "corpora" / "blanket_ambience"
    written = json.loads((folder / "import.json").read_text())
    assert written["omitted_files"]["the same samples twice"] == [f"{SOUNDS}/waves.ogg#0"]

    manifest = prepare(tmp_path / "corpora", tmp_path / "prepared")
    by_file = {record.fields["file"]: record for record in manifest.records}
    assert {name: record.samples / RATE for name, record in by_file.items()} == {
        f"{SOUNDS}/rain.ogg#0": 10, f"{SOUNDS}/rain.ogg#1": 10, f"{SOUNDS}/rain.ogg#2": 4, f"{SOUNDS}/storm.ogg#0": 10,
    }  # fmt: skip
    storm = by_file[f"{SOUNDS}/storm.ogg#0"]
    assert (storm.fields["label"], storm.fields["license"]) == ("thunder", "CC BY")
    assert storm.fields["source"] == "rafaelmardojai/blanket"


def test_pieces_are_the_sound_of_the_recording(checkout, tmp_path):
    import_source(source_named("blanket_ambience"), checkout, tmp_path)
    archive = tmp_path / "blanket_ambience" / "blanket_ambience-000000.tar"
    whole_S = read(checkout / SOUNDS / "rain.ogg")
    for clip in index_archive(archive):
        path, _, number = clip.fields["file"].partition("#")
        if path.endswith("rain.ogg"):
            piece_S = read(read_member(archive, clip.offset, clip.size))
            original_S = whole_S[int(number) * 10 * RATE :][: len(piece_S)]
            assert np.corrcoef(piece_S, original_S)[0, 1] > 0.8


def test_other_sets_are_left_out(checkout, tmp_path):
    wave_S = read(checkout / SOUNDS / "rain.ogg")[12 * RATE : 17 * RATE] * 0.5
    members = [("held_out.ogg", encode(wave_S)), ("held_out.json", b'[{"label": "rain"}]')]
    (tmp_path / "evaluation" / "esc50").mkdir(parents=True)
    write_tar(tmp_path / "evaluation" / "esc50" / "fold.tar", members)
    heard = Heard.of([tmp_path / "evaluation"])
    omissions = Omissions()
    clips = list(clips_of(source_named("blanket_ambience"), checkout, omissions, heard=heard))
    assert omissions.by_reason["the same sound as in esc50"] == [f"{SOUNDS}/rain.ogg#1 = esc50/held_out"]
    assert [clip.labels["file"] for clip in clips] == [
        f"{SOUNDS}/rain.ogg#0", f"{SOUNDS}/rain.ogg#2", f"{SOUNDS}/storm.ogg#0",
    ]  # fmt: skip


def test_what_a_row_excludes_and_large_files_are_named(tmp_path, monkeypatch):
    folder = tmp_path / "petz" / "sounds"
    folder.mkdir(parents=True)
    for name in ("petz_rooster_chirp", "petz_hen", "petz_wolf_howl"):
        soundfile.write(folder / f"{name}.ogg", noise(1.0 if name != "petz_hen" else 20.0), RATE, subtype="VORBIS")
    monkeypatch.setattr(importing, "LARGEST_FILE_BYTES", (folder / "petz_hen.ogg").stat().st_size)
    omissions = Omissions()
    clips = list(clips_of(source_named("petz_animals"), tmp_path, omissions))
    assert [clip.labels["label"] for clip in clips] == ["wolf"]
    assert omissions.by_reason == {
        "a file of 4 MiB or more": ["petz/sounds/petz_hen.ogg"],
        "its Freesound source is one of ESC-50's": ["petz/sounds/petz_rooster_chirp.ogg"],
    }


def test_speech_with_a_text_is_never_cut(tmp_path):
    folder = tmp_path / "en" / "words"
    folder.mkdir(parents=True)
    for word, seconds in (("dog", 12.0), ("owl", 31.0), ("cat", 0.05)):
        soundfile.write(folder / f"{word}.ogg", noise(seconds), RATE, subtype="VORBIS")
    omissions = Omissions()
    (clip,) = clips_of(source_named("gcompris_english"), tmp_path, omissions)
    assert (clip.labels["text"], clip.labels["seconds"]) == ("dog", 12.0)
    assert sorted(omissions.counts().values()) == [1, 1]


def test_recordings_give_no_more_pieces_than_the_row_says(checkout):
    few = replace(source_named("blanket_ambience"), most_pieces=2)
    omissions = Omissions()
    list(clips_of(few, checkout, omissions))
    assert omissions.by_reason["beyond the first 2 pieces of a recording"] == [f"{SOUNDS}/rain.ogg#2"]


def test_another_repository_is_refused(tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(ManifestError, match=r"git clone https://github\.com/rafaelmardojai/blanket"):
        import_source(source_named("blanket_ambience"), tmp_path / "other", tmp_path / "out")
    assert not (tmp_path / "out" / "blanket_ambience").exists()
    with pytest.raises(ManifestError, match="no folder"):
        import_source(source_named("blanket_ambience"), tmp_path / "missing", tmp_path / "out")


def test_an_existing_corpus_is_kept(checkout, tmp_path):
    source = source_named("blanket_ambience")
    import_source(source, checkout, tmp_path)
    before = (tmp_path / source.name / "blanket_ambience-000000.tar").read_bytes()
    with pytest.raises(OutputError, match="exists"):
        import_source(source, checkout, tmp_path)
    import_source(source, checkout, tmp_path, overwrite=True)
    # The same checkout gives the same bytes.
    assert (tmp_path / source.name / "blanket_ambience-000000.tar").read_bytes() == before


@pytest.mark.parametrize("samples", [1_600, 12_345, 160_000])
def test_encoding_keeps_length_and_place(samples):
    wave_S = noise(samples / RATE)[:samples]
    decoded_S = read(encode(wave_S))
    assert len(decoded_S) == samples
    assert np.corrcoef(wave_S, decoded_S)[0, 1] > 0.8


def test_loud_samples_are_scaled_not_clipped():
    wave_S = 4 * np.sin(2 * np.pi * 500 * np.arange(RATE) / RATE).astype(np.float32)
    spectrum = np.abs(np.fft.rfft(read(encode(wave_S)) * np.hanning(RATE)))
    assert spectrum[1500] < 0.01 * spectrum[500], "a clipped sine has a third harmonic"


def test_silence_is_judged_by_its_loudest_frame():
    wave_S = np.zeros(RATE, np.float32)
    assert is_silent(wave_S)
    wave_S[5000:5400] = 0.01
    assert not is_silent(wave_S)
    assert is_silent(np.full(100, 0.0005, np.float32))


def test_cutting():
    lengths = lambda seconds: [len(piece) / RATE for piece in cut(np.zeros(round(seconds * RATE), np.float32))]  # noqa: E731
    assert lengths(0.3) == [0.3]
    assert lengths(10) == [10]
    assert lengths(10.9) == [10]
    assert lengths(21.5) == [10, 10, 1.5]


def test_keys_are_plain_and_differ():
    names = ["a/ü b.ogg#0", "a/ü b.ogg#1", "a/u b.ogg#0"]
    keys = [key_of(name) for name in names]
    assert len(set(keys)) == 3 and all(key.replace("_", "").isalnum() and key.isascii() for key in keys)


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["uniwhisper", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        app.main()
    output = capsys.readouterr()
    return ended.value.code, output.out, output.err


def test_the_command(checkout, tmp_path, monkeypatch, capsys):
    (tmp_path / "other" / "toy").mkdir(parents=True)
    (tmp_path / "other" / "toy" / "corpus.json").write_text(json.dumps(SOUND))
    write_tar(tmp_path / "other" / "toy" / "a.tar", [("x.ogg", encode(noise(3.0, seed=9))), ("x.json", b"{}")])
    code, out, err = run(
        monkeypatch, capsys, "data", "import", "blanket_ambience", "--root", checkout, "-o", tmp_path / "made",
        "--against", tmp_path / "other", "--json",
    )  # fmt: skip
    assert code == 0 and json.loads(out)["clips"] == 4
    assert "blanket_ambience: left out, silent: 1" in err
    code, out, _ = run(monkeypatch, capsys, "data", "import", "--list", "--json")
    assert {"corpus": "blanket_ambience", "repository": "rafaelmardojai/blanket"}.items() <= {
        row["corpus"]: row for row in json.loads(out)["corpora"]
    }["blanket_ambience"].items()
    code, _, err = run(monkeypatch, capsys, "data", "import", "nothing", "--root", checkout, "-o", tmp_path / "made")
    assert code == 2 and "no public corpus" in err
    code, _, err = run(monkeypatch, capsys, "data", "import", "blanket_ambience")
    assert code == 2 and "--root" in err


def test_several_corpora_from_a_folder_of_checkouts(checkout, tmp_path, monkeypatch, capsys):
    """The other sets are listened to once; nothing is made when a checkout is missing or a corpus is there."""
    checkouts, made = tmp_path / "checkouts", tmp_path / "made"
    checkouts.mkdir()
    checkout.rename(checkouts / "blanket_ambience")
    names = ["blanket_ambience", "cme_animals"]
    arguments = ["data", "import", *names, "--checkouts", checkouts, "-o", made]
    code, _, err = run(monkeypatch, capsys, *arguments)
    assert code == 2 and "no checkout at" in err and "cme_animals" in err and not made.exists()

    sounds = checkouts / "cme_animals" / "chicken" / "sounds"
    sounds.mkdir(parents=True)
    soundfile.write(sounds / "creatures_chicken.1.ogg", noise(3.0, seed=5), RATE, format="OGG", subtype="VORBIS")
    (tmp_path / "other" / "toy").mkdir(parents=True)
    storm = soundfile.read(checkouts / "blanket_ambience" / SOUNDS / "storm.ogg")[0].astype(np.float32)
    write_tar(tmp_path / "other" / "toy" / "a.tar", [("x.ogg", encode(storm)), ("x.json", b"{}")])
    listened = []
    of = Heard.of
    monkeypatch.setattr(Heard, "of", lambda *given, **more: listened.append(1) or of(*given, **more))
    code, out, err = run(monkeypatch, capsys, *arguments, "--against", tmp_path / "other", "--json")
    assert code == 0 and len(listened) == 1
    reports = json.loads(out)
    assert {name: reports[name]["clips"] for name in names} == {"blanket_ambience": 3, "cme_animals": 1}
    assert (
        all((made / name / "corpus.json").is_file() for name in names)
        and "blanket_ambience: left out, the same sound as in toy: 2" in err
    )

    before = (made / "cme_animals" / "import.json").stat().st_mtime_ns
    code, _, err = run(monkeypatch, capsys, *arguments)
    assert code == 2 and "exists" in err and (made / "cme_animals" / "import.json").stat().st_mtime_ns == before
    code, _, err = run(monkeypatch, capsys, "data", "import", *names, "--root", checkouts, "-o", made)
    assert code == 2 and "--checkouts" in err
