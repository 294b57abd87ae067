"""Cost and memory of everything around the encoder, for 1 to 1,000 hours of simulated input.

    PYTHONPATH=src python benchmarks/growth.py [hours …]

The encoder is replaced by one that gives zeros at once, so that what could grow with the input shows: finding lengths,
cutting windows, batching, summing, the table. Recordings of an hour and clips of 5 s; written to Parquet as the command
line does, and returned by `Embedder.embed`, whose own rows are named beside the peak.

Processor time, with one decoding thread: two threads at once slow each other down, and one recording alone keeps only
one of them busy, so that more recordings would seem to cost more each. A machine's speed drifts by more within minutes
than what is looked for, so the two are taken turn by turn: after every hour of audio the long run is held while an hour
of its own is done from beginning to end, and each hour is compared with the turns right before and after it.

Printed: cost of an hour within the long run over that of an hour alone, which pays for the start and the end of a run
too; and growth itself, the second half of the runs over the first without the hours of start and end, each over hours
alone, with its 95 % interval (by parts of the runs, because neighbouring hours share the machine's mood).
"""

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.stats import t as student_t

import uniwhisper.embedding.decode as decode
from measure import Report
from uniwhisper.core.units import SAMPLE_RATE_HZ, frame_count, mel_count
from uniwhisper.embedding.decode import Inputs
from uniwhisper.embedding.embedder import Embedder
from uniwhisper.embedding.launched import Launched
from uniwhisper.embedding.parquet import write_vectors
from uniwhisper.model.weights import random_encoder

PARTS = 10
"""Into which hours are cut for an interval, in their order."""
AT_LEAST_HOURS = 100
"""Hours of a row: fewer at a time are done again and again."""


class Instant(Embedder):
    """Zeros for every frame."""

    after_hour: Callable[[], None] | None = None
    """Called whenever another hour of audio has come by; None: nothing is."""
    heard_S: int = 0

    def _try(self, batch, reduce):
        counts = [frame_count(mel_count(len(window.samples))) for window in batch]
        with torch.inference_mode():
            launched = Launched(batch, counts, reduce(torch.zeros(len(batch), 1, self.width)), None)
        hour_S = 3600 * SAMPLE_RATE_HZ
        before_S, self.heard_S = self.heard_S, self.heard_S + sum(len(window.samples) for window in batch)
        if self.after_hour is not None and self.heard_S // hour_S > before_S // hour_S:
            self.after_hour()
        return launched


def write(embedder: Embedder, sources: list) -> int:
    """Bytes of vectors kept: none."""
    with tempfile.TemporaryDirectory() as folder, Inputs(sources, skip=True) as inputs:
        write_vectors(Path(folder) / "v.parquet", embedder.clip_blocks(inputs), embedder.width, {})
    return 0


def embed(embedder: Embedder, sources: list) -> int:
    """Bytes of vectors kept: all."""
    return embedder.embed(sources).vectors.nbytes


def turn_by_turn(long: Instant, alone: Instant, work: Callable, source: tuple, clips_an_hour: int, hours: int) -> dict:
    """Seconds of each hour within runs of so many hours, and of hours done alone in between; bytes kept."""
    within, beside = [], []

    def one() -> float:
        before = time.process_time()
        work(alone, [source] * clips_an_hour)
        return time.process_time() - before

    one()  # fills the caches of memory
    for _ in range(max(1, AT_LEAST_HOURS // hours)):
        long.heard_S, left = 0, hours
        beside.append([one()])
        begun = time.process_time()

        def after_hour() -> None:
            nonlocal begun, left
            left -= 1
            if left:  # the last hour is over when the run has closed its file
                within.append(time.process_time() - begun)
                beside[-1].append(one())
                begun = time.process_time()

        long.after_hour = after_hour
        kept = work(long, [source] * (clips_an_hour * hours))
        within.append(time.process_time() - begun)
        beside[-1].append(one())
    alone_RH = np.array([[(run[i] + run[i + 1]) / 2 for i in range(len(run) - 1)] for run in beside])
    return {"within": np.array(within).reshape(alone_RH.shape), "alone": alone_RH, "kept": kept}


def compared(within_RH: np.ndarray, alone_RH: np.ndarray) -> dict[str, float]:
    """Ratio of means; and of the second half over the first, without first and last hours, with its 95 % interval."""

    def ratio(runs: slice) -> tuple[float, float]:
        """And its standard error, by parts."""
        pair = [seconds_RH[:, runs].reshape(-1) for seconds_RH in (within_RH, alone_RH)]
        parts = [w.mean() / a.mean() for w, a in zip(*(np.array_split(one, PARTS) for one in pair), strict=True)]
        return pair[0].mean() / pair[1].mean(), float(np.std(parts, ddof=1) / np.sqrt(PARTS))

    figures, hours = {"an_hour_over_alone": within_RH.mean() / alone_RH.mean()}, within_RH.shape[1]
    if hours > 3:
        (first, e1), (second, e2) = ratio(slice(1, hours // 2)), ratio(slice(hours // 2, hours - 1))
        growth = second / first
        half = student_t.ppf(0.975, PARTS - 1) * growth * np.hypot(e1 / first, e2 / second)
        figures |= {"second_half_over_first": growth, "from": growth - half, "to": growth + half}
    return figures


def main() -> None:
    hours = [int(text) for text in sys.argv[1:]] or [1, 10, 100]
    decode.usable_cores = lambda: 1
    encoder = random_encoder("tiny", seed=0).encoder
    long, alone = (Instant.from_encoder(encoder, identity="none", source="none") for _ in range(2))
    report = Report("growth", {"width": long.width})
    second_S = 0.1 * np.random.default_rng(0).standard_normal(SAMPLE_RATE_HZ).astype(np.float32)
    kinds = (("recordings of 1 h, written", 3600, write), ("clips of 5 s, written", 5, write))
    for name, seconds, work in (*kinds, ("clips of 5 s, returned", 5, embed)):
        source = (np.tile(second_S, seconds), SAMPLE_RATE_HZ)
        for count in hours:
            done = turn_by_turn(long, alone, work, source, 3600 // seconds, count)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            rows = round(done["kept"] / 2**20)
            measured = compared(done["within"], done["alone"])
            report.add(f"{name}, {count} h", **measured, peak_MiB=round(peak), rows_MiB=rows)
    print(report.write())


if __name__ == "__main__":
    main()
