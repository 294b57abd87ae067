"""Synthetic speech and music: what is said and played is what the labels say."""

import itertools
import shutil

import numpy as np
import pytest

from command import uniwhisper
from uniwhisper.core.errors import UserError
from uniwhisper.data.answers import note_number
from uniwhisper.data.prepare import prepare
from uniwhisper.data.synthetic import music, speech
from uniwhisper.data.synthetic.midi import DRUM_CHANNEL, Note, midi_file
from uniwhisper.data.synthetic.synthesise import SPEECH, music_by, synthesise

HAS = {name: shutil.which(name) is not None for name in ("espeak-ng", "flite", "fluidsynth")}
HARMONIC = {"piano", "violin", "flute", "clarinet", "trumpet", "cello", "viola", "oboe", "recorder", "accordion"}
CAN_SPEAK = HAS["espeak-ng"] and HAS["flite"]
CAN_PLAY = HAS["fluidsynth"] and music.SOUNDFONT.exists()
speaks = pytest.mark.skipif(not CAN_SPEAK, reason="espeak-ng and flite are programs of the system, not of the lock")
plays = pytest.mark.skipif(not CAN_PLAY, reason="fluidsynth and its soundfont are of the system, not of the lock")


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, "zero"), (9, "nine"), (13, "thirteen"), (40, "forty"), (85, "eighty-five"), (100, "one hundred"),
     (219, "two hundred and nineteen"), (342, "three hundred and forty-two"), (900, "nine hundred")],
)  # fmt: skip
def test_number_words(number, expected):
    assert speech.number_words(number) == expected


def test_utterances_are_complete_and_of_every_kind():
    said = [speech.utterance(np.random.default_rng([0, index])) for index in range(300)]
    assert not any("{" in labels["text"] for labels in said)
    digits = {labels["digit"] for labels in said if "digit" in labels}
    assert len(digits) == 10
    assert all(labels["digit"] == labels["text"] == labels["keyword"] for labels in said if "digit" in labels)
    assert len({labels["text"] for labels in said if " " in labels["text"]}) > 80


def test_midi_of_one_note_by_hand():
    content = midi_file([Note(0.0, 0.2, 60, 0, 100)], [40])
    # Format 0, one track, 500 ticks a quarter; 23 bytes: tempo, program 40, C4 on at 0, off 200 (0x81 0x48) later, end.
    assert content.hex() == (
        "4d546864 00000006 0000 0001 01f4 4d54726b 0000001700ff510307a120 00c028 00903c64 8148803c00 00ff2f00".replace(
            " ", ""
        )
    )


def compositions(make, count=60):
    return [make(np.random.default_rng([1, index])) for index in range(count)]


def test_melodies_are_one_note_at_a_time_in_range_and_in_key():
    ranges = {one["program"]: (one["low"], one["high"]) for one in music._table()["instruments"]}
    with_key = 0
    for notes, (program,), labels in compositions(music._melody):
        low, high = ranges[program]
        assert all(low <= note.number <= high for note in notes)
        assert all(one.end_seconds <= other.start_seconds + 1e-9 for one, other in itertools.pairwise(notes))
        assert [entry[2] for entry in labels["notes"]] == [music.note_name(note.number) for note in notes]
        if "key" in labels:
            with_key += 1
            tonic, mode = labels["key"].split()
            steps = {"major": "0 2 4 5 7 9 11", "minor": "0 2 3 5 7 8 10"}[mode].split()
            scale = {(note_number(f"{tonic}4") + int(step)) % 12 for step in steps}
            assert {note.number % 12 for note in notes} <= scale
    assert with_key > 10


def test_bands_name_everybody_who_plays():
    for notes, programs, labels in compositions(music._band):
        channels = {note.channel for note in notes}
        assert channels - {DRUM_CHANNEL} == set(range(len(programs)))
        assert ("drum kit" in labels["instruments"]) == (DRUM_CHANNEL in channels)
        names = {one["program"]: one["name"] for one in music._table()["instruments"]}
        assert {names[program] for program in programs} == set(labels["instruments"]) - {"drum kit"}
        assert all(note.end_seconds <= music.LONGEST_SECONDS for note in notes)


def test_a_missing_program_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="apt-get install"):
        speech.clip(0, 0)
    with pytest.raises(UserError, match="timgm6mb-soundfont"):
        music.clip(0, 0)


@plays
def test_the_labelled_note_sounds():
    """Strongest harmonic series of single notes, by autocorrelation, within a quarter tone of the label."""
    found = 0
    for index in range(40):
        random = np.random.default_rng([0, index])
        if str(random.choice(list(music._KINDS), p=list(music._KINDS.values()))) != "note":
            continue
        clip = music.clip(0, index)
        if clip.labels["instrument"] not in HARMONIC:
            continue
        hertz = 440 * 2 ** ((note_number(clip.labels["note"]) - 69) / 12)
        wave_S = clip.wave_S[2400:8800]
        correlation = np.correlate(wave_S, wave_S, "full")[len(wave_S) - 1 :]
        periods = np.arange(round(16_000 / (hertz * 1.6)), round(16_000 / (hertz * 0.7)))
        best = 16_000 / periods[np.argmax(correlation[periods])]
        assert abs(12 * np.log2(best / hertz)) < 1, clip.labels
        found += 1
    assert found >= 1


@speaks
@pytest.mark.parametrize("workers", [1, 4])
def test_speech_corpus_can_be_prepared_and_does_not_depend_on_workers(tmp_path, workers):
    report = synthesise(SPEECH, tmp_path / "corpora", hours=0.003, seed=3, workers=workers)
    assert report.hours >= 0.003
    manifest = prepare(tmp_path / "corpora", tmp_path / "prepared")
    by_index = [speech.clip(3, index) for index in range(report.clips)]
    assert [record.fields["text"] for record in manifest.records] == [clip.labels["text"] for clip in by_index]
    assert [record.samples for record in manifest.records] == [len(clip.wave_S) for clip in by_index]


@plays
def test_music_corpus_can_be_prepared(tmp_path):
    report = synthesise(music_by([music.SOUNDFONT]), tmp_path / "corpora", hours=0.004, seed=1, workers=2)
    manifest = prepare(tmp_path / "corpora", tmp_path / "prepared")
    assert len(manifest.records) == report.clips > 1
    assert {record.fields["soundfont"] for record in manifest.records} == {"TimGM6mb"}


@plays
def test_soundfonts_play_the_same_notes_in_turn(tmp_path):
    other = tmp_path / "Other.sf2"
    other.symlink_to(music.SOUNDFONT)
    first, second = (music.clip(0, index, [music.SOUNDFONT, other]) for index in (0, 1))
    assert [clip.labels["soundfont"] for clip in (first, second)] == ["TimGM6mb", "Other"]
    alone = music.clip(0, 1)
    np.testing.assert_array_equal(second.wave_S, alone.wave_S)
    assert second.labels == alone.labels | {"soundfont": "Other"}
    said = music_by([music.SOUNDFONT, other]).description["licence"]
    assert "TimGM6mb (GPL-2.0-or-later), Other (terms not listed)" in said


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["missing.sf2"], "no such file"),
        (["notes.sf2"], "begins with b'not '"),
        (["one.sf2", "else/one.sf2"], "a name of its own"),
        ([], "got: none"),
    ],
)
def test_what_cannot_be_played_is_refused_before_anything_is_made(tmp_path, names, said):
    (tmp_path / "else").mkdir()
    (tmp_path / "notes.sf2").write_bytes(b"not a soundfont")
    for name in ("one.sf2", "else/one.sf2"):
        (tmp_path / name).write_bytes(b"RIFF\0\0\0\0sfbk")
    with pytest.raises(UserError, match=said):
        music_by([tmp_path / name for name in names])


def test_speech_has_no_soundfont(tmp_path):
    done = uniwhisper("data", "synthesise", "speech", "-o", tmp_path / "out", "--soundfont", "one.sf2")
    assert done.returncode == 2
    assert "leave out --soundfont" in done.stderr
    assert not (tmp_path / "out").exists()
