"""The registry and the forms of answers: every answer that is written can be read back, and nothing else can."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import REPOSITORY
from uniwhisper.core.errors import AnswerError, ManifestError
from uniwhisper.data.answer_formats import canonical, format_answer, parse_answer
from uniwhisper.data.corpora import parse_description
from uniwhisper.data.tasks import KINDS, all_tasks
from uniwhisper.data.tasks_page import tasks_page

TASKS = list(all_tasks().values())
WANTED = {
    "transcription", "speech_translation", "language", "speaker_sex", "age_group", "accent", "emotion", "keyword",
    "digit", "intent", "speaker_count", "spoofing", "pronunciation", "vocal_sound",
    "sound_tags", "scene", "event_detection", "caption", "count", "presence", "order",
    "genre", "instrument", "note", "tempo", "key", "mood", "music_caption", "note_transcription",
}  # fmt: skip

words = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8)
open_labels = st.lists(words, min_size=1, max_size=3).map(" ".join).filter(lambda label: label.casefold() != "none")
seconds = st.floats(0, 29.5)
note_names = st.tuples(st.sampled_from("ABCDEFG"), st.sampled_from(["", "#", "b"]), st.integers(0, 8)).map(
    lambda parts: f"{parts[0]}{parts[1]}{parts[2]}"
)


def values(task):
    """Random values of a task, as a corpus would give them, not in canonical form."""
    label = st.sampled_from(task.labels) if task.labels else open_labels
    spans = st.tuples(seconds, st.floats(0, 9)).map(lambda span: (span[0], span[0] + span[1]))
    slots = st.dictionaries(open_labels, open_labels, max_size=4)
    return {
        "text": st.lists(st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1), min_size=1).map(" ".join),
        "label": label,
        "either": label,
        "labels": st.lists(label, max_size=6),
        "sequence": st.lists(label, max_size=6),
        "yes_no": st.booleans(),
        "number": st.floats(*task.range) if task.range else st.nothing(),
        "tempo": st.floats(*task.range) if task.range else st.nothing(),
        "key": label,
        "note": note_names,
        "events": st.lists(st.tuples(spans, label).map(lambda event: (*event[0], event[1])), max_size=6),
        "notes": st.lists(st.tuples(spans, note_names).map(lambda event: (*event[0], event[1])), max_size=6),
        "intent": st.tuples(open_labels, slots),
    }[task.answer]


def test_the_registry_holds_what_people_ask_for():
    assert set(all_tasks()) >= WANTED
    assert {task.answer for task in TASKS} == set(KINDS)
    assert all(len(set(task.wordings)) >= 5 for task in TASKS)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_is_written_is_read_back(task, data):
    value = data.draw(values(task))
    known = canonical(task, value)
    written = format_answer(task, value)
    assert written == " ".join(written.split()) != ""
    assert parse_answer(task, written) == known
    assert canonical(task, known) == known
    assert format_answer(task, known) == written
    # Spacing never matters; capitals and a full stop do not where all labels are known.
    assert parse_answer(task, f"  {written.replace(' ', '  ')} ") == known
    if task.labels is not None or task.answer in ("number", "tempo", "yes_no"):
        assert parse_answer(task, written.upper() + ".") == known


@settings(max_examples=200, deadline=None)
@given(start=seconds, length=st.floats(0, 9))
def test_times_are_the_nearest_frames(start, length):
    task = all_tasks()["event_detection"]
    ((first, last, _),) = canonical(task, [(start, start + length, "bell")])
    assert abs(first - start) <= 0.01 + 1e-9
    # Only an event shorter than a frame is stretched, to one.
    assert abs(last - (start + length)) <= (0.01 if length >= 0.04 else 0.03) + 1e-9
    assert last - first >= 0.02 - 1e-9
    for time in (first, last):
        assert time * 50 == pytest.approx(round(time * 50), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "value", "written"),
    [
        ("sound_tags", ["wind", "Bell", "bird song", "wind"], "Bell; bird song; wind"),
        ("sound_tags", [], "none"),
        ("sequence", ["wind", "bell", "wind"], "wind; bell; wind"),
        ("presence", True, "yes"),
        ("count", 3, "3"),
        ("tempo", 119.6, "120 BPM"),
        ("tempo", 120.5, "121 BPM"),
        ("note", "Bb3", "A#3"),
        ("event_detection", [(2.0, 4.011, "rain"), (0.509, 1.73, "dog bark")], "0.50-1.74 dog bark; 2.00-4.02 rain"),
        ("event_detection", [(1.0, 1.001, "click")], "1.00-1.02 click"),
        ("note_transcription", [(0.5, 1.02, "Eb4"), (0.0, 0.48, "C4")], "0.00-0.48 C4; 0.50-1.02 D#4"),
        (
            "intent",
            ("turn on", {"object": "lights", "location": "kitchen"}),
            "turn on; location: kitchen; object: lights",
        ),
        ("intent", ("pause", {}), "pause"),
        ("transcription", "  Two  words. ", "Two words."),
    ],
)
def test_answers_by_hand(name, value, written):
    assert format_answer(all_tasks()[name], value) == written


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("emotion", "bored"),
        ("digit", "eleven"),
        ("digit", 7),
        ("key", "H minor"),
        ("spoofing", ""),
        ("sound_tags", "rain"),
        ("sound_tags", ["rain; wind"]),
        ("sound_tags", ["none"]),
        ("sound_tags", [""]),
        ("presence", "yes"),
        ("count", -1),
        ("count", float("nan")),
        ("count", True),
        ("pronunciation", 10.6),
        ("tempo", "fast"),
        ("note", "H4"),
        ("event_detection", [(1.0, 0.5, "rain")]),
        ("event_detection", [(-0.1, 0.5, "rain")]),
        ("event_detection", [(0.1, float("inf"), "rain")]),
        ("event_detection", [(0.1, 0.5)]),
        ("event_detection", "rain"),
        ("note_transcription", [(0.1, 0.5, "rain")]),
        ("intent", "turn on"),
        ("intent", ("turn: on", {})),
        ("intent", ("turn on", {"object": "a; b"})),
        ("transcription", "  "),
    ],
)
def test_a_value_that_is_no_answer_is_refused(name, value):
    with pytest.raises(AnswerError, match=name):
        canonical(all_tasks()[name], value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("emotion", "bored"),
        ("emotion", "happy sad"),
        ("key", "C"),
        ("presence", "maybe"),
        ("count", "many"),
        ("count", "3 BPM"),
        ("tempo", "120 Hz"),
        ("tempo", "900 BPM"),
        ("note", "the C4"),
        ("event_detection", "dog bark"),
        ("event_detection", "0.5 dog bark"),
        ("event_detection", "1.50-0.50 dog bark"),
        ("note_transcription", "0.50-1.00 bark"),
        ("intent", "turn on; lights"),
        ("intent", "none"),
        ("sound_tags", "rain;; wind"),
        ("transcription", " "),
    ],
)
def test_an_answer_that_cannot_be_read_is_refused(name, text):
    with pytest.raises(AnswerError, match=name):
        parse_answer(all_tasks()[name], text)


def test_a_list_of_labels_may_be_given_and_is_kept_to():
    tags, order = all_tasks()["sound_tags"], all_tasks()["order"]
    assert parse_answer(tags, "RAIN; dog Bark.", ["dog bark", "rain"]) == ("dog bark", "rain")
    assert parse_answer(order, "Rain.", ["dog bark", "rain"]) == "rain"
    for task, text in ((tags, "rain; snow"), (order, "snow")):
        with pytest.raises(AnswerError, match="snow"):
            parse_answer(task, text, ["dog bark", "rain"])


def test_corpora_bring_lists_numbers_times_and_intents():
    tasks = {
        "sound_tags": {"field": "tags", "clean": "words", "values": {"dog bark": "dog", "rain": "rain"}},
        "event_detection": {"field": "events"},
        "count": {"field": "count"},
        "intent": {"field": "action", "slots": {"object": "object", "location": "place"}},
        "note_transcription": {"field": "notes", "clean": "note_octave_up"},
        "mood": {"field": "mood"},
        "age_group": {"field": "age", "ranges": "age_group"},
    }
    rule = parse_description({"domain": "sound", "licence": "CC0", "tasks": tasks}, name="c")
    fields = {
        "tags": ["rain", "dog_bark"], "events": [[0.501, 1.0, "bell"]], "count": "3", "action": "turn on",
        "object": "lights", "place": "none", "notes": [[0, 1, "C3"]], "mood": "calm", "age": 30,
    }  # fmt: skip
    assert rule.answers("c/a", fields) == {
        "sound_tags": ("dog", "rain"),
        "event_detection": ((0.5, 1.0, "bell"),),
        "count": 3,
        "intent": ("turn on", (("object", "lights"),)),
        "note_transcription": ((0.0, 1.0, "C4"),),
        "mood": ("calm",),
        "age_group": "young adult",
    }
    for wrong in (
        {"tags": ["cat"]}, {"events": [[0.5, "bell"]]}, {"events": "bell"}, {"count": "three"}, {"count": 21},
        {"notes": [[0, 1, "H3"]]}, {"mood": [""]},
    ):  # fmt: skip
        with pytest.raises(ManifestError, match="c/a, task"):
            rule.answers("c/a", fields | wrong)


def test_a_label_outside_a_closed_list_is_refused_whatever_the_corpus_says():
    tasks = {"emotion": {"field": "label"}, "age_group": {"field": "age", "ranges": {"old": None}}}
    rule = parse_description({"domain": "speech", "licence": "CC0", "tasks": tasks}, name="c")
    assert rule.answers("c/a", {"label": "Happy"}) == {"emotion": "happy"}
    for wrong in ({"label": "bored"}, {"age": 70}):
        with pytest.raises(ManifestError, match="c/a, task"):
            rule.answers("c/a", wrong)


def test_the_page_of_tasks_is_in_step():
    page = (REPOSITORY / "docs" / "tasks.md").read_text()
    assert page == tasks_page(), "run: uniwhisper data tasks > docs/tasks.md"
    assert all(f"`{task.name}`" in page for task in TASKS)
    command = [sys.executable, "-m", "uniwhisper", "data", "tasks"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == page
