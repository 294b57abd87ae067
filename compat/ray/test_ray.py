"""A worker killed in the middle of a run, and a driver killed and started again: no row lost, none twice."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from uniwhisper.model.config import EncoderConfig
from uniwhisper.model.encoder import WhisperEncoder
from uniwhisper.model.weights import save_encoder

CLIPS = 40


@pytest.fixture(scope="module")
def ground(tmp_path_factory) -> Path:
    """A small model and a manifest of many short clips."""
    root = tmp_path_factory.mktemp("ray")
    torch.manual_seed(0)
    (root / "model").mkdir()
    save_encoder(WhisperEncoder(EncoderConfig(mel_bins=80, width=32, heads=2, layers=2)), root / "model")
    generator = np.random.default_rng(0)
    for index in range(CLIPS):
        soundfile.write(root / f"{index:03d}.wav", 0.1 * generator.standard_normal(16_000), 16_000)
    (root / "list.jsonl").write_text("".join(json.dumps({"path": f"{i:03d}.wav"}) + "\n" for i in range(CLIPS)))
    return root


SCRIPT = """
import os, sys, time
from pathlib import Path
import uniwhisper.embedding.parts as parts
import uniwhisper.embedding.ray_engine as engine
root, out = Path(sys.argv[1]), Path(sys.argv[2])

# Itself, not the module's function: the actors get a copy of the class.
class Slow(engine._PartEmbedder):
    def __call__(self, row):
        (self.folder / f"pid-{os.getpid()}").touch()
        time.sleep(0.5)
        return super().__call__(row)

engine._PartEmbedder = Slow
planned = parts.plan_parts([str(root / "list.jsonl")], clips_per_part=2)
settings = {"source": str(root / "model"), "device": "cpu"}
results = list(engine.embed_on_ray(planned, out, settings=settings, workers=2, gpus_per_worker=0))
print("numbers", sorted(result.number for result in results))
"""


def start(ground: Path, out: Path) -> subprocess.Popen:
    out.mkdir(exist_ok=True)
    (ground / "run.py").write_text(SCRIPT)
    command = [sys.executable, str(ground / "run.py"), str(ground), str(out)]
    # A busy machine needs longer than Ray allows by default.
    patience = {"RAY_raylet_start_wait_time_s": "300", "RAY_agent_register_timeout_ms": "300000"}
    environment = {**os.environ, **patience, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, env=environment
    )
    started.append(process)
    return process


started: list[subprocess.Popen] = []


@pytest.fixture(autouse=True)
def nothing_is_left_running():
    """Ends the drivers a test began, and what Ray began for them."""
    yield
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    started.clear()


def wait_for(condition, seconds: float = 900) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)


def names(out: Path) -> list[str]:
    rows = [name for path in sorted(out.glob("*.parquet")) for name in pq.read_table(path)["path"].to_pylist()]
    return [Path(name).name for name in rows]


def parts_in(out: Path) -> int:
    return len(list(out.glob("*.parquet")))


def test_a_killed_worker_loses_no_row_and_doubles_none(ground, tmp_path):
    out = tmp_path / "out"
    process = start(ground, out)
    wait_for(lambda: parts_in(out) >= 3 or process.poll() is not None)
    assert process.poll() is None, process.communicate()[1]
    os.kill(int(next(out.glob("pid-*")).name.removeprefix("pid-")), signal.SIGKILL)
    assert parts_in(out) < CLIPS // 2
    printed, errors = process.communicate(timeout=900)
    assert process.returncode == 0, errors
    assert json.loads(printed.rpartition("numbers ")[2].splitlines()[0]) == list(range(CLIPS // 2))
    assert len(list(out.glob("pid-*"))) >= 2  # somebody else went on
    assert names(out) == [f"{index:03d}.wav" for index in range(CLIPS)]


def test_a_killed_driver_is_gone_on_with(ground, tmp_path):
    out = tmp_path / "out"
    process = start(ground, out)
    wait_for(lambda: parts_in(out) >= 3 or process.poll() is not None)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = {path: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    assert 3 <= len(done) < CLIPS // 2
    again = start(ground, out)
    _, errors = again.communicate(timeout=900)
    assert again.returncode == 0, errors
    assert names(out) == [f"{index:03d}.wav" for index in range(CLIPS)]
    assert all(path.stat().st_mtime_ns == when for path, when in done.items())
