"""Cost and memory of everything around the encoder, for 1 to 1,000 hours of simulated input.

    PYTHONPATH=src python benchmarks/growth.py [hours …]

The encoder is replaced by one that gives zeros at once, so that what could grow with the input shows: finding lengths,
cutting windows, batching, summing, the table. Recordings of an hour and clips of 5 s; written to Parquet as the command
line does, and returned by `Embedder.embed`, whose own rows are named beside the peak.

Processor time, with one decoding thread: two threads at once slow each other down, and one recording alone keeps only
one of them busy, so that more recordings would seem to cost more each. A machine's speed drifts within minutes, so the
first number of hours is measured again before and after each other one, and the ratio is to these turns.
"""

import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import uniwhisper.embedding.decode as decode
from measure import Report
from uniwhisper.core.units import SAMPLE_RATE_HZ, frame_count, mel_count
from uniwhisper.embedding.decode import Inputs
from uniwhisper.embedding.embedder import Embedder
from uniwhisper.embedding.launched import Launched
from uniwhisper.embedding.parquet import write_vectors
from uniwhisper.model.weights import random_encoder

TURNS = 10
"""Of the first number of hours, before and after each other one."""


class Instant(Embedder):
    """Zeros for every frame."""

    def _try(self, batch, reduce):
        counts = [frame_count(mel_count(len(window.samples))) for window in batch]
        with torch.inference_mode():
            return Launched(batch, counts, reduce(torch.zeros(len(batch), 1, self.width)), None)


def write(embedder: Embedder, sources: list) -> int:
    """Bytes of vectors kept: none."""
    with tempfile.TemporaryDirectory() as folder, Inputs(sources, skip=True) as inputs:
        write_vectors(Path(folder) / "v.parquet", embedder.clip_blocks(inputs), embedder.width, {})
    return 0


def embed(embedder: Embedder, sources: list) -> int:
    """Bytes of vectors kept: all."""
    return embedder.embed(sources).vectors.nbytes


def cost(work: Callable[[], int]) -> tuple[float, int]:
    before = time.process_time()
    kept = work()
    return time.process_time() - before, kept


def main() -> None:
    hours = [int(text) for text in sys.argv[1:]] or [1, 10, 100]
    decode.usable_cores = lambda: 1
    encoder = random_encoder("tiny", seed=0).encoder
    embedder = Instant.from_encoder(encoder, identity="none", source="none")
    report = Report("growth", {"width": embedder.width})
    second_S = 0.1 * np.random.default_rng(0).standard_normal(SAMPLE_RATE_HZ).astype(np.float32)
    kinds = (("recordings of 1 h, written", 3600, write), ("clips of 5 s, written", 5, write))
    for name, seconds, work in (*kinds, ("clips of 5 s, returned", 5, embed)):
        source = (np.tile(second_S, seconds), SAMPLE_RATE_HZ)

        def turn(count: int, source=source, seconds=seconds, work=work) -> tuple[float, int]:
            spent, kept = cost(lambda: work(embedder, [source] * (count * 3600 // seconds)))
            return spent / count, kept

        turn(hours[0])  # fills the caches of memory
        for count in hours:
            beside = [turn(hours[0])[0] for _ in range(TURNS)]
            # As many hours of few as of the first number: one turn of an hour is a second, and says little.
            spent, kept = zip(*(turn(count) for _ in range(max(1, TURNS // count))), strict=True)
            beside += [turn(hours[0])[0] for _ in range(TURNS)]
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            # Means, because one long turn holds all its hiccups, and the median of short ones none.
            ratio = statistics.fmean(spent) / statistics.fmean(beside)
            rows = round(kept[0] / 2**20)
            report.add(f"{name}, {count} h", cost_over_first=ratio, peak_MiB=round(peak), rows_MiB=rows)
    print(report.write())


if __name__ == "__main__":
    main()
