"""Decoding in processes: the rows of threads, whatever is among the inputs and whatever happens to the processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from conftest import tone
from uniwhisper.core.errors import AudioError
from uniwhisper.embedding import processes
from uniwhisper.embedding.chunks import whole_clips
from uniwhisper.embedding.decode import Inputs
from uniwhisper.embedding.processes import FEWEST_INPUTS, Processes, decoding_processes

GPU = torch.device("cuda")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    """Clips of 0.1 to 61 s in four formats, and four files that cannot be read."""
    folder = tmp_path_factory.mktemp("files")
    lengths = [0.1, 5.0, 31.0, 61.0, 59.9, 2.5, 0.4, 3.0]
    formats = ["wav", "flac", "ogg", "mp3"] * 2
    paths = []
    for index, (seconds, suffix) in enumerate(zip(lengths, formats, strict=True)):
        paths.append(folder / f"{index}.{suffix}")
        with soundfile.SoundFile(paths[-1], "w", 16_000, 1) as file:
            # In parts: libsndfile ends with a fault where a long Vorbis is written at once.
            for part_S in np.array_split(tone(seconds, 220.0 * (1 + index)), 100):
                file.write(part_S)
    (folder / "empty.wav").touch()
    (folder / "text.flac").write_text("no audio\n" * 100)
    whole = (folder / "1.flac").read_bytes()
    (folder / "cut.flac").write_bytes(whole[: len(whole) // 2])
    return [*paths[:5], folder / "empty.wav", *paths[5:], folder / "text.flac", folder / "cut.flac", folder / "no.wav"]


def windows(sources: list, *, count: int, whole_only: bool = False) -> tuple[list, list]:
    with Inputs(sources, skip=True, processes=count) as inputs:
        got = inputs.windows(sort=not whole_only, whole_only=whole_only, ahead_seconds=100.0)  # as vectors, as frames
        found = [(window.planned.index, window.planned.name, window.samples) for window in got]
        return found, inputs.failures


def assert_same(got: tuple[list, list], expected: tuple[list, list]) -> None:
    assert [each[:2] for each in got[0]] == [each[:2] for each in expected[0]]
    for (*_, samples), (*_, wanted) in zip(got[0], expected[0], strict=True):
        assert samples.dtype == np.float32 and np.array_equal(samples, wanted)
    assert got[1] == expected[1]


@pytest.mark.parametrize("whole_only", [False, True])
@pytest.mark.parametrize("as_bytes", [False, True])
def test_windows_and_failures_are_those_of_threads(files, whole_only, as_bytes):
    sources = [path.read_bytes() if as_bytes and path.exists() else path for path in files * 3]
    expected = windows(sources, count=0, whole_only=whole_only)
    assert len(expected[1]) == 12 and len(expected[0]) == 3 * (8 + 1 + 2 + 1)
    assert_same(windows(sources, count=2, whole_only=whole_only), expected)


def test_a_bad_input_is_raised_as_it_is_by_threads(files):
    for count in (0, 2):
        with pytest.raises(AudioError, match=r"empty\.wav is empty"):
            Inputs(files, skip=False, processes=count)


def test_processes_decode_and_not_the_caller(files, monkeypatch):
    """What the caller would decode with is broken after the processes were forked; three clips, one of two windows."""
    with Inputs(files[:3], skip=False, processes=2) as inputs:
        monkeypatch.setattr("uniwhisper.embedding.decode.read_windows", None)
        assert len(list(inputs.windows(sort=True, whole_only=False, ahead_seconds=100.0))) == 4


def test_a_clip_that_turns_out_longer_than_a_chunk_is_not_sent(files):
    """It would have to be sent whole, whatever its length; a header may say less than there is."""
    found = whole_clips([(path, path.name) for path in files[:4]])
    assert [each and len(each) for each in found] == [1, 1, 2, None]


@pytest.mark.parametrize("when", ["before they are asked", "while they decode"])
def test_killed_processes_cost_a_warning_and_no_row(files, when):
    expected = windows(files * 4, count=0)
    with (
        pytest.warns(RuntimeWarning, match="ended from outside") as warned,
        Inputs(files * 4, skip=True, processes=2) as inputs,
    ):
        if when == "before they are asked":
            kill(inputs)
        found = []
        for window in inputs.windows(sort=True, whole_only=False, ahead_seconds=100.0):
            found.append((window.planned.index, window.planned.name, window.samples))
            if when == "while they decode" and len(found) == 8:
                kill(inputs)
        assert_same((found, inputs.failures), expected)
    assert len([each for each in warned if each.category is RuntimeWarning]) == 1


def kill(inputs: Inputs) -> None:
    for process in list(inputs._processes._pool._processes.values()):
        os.kill(process.pid, signal.SIGKILL)
        process.join(10)


def test_processes_end_with_a_caller_that_is_killed(tmp_path):
    script = tmp_path / "caller.py"
    script.write_text(
        "import os, time\nfrom uniwhisper.embedding.processes import Processes\nprocesses = Processes(2)\n"
        "print(processes.submit(os.getpgid, 0, instead=None).result(), flush=True)\ntime.sleep(60)\n"
    )
    caller = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, start_new_session=True)
    group = int(caller.stdout.readline())
    members = processes_of(group)
    assert len(members) == 3
    caller.kill()
    caller.wait()
    end = time.monotonic() + 20
    while (left := processes_of(group)) and time.monotonic() < end:
        time.sleep(0.1)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


def processes_of(group: int) -> list[int]:
    """Living processes of a process group."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(folder.name))
    return found


def test_where_processes_pay(monkeypatch):
    paths = ["clip.wav"] * FEWEST_INPUTS
    monkeypatch.setattr(processes, "usable_cores", lambda: 16)
    assert decoding_processes(paths, GPU) == 14
    assert decoding_processes([b"RIFF"] * FEWEST_INPUTS, GPU) == 14
    assert decoding_processes(paths, torch.device("cpu")) == 0
    assert decoding_processes(paths[1:], GPU) == 0
    assert decoding_processes([*paths, (np.zeros(1, np.float32), 16_000)], GPU) == 0
    for cores, count in ((3, 0), (4, 2), (200, 16)):
        monkeypatch.setattr(processes, "usable_cores", lambda cores=cores: cores)
        assert decoding_processes(paths, GPU) == count


def test_what_a_process_raises_is_raised_where_it_is_waited_for():
    with_processes = Processes(1)
    try:
        with pytest.raises(ZeroDivisionError):
            with_processes.submit(reciprocal, 0, instead=lambda: None).result()
        assert with_processes.submit(reciprocal, 4, instead=lambda: None).result() == 0.25
    finally:
        with_processes.close()


def reciprocal(number: int) -> float:
    return 1 / number
