"""Cost and memory of everything around the encoder, for 1 to 1,000 hours of simulated input.

    PYTHONPATH=src python benchmarks/growth.py [hours …]

The encoder is replaced by one that gives zeros at once, so that what could grow with the input shows: finding lengths,
cutting windows, batching, summing, the table. Two inputs: recordings of an hour, and clips of 5 s.

Processor time, with one decoding thread, the median of a few turns where one is short: two threads at once slow each
other down, and one recording alone keeps only one of them busy, so that more recordings would seem to cost more each.
"""

import os
import resource
import statistics
import sys
import time

import numpy as np
import torch

from measure import Report
from uniwhisper.core.units import SAMPLE_RATE_HZ, frame_count, mel_count
from uniwhisper.embedding.embedder import Embedder
from uniwhisper.embedding.launched import Launched
from uniwhisper.model.weights import random_encoder

TURN_HOURS = 10
"""Inputs below this are taken again until they make up as much."""


class Instant(Embedder):
    """Zeros for every frame."""

    def _try(self, batch, reduce):
        counts = [frame_count(mel_count(len(window.samples))) for window in batch]
        with torch.inference_mode():
            return Launched(batch, counts, reduce(torch.zeros(len(batch), 1, self.width)), None)


def main() -> None:
    hours = [int(text) for text in sys.argv[1:]] or [1, 10, 100]
    os.cpu_count = lambda: 1  # what the embedder takes its number of threads from
    encoder = random_encoder("tiny", seed=0).encoder
    embedder = Instant.from_encoder(encoder, identity="none", source="none")
    report = Report("growth", {"width": embedder.width})
    second_S = 0.1 * np.random.default_rng(0).standard_normal(SAMPLE_RATE_HZ).astype(np.float32)
    for name, seconds in (("recordings of 1 h", 3600), ("clips of 5 s", 5)):
        source = (np.tile(second_S, seconds), SAMPLE_RATE_HZ)
        first = None
        embedder.embed([source])
        for count in hours:
            turns = []
            for _ in range(max(1, TURN_HOURS // count)):
                before = time.process_time()
                table = embedder.embed([source] * (count * 3600 // seconds))
                turns.append((time.process_time() - before) / count)
            per_hour = statistics.median(turns)
            first = first or per_hour
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            report.add(f"{name}, {count} h", cost_over_first=per_hour / first, peak_MiB=round(peak), rows=len(table))
    print(report.write())


if __name__ == "__main__":
    main()
