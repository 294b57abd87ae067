"""What a run says while it runs: JSON lines, a progress line, TensorBoard if installed, a plot at the end."""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from uniwhisper.core.files import atomic_output
from uniwhisper.core.seldom import Seldom
from uniwhisper.data.batch import Batch

METRICS_NAME = "metrics.jsonl"


class LossAverage:
    """Mean loss per answer token, over all examples and by domain, between two lines of the log."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = defaultdict(float)
        self.tokens: dict[str, int] = defaultdict(int)

    def add(self, domains: list[str], loss_sums: list[float], token_counts: list[int]) -> None:
        for domain, loss_sum, count in zip(domains, loss_sums, token_counts, strict=True):
            self.sums[domain] += loss_sum
            self.tokens[domain] += count

    def by_domain(self) -> dict[str, float]:
        """Mean nats per answer token of each domain seen since the start."""
        return {domain: self.sums[domain] / self.tokens[domain] for domain in sorted(self.sums)}

    def overall(self) -> float | None:
        """Mean nats per answer token over everything seen since the start; None if every step was skipped."""
        return sum(self.sums.values()) / sum(self.tokens.values()) if self.tokens else None


class RunRecord:
    """Writes `metrics.jsonl` in a run folder and shows the same figures on a terminal.

    On resuming, lines of later steps than `start_step` (steps done by then) are dropped first: that work was lost.
    """

    def __init__(self, folder: Path, *, start_step: int, steps: int, console: Console) -> None:
        self.path = folder / METRICS_NAME
        kept = [line for line in read_metrics(folder) if line["step"] <= start_step]
        with atomic_output(self.path, overwrite=True) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self.file = self.path.open("a", encoding="utf-8")
        self.board = _tensorboard(folder)
        self.console = console
        self.progress = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(bar_width=24),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self.task = self.progress.add_task("training", total=steps, completed=start_step, figures="")
        self.steps, self._log = steps, Seldom()

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()
        self.file.close()
        if self.board is not None:
            self.board.close()

    def advance(self, step: int) -> None:
        self.progress.update(self.task, completed=step)

    def counted(self, batches: Iterable[Batch], what: str) -> Iterator[Batch]:
        """The batches of what is done between two steps, and may take minutes on a CPU."""
        clips = 0
        for batch in batches:
            yield batch
            clips += len(batch.sample_counts_B)
            self.progress.update(self.task, figures=f"{what}: {clips:,}")
            if not self.console.is_terminal and self._log.due():
                self.say(f"{what}: {clips:,}")

    def write(self, line: dict[str, Any]) -> None:
        """Append one line, what is not finite as null; flushed, so that a killed run keeps what it said."""
        line = {name: None if _not_finite(value) else value for name, value in line.items()}
        self.file.write(json.dumps(line, allow_nan=False) + "\n")
        self.file.flush()
        domains = "  ".join(f"{domain} {loss:.3f}" for domain, loss in line.get("loss_by_domain", {}).items())
        if line.get("loss") is not None:
            figures = f"loss {line['loss']:.3f}  {domains}  {line['audio_seconds_per_second']:,.0f} audio s/s"
            self.progress.update(self.task, figures=figures)
            if not self.console.is_terminal and self._log.due():
                self.say(f"step {line['step']:,} of {self.steps:,}  {figures}")
        if self.board is not None:
            for name, value in line.items():
                if isinstance(value, float):
                    self.board.add_scalar(name, value, line["step"])

    def say(self, text: str) -> None:
        """One line on stderr, above the progress bar."""
        self.progress.console.print(text, highlight=False, soft_wrap=not self.console.is_terminal)


class SilentRecord(RunRecord):
    """The record of a rank that is not the first: nothing."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def advance(self, step: int) -> None:
        pass

    def counted(self, batches: Iterable[Batch], what: str) -> Iterator[Batch]:  # noqa: ARG002
        return iter(batches)

    def write(self, line: dict[str, Any]) -> None:
        pass

    def say(self, text: str) -> None:
        pass


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Lines of a run's metrics, up to the first that cannot be read, as one cut short by a kill."""
    path = folder / METRICS_NAME
    lines = []
    for text in path.read_text("utf-8", errors="replace").splitlines() if path.is_file() else ():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


def plot_metrics(folder: Path) -> Path | None:
    """Draw loss by domain, held-out loss and speed into `loss.png`; None if matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    lines = read_metrics(folder)
    trained = [line for line in lines if "loss_by_domain" in line]
    held_out = [line for line in lines if "held_out_loss_by_domain" in line]
    figure = Figure(figsize=(9, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    domains = sorted({domain for line in lines for domain in line.get("loss_by_domain", {})})
    for index, domain in enumerate(domains):
        points = [
            (line["step"], line["loss_by_domain"][domain]) for line in trained if domain in line["loss_by_domain"]
        ]
        upper.plot(*zip(*points, strict=True), color=f"C{index}", linewidth=1, label=domain)
        points = [
            (line["step"], line["held_out_loss_by_domain"][domain])
            for line in held_out
            if domain in line["held_out_loss_by_domain"]
        ]
        if points:
            upper.plot(*zip(*points, strict=True), "o--", color=f"C{index}", label=f"{domain}, held out")
    upper.set_ylabel("nats per answer token")
    if domains:
        upper.legend(ncols=2, frameon=False)
    lower.plot([line["step"] for line in trained], [line["audio_seconds_per_second"] for line in trained], color="0.4")
    lower.set(xlabel="optimizer step", ylabel="audio s / s")
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.2)
    path = folder / "loss.png"
    figure.savefig(path, dpi=120)
    return path


def _not_finite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(folder / "tensorboard")
