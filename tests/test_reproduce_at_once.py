"""`--at-once`: rows as processes leave what rows one after the other leave."""

import json
import sys
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from test_reproduce import data, lm, small_chain, small_size  # noqa: F401 (fixtures)
from uniwhisper.cli.app import app
from uniwhisper.reproduce import at_once
from uniwhisper.reproduce.at_once import visible_gpus
from uniwhisper.reproduce.chain import Chain
from uniwhisper.reproduce.smoke_data import write_smoke_data


def test_floors_at_once_are_the_floors_one_by_one(tmp_path):
    """Two seeds of the floor that needs no encoder: `random` would have its encoder checked, three times."""
    rows, judged = {}, {}
    for name, more in {"one": [], "two": ["--at-once", "2"]}.items():
        write_smoke_data(tmp_path / name / "data", training_variants=1, evaluation_variants=3)  # the chain takes it
        arguments = ["reproduce", "smoke", "-o", str(tmp_path / name), "--row", "log-mel", "--seed", "0", "--seed", "1"]
        result = CliRunner().invoke(app, [*arguments, *more, "--json"], catch_exceptions=False)
        assert result.exit_code == 0
        (rows[name],) = json.loads(result.stdout)["rows"]
        results = [tmp_path / name / row / "smoke.json" for row in ("log-mel-seed0", "log-mel-seed1")]
        judged[name] = [[task["scores"] for task in json.loads(path.read_text())["tasks"]] for path in results]
    for row in ("log-mel-seed0", "log-mel-seed1"):
        log = (tmp_path / "two" / "logs" / f"{row}.judge.log").read_text()
        assert f"{row}: judging" in log
    assert judged["one"] == judged["two"] and rows["one"]["scores"] == rows["two"]["scores"]
    assert rows["one"]["runs"] == rows["two"]["runs"] and [run["seed"] for run in rows["two"]["runs"]] == [0, 1]
    assert not (tmp_path / "one" / "logs").exists()


@pytest.mark.parametrize(("audio", "row", "expected"), [
    ("resident", "U-codec", ["decoded", "coded"]), ("resident", "U", ["decoded"]), ("loader", "U-codec", ["decoded"])
])  # fmt: skip
def test_what_every_row_needs_of_the_audio_is_made_once(data, lm, tmp_path, monkeypatch, audio, row, expected):  # noqa: F811
    chain = small_chain(data, lm, tmp_path / "out")
    chain = replace(chain, scale=replace(chain.scale, loop=replace(chain.scale.loop, audio=audio)))
    made = []
    monkeypatch.setattr(at_once, "decode", lambda *_: made.append("decoded"))
    monkeypatch.setattr(at_once, "code", lambda *_: made.append("coded"))
    monkeypatch.setattr(at_once, "run_errands", lambda *_, **__: None)
    at_once.run_at_once(chain, [row], [0, 1], ["reproduce"], at_once=2, say=lambda _: None)
    assert made == expected


def test_what_lost_a_file_before_it_was_judged_is_trained_again(data, lm, tmp_path, monkeypatch):  # noqa: F811
    chain = small_chain(data, lm, tmp_path / "out")
    chain = replace(chain, scale=replace(chain.scale, start_steps=1, start_candidates=1))
    chain.run(["S"], [0], lambda _: None, judge=False)
    asked = []
    monkeypatch.setattr(at_once, "decode", lambda *_: None)
    monkeypatch.setattr(at_once, "run_errands", lambda errands, *_, **__: asked.append([one.name for one in errands]))
    at_once.run_at_once(chain, ["S"], [0], ["reproduce"], at_once=2, say=lambda _: None)
    (tmp_path / "out" / "S-seed0" / "run" / "model" / "encoder.safetensors").write_bytes(b"cut")
    at_once.run_at_once(chain, ["S"], [0], ["reproduce"], at_once=2, say=lambda _: None)
    assert asked == [["S-seed0.judge"], ["S-seed0.train", "S-seed0.judge"]]


def test_nothing_waits_for_scores_and_the_gate_stands_before_the_long_rows(data, lm, tmp_path, monkeypatch):  # noqa: F811
    chain = small_chain(data, lm, tmp_path / "out")
    chain = replace(chain, scale=replace(chain.scale, gate_steps=4))
    steps = []
    monkeypatch.setattr(at_once, "decode", lambda *_: steps.append("decoded"))
    monkeypatch.setattr(at_once, "run_errands", lambda errands, *_, **__: steps.append(errands))
    rows = ["U", "C+U", "log-mel"]
    at_once.run_at_once(chain, rows, [0], ["reproduce"], at_once=2, say=lambda _: None)
    assert steps[0] == "decoded" and len(steps) == 2
    waits = {one.name.replace("-seed0", ""): [name.replace("-seed0", "") for name in one.after] for one in steps[1]}
    assert waits == {
        "S.train": [], "C.train": ["S.train"], "log-mel.judge": [], "gate": ["S.train"],
        "U.train": ["S.train", "gate"], "C+U.train": ["C.train", "gate"],
        "S.judge": ["S.train"], "C.judge": ["C.train"], "U.judge": ["U.train"], "C+U.judge": ["C+U.train"],
    }  # fmt: skip
    of_name = {one.name: one for one in steps[1]}
    assert of_name["S-seed0.judge"].command[-6:] == ("--row", "S", "--seed", "0", "--alone", "judge")
    assert of_name["gate"].command[-4:] == ("--seed", "0", "--alone", "gate")
    ranks = [of_name[name].rank for name in ("S-seed0.train", "gate", "S-seed0.judge", "U-seed0.train")]
    assert ranks == sorted(ranks) and ranks[1] < ranks[2] < ranks[3]

    # Who goes on despite it has it run beside the long rows.
    at_once.run_at_once(replace(chain, despite_gate=True), rows, [3], ["r"], at_once=2, say=lambda _: None)
    of_name = {one.name: one for one in steps[-1]}
    assert of_name["U-seed3.train"].after == ("S-seed3.train",) and "--despite-gate" in of_name["gate"].command
    # Floors and starts need none.
    at_once.run_at_once(chain, ["S", "log-mel"], [0], ["reproduce"], at_once=2, say=lambda _: None)
    assert "gate" not in {one.name for one in steps[-1]}
    # Nor has every scale one.
    ungated = replace(chain, scale=replace(chain.scale, gate_steps=None))
    at_once.run_at_once(ungated, rows, [0], ["reproduce"], at_once=2, say=lambda _: None)
    assert "U-seed0.train" in {one.name for one in steps[-1]} and "gate" not in {one.name for one in steps[-1]}
    # One that was run before keeps the seed of its S, whichever seeds are asked for now.
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "out" / "gate.json").write_text(json.dumps({"seed": 4, "passed": True, "results": {}}))
    at_once.run_at_once(chain, rows, [3, 4], ["reproduce"], at_once=2, say=lambda _: None)
    (gate,) = [one for one in steps[-1] if one.name == "gate"]
    assert gate.after == ("S-seed4.train",) and gate.command[-4:] == ("--seed", "4", "--alone", "gate")

    # A start that is trained but not chosen yet is not done; one that is chosen is not trained again.
    state = tmp_path / "out" / "S-seed0" / "row.json"
    state.parent.mkdir(parents=True)
    trained = {"model": "m", "steps": 3, "audio_seconds": 9.0, "train_seconds": 1.0, "files": {}}
    chosen = {**trained, "choice": {}}
    for stages, left in (({"trained": trained}, True), ({"trained": trained, "chosen": chosen}, False)):
        state.write_text(json.dumps(stages))
        steps.clear()
        at_once.run_at_once(chain, rows, [0], ["reproduce"], at_once=2, say=lambda _: None)
        assert ("S-seed0.train" in [one.name for one in steps[1]]) == left


def test_the_process_of_the_gate_runs_the_gate_and_nothing_else(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(Chain, "ask_gate", lambda chain, seeds, _: done.append((chain.despite_gate, list(seeds))))
    monkeypatch.setattr(Chain, "run", lambda *_, **__: done.append("rows"))
    write_smoke_data(tmp_path / "data", training_variants=1, evaluation_variants=1)
    arguments = ["reproduce", "smoke", "-o", str(tmp_path), "--despite-gate", "--seed", "4", "--alone", "gate"]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    assert done == [(True, [4])] and not (tmp_path / "table.md").exists()


def test_a_row_that_fails_is_named_with_its_log(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    write_smoke_data(tmp_path / "data", training_variants=1, evaluation_variants=1)
    arguments = ["reproduce", "smoke", "-o", str(tmp_path), "--row", "random", "--at-once", "2"]
    with pytest.raises(ValueError, match=r"1 of 1 failed: random-seed0\.judge"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


@pytest.mark.parametrize(("given", "gpus"), [("2,3", ["2", "3"]), ("", []), ("0", ["0"])])
def test_only_the_gpus_that_are_given_are_dealt_out(monkeypatch, given, gpus):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_gpus() == gpus
