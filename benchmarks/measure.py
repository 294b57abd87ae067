"""What all benchmarks share: counting operations, timing, and saying it as ratios."""

import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from uniwhisper.model.config import EncoderConfig


def encoder_operations(config: EncoderConfig, frames: list[int]) -> float:
    """Floating-point operations of one forward pass over clips of so many frames; a multiply-add counts as two."""
    total, width = sum(frames), config.width
    stem = 2 * 3 * width * (2 * config.mel_bins + width) * total
    linear = config.layers * 2 * 12 * width**2 * total
    attention = config.layers * 4 * width * sum(count**2 for count in frames)
    return stem + linear + attention


def encoder_bytes(config: EncoderConfig, frames: int) -> float:
    """Fewest bytes of one bfloat16 pass in which every product, norm and GELU is a kernel of its own.

    Rows in units of one width, read and written per block: norm 2, query-key-value 4, attention 4, out 2, sum and
    norm 4, widen 5, GELU 8, narrow 5, sum 3; in the stem about 14. The weights once.
    """
    rows = frames * config.width * 2 * (37 * config.layers + 14)
    return rows + 2 * 12 * config.width**2 * config.layers


def median_seconds(work: Callable[[], Any], *, budget: float = 0.7, warm_up: int = 2, device: str = "cuda") -> float:
    """Median of repeated runs, at least three; on a GPU with device events around each run."""
    for _ in range(warm_up):
        work()
    seconds: list[float] = []
    if device == "cuda":
        torch.cuda.synchronize()
    end = time.perf_counter() + budget
    while len(seconds) < 3 or (time.perf_counter() < end and len(seconds) < 50):
        if device == "cuda":
            first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            first.record()
            work()
            last.record()
            last.synchronize()
            seconds.append(first.elapsed_time(last) / 1000)
        else:
            start = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def matrix_peak() -> float:
    """Operations a second of an 8192³ bfloat16 product on random data."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2 * 8192**3 / median_seconds(lambda: a @ b, budget=1.0, warm_up=5)


def copy_peak() -> float:
    """Bytes a second of a large copy on the device, read and written both counted."""
    a = torch.randint(0, 255, (2 << 30,), device="cuda", dtype=torch.uint8)
    b = torch.empty_like(a)
    return 2 * a.nbytes / median_seconds(lambda: b.copy_(a), budget=0.5)


class Report:
    """Rows of figures: printed as they come, written as JSON at the end, compared with an earlier file if there."""

    def __init__(self, name: str, facts: dict[str, Any]) -> None:
        self.name, self.facts, self.rows, self.start = name, facts, [], time.perf_counter()
        print(f"== {name}: " + ", ".join(f"{key} {value}" for key, value in facts.items()), flush=True)

    def add(self, what: str, **figures: Any) -> None:
        """A figure whose name begins with `_` is written and not shown."""
        self.rows.append({"what": what, **figures})
        shown = "  ".join(f"{key} {_short(value)}" for key, value in figures.items() if not key.startswith("_"))
        print(f"{time.perf_counter() - self.start:6.1f}s  {what:<58} {shown}", flush=True)

    def attempt(self, what: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Add what `work` returns; an error becomes a row and the rest goes on. BENCH_SECONDS bounds the whole."""
        if time.perf_counter() - self.start > float(os.environ.get("BENCH_SECONDS", "inf")):
            self.add(what, skipped="BENCH_SECONDS are over")
            return {}
        try:
            figures = work()
        except Exception as error:
            figures = {"error": f"{type(error).__name__}: {str(error).splitlines()[0][:160] if str(error) else ''}"}
        self.add(what, **figures)
        return figures

    def write(self) -> Path:
        folder = Path(os.environ.get("OUT", "benchmarks/results"))
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        self._compare(Path(__file__).parent / "baselines" / path.name)
        path.write_text(json.dumps({"facts": self.facts, "rows": self.rows}, indent=1) + "\n")
        return path

    def _compare(self, baseline: Path) -> None:
        """Print what changed by more than a twentieth since the run that is kept in the repository."""
        if not baseline.exists():
            return
        earlier = {row["what"]: row for row in json.loads(baseline.read_text())["rows"]}
        for row in self.rows:
            for key, value in row.items():
                before = earlier.get(row["what"], {}).get(key)
                if isinstance(value, float) and isinstance(before, float) and before and abs(value / before - 1) > 0.05:
                    print(f"    {row['what'].strip()}, {key.lstrip('_')}: {value / before:.2f} × the kept run")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
