"""What every compat environment's tests share, and the record of what they did.

A test's first docstring line says what was run. `record_property(name, value)` adds a measured value. When all is done
`<tool>/result.json` holds both, with the versions of the packages that the tool's pyproject.toml lists, and
`compat/page.py` makes docs/compatibility.md of it.
"""

import json
import os
import platform
import tomllib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

COMPAT = Path(__file__).parent
SHARED_DATA = COMPAT.parents[1] / "shared" / "data"

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> str:
    """Folder with a random encoder of 2 layers, 32 wide."""
    import torch

    from uniwhisper.integrations.hub import HubEncoder
    from uniwhisper.model.config import EncoderConfig
    from uniwhisper.model.encoder import WhisperEncoder

    torch.manual_seed(0)
    encoder = WhisperEncoder(EncoderConfig(mel_bins=80, width=32, heads=2, layers=2)).eval()
    folder = tmp_path_factory.mktemp("model") / "tiny"
    HubEncoder(encoder, source="tiny").save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def clips() -> list[np.ndarray]:
    """Noisy tones at 16 kHz of 0.3 to 31.5 s, whose order is not their order by length."""
    noise = np.random.default_rng(0)
    made = []
    for number, seconds in enumerate([1.0, 5.0, 0.3, 31.5, 2.0]):
        time_S = np.arange(round(16_000 * seconds)) / 16_000
        wave_S = 0.3 * np.sin(2 * np.pi * 220 * (number + 1) * time_S) + 0.01 * noise.standard_normal(len(time_S))
        made.append(wave_S.astype(np.float32))
    return made


@pytest.fixture(scope="session")
def ours(checkpoint, clips) -> np.ndarray:
    """Our vectors of `clips`: what every package must give."""
    from uniwhisper import Embedder

    return Embedder.from_pretrained(checkpoint, device="cpu").embed([(clip, 16_000) for clip in clips]).vectors


def pytest_configure(config):
    config.compat_rows = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if report.when == "call" or report.outcome != "passed":
        first_line = (item.function.__doc__ or item.name).strip().splitlines()[0].rstrip(".")
        measured = dict(item.user_properties)
        item.config.compat_rows.append({"what": first_line, "result": report.outcome, "measured": measured})
    return report


def pytest_sessionfinish(session):
    folder = session.config.invocation_params.dir
    if session.config.option.collectonly or not (folder / "pyproject.toml").is_file() or folder.parent != COMPAT:
        return
    packages = tomllib.loads((folder / "pyproject.toml").read_text())["tool"]["uniwhisper"]["packages"]
    result = {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "runs": session.config.compat_rows,
    }
    (folder / "result.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
