"""Evaluation texts in a language model's reading: tars and texts made here, and a search by hand."""

import inspect
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from toy_corpora import write_tar
from uniwhisper.cli.data import app
from uniwhisper.cli.data_text_overlap import text_overlap
from uniwhisper.core.errors import ManifestError
from uniwhisper.data.text_overlap import FIELDS, LEAST_WORDS, find_text_overlap, words_of


def write_set(folder: Path, labels: list[dict]) -> Path:
    clips = (((f"c{n}.wav", b"RIFF"), (f"c{n}.json", json.dumps(one).encode())) for n, one in enumerate(labels))
    return write_tar(folder / "part.tar", [member for clip in clips for member in clip])


def write_text(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_texts_are_found_over_lines_case_and_punctuation_but_not_over_words(tmp_path):
    labels = [
        {"text": "THE BIRCH CANOE SLID ON"},
        {"text": "the birch canoe slid on", "sentence": "The birch canoe slid on."},  # of another speaker
        {"text": "glue the sheet to paper"},
        {"text": "it was ours"},
        {"captions": ["a dog's bark, far away in rain", "another"], "sentence": 7},
    ]
    archive = write_set(tmp_path / "eval" / "read", labels)
    novel = write_text(tmp_path, "a.txt", "It was ours: “The birch\ncanoe slid — on!” Glue the white sheet to paper.")
    other = write_text(tmp_path, "b.txt", "A dog’s bark far away in\n\nrain")
    report = find_text_overlap([novel, other], [archive], root=tmp_path, fields=["text", "captions", "sentence"])
    assert [(one.file, one.text, one.clips) for one in report.found] == [
        ("a.txt", "THE BIRCH CANOE SLID ON", ("read/c0", "read/c1")),
        ("b.txt", "a dog's bark, far away in rain", ("read/c4",)),
    ]
    assert (report.texts, report.too_short, report.words_read) == (3, 2, 21)
    assert len(find_text_overlap([novel], [archive], root=tmp_path, fields=["text"], least_words=3).found) == 2


WORDS = st.lists(st.sampled_from("abc"), max_size=30)


@settings(max_examples=200, deadline=None)
@given(WORDS, st.lists(WORDS, min_size=1, max_size=5), st.integers(1, 4))
def test_as_a_search_in_the_joined_words_says(tmp_path_factory, read, said, least):
    folder = tmp_path_factory.mktemp("texts")
    archive = write_set(folder / "set", [{"text": " ".join(words)} for words in said])
    novel = write_text(folder, "novel.txt", ", ".join(read))
    if not any(said):
        with pytest.raises(ManifestError, match="no text"):
            find_text_overlap([novel], [archive], root=folder, least_words=least)
        return
    found = {one.text for one in find_text_overlap([novel], [archive], root=folder, least_words=least).found}
    joined = f" {' '.join(read)} "
    assert found == {" ".join(words) for words in said if len(words) >= least and f" {' '.join(words)} " in joined}


def test_a_sentence_without_spaces_is_as_many_words_as_signs(tmp_path):
    archive = write_set(tmp_path / "zh", [{"text": "今天天气很好。"}, {"text": "你好"}])
    novel = write_text(tmp_path, "a.txt", "他说：「今天\n天气，很好」。")
    report = find_text_overlap([novel], [archive], root=tmp_path)
    assert [one.text for one in report.found] == ["今天天气很好。"] and (report.texts, report.too_short) == (1, 1)
    assert words_of("wav2vec在AI里, c'est 3月") == ["wav2vec", "在", "ai", "里", "c'est", "3", "月"]
    assert words_of("สวัสดี")[0] == "ส" and words_of("안녕 하세요") == ["안녕", "하세요"]


def test_what_the_command_says_of_its_defaults_is_what_they_are():
    """A verb imports inside its function, so its signature repeats them."""
    parameters = inspect.signature(text_overlap).parameters
    assert parameters["least_words"].default == LEAST_WORDS
    (said,) = (one.show_default for one in parameters["fields"].annotation.__metadata__)
    assert said == ", ".join(FIELDS)


def test_words():
    assert words_of("Don’t — “STOP”, he_said: 3 o'clock's") == ["don't", "stop", "he", "said", "3", "o'clock's"]


def test_the_command_lists_what_it_found_and_says_so_by_its_status(tmp_path):
    write_set(tmp_path / "eval" / "read", [{"text": "glue the sheet to paper"}])
    write_text(tmp_path / "novels" / "deep", "a.txt", "Now glue the sheet to paper.")
    arguments = ["text-overlap", str(tmp_path / "novels"), str(tmp_path / "eval")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1 and "glue the sheet to paper" in done.stdout
    assert "1 of 1 evaluation texts are in 1 files (6 words)" in " ".join(done.stdout.split())
    report = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert report["found"] == [{"file": "deep/a.txt", "text": "glue the sheet to paper", "clips": ["read/c0"]}]
    assert CliRunner().invoke(app, [*arguments, "--least-words", "6"]).exit_code == 0
    missing = CliRunner().invoke(app, [*arguments, "--field", "caption"])
    assert isinstance(missing.exception, ManifestError) and "--field" in missing.exception.fix
    (tmp_path / "novels" / "deep" / "b.txt").write_bytes(b"caf\xe9")
    broken = CliRunner().invoke(app, arguments)
    assert isinstance(broken.exception, ManifestError) and "UTF-8" in broken.exception.expected
    nowhere = CliRunner().invoke(app, ["text-overlap", str(tmp_path / "nowhere"), str(tmp_path / "eval")])
    assert isinstance(nowhere.exception, ManifestError) and nowhere.exception.got == "no such file or folder"
    alone = CliRunner().invoke(
        app, ["text-overlap", str(tmp_path / "novels" / "deep" / "a.txt"), arguments[2], "--json"]
    )
    assert json.loads(alone.stdout)["found"][0]["file"] == "a.txt"
