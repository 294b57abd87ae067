"""What a run says while it runs."""

import io
from pathlib import Path

from rich.console import Console

from uniwhisper.core import seldom
from uniwhisper.training.record import RunRecord, read_metrics


def line(step: int) -> dict:
    return {
        "step": step,
        "loss": 1.5,
        "loss_by_domain": {"music": 1.5, "sound": 1.5, "speech": 1.5},
        "audio_seconds_per_second": 1234.0,
    }


def said(folder: Path, steps: list[int], *, terminal: bool) -> str:
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal)
    with RunRecord(folder, start_step=0, steps=3_000, console=console) as kept:
        for step in steps:
            kept.write(line(step))
    return text.getvalue()


def test_a_log_gets_a_line_a_minute_and_a_terminal_the_bar(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(seldom.time, "monotonic", lambda: clock[0])
    text = io.StringIO()
    with RunRecord(tmp_path, start_step=0, steps=3_000, console=Console(file=text)) as kept:
        for step in range(1, 31):  # ten seconds each
            clock[0] += 10
            kept.write(line(100 * step))
    lines = text.getvalue().splitlines()
    assert [one.split("  ")[0] for one in lines] == [f"step {n:,} of 3,000" for n in (600, 1200, 1800, 2400, 3000)]
    assert "loss 1.500" in lines[0]
    assert "step 600 of" not in said(tmp_path, [600], terminal=True)


def test_a_line_that_is_cut_or_not_text_ends_what_is_read(tmp_path):
    said(tmp_path, [1, 2], terminal=False)
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 3, "loss": \xff\xfe')
    assert [one["step"] for one in read_metrics(tmp_path)] == [1, 2]
