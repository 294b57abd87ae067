"""`--at-once`: rows as processes leave what rows one after the other leave."""

import json
import sys

import pytest
from typer.testing import CliRunner

from uniwhisper.cli.app import app
from uniwhisper.reproduce.at_once import visible_gpus


def test_floors_at_once_are_the_floors_one_by_one(tmp_path):
    said = {}
    for name, more in {"one": [], "two": ["--at-once", "2"]}.items():
        arguments = ["reproduce", "smoke", "-o", str(tmp_path / name), "--row", "random", "--row", "log-mel"]
        result = CliRunner().invoke(app, [*arguments, *more, "--json"], catch_exceptions=False)
        assert result.exit_code == 0
        said[name] = json.loads(result.stdout)
    for row in ("random-seed0", "log-mel-seed0"):
        log = (tmp_path / "two" / "logs" / f"{row}.log").read_text()
        assert f"{row}: judging" in log
    found = {name: {row["row"]: row["scores"] for row in table["rows"]} for name, table in said.items()}
    assert found["one"] == found["two"]
    assert set(found["two"]) == {"random", "log-mel"}
    assert not (tmp_path / "one" / "logs").exists()


def test_a_row_that_fails_is_named_with_its_log(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    arguments = ["reproduce", "smoke", "-o", str(tmp_path), "--row", "random", "--at-once", "2"]
    with pytest.raises(ValueError, match="1 of 1 rows failed: random-seed0"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


@pytest.mark.parametrize(("given", "gpus"), [("2,3", ["2", "3"]), ("", []), ("0", ["0"])])
def test_only_the_gpus_that_are_given_are_dealt_out(monkeypatch, given, gpus):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_gpus() == gpus
