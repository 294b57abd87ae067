"""The base install, without any extra, embeds a file: the wheel in an environment of its own."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from conftest import REPOSITORY

# Beside .venv, so that uv links the packages from its cache instead of copying gigabytes; reused by later runs.
ENVIRONMENT = REPOSITORY / ".venv-base"


@pytest.fixture(scope="module")
def base_python(uv: Path, wheel: Path) -> Path:
    """Interpreter of an environment that holds the locked base dependencies and the wheel."""
    outside = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    environment = outside | {"UV_PROJECT_ENVIRONMENT": str(ENVIRONMENT)}
    python = ENVIRONMENT / "bin" / "python"
    for command in (
        ["sync", "--locked", "--no-default-groups", "--no-install-project", "--quiet"],
        ["pip", "install", "--python", python, "--no-deps", "--reinstall", "--quiet", wheel],
    ):
        done = subprocess.run([uv, *command], cwd=REPOSITORY, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return python


def run_python(python: Path, *arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run in `folder`, isolated from the checkout's sources."""
    return subprocess.run([python, "-I", *arguments], cwd=folder, capture_output=True, text=True)


def test_no_extra_is_installed(base_python, tmp_path):
    code = """
import importlib.util, json
names = ["transformers", "sklearn", "matplotlib", "lhotse", "av", "pytest"]
print(json.dumps([name for name in names if importlib.util.find_spec(name)]))
"""
    done = run_python(base_python, "-c", code, folder=tmp_path)
    assert json.loads(done.stdout) == [], done.stderr


def test_every_module_that_embedding_needs_imports(base_python, tmp_path):
    """Also every verb's file: `uniwhisper --help` lists verbs whose extras are missing."""
    code = """
import importlib, pkgutil
import uniwhisper
for layer in ("core", "audio", "features", "embedding", "cli", "report"):
    package = importlib.import_module(f"uniwhisper.{layer}")
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        print(importlib.import_module(module.name).__name__)
import uniwhisper.model.config, uniwhisper.model.encoder, uniwhisper.model.pooling, uniwhisper.model.weights
"""
    done = run_python(base_python, "-c", code, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "uniwhisper.embedding.embedder" in done.stdout


@pytest.mark.parametrize("frames", [False, True])
def test_the_command_embeds_a_file(base_python, tiny_model, tone_files, tmp_path, frames):
    arguments = ["embed", tone_files[0], "-o", "vectors.parquet", "--model", tiny_model, "--json"]
    done = run_python(base_python, "-m", "uniwhisper", *arguments, *["--frames"] * frames, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    code = "import pyarrow.parquet as p; t = p.read_table('vectors.parquet'); print(t.num_rows, t['path'][0])"
    done = run_python(base_python, "-c", code, folder=tmp_path)
    assert done.stdout.split() == ["60" if frames else "1", str(tone_files[0])], done.stderr  # 1.2 s, 20 ms a frame


def test_the_packaged_model_embeds(base_python, tone_files, tmp_path):
    code = f"""
from uniwhisper import Embedder
print(Embedder.from_pretrained().embed([{str(tone_files[0])!r}]).vectors.shape)
"""
    done = run_python(base_python, "-c", code, folder=tmp_path)
    assert done.stdout.strip() == "(1, 384)", done.stderr
