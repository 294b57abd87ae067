"""What is installed, what is locked, and what the wheel holds."""

import importlib.util
import json
import re
import subprocess
import tomllib
import zipfile

from conftest import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
LOCKED = {package["name"]: package for package in tomllib.loads((REPOSITORY / "uv.lock").read_text())["package"]}


def bare_names(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w-]+", requirement).group() for requirement in requirements}


def test_the_base_install_is_what_embedding_needs():
    assert bare_names(PROJECT["dependencies"]) == {
        *("torch", "numpy", "safetensors", "huggingface-hub", "soundfile", "soxr", "pyarrow", "typer", "rich")
    }


def test_every_extra_is_in_all():
    extras = {name: bare_names(requirements) for name, requirements in PROJECT["optional-dependencies"].items()}
    (everything,) = PROJECT["optional-dependencies"]["all"]
    assert extras.pop("all") == {"uniwhisper"}
    assert extras == {
        "train": {"transformers"},
        "eval": {"scikit-learn", "matplotlib", "jiwer"},
        "data": {"lhotse", "urllib3", "fsspec", "mido"},
        "m4a": {"av"},
        "onnx": {"onnx", "onnxscript", "onnxruntime"},
    }
    assert set(re.search(r"\[(.*)\]", everything).group(1).split(",")) == set(extras)


def test_one_lock_holds_all_extras():
    locked_extras = LOCKED["uniwhisper"]["optional-dependencies"]
    for name, requirements in PROJECT["optional-dependencies"].items():
        needed = bare_names(requirements) - {"uniwhisper"}
        assert needed <= {entry["name"] for entry in locked_extras[name]}
        assert needed <= set(LOCKED)


def test_the_lock_fits_the_project(uv):
    done = subprocess.run([uv, "lock", "--check"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_torchaudio_is_absent():
    """Its last release breaks with newer torch, and transformers' Whisper then fails to import."""
    assert "torchaudio" not in LOCKED
    assert importlib.util.find_spec("torchaudio") is None


def test_the_wheel_holds_the_package_and_its_data(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    source = REPOSITORY / "src"
    expected = {
        str(path.relative_to(source))
        for path in (source / "uniwhisper").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_the_packaged_model_is_complete_and_small(wheel):
    archive = zipfile.ZipFile(wheel)
    prefix = "uniwhisper/pretrained/default/"
    sizes = {
        item.filename.removeprefix(prefix): item.file_size for item in archive.infolist() if prefix in item.filename
    }
    assert {"config.json", "encoder.safetensors", "adapter.safetensors", "README.md"} <= set(sizes)
    assert sizes["encoder.safetensors"] <= 20e6
    assert 0 < sum(size for name, size in sizes.items() if name.startswith("lm/")) <= 25e6
    assert json.loads(archive.read(f"{prefix}config.json"))["format"] == "uniwhisper"
