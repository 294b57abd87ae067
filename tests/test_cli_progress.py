"""Progress where nobody watches: lines of a log, seldom, and never in the way of what a program reads."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from uniwhisper.cli import output
from uniwhisper.core import seldom


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(seldom.time, "monotonic", lambda: now[0])
    return now


def test_a_line_a_minute_and_none_for_a_short_job(clock, capsys):
    with output.audio_progress("embedding") as report:
        for clock[0] in (1.0, 59.0, 60.0, 61.0, 100.0, 119.0, 120.0):
            report(clock[0] * 60, 7200.0)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert len(lines) == 2, "at one minute and at two"
    assert all(line.startswith("embedding: ") and "2:00:00" in line for line in lines)
    assert "1:00:00" in lines[0]


def test_clips_and_tasks_are_counted_too(clock, capsys):
    with output.clip_progress("listening") as report, output.task_progress() as of_task:
        clock[0] = 60.0
        report(1200, None)
        of_task("esc50", 3, 2000)
        clock[0] = 120.0
        report(1500, 3000)
    assert capsys.readouterr().err.splitlines() == [
        "listening: 1,200 clips",
        "esc50: 3 of 2,000",
        "listening: 1,500 of 3,000 clips",
    ]


def test_the_command_writes_them_to_stderr_alone(tmp_path):
    """A real process whose minute is no time at all; what it prints for programs stays JSON."""
    for name in "abc":
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(16_000, np.float32), 16_000)
    code = (
        "import sys; from uniwhisper.core import seldom; seldom.LINE_SECONDS = 0.0\n"
        "from uniwhisper.cli.app import main; sys.argv[1:] = sys.argv[1:]; main()"
    )
    arguments = ["embed", str(tmp_path), "-o", str(tmp_path / "vectors.parquet"), "--json"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    json.loads(done.stdout)
    assert any(line.startswith("embedding") and " of " in line for line in done.stderr.splitlines()), done.stderr
