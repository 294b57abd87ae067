"""Differences between encoders, from result files; and what must not be compared."""

import json

import numpy as np
import pytest

from command import uniwhisper
from test_evaluation_run import TwoNumbers, clips_of_fold, suite_content, write_tar
from uniwhisper.evaluation.compare import CompareError, compare, open_result
from uniwhisper.evaluation.encoders import JudgedEncoder
from uniwhisper.evaluation.results import write_result
from uniwhisper.evaluation.runner import evaluate
from uniwhisper.evaluation.suites import load_suite


class Deaf(TwoNumbers):
    """Nothing but noise: at chance."""

    def embed(self, sources, *, on_error):
        table = super().embed(sources, on_error=on_error)
        table.vectors[:] = np.random.default_rng(0).normal(size=table.vectors.shape)
        return table


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    for fold in (1, 2, 3):
        write_tar(folder / "data" / "tones" / f"fold-{fold}.tar", clips_of_fold(fold))
    (folder / "toy.json").write_text(json.dumps(suite_content()))
    for name, encoder in (("good", TwoNumbers()), ("deaf", Deaf(weights="d" * 64))):
        judgement = evaluate(
            JudgedEncoder(encoder, name, name), load_suite(folder / "toy.json"), folder / "data", cache=None
        )
        write_result(folder / f"{name}.json", judgement, overwrite=False)
    return folder


def test_a_clear_difference_is_clear_and_of_the_right_sign(folder):
    deaf, good = open_result(folder / "deaf.json"), open_result(folder / "good.json")
    found = compare(deaf, good)
    for key, difference in found.tasks.items():
        scores = [opened.result["tasks"][0]["scores"][key[1]][key[2]]["score"] for opened in (deaf, good)]
        assert difference.difference == pytest.approx(scores[1] - scores[0])
    assert found.tasks["tones", "own", "mlp"].low > 0 and found.tasks["tones", "own", "mlp"].p < 0.05
    headline = found.averages["headline", "own", "mlp"]
    assert headline.difference == pytest.approx(found.tasks["tones", "own", "mlp"].difference)
    back = compare(good, deaf).tasks["tones", "own", "mlp"]
    assert back.difference == pytest.approx(-found.tasks["tones", "own", "mlp"].difference) and back.high < 0


def test_an_encoder_does_not_differ_from_itself(folder):
    good = open_result(folder / "good.json")
    found = compare(good, good).tasks["tones", "own", "knn"]
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_a_headline_with_a_task_of_several_labels_is_compared(tmp_path):
    """The other task is alike for both, so that the headline differs by half of what the labels differ by."""
    for fold in (1, 2, 3):
        clips = clips_of_fold(fold)
        for place, (_, fields) in enumerate(clips.values()):
            fields["tags"] = fields["label"] + (";third" if place % 3 == 0 else "")
        write_tar(tmp_path / "data" / "tones" / f"fold-{fold}.tar", clips)
    rule = {"field": "tags", "separator": ";"}
    several = suite_content(name="tags", domain="speech", kind="multilabel", metric="mAP", label=rule)
    suite = suite_content()
    (tmp_path / "toy.json").write_text(json.dumps(suite | {"tasks": suite["tasks"] + several["tasks"]}))
    opened = []
    for name, encoder in (("deaf", Deaf(weights="d" * 64)), ("good", TwoNumbers())):
        judgement = evaluate(
            JudgedEncoder(encoder, name, name), load_suite(tmp_path / "toy.json"), tmp_path / "data", cache=None
        )
        write_result(tmp_path / f"{name}.json", judgement, overwrite=False)
        opened.append(open_result(tmp_path / f"{name}.json"))
    found = compare(*opened)
    tags, tones = found.tasks["tags", "own", "linear"], found.tasks["tones", "own", "linear"]
    assert tags.low < tags.difference < tags.high and tags.low > 0 and tags.p < 0.05
    headline = found.averages["headline", "own", "linear"]
    assert opened[0].result["averages"]["headline"]["own"]["linear"]["tasks"] == ["tones", "tags"]
    assert headline.difference == pytest.approx((tags.difference + tones.difference) / 2)
    assert headline.low < headline.difference < headline.high
    assert ("tags", "own", "knn") not in found.tasks


def test_encoders_without_frames_are_compared_and_reported_on_the_tasks_they_have(tmp_path):
    """A task of events is in their results without a score, and says why."""
    for fold in (1, 2, 3):
        clips = clips_of_fold(fold)
        for _, fields in clips.values():
            fields["events"] = [{"label": fields["label"], "onset": 0.0, "offset": 0.1}]
        write_tar(tmp_path / "data" / "tones" / f"fold-{fold}.tar", clips)
    arguments = {"metric": "segment_f1_macro", "metric_arguments": {"segment_seconds": 1.0}}
    events = suite_content(name="events", kind="frame", label={"field": "events"}, **arguments)
    suite = suite_content()
    (tmp_path / "toy.json").write_text(json.dumps(suite | {"tasks": suite["tasks"] + events["tasks"]}))
    for name, encoder in (("deaf", Deaf(weights="d" * 64)), ("good", TwoNumbers())):
        judgement = evaluate(
            JudgedEncoder(encoder, name, name), load_suite(tmp_path / "toy.json"), tmp_path / "data", cache=None
        )
        write_result(tmp_path / f"{name}.json", judgement, overwrite=False)
    found = compare(*(open_result(tmp_path / f"{name}.json") for name in ("deaf", "good")))
    assert {task for task, _, _ in found.tasks} == {"tones"} and found.tasks["tones", "own", "mlp"].low > 0
    done = uniwhisper("report", "deaf.json", "good.json", "-o", "page.html", "--suite", "toy.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "needs frames, and this encoder gives one vector per clip" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r["protocol"].update(version=1), "different protocols"),
        (lambda r: r["protocol"].update(name="xares"), "different protocols"),
        (lambda r: r["suite"].update(hash="0"), "different suites"),
        (lambda r: r["seeds"].update(first=1), "different seeds"),
        (lambda r: r["tasks"][0].update(data="0"), "different data"),
        (lambda r: r["tasks"][0]["clips"].update(scored=35), "different numbers of clips"),
        (lambda r: r.update(poolings=["mean"]), "different poolings"),
    ],
)
def test_unlike_results_are_refused(folder, change, message):
    good, other = open_result(folder / "good.json"), open_result(folder / "good.json")
    change(other.result)
    with pytest.raises(CompareError, match=message) as caught:
        compare(good, other)
    # No option changes what an encoder without frames gives.
    assert ("--protocol" in caught.value.fix) == ("poolings" not in message)


def test_results_that_lost_their_clips_are_refused(folder, tmp_path):
    text = (folder / "good.json").read_text()
    (tmp_path / "good.json").write_text(text)
    with pytest.raises(CompareError, match="cannot be compared") as refused:
        open_result(tmp_path / "good.json")
    assert refused.value.got == "good.npz: No such file or directory"
    (tmp_path / "good.npz").write_bytes((folder / "deaf.npz").read_bytes())
    with pytest.raises(CompareError, match="not the file that was written with it"):
        open_result(tmp_path / "good.json")
    (tmp_path / "old.json").write_text(json.dumps(json.loads(text) | {"format_version": 1}))
    with pytest.raises(CompareError, match="uniwhisper-result 1"):
        open_result(tmp_path / "old.json")


def test_the_verb_compares(folder):
    done = uniwhisper("compare", "deaf.json", "good.json", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert (printed["first"], printed["second"]) == ("deaf", "good") and len(printed["differences"]) == 8
    clear = sum(row["low"] > 0 or row["high"] < 0 for row in printed["differences"])
    done = uniwhisper("compare", "deaf.json", "good.json", cwd=folder)
    assert clear and done.stdout.count("] *") == clear and "* the interval leaves out 0" in done.stdout
    done = uniwhisper("compare", "deaf.json", "nowhere.json", cwd=folder)
    assert done.returncode == 2 and "Traceback" not in done.stderr
