"""What one short file costs beyond importing PyTorch: `uniwhisper embed` with the packaged model, on a CPU.

    PYTHONPATH=src python benchmarks/startup.py

Processor time of the processes, taking turns, the least of a few: other work on the machine changes it little.
"""

import resource
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import numpy as np

from measure import Report

ROUNDS = 3


def cost(command: list[str]) -> tuple[float, float]:
    """Processor seconds and wall seconds of a command."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.perf_counter() - start


def main() -> None:
    report = Report("startup", {"python": sys.version.split()[0]})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.wav"
        with wave.open(str(file), "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(16_000)
            out.writeframes(np.random.default_rng(0).integers(-3000, 3000, 80_000, dtype=np.int16).tobytes())
        output = ["-o", str(Path(folder) / "v.parquet"), "--overwrite", "--device", "cpu"]
        commands = {
            "import torch": [sys.executable, "-c", "import torch"],
            "uniwhisper embed": [sys.executable, "-m", "uniwhisper", "embed", str(file), *output],
        }
        runs = {name: [cost(command) for _ in range(ROUNDS)] for name, command in commands.items()}
    torch_alone, embed = (min(runs[name]) for name in commands)
    report.add(
        "uniwhisper embed over import torch",
        processor=embed[0] / torch_alone[0],
        _processor_seconds_beyond=embed[0] - torch_alone[0],
        _wall_seconds_beyond=embed[1] - torch_alone[1],
    )
    print(report.write())


if __name__ == "__main__":
    main()
