"""What a model answers is scored as jiwer, scikit-learn and counting by hand do it; which clips are asked is fixed."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import jiwer
import numpy as np
import pytest
import torch
from click.testing import Result
from sklearn.metrics import f1_score
from sklearn.preprocessing import MultiLabelBinarizer
from typer.testing import CliRunner

from small import small_model, write_language_model
from toy_corpora import clip, write_corpus, write_three_corpora
from uniwhisper.asking.answerer import Answerer, Saying, Score
from uniwhisper.cli.app import app
from uniwhisper.core.errors import ManifestError, OutputError
from uniwhisper.data.decoded import EncodedReader
from uniwhisper.data.held_out import HeldOutClip, HeldOutTask, held_out_tasks
from uniwhisper.data.instructions import answers
from uniwhisper.data.manifest import Manifest, Record
from uniwhisper.data.prepare import prepare
from uniwhisper.data.tasks import all_tasks
from uniwhisper.evaluation.answers.page import markdown, rows
from uniwhisper.evaluation.answers.run import AnswersConfig, judge_answers
from uniwhisper.evaluation.answers.scores import plain, read_answer, score_answers
from uniwhisper.evaluation.bootstrap import clip_weights
from uniwhisper.model.trained import load_trained
from uniwhisper.training.build import export_model

MODEL = {"name": "stub", "weights": "0" * 64, "trained_on": None}


def asked(task: str, values: list, *, speakers: list[str] | None = None, labels=None) -> HeldOutTask:
    """A task about clips that need no sound."""
    clips = tuple(
        HeldOutClip(
            Record(f"c/{n:03d}", "c", "speech", "c.tar", 0, 1, 16_000, hashlib.sha256(b"%d" % n).hexdigest(),
                   {"speaker": speakers[n]} if speakers else {}),
            value,
        )
        for n, value in enumerate(values)
    )  # fmt: skip
    return HeldOutTask(all_tasks()[task], "?", clips, len(clips), 0, (), labels, None)


def scores(one: HeldOutTask, said: list[str]) -> dict:
    return score_answers(one, said, clip_weights([each.group for each in one.clips], seed=0))


def test_transcripts_are_scored_as_jiwer_scores_them():
    truth = ["The train leaves at nine.", "Don't go", "three blind mice", "yes"]
    said = ["the train leave at nine", "don't go!", "", "yes yes yes"]
    found = scores(asked("transcription", truth), said)
    spoken = ["the train leaves at nine", "don't go", "three blind mice", "yes"]
    heard = ["the train leave at nine", "don't go", "", "yes yes yes"]
    assert found["wer"].score == pytest.approx(jiwer.wer(spoken, heard)) == pytest.approx(6 / 11)
    assert found["cer"].score == pytest.approx(jiwer.cer(spoken, heard))
    assert found["accuracy"].score == 1 / 4
    assert plain("«Well — it's 5 o'clock», said 'Ann'.") == "well it's 5 o'clock said ann"
    assert set(found) == {"wer", "cer", "accuracy"}


def test_tags_are_scored_as_scikit_learn_scores_them():
    truth = [("bird song", "wind"), ("rain",), ("wind",), ("rain", "wind"), ()]
    said = ["wind; bird song", "wind", "Rain; wind.", "rain; a flute", "none"]
    found = scores(asked("sound_tags", truth, labels=("bird song", "rain", "wind")), said)
    read = [{"wind", "bird song"}, {"wind"}, {"rain", "wind"}, {"rain", "a flute"}, set()]
    names = MultiLabelBinarizer(classes=["bird song", "rain", "wind", "a flute"])
    truth_QC, read_QC = names.fit_transform(truth), names.transform(read)
    assert found["f1"].score == pytest.approx(f1_score(truth_QC, read_QC, average="micro"))
    assert found["f1_macro"].score == pytest.approx(f1_score(truth_QC, read_QC, average="macro", labels=[0, 1, 2]))
    assert found["accuracy"].score == pytest.approx(2 / 5)


def test_what_cannot_be_read_is_wrong():
    one = asked("instrument", ["flute", "piano", "flute"], labels=("flute", "piano"))
    assert [read_answer(one, text) for text in ("Flute.", "a piano", "")] == ["flute", None, None]
    assert scores(one, ["Flute.", "a piano", ""])["accuracy"].score == pytest.approx(1 / 3)
    notes = asked("note", ["C#4", "A4"])
    assert [read_answer(notes, text) for text in ("Db4", "loud")] == ["C#4", None]
    times = asked("event_detection", [((0.5, 1.0, "rain"),)])
    assert read_answer(times, "0.50-1.00 rain") == ((0.5, 1.0, "rain"),)
    assert read_answer(times, "rain at 1") is None


def test_words_of_a_caption_count_alike():
    found = scores(asked("caption", ["rain on a roof", "a dog"]), ["Rain on the roof.", "cat"])
    # Shared: rain, on, roof; in all 4 + 2 words of references and 4 + 1 of answers.
    assert found["f1"].score == pytest.approx(2 * 3 / (6 + 5))
    assert "f1_macro" not in found


def test_a_speaker_is_drawn_whole():
    """Two speakers, one always right: one draw in four holds one of them alone, so the interval is all there is."""
    truth, said = ["stop"] * 40, ["stop"] * 20 + ["go"] * 20
    found = scores(asked("keyword", truth, speakers=["a"] * 20 + ["b"] * 20, labels=("go", "stop")), said)["accuracy"]
    assert (found.score, found.low, found.high) == (0.5, 0.0, 1.0)
    apart = scores(asked("keyword", truth, labels=("go", "stop")), said)["accuracy"]
    assert 0.3 < apart.low < 0.5 < apart.high < 0.7


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Manifest:
    folder = tmp_path_factory.mktemp("corpora")
    write_three_corpora(folder / "in")
    long = [*clip("long", {"text": "on and on", "sex": "f"}, 30.5), *clip("short", {"text": "off", "sex": "m"}, 0.4)]
    description = {"domain": "speech", "licence": "CC0"}
    tasks = {"transcription": {"field": "text"}, "speaker_sex": {"field": "sex", "values": "sex"}}
    write_corpus(folder / "in" / "hours", description | {"tasks": tasks}, long)
    prepare(folder / "in", folder / "prepared")
    return Manifest.read(folder / "prepared")


def fold_of(record: Record, folds: int) -> int:
    return int(record.sha256[:8], 16) % folds


def test_only_held_out_clips_are_asked_and_the_others_say_what_is_common(manifest):
    found = {one.task.name: one for one in held_out_tasks(manifest, None, folds=3, most=None, seed=0)}
    labelled = [(record, answers(manifest, record)) for record in manifest.records]
    for name, one in found.items():
        inside = [record for record, said in labelled if name in said and fold_of(record, 3) == 0]
        outside = Counter(str(said[name]) for record, said in labelled if name in said and fold_of(record, 3) != 0)
        too_long = [record for record in inside if record.samples > 480_000 and name == "transcription"]
        assert [each.record for each in one.clips] == [record for record in inside if record not in too_long]
        assert one.too_long == len(too_long)
        assert outside[str(one.most_common)] == max(outside.values())
        assert one.instruction == all_tasks()[name].wordings[0]
    assert found["note"].options == ("A#3", "A3", "C4", "F#4")
    assert found["sound_tag"].labels == ("dog bark", "door", "rain")
    assert found["caption"].options == () and found["caption"].labels is None


def test_a_recording_longer_than_a_window_is_asked_for_what_a_part_can_answer(manifest):
    found = {one.task.name: one for one in held_out_tasks(manifest, None, folds=1, most=None, seed=0)}
    assert found["transcription"].too_long == 1 and found["speaker_sex"].too_long == 0
    assert "hours/long" not in [each.record.id for each in found["transcription"].clips]
    assert "hours/long" in [each.record.id for each in found["speaker_sex"].clips]
    assert found["transcription"].most_common is None


def test_the_choice_of_clips_is_fixed_and_a_larger_one_holds_a_smaller(manifest):
    def chosen(most: int | None, seed: int, of: Manifest = manifest) -> set[str]:
        (one,) = held_out_tasks(of, ["caption"], folds=1, most=most, seed=seed)
        return {each.record.id for each in one.clips}

    assert len(chosen(5, 0)) == 5 and chosen(5, 0) == chosen(5, 0)
    assert chosen(5, 0) < chosen(9, 0) < chosen(None, 0)
    assert chosen(5, 0) != chosen(5, 1)
    # Clips of other corpora change nothing.
    fewer = [record for record in manifest.records if record.corpus == "noises"]
    assert chosen(5, 0, Manifest.of(fewer, manifest.corpora, manifest.root)) == chosen(5, 0)


@pytest.mark.parametrize(("tasks", "says"), [(["singing"], "no task"), (["tempo"], "no held-out clip")])
def test_what_cannot_be_asked_is_told(manifest, tasks, says):
    with pytest.raises(ManifestError, match=says):
        held_out_tasks(manifest, tasks, folds=2, most=None, seed=0)


class Stub:
    """Says what it was told to say, by question and length of the clip (every toy clip has its own)."""

    def __init__(self, said: dict[tuple[str, int], str]) -> None:
        self.said = said

    def ask(self, wave_S: np.ndarray, instruction: str, *, most_tokens: int = 200) -> Saying:
        """A letter is a token."""
        text = self.said[instruction, len(wave_S)]
        return Saying(iter(range(len(text))), lambda tokens: text[: len(tokens)], most_tokens)

    def score(self, wave_S: np.ndarray, instruction: str, options: list[str]) -> list[Score]:  # noqa: ARG002
        return [Score(option, -float(place), 0.5) for place, option in enumerate(sorted(options))]


def test_a_model_that_says_known_things_gets_known_scores(manifest):
    config = AnswersConfig(folds=2, most_clips=None, most_tokens=8, most_options=3, tasks=("sound_tag", "note"))
    found = {one.task.name: one for one in held_out_tasks(manifest, config.tasks, folds=2, most=None, seed=0)}
    tags, notes = found["sound_tag"], found["note"]
    said = {(tags.instruction, one.record.samples): str(one.value).upper() for one in tags.clips}
    # As long as may be, and one letter longer.
    said[tags.instruction, tags.clips[0].record.samples] = "thunders"
    said[tags.instruction, tags.clips[1].record.samples] = "dog bark "
    said |= {(notes.instruction, one.record.samples): "A3" for one in notes.clips}
    judged = judge_answers(Stub(said), manifest, config, model=MODEL, command="uniwhisper answers")
    tag, note = judged.result["tasks"]
    values = [one.value for one in tags.clips]
    right = len(values) - 2 + (values[1] == "dog bark")
    assert tag["scores"]["accuracy"]["score"] == pytest.approx(right / len(values))
    assert tag["cut"] == {"count": 1, "clips": [tags.clips[1].record.id]} and note["cut"]["count"] == 0
    assert [one["clip"] for one in judged.answers if one["cut"]] == [tags.clips[1].record.id]
    assert tag["unreadable"] == {"count": 1, "clips": [tags.clips[0].record.id]}
    # The stub finds the first in the alphabet the likeliest.
    assert tag["ranked"]["score"] == pytest.approx(values.count("dog bark") / len(values))
    common = tag["most_common"]
    assert common["scores"]["accuracy"]["score"] == pytest.approx(values.count(common["answer"]) / len(values))
    assert note["scores"]["accuracy"]["score"] == pytest.approx(
        sum(one.value == "A3" for one in notes.clips) / len(notes.clips)
    )
    assert {name: part["clips"] for name, part in tag["corpora"].items()} == {"noises": len(values)}
    assert tag["corpora"]["noises"]["scores"]["accuracy"] == tag["scores"]["accuracy"]["score"]
    assert note["ranked"] is None and note["unreadable"]["count"] == 0
    assert [one["clip"] for one in judged.answers if not one["readable"]] == [tags.clips[0].record.id]
    table = rows(judged.result)
    assert [row[0] for row in table] == ["sound_tag", "note"]
    assert table[0][5:] == ("1", "1", f"{len(values)} of {len(values)}")
    page = markdown(judged.result, judged.answers)
    assert "thunders (unreadable)" in page and "dog bark (cut off)" in page.lower()
    del tag["cut"]
    assert rows(judged.result)[0][6] == "–", "a result from before they were counted"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    language_model = write_language_model(tmp_path_factory.mktemp("lm"))
    model = small_model(language_model)
    path = tmp_path_factory.mktemp("trained") / "model"
    export_model(model, path, language_model_source=language_model, card="a card")
    return path


def uniwhisper(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="uniwhisper")


def test_the_verb_asks_a_model_folder_and_writes_three_files(manifest, folder, tmp_path):
    where = Path(str(manifest.root)).parent / "prepared"
    arguments = ["answers", "--data", where, "--model", folder, "-o", tmp_path / "out", "--task", "caption",
                 "--task", "instrument", "--folds", "2", "--clips", "3", "--most-tokens", "9",
                 "--device", "cpu"]  # fmt: skip
    done = uniwhisper(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)
    lines = [json.loads(line) for line in (tmp_path / "out" / "answers.jsonl").read_text().splitlines()]
    assert [task["task"] for task in result["tasks"]] == ["caption", "instrument"] and len(lines) == 6
    answerer, reader = Answerer(load_trained(folder), torch.device("cpu")), EncodedReader(manifest)
    for line in lines:
        wave = reader.read(next(record for record in manifest.records if record.id == line["clip"]))
        question = all_tasks()[line["task"]].wordings[0]
        assert line["said"] == "".join(answerer.ask(wave, question, most_tokens=9))
        if line["task"] == "instrument":
            assert line["ranked"] == answerer.score(wave, question, ["flute", "piano"])[0].answer
    assert "| caption | F1 |" in (tmp_path / "out" / "answers.md").read_text()
    assert isinstance(uniwhisper(*arguments).exception, OutputError)
    printed = uniwhisper(*arguments, "--overwrite")
    assert printed.exit_code == 0, printed.stderr
    assert "most common" in printed.stdout and "content fold 0 of 2, at most 3 clips a task" in printed.stdout
