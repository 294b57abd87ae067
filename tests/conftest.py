"""Fixtures that several test files share. Random sounds and models only, and the shared audio where it is present."""

import fcntl
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

REPOSITORY = Path(__file__).parents[1]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"
SAMPLE_RATE_HZ = 16_000  # written out: a test that took it from the code could not notice a change

# Processes started by tests must not fight for the cores, and must not reach a network.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# A shell starts background jobs with Ctrl-C ignored, and children inherit that; tests that send it need it heard.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


SLOWEST_FIRST = (
    # Runs on two ranks beside runs on one.
    "test_distributed.py",
    # Suites and probes, by two implementations; fingerprints of hundreds of real clips.
    "test_data_overlap.py",
    "test_xares_suite.py",
    # Chains and runs that are killed and go on, each in processes of their own.
    "test_reproduce.py",
    "test_reproduce_at_once.py",
    "test_training.py",
    "test_evaluation_run.py",
    "test_reproduce_stages.py",
    "test_embedding_growth.py",
    # Minutes of training or of probes, in few tests.
    "test_evaluation_speech.py",
    "test_cli_train.py",
    "test_reproduce_table.py",
    "test_evaluation_events.py",
    "test_encoder.py",
    "test_demo.py",
    "test_execution.py",
    "test_encoder_check.py",
    "test_embedder.py",
    "test_evaluation_compare.py",
)
"""Files of 20 s of CPU and more: begun first, the workers end together. Any other order only takes longer."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of `SLOWEST_FIRST`, then the others; a file's tests stay together, in their order."""
    places = {name: place for place, name in enumerate(SLOWEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


def tone(seconds: float, frequency_hz: float = 440.0, amplitude: float = 0.3) -> np.ndarray:
    """A sine at 16 kHz, float32, round(16000 * seconds) samples."""
    time_S = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (amplitude * np.sin(2 * np.pi * frequency_hz * time_S)).astype(np.float32)


@pytest.fixture(scope="session")
def tone_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Five wav files of tones (0.3 to 2.1 s) whose order by name is not their order by length."""
    folder = tmp_path_factory.mktemp("tones")
    paths = []
    for number, seconds in enumerate([1.2, 0.3, 2.1, 0.5, 0.9]):
        path = folder / f"tone-{number}.wav"
        soundfile.write(path, tone(seconds, 220.0 * (number + 1)), SAMPLE_RATE_HZ)
        paths.append(path)
    return paths


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with a random encoder of 2 layers, 32 wide, 80 mel bins: fast, and wrong about everything."""
    import torch

    from uniwhisper.model.config import EncoderConfig
    from uniwhisper.model.encoder import WhisperEncoder
    from uniwhisper.model.weights import save_encoder

    folder = tmp_path_factory.mktemp("model") / "tiny"
    folder.mkdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = WhisperEncoder(EncoderConfig(mel_bins=80, width=32, heads=2, layers=2))
    save_encoder(encoder, folder)
    return folder


@pytest.fixture(scope="session")
def shared_set() -> Callable[[str, str], Path]:
    """`shared_set("evaluation", "fsdd")`: the folder of that set's tars, unpacked once per machine.

    Skips the test where the shared audio is absent. Mark such tests `shared_audio`.
    """

    def unpack(group: str, name: str) -> Path:
        if not (SHARED_DATA / group / f"{name}.tar.gz").is_file():
            pytest.skip(f"no shared audio beside this checkout: {group}/{name}")
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "uniwhisper" / "shared-data"
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / ".lock").open("w") as lock:  # two test processes may ask at the same moment
            fcntl.flock(lock, fcntl.LOCK_EX)
            subprocess.run([SHARED_DATA / "unpack", cache, name], check=True, capture_output=True)
        return cache / group / name

    return unpack


@pytest.fixture
def traced_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tracing and its guards decide what is compiled anew; the minutes of generating code take no part."""
    import torch

    from uniwhisper.model.block import compiled_pieces
    from uniwhisper.model.half import compiled_stem

    def forget() -> None:
        torch.compiler.reset()
        torch._dynamo.utils.counters.clear()
        compiled_pieces.cache_clear()
        compiled_stem.cache_clear()

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    forget()
    yield
    forget()


@pytest.fixture(scope="session")
def uv() -> Path:
    """The uv that runs these tests; skips where there is none (plain `pytest` outside `make test`)."""
    from shutil import which

    found = os.environ.get("UNIWHISPER_UV") or which("uv")
    if not found or not Path(found).is_file():
        pytest.skip("no uv: set UNIWHISPER_UV or run `make test`")
    return Path(found)


@pytest.fixture(scope="session")
def wheel(uv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that `uv build` makes of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [uv, "build", "--wheel", "--quiet", "--out-dir", folder, REPOSITORY], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built
