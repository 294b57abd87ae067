"""Suites, clips, the vector cache and the whole judgement, on small archives made here."""

import hashlib
import importlib.metadata
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch

from command import uniwhisper
from conftest import SAMPLE_RATE_HZ, tone
from uniwhisper.core import provenance
from uniwhisper.core.errors import OutputError, UserError, WeightsError
from uniwhisper.data.config import HOLDOUT_FOLDS, DataConfig
from uniwhisper.embedding.table import EmbeddingTable, Failure
from uniwhisper.evaluation import ladder, selection
from uniwhisper.evaluation.adapters.log_mel import LogMelStatistics
from uniwhisper.evaluation.cache import StoredClip, VectorCache
from uniwhisper.evaluation.clips import find_clips
from uniwhisper.evaluation.encoders import JudgedEncoder, open_encoder
from uniwhisper.evaluation.kept import Kept, task_key
from uniwhisper.evaluation.results import result_path, write_result
from uniwhisper.evaluation.runner import evaluate
from uniwhisper.evaluation.suites import SuiteError, load_suite, shipped_suites

IDENTITY = {"weights": "w" * 64, "code": "c", "pooling": "p", "layer": "final"}


class TwoNumbers:
    """Zero crossings and loudness of a wav: the adapter of an encoder, as short as promised."""

    width = 2

    def __init__(self, **identity: str) -> None:
        self.identity, self.calls = IDENTITY | identity, 0

    def embed(self, sources, *, on_error: str) -> EmbeddingTable:
        assert on_error == "skip"
        rows, failures = [], []
        for index, source in enumerate(sources):
            self.calls += 1
            try:
                wave, _ = soundfile.read(io.BytesIO(source))
                rows.append([np.mean(np.diff(np.sign(wave)) != 0), np.mean(wave**2) * 1e-3])
            except soundfile.LibsndfileError as error:
                failures.append(Failure(index, f"clip {index}", str(error)))
        vectors = np.array(rows, dtype=np.float32).reshape(len(rows), 2)
        return EmbeddingTable(["?"] * len(rows), np.zeros(len(rows)), vectors, failures, self.identity)


def wav(frequency_hz: float, seconds: float = 0.2) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, tone(seconds, frequency_hz), SAMPLE_RATE_HZ, format="WAV")
    return stream.getvalue()


def write_tar(path: Path, clips: dict[str, tuple[bytes, dict]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for key, (audio, fields) in clips.items():
            for name, content in ((f"{key}.wav", audio), (f"{key}.json", json.dumps(fields).encode())):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def clips_of_fold(fold: int) -> dict[str, tuple[bytes, dict]]:
    return {
        f"{label}-{number}": (wav(base + 7 * number + fold), {"label": label, "age": number})
        for label, base in (("low", 200.0), ("high", 1500.0))
        for number in range(6)
    }


def suite_content(**task) -> dict:
    default = {
        "name": "tones",
        "description": "low and high <tones>",
        "domain": "music",
        "folder": "tones",
        "label": {"field": "label"},
        "folds": {"by": "archive", "pattern": "fold-(.)[.]tar", "names": ["1", "2", "3"]},
        "metric": "accuracy",
    }
    tasks = [default | task]
    return {"format": "uniwhisper-suite", "format_version": 2, "name": "toy", "description": "Toy.", "tasks": tasks}


@pytest.fixture(autouse=True)
def hasty(request, monkeypatch):
    """Probes of a few steps: these tests ask what happens to numbers, not how good they are."""
    if request.node.name != "test_the_whole_judgement":
        monkeypatch.setattr(selection, "LEAST_STEPS", 8)
        monkeypatch.setattr(ladder, "DOUBLINGS", 0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for fold in (1, 2, 3):
        write_tar(tmp_path / "data" / "tones" / f"fold-{fold}.tar", clips_of_fold(fold))
    return tmp_path / "data"


@pytest.fixture
def write_suite(tmp_path: Path):
    def write(**task) -> Path:
        path = tmp_path / "toy.json"
        path.write_text(json.dumps(suite_content(**task)))
        return path

    return write


def judge(data: Path, suite: Path, cache: Path | None = None, encoder=None, kept: Path | None = None):
    judged = JudgedEncoder(encoder or TwoNumbers(), "two-numbers", "two-numbers")
    return evaluate(
        judged,
        load_suite(suite),
        data,
        cache=None if cache is None else VectorCache(cache),
        kept=None if kept is None else Kept(kept),
    )


def test_shipped_suites_load():
    assert shipped_suites() == ["dev", "mini", "paper-20", "xares-22"]
    mini, dev = load_suite("mini"), load_suite("dev")
    counted = [task for task in mini.tasks if task.variant_of is None]
    assert len(counted) == 12 and len(mini.tasks) == 14
    assert mini.domains == ("environment", "music", "speech")
    assert [task.name for task in mini.tasks if task.synthetic] == ["speaker_count_synthetic"]
    assert all("synthetic" in task.name for task in mini.tasks if task.synthetic)
    assert all(task.folds.by == "content" and task.folds.scored == ("0",) for task in dev.tasks)
    assert all(len(task.folds.names) == 20 for task in dev.tasks)
    assert mini.hash != dev.hash


def test_training_holds_out_by_default_what_dev_scores():
    """One number on both sides, and in the pages that state it."""
    held_out = DataConfig(clips_per_step=1).holdout_folds
    assert held_out == HOLDOUT_FOLDS
    for task in load_suite("dev").tasks:
        assert task.folds.by == "content" and (len(task.folds.names), task.folds.scored) == (held_out, ("0",))
    docs = Path(__file__).parents[1] / "docs"
    assert f"content fold 0 of {held_out} " in (docs / "protocol.md").read_text()
    assert f"modulo {held_out}, fold 0 is scored" in (docs / "decisions" / "0008-judge.md").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"description": 3}, "description cannot be 3"),
        ({"folder": 3}, "folder cannot be 3"),
        ({"label": {"field": ["l"]}}, "field cannot be ['l']"),
        ({"label": {"field": "label", "min_clips": "15"}}, "min_clips cannot be '15'"),
        ({"label": {"field": "age", "at_most": "12", "names": ["a", "b"]}}, "at_most cannot be '12'"),
        ({"label": {"field": "age", "at_most": 12, "names": 2}}, "names cannot be 2"),
        ({"label": {"field": "age", "at_most": 12, "names": [["a"], ["b"]]}}, "names cannot be"),
        ({"folds": {"by": "archive", "pattern": "fold-(.)", "names": 3}}, "names cannot be 3"),
        ({"folds": {"by": "archive", "pattern": "fold-(.)", "names": [["1"], ["2"]]}}, "names cannot be"),
        ({"folds": {"by": "content", "count": 2.5}}, "count cannot be 2.5"),
        ({"folds": {"by": "content", "count": 2, "scored": 0}}, "scored cannot be 0"),
        ({"expected": {"clips": "36"}}, "clips cannot be '36'"),
        ({"colour": "red"}, "unknown 'colour'"),
        ({"metric": "mAP"}, "metric cannot be 'mAP'"),
        ({"folder": "../elsewhere"}, "folder cannot be"),
        ({"label": {"field": "label", "mising": "refuse"}}, "unknown 'mising'"),
        ({"label": {"field": "age", "at_most": 12}}, "exactly two names"),
        ({"folds": {"by": "archive", "pattern": "fold-.", "names": ["1", "2"]}}, "pattern cannot be"),
        ({"folds": {"by": "archive", "pattern": "fold-(", "names": ["1", "2"]}}, "pattern cannot be"),
        ({"folds": {"by": "content", "count": 20, "scored": ["20"]}}, "scored ones among them"),
        ({"folds": {"by": "group", "count": 2}}, "lacks 'of'"),
        ({"folds": {"by": "group", "of": {}, "count": 2}}, "by field or by pattern"),
        ({"label": {"field": "label", "classes": "nowhere"}}, "does not lie beside the suite"),
        ({"kind": "multilabel", "metric": "mAP"}, "come with a separator"),
        ({"variant_of": "other"}, "variant_of names no other task"),
        ({"audio": {"as": "reversed"}}, "as cannot be 'reversed'"),
    ],
)
def test_a_wrong_suite_is_refused(write_suite, change, message):
    with pytest.raises(SuiteError, match=re.escape(message)):
        load_suite(write_suite(**change))


def test_an_unknown_suite_is_refused(tmp_path):
    with pytest.raises(SuiteError, match="one of dev, mini"):
        load_suite("maxi")
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(SuiteError, match="not a JSON object"):
        load_suite(tmp_path / "x.json")
    for tasks in (3, "abc", {"a": 1}, None):
        (tmp_path / "x.json").write_text(json.dumps({**suite_content(), "tasks": tasks}))
        with pytest.raises(SuiteError, match="tasks cannot be"):
            load_suite(tmp_path / "x.json")


def test_missing_data_is_named(data, write_suite, tmp_path):
    task = load_suite(write_suite()).tasks[0]
    with pytest.raises(SuiteError, match="no such folder"):
        find_clips(task, tmp_path / "elsewhere")
    (data / "tones" / "fold-2.tar").unlink()
    with pytest.raises(SuiteError, match="none for 2"):
        find_clips(task, data)


def test_missing_labels_are_refused_or_counted(data, write_suite):
    write_tar(data / "tones" / "fold-3.tar", {**clips_of_fold(3), "odd": (wav(500), {"other": 1})})
    with pytest.raises(SuiteError, match=r"clip fold-3/odd has no label"):
        find_clips(load_suite(write_suite()).tasks[0], data)
    found = find_clips(load_suite(write_suite(label={"field": "label", "missing": "leave out"})).tasks[0], data)
    assert len(found.clips) == 36 and found.left_out == {"no 'label'": 1}


def test_small_classes_are_left_out_and_counted(data, write_suite):
    write_tar(data / "tones" / "fold-3.tar", {**clips_of_fold(3), "odd": (wav(500), {"label": "rare"})})
    rule = {"field": "label", "min_clips": 15}
    found = find_clips(load_suite(write_suite(label=rule)).tasks[0], data)
    assert found.classes == ["high", "low"] and found.left_out == {"class of fewer than 15 clips": 1}


def test_a_number_becomes_two_classes(data, write_suite):
    rule = {"field": "age", "at_most": 2, "names": ["young", "old"]}
    found = find_clips(load_suite(write_suite(label=rule)).tasks[0], data)
    for clip in found.clips:
        assert clip.label == ("young" if int(clip.id[-1]) <= 2 else "old")
    write_tar(data / "tones" / "fold-3.tar", {**clips_of_fold(3), "odd": (wav(500), {"age": "many"})})
    with pytest.raises(SuiteError, match="label of another kind"):
        find_clips(load_suite(write_suite(label=rule)).tasks[0], data)


def test_another_number_of_clips_is_refused(data, write_suite):
    with pytest.raises(SuiteError, match="another number of clips"):
        find_clips(load_suite(write_suite(expected={"clips": 37})).tasks[0], data)


def test_content_folds_come_from_the_audio_alone(data, write_suite):
    rule = {"by": "content", "count": 2, "scored": ["0"]}
    found = find_clips(load_suite(write_suite(folds=rule)).tasks[0], data)
    for clip in found.clips:
        digest = hashlib.sha256(clip.source.audio()).hexdigest()
        assert clip.content == digest and clip.fold == str(int(digest[:8], 16) % 2)


def test_the_whole_judgement(data, write_suite, tmp_path):
    judgement = judge(data, write_suite())
    (task,) = judgement.result["tasks"]
    assert task["clips"] == {"expected": 36, "used": 36, "scored": 36, "skipped": [], "left_out": {}}
    scores = task["scores"]["own"]
    assert list(scores) == judgement.result["measures"] == ["knn", "knn_standardised", "linear", "mlp"]
    assert [scores[measure]["score"] for measure in ("knn_standardised", "linear", "mlp")] == [1.0, 1.0, 1.0]
    assert [len(scores[measure]["seeds"]) for measure in scores] == [1, 1, 1, 5]
    assert task["most_common"] == 0.5
    headline = judgement.result["averages"]["headline"]["own"]
    assert headline["mlp"]["score"] == 1.0 and headline["mlp"]["tasks"] == ["tones"]
    assert judgement.result["averages"]["in_domain"]["own"] == {}
    assert set(judgement.result["provenance"]) == {"commit", "code", "python", "packages"}
    path = result_path(tmp_path / "results", load_suite(write_suite()), JudgedEncoder(TwoNumbers(), "x", "x"))
    assert path.name == f"toy-x-{'w' * 12}.json"
    write_result(path, judgement, overwrite=False)
    stored = json.loads(path.read_text())
    beside = path.with_name(stored["clips_file"]["name"])
    assert hashlib.sha256(beside.read_bytes()).hexdigest() == stored["clips_file"]["sha256"]
    with np.load(beside, allow_pickle=False) as arrays:
        right = arrays["tones/own/mlp"] == arrays["tones/label"]
        assert right.shape == (5, 36) and right.all() and sorted(set(arrays["tones/fold"])) == ["1", "2", "3"]
        assert {str(name).split("/")[1].split("-")[0] for name in arrays["tones/id"]} == set(arrays["tones/classes"])
    with pytest.raises(OutputError, match="--overwrite"):
        write_result(path, judgement, overwrite=False)


@pytest.mark.parametrize("earlier", [False, True])
def test_a_result_that_cannot_be_written_leaves_its_clips_unwritten_too(data, write_suite, tmp_path, earlier):
    judgement, path = judge(data, write_suite()), tmp_path / "results" / "toy.json"
    if earlier:
        write_result(path, judgement, overwrite=False)
    before = {file: file.read_bytes() for file in path.parent.glob("*")}
    judgement.result["seconds"] = float("nan")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_result(path, replace(judgement, clips={"another": np.zeros(3)}), overwrite=True)
    assert {file: file.read_bytes() for file in path.parent.glob("*")} == before
    assert earlier or not path.parent.exists()


def test_clips_that_do_not_decode_are_named(data, write_suite):
    write_tar(data / "tones" / "fold-2.tar", {**clips_of_fold(2), "broken": (b"no audio", {"label": "low"})})
    (task,) = judge(data, write_suite()).result["tasks"]
    clips = task["clips"]
    assert (clips["expected"], clips["used"]) == (37, 36)
    assert [skip["id"] for skip in clips["skipped"]] == ["fold-2/broken"] and clips["skipped"][0]["reason"]


def test_a_fold_that_cannot_be_embedded_is_an_error(data, write_suite):
    broken = {key: (b"no audio", fields) for key, (_, fields) in clips_of_fold(2).items()}
    write_tar(data / "tones" / "fold-2.tar", broken)
    with pytest.raises(SuiteError, match="too few clips could be embedded to score fold 2"):
        judge(data, write_suite())


def test_vectors_that_are_not_finite_are_skipped_by_name(data, write_suite):
    class Overflowing(TwoNumbers):
        def embed(self, sources, *, on_error):
            table = super().embed(sources, on_error=on_error)
            table.vectors[0] = np.inf
            return table

    (task,) = judge(data, write_suite(), encoder=Overflowing()).result["tasks"]
    assert [skip["id"] for skip in task["clips"]["skipped"]] == ["fold-1/high-0"]


def test_identical_audio_in_two_folds_is_noted(data, write_suite):
    write_tar(data / "tones" / "fold-3.tar", {**clips_of_fold(3), "copy": clips_of_fold(1)["low-0"]})
    (task,) = judge(data, write_suite()).result["tasks"]
    assert "2 clips have the same bytes" in task["notes"][0]


def test_an_encoder_must_say_what_it_is(data, write_suite):
    with pytest.raises(UserError, match="no weights"):
        judge(data, write_suite(), encoder=TwoNumbers(weights=""))


def scores_of(judgement) -> list:
    return [judgement.result["averages"], [task["scores"] for task in judgement.result["tasks"]]]


def test_cached_vectors_change_no_number(data, write_suite, tmp_path):
    fresh, again = TwoNumbers(), TwoNumbers()
    first = judge(data, write_suite(), tmp_path / "cache", fresh)
    second = judge(data, write_suite(), tmp_path / "cache", again)
    assert (fresh.calls, again.calls) == (36, 0)
    assert scores_of(first) == scores_of(second)


@pytest.mark.parametrize("part", ["weights", "code", "pooling", "layer"])
def test_the_cache_knows_encoders_apart(data, write_suite, tmp_path, part):
    judge(data, write_suite(), tmp_path / "cache")
    other = TwoNumbers(**{part: "another"})
    judge(data, write_suite(), tmp_path / "cache", other)
    assert other.calls == 36


@pytest.mark.parametrize("upgraded", ["soundfile", "soxr", "av", "libsndfile", "libsoxr", "torch"])
def test_another_decoder_takes_no_earlier_vectors_and_another_torch_does(
    data, write_suite, tmp_path, monkeypatch, upgraded
):
    """The libraries may be the system's, apart from the packages around them."""
    judge(data, write_suite(), tmp_path / "cache")
    key = task_key({}, "cpu")
    if upgraded.startswith("lib"):
        monkeypatch.setattr({"libsndfile": soundfile, "libsoxr": soxr}[upgraded], f"__{upgraded}_version__", "99.1")
    else:
        real = provenance.version
        monkeypatch.setattr(provenance, "version", lambda name: "99.1" if name == upgraded else real(name))
    encoder = TwoNumbers()
    judge(data, write_suite(), tmp_path / "cache", encoder)
    assert encoder.calls == (0 if upgraded == "torch" else 36)
    assert task_key({}, "cpu") != key


def test_only_changed_audio_is_embedded_again(data, write_suite, tmp_path):
    judge(data, write_suite(), tmp_path / "cache")
    changed = clips_of_fold(3) | {"low-0": (wav(300.0), {"label": "low"})}
    write_tar(data / "tones" / "fold-3.tar", changed)
    encoder = TwoNumbers()
    judge(data, write_suite(), tmp_path / "cache", encoder)
    assert encoder.calls == 1


def test_tasks_that_share_audio_embed_it_once(data, tmp_path):
    content = suite_content()
    content["tasks"] += [
        content["tasks"][0] | {"name": "ages", "label": {"field": "age", "at_most": 2, "names": ["a", "b"]}}
    ]
    (tmp_path / "two.json").write_text(json.dumps(content))
    encoder = TwoNumbers()
    judge(data, tmp_path / "two.json", None, encoder)
    assert encoder.calls == 36


@pytest.mark.parametrize("damage", ["cut", "flip", "garbage"])
def test_a_damaged_cache_is_computed_again(data, write_suite, tmp_path, damage):
    reference = judge(data, write_suite(), tmp_path / "cache")
    (file,) = (tmp_path / "cache").rglob("*.safetensors")
    content = bytearray(file.read_bytes())
    if damage == "cut":
        content = content[:-5]
    elif damage == "flip":
        content[-2] ^= 0x10
    else:
        content = bytearray(b"garbage")
    file.write_bytes(bytes(content))
    encoder = TwoNumbers()
    assert scores_of(judge(data, write_suite(), tmp_path / "cache", encoder)) == scores_of(reference)
    assert encoder.calls == 36


def test_vectors_without_the_wanted_pooling_count_as_absent(tmp_path):
    cache = VectorCache(tmp_path)
    cache.save(IDENTITY, ["ab" * 32], [StoredClip({"own": np.ones(2, np.float32)}, 0, 1.5)])
    assert cache.load(IDENTITY, ("own",))["ab" * 32].seconds == 1.5
    assert cache.load(IDENTITY, ("mean", "mean_deviation")) == {}


def test_only_failed_clips_are_tried_again(data, write_suite, tmp_path):
    write_tar(data / "tones" / "fold-2.tar", {**clips_of_fold(2), "broken": (b"no audio", {"label": "low"})})
    judge(data, write_suite(), tmp_path / "cache")
    encoder = TwoNumbers()
    (task,) = judge(data, write_suite(), tmp_path / "cache", encoder).result["tasks"]
    assert encoder.calls == 1 and len(task["clips"]["skipped"]) == 1


def test_finished_tasks_are_kept_and_change_no_number(data, write_suite, tmp_path, monkeypatch):
    first = judge(data, write_suite(), kept=tmp_path / "kept")
    import uniwhisper.evaluation.runner as runner

    def never(*_, **__):
        raise AssertionError("scored again")

    with monkeypatch.context() as patch:
        patch.setattr(runner, "score_task", never)
        again = judge(data, write_suite(), kept=tmp_path / "kept")
    assert scores_of(again) == scores_of(first)
    for name, values in first.clips.items():
        np.testing.assert_array_equal(again.clips[name], values)
    (file,) = (tmp_path / "kept").glob("*.npz")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x10
    file.write_bytes(bytes(content))
    assert scores_of(judge(data, write_suite(), kept=tmp_path / "kept")) == scores_of(first)


@pytest.mark.parametrize(("where", "files"), [("tasks", 1), ("clips", 2)])
def test_a_killed_judgement_goes_on_and_gives_the_same_numbers(data, tmp_path, where, files):
    """A real process, killed between two tasks or while it embeds; then one that is left alone."""
    content = suite_content()
    ages = content["tasks"][0] | {"name": "ages", "label": {"field": "age", "at_most": 2, "names": ["a", "b"]}}
    (tmp_path / "two.json").write_text(json.dumps({**content, "tasks": [*content["tasks"], ages]}))
    script = tmp_path / "killed.py"
    script.write_text(KILLED)

    def run(die_in: str, cache: str) -> subprocess.CompletedProcess:
        arguments = [sys.executable, script, data, tmp_path / "two.json", tmp_path / cache, die_in]
        paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
        return subprocess.run([*map(str, arguments)], capture_output=True, text=True, env=environment)

    whole = run("nothing", "whole")
    assert whole.returncode == 0, whole.stderr
    assert run(where, "broken").returncode == -9
    kept = {"tasks": "tasks/*.npz", "clips": "*/*.safetensors"}[where]
    assert len(list((tmp_path / "broken").glob(kept))) == files
    resumed = run("nothing", "broken")
    assert resumed.returncode == 0, resumed.stderr
    (calls, scores), (whole_calls, whole_scores) = json.loads(resumed.stdout), json.loads(whole.stdout)
    assert scores == whole_scores
    assert (calls, whole_calls) == ({"tasks": 0, "clips": 20}[where], 36)


@pytest.mark.parametrize("change", ["torch", "scikit-learn", "jiwer", "processor"])
def test_a_kept_task_is_made_again_with_another_package_or_processor(data, write_suite, tmp_path, monkeypatch, change):
    """Their sums differ in the last digits, which a probe can turn into another answer."""
    suite, kept = write_suite(), tmp_path / "kept"
    for _ in range(2):
        judge(data, suite, kept=kept)
        assert len(list(kept.iterdir())) == 1
    if change == "processor":
        monkeypatch.setattr("platform.machine", lambda: "another")
    else:
        real = importlib.metadata.version
        monkeypatch.setattr(provenance, "version", lambda name: "0.0.1" if name == change else real(name))
    judge(data, suite, kept=kept)
    assert len(list(kept.iterdir())) == 2


def test_a_gpu_is_another_processor_than_a_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "A GPU")
    keys = {task_key({"seed": 0}, device) for device in ("cpu", "cuda", "cuda:1", torch.device("cuda", 0))}
    assert len(keys) == 2  # which of several alike does not matter


KILLED = """
import json, os, signal, sys
from pathlib import Path
from test_evaluation_run import TwoNumbers, scores_of
from functools import partial
from uniwhisper.evaluation import runner
from uniwhisper.evaluation.cache import VectorCache
from uniwhisper.evaluation.encoders import JudgedEncoder, open_encoder
from uniwhisper.evaluation.kept import Kept
from uniwhisper.evaluation.runner import evaluate
from uniwhisper.evaluation.suites import load_suite

data, suite, cache, die_in = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
runner.Vectors = partial(runner.Vectors, chunk_clips=8)

class Dying(Kept):
    def save(self, key, task):
        super().save(key, task)
        if die_in == "tasks":
            os.kill(os.getpid(), signal.SIGKILL)

class Counting(TwoNumbers):
    def embed(self, sources, *, on_error):
        if die_in == "clips" and self.calls == 16:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().embed(sources, on_error=on_error)

judged = JudgedEncoder(Counting(), "x", "x")
judgement = evaluate(judged, load_suite(suite), data, cache=VectorCache(cache), kept=Dying(cache / "tasks"))
print(json.dumps([judged.encoder.calls, scores_of(judgement)]))
"""


def test_a_cache_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose another --cache"):
        VectorCache(tmp_path / "file" / "cache")


def test_log_mel_statistics_are_those_of_the_real_columns():
    from transformers import WhisperFeatureExtractor

    from uniwhisper.audio.load import read

    generator = np.random.default_rng(0)
    wave = (0.1 * generator.normal(size=20_001)).astype(np.float32)
    table = LogMelStatistics().embed([(wave, SAMPLE_RATE_HZ), b"no audio"], on_error="skip")
    mel = WhisperFeatureExtractor()(read((wave, SAMPLE_RATE_HZ)), sampling_rate=SAMPLE_RATE_HZ, return_tensors="np")
    real = mel.input_features[0][:, :126].astype(np.float64)  # 20,001 samples, 160 a column
    np.testing.assert_allclose(table.vectors[0], [*real.mean(axis=1), *real.std(axis=1)], atol=1e-4)
    assert [failure.index for failure in table.failures] == [1]
    assert table.seconds.tolist() == [20_001 / SAMPLE_RATE_HZ]


def test_the_verb_judges(data, write_suite, tmp_path, tiny_model):
    suite = write_suite()
    common = ["--suite", suite, "--data", data, "-o", "results", "--cache", "cache"]
    for model in ("log-mel", tiny_model):
        done = uniwhisper("evaluate", "--model", model, *common, "--device", "cpu", "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert (tmp_path / result["path"]).is_file()
        assert str(tmp_path) not in result["command"] and f"--model {Path(model).name}" in result["command"]
    again = uniwhisper("evaluate", "--model", "log-mel", *common, cwd=tmp_path)
    assert again.returncode == 2 and "--overwrite" in again.stderr and "Traceback" not in again.stderr
    assert not list(tmp_path.rglob(".*")), "something half-written stayed behind"


def test_one_task_of_a_suite_scores_as_in_the_whole(data, tmp_path):
    content = suite_content()
    content["tasks"].append(content["tasks"][0] | {"name": "numbers", "label": {"field": "age"}})
    (tmp_path / "toy.json").write_text(json.dumps(content))
    results = {}
    for task in ([], ["--task", "numbers"]):
        common = ["--suite", "toy.json", "--data", data, "-o", "results", "--json", *task]
        done = uniwhisper("evaluate", "--model", "log-mel", *common, "--cache", "+".join(task) or "whole", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        results[bool(task)] = json.loads(done.stdout)
    whole, part = results[False], results[True]
    assert [task["name"] for task in whole["tasks"]] == ["tones", "numbers"]
    (alone,) = part["tasks"]
    assert alone["scores"] == whole["tasks"][1]["scores"]
    # Neither takes the other's place, and nobody reads the average of one task as that of all.
    assert part["path"] != whole["path"] and part["suite"]["name"] == "toy-numbers"
    assert part["suite"]["hash"] != whole["suite"]["hash"]
    assert "--suite toy.json --task numbers" in part["command"] and "--task" not in whole["command"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--suite", "mini", "--data", "data", "--task", "esc-50"], ["no task 'esc-50'", "esc50, "]),
        (["--suite", "maxi", "--data", "data"], ["no suite 'maxi'", "dev, mini"]),
        (["--suite", "mini"], ["--data DIR"]),
        (["--suite", "mini", "--data", "nowhere"], ["no such folder"]),
        (["--suite", "mini", "--data", "data", "--model", "random:huge"], ["random:SIZE:SEED", "tiny"]),
        (["--suite", "mini", "--data", "data", "--model", "random:tiny:x"], ["whole number"]),
        (["--suite", "mini", "--data", "data", "--protocol", "xares", "--model", "random:tiny"], ["xares can run"]),
        (["--suite", "mini", "--data", "data", "--protocol", "xares"], ["Whisper-shaped"]),
        (["--suite", "mini", "--data", "data", "--protocol", "hear"], ["clean or xares"]),
    ],
)
def test_bad_arguments_get_one_error(tmp_path, arguments, words):
    done = uniwhisper("evaluate", "--model", "log-mel", *arguments, "--cache", "cache", cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert all(word in " ".join(done.stderr.split()) for word in words), done.stderr
    assert [path.name for path in tmp_path.iterdir()] in ([], ["cache"])


def test_the_list_needs_no_model(data, tmp_path):
    done = uniwhisper("evaluate", "--list", "--data", data, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    suites = {suite["name"]: suite for suite in json.loads(done.stdout)}
    assert suites["mini"]["tasks"][0]["data"] == "missing: no such folder"


def test_random_encoders_repeat_themselves():
    first, same, other = (
        open_encoder(name, device="cpu") for name in ("random:tiny", "random:tiny:0", "random:tiny:1")
    )
    assert first.source == same.source == "random:tiny:0" and first.encoder.identity == same.encoder.identity
    assert first.encoder.identity["weights"] != other.encoder.identity["weights"]
    with pytest.raises(WeightsError):
        open_encoder("random:", device="cpu")


@pytest.mark.shared_audio
@pytest.mark.parametrize("name", [task.name for task in load_suite("mini").tasks])
def test_the_mini_suite_fits_the_shared_audio(shared_set, name):
    """Real archives: numbers of clips and classes as the suite says, and no group on both sides of a fold by group."""
    (task,) = [task for task in load_suite("mini").tasks if task.name == name]
    found = find_clips(task, shared_set("evaluation", task.folder).parent)
    assert {clip.fold for clip in found.clips} == set(task.folds.names)
    if task.folds.by == "group" and task.group is not None and task.group == task.folds.of:
        folds_of = {}
        for clip in found.clips:
            folds_of.setdefault(clip.group, set()).add(clip.fold)
        assert all(len(folds) == 1 for folds in folds_of.values())
