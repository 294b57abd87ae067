"""`--at-once`: rows as processes leave what rows one after the other leave."""

import json
import sys

import pytest
from typer.testing import CliRunner

from uniwhisper.cli.app import app
from uniwhisper.reproduce.at_once import visible_gpus
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
        log = (tmp_path / "two" / "logs" / f"{row}.log").read_text()
        assert f"{row}: judging" in log
    assert judged["one"] == judged["two"] and rows["one"]["scores"] == rows["two"]["scores"]
    assert rows["one"]["runs"] == rows["two"]["runs"] and [run["seed"] for run in rows["two"]["runs"]] == [0, 1]
    assert not (tmp_path / "one" / "logs").exists()


def test_a_row_that_fails_is_named_with_its_log(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    write_smoke_data(tmp_path / "data", training_variants=1, evaluation_variants=1)
    arguments = ["reproduce", "smoke", "-o", str(tmp_path), "--row", "random", "--at-once", "2"]
    with pytest.raises(ValueError, match="1 of 1 rows failed: random-seed0"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


@pytest.mark.parametrize(("given", "gpus"), [("2,3", ["2", "3"]), ("", []), ("0", ["0"])])
def test_only_the_gpus_that_are_given_are_dealt_out(monkeypatch, given, gpus):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_gpus() == gpus
