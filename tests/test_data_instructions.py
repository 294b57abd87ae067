"""Tasks, answers and tokens: the tables hold together, and what is asked is answered truly."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toy_corpora import Letters, write_corpus, write_three_corpora
from toy_corpora import clip as toy_clip
from uniwhisper.core.errors import ManifestError
from uniwhisper.data.answer_formats import Event
from uniwhisper.data.answers import (
    file_stem,
    note,
    note_name,
    note_number,
    note_octave_up,
    sentence_case,
    speaker_name,
    transpose,
    words,
)
from uniwhisper.data.corpora import parse_description, shipped_corpora
from uniwhisper.data.instructions import answers, ask, ask_made, askable, same_arrangement
from uniwhisper.data.prepare import prepare
from uniwhisper.data.reading_text import reading_text
from uniwhisper.data.tasks import FORBID, all_tasks
from uniwhisper.data.tokens import build


def test_notes_by_hand():
    """MIDI 1.0: A4 = 69 = 440 Hz, middle C = C4 = 60; the piano runs from A0 = 21 to C8 = 108."""
    assert [note_number(name) for name in ("A4", "C4", "A0", "C8", "C-1", "Bb-1", "Cb4", "B#3")] == [
        69, 60, 21, 108, 0, 10, 59, 60,
    ]  # fmt: skip
    assert [note(label) for label in ("Bb0", "Ab3", "FF A#2", "Mf B-1", "C8")] == ["A#0", "G#3", "A#2", "B-1", "C8"]
    assert note_octave_up("FF A#2") == "A#3"
    assert [transpose("A4", shift) for shift in (-1, 0, 1, 3, -12)] == ["G#4", "A4", "A#4", "C5", "A3"]
    assert [transpose("B3", 1), transpose("C4", -1), transpose("C0", -1)] == ["C4", "B3", "B-1"]
    for wrong in ("H4", "A", "4", "", "A4 loud", "xA4", "A#b4"):
        with pytest.raises(ValueError, match="note"):
            note_number(wrong)


@given(st.integers(0, 127), st.integers(-40, 40))
def test_transposing_multiplies_the_frequency(number, shift):
    def hertz(name: str) -> float:
        return 440 * 2 ** ((note_number(name) - 69) / 12)

    assert note_number(note_name(number)) == number
    assert hertz(transpose(note_name(number), shift)) == pytest.approx(hertz(note_name(number)) * 2 ** (shift / 12))


def test_labels_become_words():
    assert words("crying_baby") == "crying baby"
    assert sentence_case("MARK IS GOING TO SEE ELEPHANT") == "Mark is going to see elephant"
    assert file_stem("banging a grill7") == "banging a grill"
    assert file_stem("ambi_glass_rub") == "ambi glass rub"
    assert file_stem("sodaCanCrunch3 loudShort") == "soda can crunch loud short"
    assert file_stem("chaindrop 1b") == "chaindrop"
    assert file_stem("808") == "808"


def test_age_groups_have_no_gap():
    rule = shipped_corpora()["speechocean762_train"]
    group = {age: rule.answers("id", {"age": age})["age_group"] for age in range(0, 100)}
    assert [group[age] for age in (0, 12, 13, 19, 20, 35, 36, 59, 60, 99)] == [
        "child", "child", "teenager", "teenager", "young adult", "young adult", "adult", "adult", "senior", "senior",
    ]  # fmt: skip
    for wrong in (-1, "six", True):
        with pytest.raises(ManifestError, match="age_group"):
            rule.answers("id", {"age": wrong})


def test_excluded_labels_and_nulls_have_no_answer():
    rule = shipped_corpora()["sound_effects"]
    assert "sound_tag" not in rule.answers("id", {"caption": "thud", "label": None})
    assert "sound_tag" not in rule.answers("id", {"caption": "thud", "label": "sfx"})
    assert rule.answers("id", {"caption": "thud", "label": "close_door"})["sound_tag"] == "door"
    drums = shipped_corpora()["fluidr3_notes"].answers("id", {"label": "standard", "note": "C2"})
    assert drums == {"instrument": "drum kit", "domain": "music"}


def test_every_task_has_at_least_five_wordings_and_at_least_ten_tasks_are_shipped():
    assert len(all_tasks()) >= 10
    used = {task for corpus in shipped_corpora().values() for task in corpus.tasks}
    assert used <= {name for name, task in all_tasks().items() if task.labelled}
    wordings = [wording for task in all_tasks().values() for wording in task.wordings]
    assert len(wordings) == len(set(wordings)), "one wording asks for two tasks"


def test_a_clip_too_long_to_be_whole_is_not_asked_for_what_a_part_cannot_answer():
    names = {task.name for task, _ in askable(frozenset(["transcription", "language", "keyword"]), whole=False)}
    assert names == {"language"}
    # Clips that are put together are made of parts that were cropped before: a part of a sound is still that sound.
    made = {task.name for task, _ in askable(frozenset(["caption"]), whole=False)}
    assert made == {"caption", "caption_pair", "presence", "order"}


def test_a_clip_s_own_answer_comes_before_one_that_is_made():
    labelled = {task.name: base for task, base in askable(frozenset(["count", "sound_tag"]), whole=True)}
    assert labelled["count"] == "count"
    assert labelled["sequence"] == labelled["event_detection"] == "sound_tag"
    assert ("count", "sound_tag") in [(task.name, base) for task, base in askable(frozenset(["sound_tag"]), whole=True)]


HEARD = (Event(0.0, 1.003, "rain"), Event(1.25, 2.0, "dog"), Event(2.0, 3.5, "bell"))


@pytest.mark.parametrize(
    ("task", "clips", "answer"),
    [
        ("sound_tag_pair", 2, "dog; rain"),
        ("caption_pair", 2, "dog; rain"),
        ("sequence", 2, "rain; dog"),
        ("sequence", 3, "rain; dog; bell"),
        ("order", 2, "rain"),
        ("count", 1, "1"),
        ("count", 3, "3"),
        ("event_detection", 3, "0.00-1.00 rain; 1.26-2.00 dog; 2.00-3.50 bell"),
    ],
)
def test_answers_about_several_clips_by_hand(task, clips, answer):
    for seed in range(6):
        stream = np.random.default_rng(seed)
        question = ask_made(all_tasks()[task], seed % 5, HEARD[:clips], absent=None, stream=stream)
        assert question.answer == answer
        assert "{" not in question.instruction
        if task == "order":
            assert "rain" in question.instruction and "dog" in question.instruction


def test_presence_asks_half_the_time_for_something_absent():
    asked = Counter()
    for seed in range(400):
        stream = np.random.default_rng(seed)
        question = ask_made(all_tasks()["presence"], 0, HEARD[:2], absent="bell", stream=stream)
        (named,) = [label for label in ("rain", "dog", "bell") if label in question.instruction]
        assert question.answer == ("no" if named == "bell" else "yes")
        asked[named] += 1
    assert 160 < asked["bell"] < 240 and min(asked["rain"], asked["dog"]) > 60


def test_notes_are_compared_by_pitch_and_written_with_their_times():
    for notes, answer in ((("B3", "C4"), "second"), (("A4", "G#4"), "first"), (("C5", "B4"), "first")):
        heard = [Event(float(place), place + 0.5, name) for place, name in enumerate(notes)]
        stream = np.random.default_rng(0)
        assert ask_made(all_tasks()["higher_note"], 0, heard, absent=None, stream=stream).answer == answer
        written = ask_made(all_tasks()["note_transcription"], 0, heard, absent=None, stream=stream).answer
        assert written == f"0.00-0.50 {notes[0]}; 1.00-1.50 {notes[1]}"
    assert ask(all_tasks()["note"], 1, "C4").answer == "C4"


def test_questions_that_share_a_sound_are_put_together_the_same_way():
    assert {task.name for task in same_arrangement("order", "sound_tag", 2)} == {"order", "sequence", "count"}
    assert {task.name for task in same_arrangement("count", "sound_tag", 1)} == {"count"}
    assert {task.name for task in same_arrangement("caption_pair", "caption", 2)} == {"caption_pair", "presence"}


def test_the_loss_mask_is_the_answer_and_the_end():
    tokens = build(Letters(), "Hi?", "yes")
    assert tokens.ids == [ord("H"), ord("i"), ord("?"), ord("\n"), ord("y"), ord("e"), ord("s"), 256]
    assert tokens.loss_mask == [False, False, False, False, True, True, True, True]


@given(st.text(min_size=1), st.text())
def test_an_answer_that_repeats_the_instruction_is_still_masked_right(instruction, answer):
    """The failure of masks that are found by searching (a marker that occurs in the answer)."""
    tokens = build(Letters(), instruction, answer + instruction)
    predicted = [token for token, wanted in zip(tokens.ids, tokens.loss_mask, strict=True) if wanted]
    assert bytes(predicted[:-1]).decode() == answer + instruction
    assert predicted[-1] == 256


def test_reading_text_holds_no_transcript(tmp_path):
    write_three_corpora(tmp_path / "in", clips=3)
    manifest = prepare(tmp_path / "in", tmp_path / "out")
    questions = [asked for kind in reading_text(manifest).questions for asked in kind]
    assert ("Name the instrument.", "flute", ("flute",)) in questions
    assert ("Tag this sound.", "dog bark", ("dog bark",)) in questions
    assert not any("sentence" in answer for _, answer, _ in questions)


@pytest.mark.parametrize(
    ("part", "named"),
    [
        ({"field": 3}, "sound_tag: field"),
        ({"field": ["label"]}, "sound_tag: field"),
        ({"constant": 1}, "sound_tag: constant"),
        ({"field": "label", "exclude": "sfx"}, "sound_tag: exclude"),
        ({"field": "label", "exclude": {"label": 7}}, "sound_tag: exclude"),
        ({"field": "label", "exclude": {"label": {"sfx": None}}}, "sound_tag: exclude"),
        ({"field": "label", "clean": ["words"]}, "sound_tag: clean"),
        ({"field": "label", "clean": "soap"}, "sound_tag: clean"),
        ({"field": "label", "values": ["a", "b"]}, "sound_tag: values"),
        ({"field": "label", "values": "nowhere"}, "sound_tag: values"),
        ({"field": "label", "values": {"a": 1}}, "sound_tag: values"),
        ({"field": "label", "values": "age_group"}, "sound_tag: values"),
        ({"field": "label", "ranges": 5}, "sound_tag: ranges"),
        ({"field": "label", "ranges": {}}, "sound_tag: ranges"),
        ({"field": "label", "ranges": {"few": "ten"}}, "sound_tag: ranges"),
        ({"field": "label", "ranges": "sex"}, "sound_tag: ranges"),
    ],
)
def test_a_rule_of_the_wrong_type_is_refused_by_corpus_and_key(tmp_path, part, named):
    description = {"domain": "sound", "licence": "CC0", "tasks": {"sound_tag": part}}
    write_corpus(tmp_path / "in" / "mine", description, toy_clip("a", {"label": "sfx"}, 0.1))
    with pytest.raises(ManifestError) as caught:
        prepare(tmp_path / "in", tmp_path / "out")
    assert caught.value.problem == f"corpus mine: {named}"
    with pytest.raises(ManifestError, match="corpus mine: unused"):
        parse_description({**description, "tasks": {"sound_tag": {"field": "label"}}, "unused": ["x"]}, name="mine")


def test_a_description_survives_the_manifest():
    for name, description in shipped_corpora().items():
        again = parse_description(json.loads(json.dumps(description.as_json())), name=name)
        assert again == description


@pytest.mark.shared_audio
def test_every_real_label_is_an_answer_or_is_listed_as_left_out(shared_set):
    """No field of the shared training sets is forgotten: a task asks for it, or `unused` or `exclude` says why not."""
    from uniwhisper.data.archive import index_archive

    silent = {}
    for name, description in shipped_corpora().items():
        by_field = {rule["field"]: (task, rule) for task, rule in description.tasks.items() if "field" in rule}
        for path in sorted(shared_set("training", name).glob("*.tar")):
            for clip in index_archive(path):
                found = description.answers(clip.key, clip.fields)
                assert all(answer == " ".join(answer.split()) != "" for answer in found.values())
                for field, value in clip.fields.items():
                    if field == "seconds" or value is None or field in description.unused:
                        continue
                    assert field in by_field, f"{name}: nobody asks for `{field}`"
                    task, rule = by_field[field]
                    excluded = any(str(clip.fields.get(key)) in rule["exclude"][key] for key in rule.get("exclude", {}))
                    assert (task in found) != excluded, f"{name}/{clip.key}: `{field}`"
                    silent.setdefault((name, task), []).append(excluded)
    # An exclusion that swallowed a corpus would pass the lines above.
    assert {key for key, excluded in silent.items() if all(excluded)} == set()


@pytest.mark.shared_audio
def test_real_piano_notes_sound_at_the_pitch_the_answer_names(shared_set, tmp_path):
    """The corpus counts octaves its own way; the answers are scientific pitch, which the strings themselves decide."""
    folder = shared_set("training", "steinway_notes")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "steinway_notes").symlink_to(folder)
    manifest = prepare(tmp_path / "in", tmp_path / "out")
    from uniwhisper.data.decoded import EncodedReader

    reader = EncodedReader(manifest)
    heard = {}
    for record in manifest.records:
        name = answers(manifest, record)["note"]
        if name in ("C4", "A4", "D5", "G5"):
            wave = reader.read(record)[1600:17600]
            spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 1 << 17))
            hertz = np.fft.rfftfreq(1 << 17, 1 / 16_000)
            heard.setdefault(name, []).append(hertz[spectrum.argmax()])
    assert heard.keys() == {"C4", "A4", "D5", "G5"}
    # The loudest partial is a low harmonic: a whole multiple of the note's frequency. Names an octave too high would
    # give halves, names an octave too low nothing but even numbers.
    harmonics = {
        name: np.array(frequencies) / (440 * 2 ** ((note_number(name) - 69) / 12))
        for name, frequencies in heard.items()
    }
    assert all(np.abs(found - found.round()).max() < 0.03 for found in harmonics.values())
    assert {name for name, found in harmonics.items() if (found.round() == 1).all()} >= {"A4", "D5", "G5"}


def test_speakers_are_called_by_a_name_that_says_nothing_of_their_id():
    names = {identity: speaker_name(identity) for identity in (f"{number:04d}" for number in range(125))}
    assert len(set(names.values())) == 125, "of 262,144 names, two of these would be alike one time in thirty"
    assert all(len(name.split()) == 3 and identity not in name for identity, name in names.items())
    assert names == {identity: speaker_name(identity) for identity in names}


def test_the_corpus_whose_speakers_are_scored_is_not_asked_for_them():
    asked = {name for name, corpus in shipped_corpora().items() if "speaker" in corpus.tasks}
    assert asked == {"speech_commands_v1_3words"}
    assert "speaker" in shipped_corpora()["speechocean762_train"].unused


def test_the_name_of_a_recording_or_speaker_holds_at_one_speed_only():
    for name in ("recording", "speaker"):
        assert all_tasks()[name].augment["speed"] == all_tasks()[name].augment["pitch"] == FORBID
