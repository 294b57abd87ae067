"""Score against size, and the check that S is no weak start: from results and tables made by hand."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from test_reproduce_table import ACCURACY, chain, headline, made
from toy_results import TASKS, toy_result, toy_task, write_result
from uniwhisper.cli.app import app
from uniwhisper.core.errors import OutputError, RecipeError
from uniwhisper.evaluation.compare import open_result
from uniwhisper.model.weights import random_encoder
from uniwhisper.reproduce.content import check, content, markdown
from uniwhisper.reproduce.job import Job
from uniwhisper.reproduce.scale import SIZES, miniature
from uniwhisper.reproduce.sizes import gather, rows, write
from uniwhisper.reproduce.table import summarise
from uniwhisper.reproduce.table import write as write_table


def write_size(folder: Path, size: str, done_rows=("S", "U")) -> dict:
    """The table of one size in a folder of its name; returns its headline by row and measure."""
    (folder / size).mkdir()
    done = made(folder / size, list(done_rows))
    of_size = chain(folder / size)
    of_size = replace(of_size, scale=replace(of_size.scale, size=size))
    write_table(of_size, summarise(of_size, done))
    return {
        (row, measure): sum(headline(done, row, seed, measure) for seed in (0, 1)) / 2
        for row in done_rows
        for measure in ("mlp", "knn")
    }


def test_the_curve_is_what_the_tables_of_each_size_say(tmp_path, monkeypatch):
    expected = {"tiny": write_size(tmp_path, "tiny")}
    monkeypatch.setitem(ACCURACY, "U", 0.8)
    expected["base"] = write_size(tmp_path, "base")
    found = gather(tmp_path, list(SIZES))
    assert found["sizes"] == ["tiny", "base"] and not found["left_out"]
    counts = {size: sum(p.numel() for p in random_encoder(size, seed=0).encoder.parameters()) for size in SIZES}
    points = {(point["row"], point["size"]): point for point in found["points"]}
    assert set(points) == {(row, size) for row in ("S", "U") for size in ("tiny", "base")}
    for (row, size), point in points.items():
        assert point["encoder_parameters"] == counts[size]
        for measure, score in point["scores"].items():
            assert score["score"] == pytest.approx(expected[size][row, measure])
            assert score["low"] < score["score"] < score["high"]
    assert points["U", "base"]["trained_parameters"] == 9_500_000, "as its run.json says"
    page = write(tmp_path, found).read_text()
    assert (tmp_path / "sizes.png").read_bytes().startswith(b"\x89PNG") and "](sizes.png)" in page
    assert f"| U | base | {counts['base'] / 1e6:.1f} M | 9.5 M | {expected['base']['U', 'mlp']:.3f} [" in page
    assert [row[:2] for row in rows(found)[1]] == [["U", "tiny"], ["U", "base"], ["S", "tiny"], ["S", "base"]]
    assert "](../sizes.md)" in (tmp_path / "base" / "table.md").read_text()


def test_tables_that_do_not_compare_are_left_out_and_misplaced_ones_refused(tmp_path):
    assert gather(tmp_path, list(SIZES)) is None
    for size in SIZES:
        write_size(tmp_path, size)
    path = tmp_path / "base" / "table.json"
    table = json.loads(path.read_text())
    changed = table | {"plan": table["plan"] | {"manifest": "0" * 64, "steps": [1, 2]}}
    path.write_text(json.dumps(changed))
    found = gather(tmp_path, list(SIZES))
    assert found["sizes"] == ["tiny"] and {point["size"] for point in found["points"]} == {"tiny"}
    assert found["left_out"] == [{"size": "base", "reason": "another manifest, steps than tiny"}]
    page = write(tmp_path, found).read_text()
    assert "Left out: base" in page and "sizes.png" not in page
    path.write_text((tmp_path / "tiny" / "table.json").read_text())
    with pytest.raises(OutputError, match="another size"):
        gather(tmp_path, list(SIZES))
    path.write_text("{}")
    with pytest.raises(OutputError, match="cannot be read"):
        gather(tmp_path, list(SIZES))


def test_sizes_differ_in_size_learning_rate_and_name_only():
    tiny, base = miniature("lm"), miniature("lm", "base")
    assert tiny.size == "tiny" and base.size == "base" and tiny.name != base.name
    ratio = base.optimizer.encoder_learning_rate / tiny.optimizer.encoder_learning_rate
    assert ratio == pytest.approx(1.0e-3 / 1.5e-3), "Whisper's own peak rates"
    same = replace(base, name=tiny.name, size="tiny", optimizer=tiny.optimizer, start_optimizer=tiny.start_optimizer)
    assert same == tiny
    assert tiny.start_steps % tiny.start_candidates == 0 and tiny.keep_every_steps % tiny.loop.log_every_steps == 0
    for arguments in (["smoke", "--size", "base"], ["miniature", "--size", "huge"]):
        found = CliRunner().invoke(app, ["reproduce", *arguments])
        assert isinstance(found.exception, RecipeError) and "--size" in str(found.exception)


def test_a_weak_start_is_called_one(tmp_path):
    """Content tasks count whether or not they are in the headline; each difference is that of the files' scores."""
    tasks = (*TASKS, toy_task("three", "speech", 3, 60, in_domain=True, in_domain_corpora=["x"]))
    accuracy = {"log-mel": 0.5, "S": 0.9, "U": 0.9}
    results = {}
    for row, value in accuracy.items():
        path = write_result(tmp_path / row, "toy", *toy_result(row, value, tasks))
        results[Job(row, 0)] = open_result(path)
    scores = {
        (job.row, task["name"]): task["scores"]["mean"]["mlp"]["score"]
        for job, opened in results.items()
        for task in opened.result["tasks"]
    }
    found = content(results, ["two", "three", "absent"])
    assert {one["task"] for one in found} == {"two", "three"}
    for one in found:
        if one["measure"] == "mlp":
            expected = scores[one["second"], one["task"]] - scores[one["first"], one["task"]]
            assert one["difference"] == pytest.approx(expected) and one["low"] <= expected <= one["high"]
    assert "MLP: yes (2 of 2 with the interval above 0)" in check(found)
    assert "S above log-mel statistics" in "\n".join(markdown(found))

    weak = dict(results)
    weak[Job("S", 0)], weak[Job("log-mel", 0)] = results[Job("log-mel", 0)], results[Job("S", 0)]
    line = check(content(weak, ["two", "three"]))
    assert "MLP: NO, not on two -" in line and "(0 of 2 with the interval above 0)" in line
    assert content({job: one for job, one in results.items() if job.row == "U"}, ["two"]) == []
    assert check([]) is None and markdown([]) == []
