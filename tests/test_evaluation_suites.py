"""The shipped suites against the published facts, and archives in the layout of X-ARES."""

import io
import json
import re
import tarfile
from pathlib import Path

import pytest

from test_evaluation_run import wav
from uniwhisper.evaluation.clips import find_clips
from uniwhisper.evaluation.suites import SuiteError, load_suite


def test_xares_22_adds_up_to_the_published_weights():
    tasks = load_suite("xares-22").tasks
    assert len(tasks) == 22 and all(task.xares and task.download for task in tasks)
    assert sum(task.xares.weight for task in tasks) == 38_752
    assert sum(task.xares.weight for task in tasks if task.xares.knn) == 22_889
    assert sum(task.xares.knn for task in tasks) == 16
    assert len({task.domain for task in tasks}) == 3
    validated_on_test = [t.name for t in tasks if t.xares.splits.get("valid") == t.xares.splits.get("test")]
    assert len(validated_on_test) == 9, "six k-fold tasks and three more"
    for task in tasks:
        assert set(task.xares.splits.values()) <= set(task.folds.names)
        if task.xares.splits:
            assert task.folds.scored == (task.xares.splits["test"],)
            assert task.folds.reference == (task.xares.splits["train"],)
        if task.label.classes is not None and task.expected_classes is not None:
            assert len(task.label.classes) == task.expected_classes


def test_paper_20_is_marked_as_an_assumption():
    paper, xares = load_suite("paper-20"), load_suite("xares-22")
    assert len(paper.tasks) == 20 and "Our assumption" in paper.description
    assert {task.name for task in paper.tasks} < {task.name for task in xares.tasks}


def test_the_suite_of_the_documentation_finds_its_clips(tmp_path):
    page = (Path(__file__).parent.parent / "docs" / "how-to" / "judge.md").read_text()
    (tmp_path / "mine.json").write_text(re.search(r"```json\n(.*?)```", page, re.DOTALL)[1])
    (task,) = load_suite(tmp_path / "mine.json").tasks
    members = {f"{n}": {"label": str(n % 10), "speaker": f"speaker {n // 10}"} for n in range(60)}
    write(tmp_path / "evaluation" / task.folder / "all.tar", members)
    found = find_clips(task, tmp_path / "evaluation")
    assert found.classes == list(map(str, range(10)))
    folds = {(clip.group, clip.fold) for clip in found.clips}
    assert len(folds) == 6 and {fold for _, fold in folds} == {"0", "1", "2"}, "two whole speakers in each fold"


def write(path, members: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for key, fields in members.items():
            for name, content in ((f"{key}.wav", wav(300.0)), (f"{key}.json", json.dumps(fields).encode())):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def task_of(suite: str, name: str):
    (task,) = [task for task in load_suite(suite).tasks if task.name == name]
    return task


def test_archives_of_x_ares_are_read_unchanged(tmp_path):
    for split in ("train", "valid", "test"):
        names = {f"{split}-{letter}": {"label": letter} for letter in "HSAFDN"}
        write(tmp_path / "cremad" / f"wds-audio-{split}-000000.tar", names)
    write(tmp_path / "cremad" / "other.tar", {"x": {"label": "?"}})
    found = find_clips(task_of("xares-22", "cremad"), tmp_path)
    assert found.classes == list("HSAFDN") and len(found.clips) == 18
    assert {clip.fold for clip in found.clips} == {"wds-audio-train", "wds-audio-valid", "wds-audio-test"}

    events = [{"onset": 0.0, "offset": 1.5, "label": "Dog,Cat"}]
    for split in ("train", "eval"):
        write(tmp_path / "desed" / f"wds-audio-{split}-000000.tar", {f"{split}-a": events, f"{split}-b": events})
    found = find_clips(task_of("xares-22", "desed"), tmp_path)
    assert found.clips[0].fields == {"events": events}


def test_a_missing_split_is_named(tmp_path):
    write(tmp_path / "cremad" / "wds-audio-train-000000.tar", {"a": {"label": "H"}, "b": {"label": "S"}})
    with pytest.raises(SuiteError, match="none for wds-audio-valid, wds-audio-test"):
        find_clips(task_of("xares-22", "cremad"), tmp_path)
