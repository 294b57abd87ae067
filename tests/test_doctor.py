"""`uniwhisper doctor` reports what is there and survives what is broken."""

import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import soundfile
import torch

from uniwhisper.cli import doctor
from uniwhisper.core.identity import code_identity


def test_findings_name_what_is_installed():
    found = doctor.examine()
    assert found["packages"]["torch"] == version("torch")
    assert found["uniwhisper"]["code"] == code_identity()
    assert found["devices"][0].startswith("cpu: ")
    assert len(found["devices"]) == 1 + torch.cuda.device_count()
    assert found["decoders"]["libsndfile"] == soundfile.__libsndfile_version__
    assert "flac" in found["decoders"]["formats"]
    json.dumps(found)


def test_every_dependency_is_looked_for():
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    extras = {name: each for name, each in project["optional-dependencies"].items() if name != "all"}
    wanted = {name: tuple(line.split(">=")[0] for line in each) for name, each in extras.items()}
    assert wanted == doctor.EXTRAS
    assert tuple(line.split(">=")[0] for line in project["dependencies"]) == doctor.BASE_PACKAGES


def test_a_missing_extra_comes_with_the_line_that_installs_it(monkeypatch):
    real = doctor._installed
    monkeypatch.setattr(doctor, "_installed", lambda name: None if name == "av" else real(name))
    found = doctor.examine()
    assert found["extras"]["m4a"] == {"packages": {"av": None}, "install": "pip install 'uniwhisper[m4a]'"}
    assert found["decoders"]["m4a, aac"] is None


def test_the_packaged_model_is_opened_and_identified(monkeypatch, tmp_path, tiny_model):
    monkeypatch.setattr(doctor, "_package_folder", lambda: tmp_path)
    (tmp_path / "pretrained").mkdir()
    (tmp_path / "pretrained" / "default").symlink_to(tiny_model)
    problems: list[str] = []
    found = doctor._model(problems)
    assert found["folder"] == str(tmp_path / "pretrained" / "default")
    assert len(found["weights"]) == 64
    assert problems == []


def test_a_damaged_model_is_a_problem_with_a_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "_package_folder", lambda: tmp_path)
    (tmp_path / "pretrained" / "default").mkdir(parents=True)
    (tmp_path / "pretrained" / "default" / "config.json").write_text("{")
    problems: list[str] = []
    assert doctor._model(problems)["weights"] is None
    assert "does not open" in problems[0]
    assert "reinstall" in problems[0]


def run_with(modules: dict[str, str], folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """`uniwhisper doctor` where these modules hide the real ones."""
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    before = os.environ.get("PYTHONPATH")
    places = os.pathsep.join([str(folder), *([before] if before else [])])
    environment = {**os.environ, "PYTHONPATH": places, "COLUMNS": "100"}
    command = [sys.executable, "-m", "uniwhisper", "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


def test_a_torch_that_cannot_be_imported_is_reported(tmp_path):
    broken = {"torch": "raise OSError('libtorch_cpu.so: cannot open shared object file')"}
    done = run_with(broken, tmp_path, "--json")
    assert done.returncode == 1
    assert done.stderr == ""
    problems = json.loads(done.stdout)["problems"]
    assert any("torch cannot be imported (libtorch_cpu.so" in problem for problem in problems)


def test_the_printed_page_names_every_section_and_problem(tmp_path):
    done = run_with({"soundfile": "raise OSError('no libsndfile')"}, tmp_path)
    assert done.returncode == 1
    assert done.stderr == ""
    for word in (
        "version",
        "torch",
        "[train] transformers",
        "cpu",
        "libsndfile",
        "model",
        "cache",
        "[onnx] onnxscript",
    ):
        assert word in done.stdout
    assert "problem: soundfile cannot be imported (no libsndfile)" in done.stdout


def test_in_a_pipe_a_folder_is_one_line_however_long(tmp_path, monkeypatch):
    home = tmp_path / ("a" * 120) / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(home))
    done = run_with({}, tmp_path)
    assert any(line.rstrip().endswith(str(home)) for line in done.stdout.splitlines())
