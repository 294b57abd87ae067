"""Decoding in processes: the rows of threads, whatever is among the files and whatever happens to the processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from command import uniwhisper
from conftest import tone
from uniwhisper.core.errors import AudioError
from uniwhisper.embedding import opening, workers
from uniwhisper.embedding.decode import Inputs
from uniwhisper.embedding.workers import FEWEST_FILES, Workers, worker_count

Found = tuple[list[tuple[int, str, np.ndarray]], list]

# Run by every fresh interpreter whose path names its folder first, hence by every worker and by nobody else here.
DEADLY = """
import os, signal, uniwhisper.audio.load as load
opened = load._open_path
def open_path(path, name):
    if "deadly" in name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "once" in name and not os.path.exists(name + ".died"):
        open(name + ".died", "w").close()
        os._exit(3)
    if "fault" in name:
        raise ZeroDivisionError("of ours")
    return opened(path, name)
load._open_path = open_path
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    """Clips of 0.1 to 61 s in four formats, and four files that cannot be read; one name is no UTF-8."""
    folder = tmp_path_factory.mktemp("files")
    paths = []
    formats = ["wav", "flac", "ogg", "mp3"] * 2
    for index, (seconds, suffix) in enumerate(zip([0.1, 5.0, 31.0, 61.0, 59.9, 2.5, 0.4, 3.0], formats, strict=True)):
        paths.append(folder / f"{index}.{suffix}")
        with soundfile.SoundFile(paths[-1], "w", 16_000, 1) as file:
            # In parts: libsndfile ends with a fault where a long Vorbis is written at once.
            for part_S in np.array_split(tone(seconds, 220.0 * (1 + index)), 100):
                file.write(part_S)
    paths[4] = paths[4].rename(folder / os.fsdecode(b"caf\xe9.wav"))
    (folder / "empty.wav").touch()
    (folder / "text.flac").write_text("no audio\n" * 100)
    whole = paths[1].read_bytes()
    (folder / "cut.flac").write_bytes(whole[: len(whole) // 2])
    return [*paths[:5], folder / "empty.wav", *paths[5:], folder / "text.flac", folder / "cut.flac", folder / "no.wav"]


@pytest.fixture(autouse=True)
def no_process_is_left():
    before = children()
    yield
    assert children() <= before, "a process was left, or not waited for"


def windows(sources: list, *, count: int, whole_only: bool = False, each: Callable = lambda *_: None) -> Found:
    found = []
    with Inputs(sources, skip=True, workers=count) as inputs:
        for window in inputs.windows(sort=True, whole_only=whole_only, ahead_seconds=100.0):
            found.append((window.planned.index, window.planned.name, window.samples))
            each(inputs, found)
        return found, inputs.failures


def assert_same(got: Found, expected: Found) -> None:
    assert [each[:2] for each in got[0]] == [each[:2] for each in expected[0]]
    for (*_, samples), (*_, wanted) in zip(got[0], expected[0], strict=True):
        assert samples.dtype == np.float32
        np.testing.assert_array_equal(samples, wanted)
    assert got[1] == expected[1]


def children() -> set[int]:
    """Processes begun by this one, those that ended and were not waited for among them."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            found.add(int(folder.name))
    return found


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill_workers(inputs: Inputs) -> None:
    killed = [worker._process for worker in list(inputs._workers._all)]
    assert killed
    for process in killed:
        os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: not any(runs(process.pid) for process in killed))


def wait_until(done: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"not within {seconds:g} s"
        time.sleep(0.02)


@pytest.mark.parametrize("whole_only", [False, True])
def test_windows_and_failures_are_those_of_threads(files, whole_only):
    expected = windows(files * 3, count=0, whole_only=whole_only)
    assert len(expected[1]) == 12
    assert len(expected[0]) == 3 * (8 + 1 + 2 + 1)
    assert_same(windows(files * 3, count=2, whole_only=whole_only), expected)


def test_a_bad_input_is_raised_as_it_is_by_threads(files):
    for count in (0, 2):
        with pytest.raises(AudioError, match=r"empty\.wav is empty"):
            Inputs(files, skip=False, workers=count)


def test_workers_decode_and_not_the_caller(files, monkeypatch):
    monkeypatch.setattr(opening, "read_windows", None)
    monkeypatch.setattr(opening, "describe", None)
    assert len(windows(files[:3], count=2)[0]) == 4  # one of two windows


def test_many_tasks_of_few_clips(files, monkeypatch):
    monkeypatch.setattr(opening, "CLIPS_PER_TASK", 2)
    assert_same(windows(files[:2] * 200, count=3), windows(files[:2] * 200, count=0))


@pytest.mark.parametrize("when", ["before they are asked", "while they decode"])
def test_workers_killed_from_outside_cost_no_row(files, when):
    expected = windows(files * 4, count=0)
    with Inputs(files * 4, skip=True, workers=2) as inputs:
        if when == "before they are asked":
            kill_workers(inputs)
        found = []
        for window in inputs.windows(sort=True, whole_only=False, ahead_seconds=100.0):
            found.append((window.planned.index, window.planned.name, window.samples))
            if when == "while they decode" and len(found) == 8:
                kill_workers(inputs)
        assert_same((found, inputs.failures), expected)


@pytest.fixture
def deadly(tmp_path, monkeypatch) -> Path:
    """A folder where a file named `deadly` ends its worker, `once` the first time; `fault` is a fault of ours."""
    (tmp_path / "sitecustomize.py").write_text(DEADLY)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_file_that_ends_its_worker_fails_by_name(deadly):
    paths = []
    for number in range(40):
        name = {7: "deadly", 8: "deadly", 20: "once", 39: "deadly"}.get(number, "clip")
        paths.append(deadly / f"{number}-{name}.wav")
        soundfile.write(paths[-1], tone(0.5 + number / 100), 16_000)
    found, failures = windows(paths, count=2)
    assert [failure.index for failure in failures] == [7, 8, 39]
    assert [failure.name for failure in failures] == [str(paths[index]) for index in (7, 8, 39)]
    assert all(f"signal {int(signal.SIGSEGV)}" in failure.reason for failure in failures)
    assert sorted(index for index, *_ in found) == [index for index in range(40) if index not in (7, 8, 39)]
    assert (deadly / "20-once.wav.died").exists()
    for index, _, samples in found:
        assert len(samples) == round(16_000 * (0.5 + index / 100))


def test_a_worker_that_is_ended_between_header_and_samples(deadly):
    """The headers are read before the file turns deadly."""
    path, other = deadly / "turns.wav", deadly / "clip.wav"
    for each in (path, other):
        soundfile.write(each, tone(1.0), 16_000)
    (deadly / "sitecustomize.py").write_text(DEADLY.replace('"deadly" in name', f'os.path.exists("{deadly}/now")'))
    with Inputs([path], skip=True, workers=1) as inputs:
        (deadly / "now").touch()
        assert not list(inputs.windows(sort=True, whole_only=False, ahead_seconds=10.0))
        assert [failure.index for failure in inputs.failures] == [0]
        (deadly / "now").unlink()
        assert inputs._workers.ask("seconds", [(str(other), "other")]) == [1.0]


def test_a_fault_of_ours_is_raised_with_its_traceback(deadly):
    path = deadly / "fault.wav"
    soundfile.write(path, tone(1.0), 16_000)
    with pytest.raises(RuntimeError, match=r"(?s)Traceback.*ZeroDivisionError: of ours"):
        Inputs([path], skip=True, workers=1)


def test_where_no_worker_can_be_started_threads_decode(files, tmp_path, monkeypatch):
    expected = windows(files * 2, count=0)
    (tmp_path / "sitecustomize.py").write_text("import os\nos._exit(1)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.warns(RuntimeWarning, match="threads decode") as warned:
        assert_same(windows(files * 2, count=2), expected)
    assert len([each for each in warned if each.category is RuntimeWarning]) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_exception_in_the_consumer_ends_the_workers(files, error):
    def each(_: Inputs, found: list) -> None:
        if len(found) == 3:
            assert len(children()) >= 2
            raise error

    with pytest.raises(error):
        windows(files * 20, count=2, each=each)
    assert not children()


CALLER = """
import sys
from uniwhisper.embedding.decode import Inputs
with Inputs(sys.argv[1:] * 2000, skip=True, workers=3) as inputs:
    for number, _ in enumerate(inputs.windows(sort=False, whole_only=False, ahead_seconds=100.0)):
        if number == 5:
            print(*[worker._process.pid for worker in inputs._workers._all], flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_caller(files, how):
    """SIGINT as Ctrl-C sends it: to the whole group."""
    command = [sys.executable, "-c", CALLER, *files[:3]]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as caller:
        pids = [int(word) for word in caller.stdout.readline().split()]
        assert len(pids) == 3
        assert all(map(runs, pids))
        os.killpg(caller.pid, how) if how == signal.SIGINT else caller.send_signal(how)
        _, said = caller.communicate(timeout=30)
    assert caller.returncode == -how
    wait_until(lambda: not any(map(runs, pids)))
    # What Python says of an interrupt in the caller, and of workers not a word.
    assert said.count("Traceback") == (how == signal.SIGINT)


@pytest.mark.parametrize("request_line", [b"", b'{"what": "seco'])
def test_a_worker_ends_with_its_stdin(request_line):
    command = [sys.executable, "-m", "uniwhisper.embedding.decoding_worker"]
    done = subprocess.run(command, input=request_line, capture_output=True, timeout=30, check=True)
    assert (done.stdout, done.stderr) == (b"ready\n", b"")


def test_no_worker_holds_a_pipe_of_another():
    several = Workers()
    try:
        with several._lent() as first, several._lent() as second:
            (mine, held), (theirs, _) = [
                ({pipe_of("self", pipe.fileno()) for pipe in (process.stdin, process.stdout)}, process.pid)
                for process in (first._process, second._process)
            ]
            held = {pipe_of(held, int(path.name)) for path in Path(f"/proc/{held}/fd").iterdir()}
            assert mine <= held
            assert not theirs & held
    finally:
        several.close()


def pipe_of(process: int | str, descriptor: int) -> str:
    return str(Path(f"/proc/{process}/fd/{descriptor}").readlink())


def test_where_workers_pay(monkeypatch):
    paths = ["clip.wav"] * FEWEST_FILES
    monkeypatch.setattr(workers, "usable_cores", lambda: 16)
    assert worker_count(paths, "cuda") == 16
    assert worker_count(paths, "cpu") == 0
    assert worker_count(paths[1:], "cuda") == 0
    assert worker_count([*paths, b"RIFF"], "cuda") == 0
    for cores, count in ((3, 0), (4, 4), (200, 32)):
        monkeypatch.setattr(workers, "usable_cores", lambda cores=cores: cores)
        assert worker_count(paths, "cuda") == count


def test_the_command_writes_the_same_rows(files, tmp_path, tiny_model, monkeypatch):
    tables = []
    for count in (0, 2):
        monkeypatch.setattr(workers, "worker_count", lambda *_, count=count: count)
        output = tmp_path / f"{count}.parquet"
        done = uniwhisper("embed", *files, "-o", output, "--model", tiny_model, "--device", "cpu")
        assert done.returncode == 1, done.stderr
        tables.append(pq.read_table(output))
    assert tables[0].num_rows == 8
    assert tables[0].equals(tables[1])
