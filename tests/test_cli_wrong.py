"""What people type by mistake: refused with words that help, and nothing of theirs is lost."""

import json
from pathlib import Path

import pytest
import soundfile
from click.testing import Result
from typer.testing import CliRunner

from conftest import tone
from toy_results import toy_result, write_result
from uniwhisper.cli.app import app
from uniwhisper.core.errors import OutputError, UserError
from uniwhisper.evaluation.suites import load_suite


def uniwhisper(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="uniwhisper")


@pytest.fixture
def sound(tmp_path) -> Path:
    (tmp_path / "sounds").mkdir()
    soundfile.write(tmp_path / "sounds" / "a.wav", tone(0.5), 16_000)
    return tmp_path / "sounds" / "a.wav"


@pytest.mark.parametrize("named_by", ["itself", "its folder", "a link"])
def test_a_recording_is_not_replaced_by_its_own_vectors(sound, tiny_model, tmp_path, named_by):
    (tmp_path / "link.wav").symlink_to(sound)
    before = sound.read_bytes()
    source = {"itself": sound, "its folder": sound.parent, "a link": tmp_path / "link.wav"}[named_by]
    done = uniwhisper("embed", source, "-o", sound, "--overwrite", "--model", tiny_model, "--device", "cpu")
    assert isinstance(done.exception, OutputError) and "would be lost" in str(done.exception)
    assert sound.read_bytes() == before and [path.name for path in sound.parent.iterdir()] == ["a.wav"]


def test_classify_and_export_replace_nothing_they_read(sound, tiny_model, tmp_path):
    before = sound.read_bytes()
    done = uniwhisper("classify", sound, "--classifier", tmp_path, "-o", sound, "--overwrite")
    assert isinstance(done.exception, OutputError) and sound.read_bytes() == before
    weights = {path.name: path.read_bytes() for path in tiny_model.iterdir()}
    done = uniwhisper("export", "hub", "--model", tiny_model, "-o", tiny_model, "--overwrite")
    assert isinstance(done.exception, OutputError)
    assert {path.name: path.read_bytes() for path in tiny_model.iterdir()} == weights


def test_a_result_is_not_replaced_by_the_report_of_it(tmp_path):
    path = write_result(tmp_path, "a", *toy_result("a"))
    before = path.read_bytes()
    done = uniwhisper("report", path, "-o", tmp_path / "a.html", "--overwrite")
    assert isinstance(done.exception, OutputError) and path.read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.json", "a.npz"]


def test_advice_to_load_a_file_unprotected_is_not_passed_on(sound, tmp_path):
    (tmp_path / "model.pt").write_text("no checkpoint at all")
    done = uniwhisper("embed", sound, "-o", tmp_path / "o", "--model", tmp_path / "model.pt")
    assert isinstance(done.exception, UserError) and "weights_only" not in str(done.exception)
    assert "a pickle that runs code is never loaded" in done.exception.fix


def test_an_empty_question_is_none(sound):
    done = uniwhisper("ask", sound, " ")
    assert isinstance(done.exception, UserError) and "no question" in str(done.exception)


@pytest.mark.parametrize(
    "arguments",
    [
        ("pretrain-lm", "a.txt", "b.txt", "-o", "lm", "--steps", "0"),
        ("pretrain-lm", "a.txt", "b.txt", "-o", "lm", "--seed", "-1"),
        ("calibrate", "model", "mini", "-o", "out", "--seed", "-1"),
    ],
)
def test_numbers_out_of_range_are_usage_errors(arguments):
    done = uniwhisper(*arguments)
    assert done.exit_code == 2 and "greater than or equal to" in " ".join(done.stderr.split())


def test_what_is_no_json_or_not_there_is_said_so(tmp_path):
    (tmp_path / "text.json").write_text("text")
    for arguments in (
        ("compare", tmp_path / "text.json", tmp_path / "text.json"),
        ("report", tmp_path / "text.json", "-o", tmp_path / "r.html"),
        ("evaluate", "--data", tmp_path, "--suite", tmp_path / "text.json"),
    ):
        done = uniwhisper(*arguments)
        assert isinstance(done.exception, UserError) and done.exception.got.startswith("no JSON: ")
    for arguments in (
        ("compare", tmp_path / "none.json", tmp_path / "none.json"),
        ("finetune", tmp_path / "none", "-o", tmp_path / "classifier"),
    ):
        done = uniwhisper(*arguments)
        assert isinstance(done.exception, UserError) and done.exception.got.endswith("No such file or directory")


def test_a_suite_says_which_list_of_labels_it_lacks(tmp_path):
    rule = {"field": "events", "classes": "some_events"}
    task = {
        "name": "t", "description": "t", "domain": "sound", "folder": "t", "label": rule, "metric": "accuracy",
        "folds": {"by": "archive", "pattern": "(.)", "names": ["1", "2"]},
    }  # fmt: skip
    suite = {"format": "uniwhisper-suite", "format_version": 2, "name": "s", "description": "s", "tasks": [task]}
    (tmp_path / "s.json").write_text(json.dumps(suite))
    with pytest.raises(UserError, match=r"labels/some_events\.txt"):
        load_suite(tmp_path / "s.json")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "some_events.txt").write_text("a\nb\n")
    assert load_suite(tmp_path / "s.json").tasks[0].label.classes == ("a", "b")


def test_an_unknown_row_is_refused_before_sounds_are_made(tmp_path):
    done = uniwhisper("reproduce", "smoke", "--row", "X", "-o", tmp_path / "out", "--dry-run")
    assert isinstance(done.exception, UserError) and "no row 'X'" in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_classes_are_not_written_under_the_name_of_another_format(sound, tmp_path):
    done = uniwhisper("classify", sound, "--classifier", tmp_path, "-o", tmp_path / "classes.parquet")
    assert isinstance(done.exception, OutputError) and "classes.csv" in done.exception.fix


@pytest.mark.parametrize("name", ["vectors.csv", "vectors.NPY", "vectors.jsonl", "vectors.onnx"])
def test_vectors_are_not_written_under_the_name_of_another_format(sound, tmp_path, name):
    done = uniwhisper("embed", sound, "-o", tmp_path / "new" / name, "--device", "cpu")
    assert isinstance(done.exception, OutputError) and "vectors.parquet" in done.exception.fix
    assert not (tmp_path / "new").exists()
