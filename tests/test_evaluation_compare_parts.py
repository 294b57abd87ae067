"""Results of parts of one suite are compared on what both have; suites that are not known to be one are not."""

import json

import numpy as np
import pytest

from command import uniwhisper
from test_evaluation_compare import Deaf
from test_evaluation_run import TwoNumbers, clips_of_fold, suite_content, write_tar
from uniwhisper.evaluation import compare_parts, ladder, selection
from uniwhisper.evaluation.compare import CompareError, compare, open_result
from uniwhisper.evaluation.compare_parts import common_part
from uniwhisper.evaluation.encoders import JudgedEncoder
from uniwhisper.evaluation.results import write_result
from uniwhisper.evaluation.runner import evaluate
from uniwhisper.evaluation.suites import load_suite, part_of

EVENTS = {
    "kind": "frame",
    "label": {"field": "events"},
    "metric": "segment_f1_macro",
    "metric_arguments": {"segment_seconds": 1.0},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`whole`: of an encoder that hears. `one`, `two`, …: parts, of one that does not. `others`: of another suite."""
    folder = tmp_path_factory.mktemp("parts")
    for fold in (1, 2, 3):
        clips = clips_of_fold(fold)
        for place, (_, fields) in enumerate(clips.values()):
            fields["odd"] = str(place % 2)  # what neither encoder can hear
            fields["events"] = [{"label": fields["label"], "onset": 0.0, "offset": 0.1}]
        write_tar(folder / "data" / "tones" / f"fold-{fold}.tar", clips)
    odd = {"field": "odd"}
    several = [{}, {"name": "odd", "label": odd, "domain": "speech"}, {"name": "more", "domain": "speech"}]
    several.append({"name": "events"} | EVENTS)
    content = suite_content() | {"tasks": [suite_content(**task)["tasks"][0] for task in several]}
    (folder / "toy.json").write_text(json.dumps(content))
    content["tasks"][1]["inner"] = "clip"  # a definition that no result repeats; names and data stay
    (folder / "toy-altered.json").write_text(json.dumps(content))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "LEAST_STEPS", 8)
        patch.setattr(ladder, "DOUBLINGS", 0)
        hears, deaf = TwoNumbers(), Deaf(weights="d" * 64)
        for name, encoder, suite, tasks in (
            ("whole", hears, "toy", []),
            ("one", deaf, "toy", ["tones", "more"]),
            ("two", deaf, "toy", ["more", "odd"]),
            ("odd", deaf, "toy", ["odd"]),
            ("altered", deaf, "toy-altered", ["tones", "more"]),
        ):
            chosen = part_of(load_suite(folder / f"{suite}.json"), tasks)
            judgement = evaluate(JudgedEncoder(encoder, name, name), chosen, folder / "data", cache=None)
            write_result(folder / f"{name}.json", judgement, overwrite=False)
    return folder


def opened(folder, *names):
    return [open_result(folder / f"{name}.json") for name in names]


def test_a_whole_suite_and_a_part_are_compared_on_the_tasks_of_both(folder):
    whole, one = opened(folder, "whole", "one")
    assert "events" in whole.result["protocol"] and "events" not in one.result["protocol"]
    pair, shared = common_part([whole, one])
    assert (shared.tasks, shared.left_out) == (("tones", "more"), (("odd", "events"), ()))
    found = compare(*pair)
    assert {task for task, _, _ in found.tasks} == {"tones", "more"}
    scores = [
        {task["name"]: task["scores"]["own"]["knn"]["score"] for task in o.result["tasks"] if task["scores"]}
        for o in (whole, one)
    ]
    by_task = {name: scores[1][name] - scores[0][name] for name in ("tones", "more")}
    for name, difference in by_task.items():
        assert found.tasks[name, "own", "knn"].difference == pytest.approx(difference)
    # Of two domains with one common task each. The whole suite's own average has a third task in it.
    headline = found.averages["headline", "own", "knn"]
    assert headline.difference == pytest.approx(np.mean(list(by_task.values())))
    averages = [o.result["averages"]["headline"]["own"]["knn"] for o in (whole, one)]
    assert abs(averages[1]["score"] - averages[0]["score"] - headline.difference) > 0.05
    # A part of the whole, judged alone, has the same average: what is cut is what would have been.
    (back, forth), _ = common_part([one, whole])
    assert back.result["averages"]["headline"]["own"]["knn"]["score"] == pytest.approx(averages[1]["score"])
    assert compare(back, forth).averages["headline", "own", "knn"].difference == pytest.approx(-headline.difference)


def test_two_parts_are_compared_if_the_whole_is_known(folder, monkeypatch):
    one, two = opened(folder, "one", "two")
    with pytest.raises(CompareError, match="different suites"):
        compare(*common_part([one, two])[0])
    monkeypatch.setattr(compare_parts, "_shipped_hashes", lambda: [load_suite(folder / "toy.json").hash])
    pair, shared = common_part([one, two])
    assert (shared.tasks, shared.left_out) == (("more",), (("tones",), ("odd",)))
    assert {task for task, _, _ in compare(*pair).tasks} == {"more"}
    with pytest.raises(CompareError, match="without a common task"):
        common_part([one, *opened(folder, "odd")])


def test_shipped_suites_are_known():
    assert load_suite("mini").hash in compare_parts._shipped_hashes()


def test_tasks_of_one_name_and_another_definition_are_refused(folder):
    whole, altered = opened(folder, "whole", "altered")
    assert whole.result["tasks"][0]["data"] == altered.result["tasks"][0]["data"]
    with pytest.raises(CompareError, match="different suites"):
        compare(*common_part([whole, altered])[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r["protocol"].update(version=1), "different protocols"),
        (lambda r: r["protocol"].update(name="xares"), "different suites"),
        (lambda r: r["suite"].update(hash="0"), "different suites"),
        (lambda r: r["seeds"].update(first=1), "different seeds"),
        (lambda r: r["tasks"][0].update(data="0"), "different data"),
        (lambda r: r["tasks"][0]["clips"].update(scored=35), "different numbers of clips"),
    ],
)
def test_all_other_checks_hold_for_parts(folder, change, message):
    whole, one = opened(folder, "whole", "one")
    change(one.result)
    with pytest.raises(CompareError, match=message):
        compare(*common_part([whole, one])[0])


def test_the_verb_says_what_was_left_out(folder):
    done = uniwhisper("compare", "whole.json", "one.json", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["tasks_of_both"] == ["tones", "more"]
    assert printed["left_out"] == {"only_in_first": ["odd", "events"], "only_in_second": []}
    # Files of two folders may have one name, so they are named as they were typed.
    done = uniwhisper("compare", folder / "whole.json", "one.json", cwd=folder)
    last = done.stdout.splitlines()[-1]
    assert last.startswith("compared on the 2 tasks that both have, and averages over these alone")
    assert last.endswith(f"left out: 2 only in {folder / 'whole.json'}: odd, events")
    # Once, and below the table, so that whoever keeps that keeps it too.
    assert done.stdout.count("both have") == 1 and "tasks" not in done.stderr
    done = uniwhisper("compare", "whole.json", "whole.json", cwd=folder)
    assert "left out" not in done.stderr and "both have" not in done.stdout
    assert uniwhisper("compare", "one.json", "odd.json", cwd=folder).returncode == 2
