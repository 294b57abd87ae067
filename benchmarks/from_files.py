"""From files on disk to vectors: how busy the encoder's device is kept, and which stage is the bound.

    PYTHONPATH=src python3 benchmarks/from_files.py [size [hours]] [--corpus FOLDER ...] [--format opus]

FLAC and Opus, clips of 5 s and recordings of 1 to 30 s; of noise, or of a corpus's clips put end to end. Each set three
times: decoded only, by the threads or processes of `uniwhisper embed`; as that does it; and, from that run, the time
the device spent on log-mel and encoder. On a GPU that is the time between two events of the stream, in bfloat16 and
compiled; without one, cores are shared by all stages, so only the ratio of decoding to encoding says something.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import numpy as np
import soundfile
import torch

import uniwhisper.embedding.embedder as embedder_module
from measure import Report
from uniwhisper.audio.load import read
from uniwhisper.core.cores import usable_cores
from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.data.archive import index_archive, read_member
from uniwhisper.embedding.batches import default_batch_seconds
from uniwhisper.embedding.decode import Inputs
from uniwhisper.embedding.embedder import Embedder
from uniwhisper.embedding.workers import worker_count
from uniwhisper.model.weights import random_encoder

FORMATS = {"flac": {"format": "FLAC", "subtype": "PCM_16"}, "opus": {"format": "OGG", "subtype": "OPUS"}}
DIFFERENT = {"cuda": 64, "cpu": 8}
"""Files of each set; then they are read again, so that disks are not what is measured."""


def noise(lengths_samples: list[int]) -> Iterator[np.ndarray]:
    """Noise whose loudness and colour change, as those of speech do: nothing that a codec finds easy."""
    generator = np.random.default_rng(1)
    for samples in lengths_samples:
        noise_S = generator.standard_normal(samples)
        low_S = np.convolve(noise_S, np.ones(8) / 8, mode="same")
        loudness_S = 0.05 + 0.1 * (1 + np.sin(2 * np.pi * 4 * np.arange(samples) / SAMPLE_RATE_HZ))
        yield np.clip(loudness_S * (low_S + 0.2 * noise_S), -1, 1)


def recorded(corpus: Path, lengths_samples: list[int]) -> Iterator[np.ndarray]:
    """What a corpus's clips are end to end, cut at these lengths; from its first clip again when there are no more."""
    clips = [(path, clip) for path in sorted(corpus.glob("*.tar")) for clip in index_archive(path)]
    assert clips, f"no tar with clips in {corpus}"
    waves = (read(read_member(path, clip.offset, clip.size), name=clip.key) for path, clip in cycle(clips))
    left_S = np.zeros(0, np.float32)
    for samples in lengths_samples:
        while len(left_S) < samples:
            left_S = np.concatenate([left_S, next(waves)])
        yield left_S[:samples]
        left_S = left_S[samples:]


def write_files(folder: Path, kind: str, suffix: str, count: int, corpus: Path | None = None) -> list[Path]:
    """`count` files in `folder`, which is made; of noise without a corpus."""
    generator = np.random.default_rng(0)
    lengths = [int((5.0 if kind == "5 s" else generator.uniform(1, 30)) * SAMPLE_RATE_HZ) for _ in range(count)]
    folder.mkdir()
    paths = []
    for index, wave_S in enumerate(recorded(corpus, lengths) if corpus else noise(lengths)):
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


def measured(embedder: Embedder, watch: Stopwatch, paths: list[Path], hours: float) -> dict[str, float | int | str]:
    """`paths` read again and again until they are so many hours."""
    device = embedder.device
    seconds = sum(soundfile.info(path).duration for path in paths)
    sources = paths * max(1, round(hours * 3600 / seconds))
    seconds *= len(sources) / len(paths)
    embedder.embed(paths)  # compiles, and fills the caches of memory
    watch.seconds()
    workers = worker_count(sources, device.type)
    decoding = decode_seconds(sources, default_batch_seconds(device, embedder.width), workers)
    start = time.perf_counter()
    with Inputs(sources, skip=False, workers=workers) as inputs:
        embedder.table(inputs)
    whole = time.perf_counter() - start
    busy = watch.seconds()
    return {
        "device_busy": busy / whole,
        "decoding_over_encoding": decoding / busy,
        "bound": "decoding" if decoding > busy else "encoder",
        "processes": workers,
        "kbit_per_s": 8 / 1000 * sum(path.stat().st_size for path in sources) / seconds,
        "audio_h": seconds / 3600,
        "_audio_h_per_s": seconds / 3600 / whole,
    }


def main() -> None:
    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", nargs="?", default="large-v3" if gpu else "tiny")
    parser.add_argument("hours", nargs="?", type=float, default=12.0 if gpu else 0.02)
    parser.add_argument("--corpus", type=Path, action="append", help="folder of tars; noise beside it only without")
    parser.add_argument("--format", choices=FORMATS, action="append", help="FLAC and Opus without")
    asked = parser.parse_args()
    device = torch.device("cuda" if gpu else "cpu")
    encoder = random_encoder(asked.size, seed=0).encoder.to(device)
    precision = "bf16" if gpu else "float32"
    embedder = Embedder.from_encoder(encoder, identity="none", source="none", precision=precision)
    if gpu:
        embedder.encoder.compile()
    watch = Stopwatch(embedder_module.launch, device)
    embedder_module.launch = watch.launch
    name = torch.cuda.get_device_name() if gpu else "cpu"
    facts = {"size": asked.size, "device": name, "cores": usable_cores(), "torch": torch.__version__}
    report = Report("from_files", facts)
    with tempfile.TemporaryDirectory() as folder:
        for corpus in asked.corpus or [None]:
            for kind in ("5 s", "1 to 30 s"):
                for suffix in asked.format or FORMATS:
                    row = f"{suffix}, {kind}" + (f", {corpus.name}" if corpus else "")
                    paths = write_files(Path(folder) / row, kind, suffix, DIFFERENT[device.type], corpus)
                    report.add(row, **measured(embedder, watch, paths, asked.hours))
    print(report.write())


if __name__ == "__main__":
    main()
