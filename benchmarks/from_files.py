"""From files on disk to vectors: how busy the encoder's device is kept, and which stage is the bound.

    PYTHONPATH=src python3 benchmarks/from_files.py [size [hours]]

FLAC and Opus, clips of 5 s and recordings of 1 to 30 s. Each set three times: decoded only, by the threads or processes
of `uniwhisper embed`; as that does it; and, from that run, the time the device spent on log-mel and
encoder. On a GPU that is the time between two events of the stream, in bfloat16 and compiled; without one, cores are
shared by all stages, so only the ratio of decoding to encoding says something.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch

import uniwhisper.embedding.embedder as embedder_module
from measure import Report
from uniwhisper.core.cores import usable_cores
from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.embedding.batches import default_batch_seconds
from uniwhisper.embedding.decode import Inputs
from uniwhisper.embedding.embedder import Embedder
from uniwhisper.embedding.workers import worker_count
from uniwhisper.model.weights import random_encoder

FORMATS = {"flac": {"format": "FLAC", "subtype": "PCM_16"}, "opus": {"format": "OGG", "subtype": "OPUS"}}
DIFFERENT = {"cuda": 64, "cpu": 8}
"""Files of each set; then they are read again, so that disks are not what is measured."""


def write_files(folder: Path, kind: str, suffix: str, count: int) -> list[Path]:
    """Noise whose loudness and colour change, as those of speech do: nothing that a codec finds easy."""
    generator = np.random.default_rng(0)
    folder.mkdir()
    paths = []
    for index in range(count):
        seconds = 5.0 if kind == "5 s" else float(generator.uniform(1, 30))
        time_S = np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
        noise_S = generator.standard_normal(len(time_S))
        low_S = np.convolve(noise_S, np.ones(8) / 8, mode="same")
        loudness_S = 0.05 + 0.1 * (1 + np.sin(2 * np.pi * 4 * time_S))
        wave_S = np.clip(loudness_S * (low_S + 0.2 * noise_S), -1, 1)
        paths.append(folder / f"{index:03d}.{suffix}")
        soundfile.write(paths[-1], wave_S, SAMPLE_RATE_HZ, **FORMATS[suffix])
    return paths


class Stopwatch:
    """Seconds the device is busy with batches, by events of its stream; on a CPU by the clock."""

    def __init__(self, launch: Callable, device: torch.device) -> None:
        self._launch, self._gpu = launch, device.type == "cuda"
        self._spans: list = []

    def launch(self, *arguments, **options):
        first = self._mark()
        launched = self._launch(*arguments, **options)
        self._spans.append((first, self._mark()))
        return launched

    def seconds(self) -> float:
        """In all since the last call."""
        if self._gpu:
            torch.cuda.synchronize()
            total = sum(first.elapsed_time(last) for first, last in self._spans) / 1000
        else:
            total = sum(last - first for first, last in self._spans)
        self._spans.clear()
        return total

    def _mark(self):
        if not self._gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def decode_seconds(sources: list[Path], ahead_seconds: float, workers: int) -> float:
    """Wall seconds to decode everything as `embed` does, with nobody waiting for the windows."""
    start = time.perf_counter()
    with Inputs(sources, skip=False, workers=workers) as inputs:
        for _ in inputs.windows(sort=True, whole_only=False, ahead_seconds=ahead_seconds):
            pass
    return time.perf_counter() - start


def main() -> None:
    gpu = torch.cuda.is_available()
    size = sys.argv[1] if len(sys.argv) > 1 else "large-v3" if gpu else "tiny"
    hours = float(sys.argv[2]) if len(sys.argv) > 2 else 12.0 if gpu else 0.02
    device = torch.device("cuda" if gpu else "cpu")
    encoder = random_encoder(size, seed=0).encoder.to(device)
    precision = "bf16" if gpu else "float32"
    embedder = Embedder.from_encoder(encoder, identity="none", source="none", precision=precision)
    if gpu:
        embedder.encoder.compile()
    watch = Stopwatch(embedder_module.launch, device)
    embedder_module.launch = watch.launch
    name = torch.cuda.get_device_name() if gpu else "cpu"
    report = Report("from_files", {"size": size, "device": name, "cores": usable_cores(), "torch": torch.__version__})
    ahead = default_batch_seconds(device, embedder.width)
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("5 s", "1 to 30 s"):
            for suffix in FORMATS:
                paths = write_files(Path(folder) / f"{kind} {suffix}", kind, suffix, DIFFERENT[device.type])
                seconds = sum(soundfile.info(path).duration for path in paths)
                sources = paths * max(1, round(hours * 3600 / seconds))
                seconds *= len(sources) / len(paths)
                embedder.embed(paths)  # compiles, and fills the caches of memory
                watch.seconds()
                workers = worker_count(sources, device.type)
                decoding = decode_seconds(sources, ahead, workers)
                start = time.perf_counter()
                with Inputs(sources, skip=False, workers=workers) as inputs:
                    embedder.table(inputs)
                whole = time.perf_counter() - start
                busy = watch.seconds()
                report.add(
                    f"{suffix}, {kind}",
                    device_busy=busy / whole,
                    decoding_over_encoding=decoding / busy,
                    bound="decoding" if decoding > busy else "encoder",
                    processes=workers,
                    audio_h=seconds / 3600,
                    _audio_h_per_s=seconds / 3600 / whole,
                )
    print(report.write())


if __name__ == "__main__":
    main()
