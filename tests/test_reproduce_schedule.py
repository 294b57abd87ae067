"""Rows at once, as real processes: order, number, failure, interruption."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from uniwhisper.core.errors import OutputError
from uniwhisper.reproduce.schedule import Errand, run_errands

WRITES = """
import json, os, sys, time
begun = time.monotonic()
time.sleep(0.4)
with open(sys.argv[1], "x") as file:
    json.dump([begun, time.monotonic(), os.environ.get("CUDA_VISIBLE_DEVICES")], file)
print("said")
"""


def errand(folder: Path, name: str, *after: str, steps: int = 1, code: str = WRITES) -> Errand:
    return Errand(name, after, steps, (sys.executable, "-c", code, str(folder / name)))


def test_each_waits_for_what_it_starts_from_and_no_more_run_than_allowed(tmp_path):
    errands = [
        errand(tmp_path, "U", "S"), errand(tmp_path, "long", steps=9), errand(tmp_path, "short"),
        errand(tmp_path, "S"), errand(tmp_path, "V", "U", "gate"), errand(tmp_path, "W", "elsewhere"),
        errand(tmp_path, "gate", "S"),
    ]  # fmt: skip
    said = []
    run_errands(errands, tmp_path / "logs", at_once=2, devices=["3", "5"], say=said.append)
    times = {each.name: json.loads((tmp_path / each.name).read_text()) for each in errands}
    assert times["S"][1] <= times["U"][0] and times["U"][1] <= times["V"][0]
    assert times["S"][1] <= times["gate"][0] and times["gate"][1] <= times["V"][0]
    for begun, _, _ in times.values():
        assert sum(other[0] <= begun < other[1] for other in times.values()) <= 2
    assert {device for _, _, device in times.values()} == {"3", "5"}
    # S and then U are waited for; of the others the longest goes first.
    assert [line.split(":")[0] for line in said if line.endswith("begun")][:2] == ["S", "long"]
    assert (tmp_path / "logs" / "V.log").read_text() == "said\n"


def test_of_what_is_alike_the_first_goes_first(tmp_path):
    errands = [
        errand(tmp_path, "V", "b", code="0"), errand(tmp_path, "W", "a", code="0"),
        errand(tmp_path, "a", code="0"), errand(tmp_path, "b", code="0"),
    ]  # fmt: skip
    said = []
    run_errands(errands, tmp_path / "logs", at_once=1, devices=[], say=said.append)
    assert [line.split(":")[0] for line in said if line.endswith("begun")] == ["a", "b", "V", "W"]


def test_a_failure_is_named_and_stops_only_what_waits_for_it(tmp_path):
    words = "error: no such thing\\n  expected one\\n  got      none\\n  fix      make it\\n"
    fails = errand(tmp_path, "S", code=f"import sys; print('begins', flush=True); sys.exit('{words}')")
    crashes = errand(tmp_path, "X", code="import sys; print('error: an old one'); 1 / 0")
    errands = [fails, crashes, errand(tmp_path, "U", "S"), errand(tmp_path, "V", "U"), errand(tmp_path, "other")]
    said = []
    with pytest.raises(OutputError) as caught:
        run_errands(errands, tmp_path / "logs", at_once=1, devices=[], say=said.append)
    assert "2 of 5 failed: S, X" in str(caught.value)
    # Its own words are there at once, not only in a file.
    assert [line for line in said if line.startswith("S: ")][2:] == [
        "S: error: no such thing", "S:   expected one", "S:   got      none", "S:   fix      make it"
    ]  # fmt: skip
    assert [line for line in said if line.startswith("X: ")][2:] == ["X: ZeroDivisionError: division by zero"]
    assert "not begun, for they wait for one that failed: U, V" in str(caught.value)
    assert (tmp_path / "other").is_file() and not (tmp_path / "U").exists()
    assert "no such thing" in (tmp_path / "logs" / "S.log").read_text()


# Full while another than itself is there: as a GPU whose memory the others fill.
NEEDS_ROOM = """
import os, sys, time
from pathlib import Path
here = Path(sys.argv[1]).parent / f"on-{os.environ.get('CUDA_VISIBLE_DEVICES')}"
here.mkdir(exist_ok=True)
mine = here / Path(sys.argv[1]).name
mine.touch()
time.sleep(0.5)
full = len(list(here.iterdir())) > 1
time.sleep(0.5 * (not full))
mine.unlink()
open(sys.argv[1] + ".tries", "a").write("t")
if full:
    sys.exit(75)
open(sys.argv[1], "x")
"""


@pytest.mark.parametrize("devices", [[], ["0", "1"]])
def test_a_full_device_gets_one_process_fewer_and_the_row_is_begun_again(tmp_path, devices):
    errands = [errand(tmp_path, name, code=NEEDS_ROOM) for name in ("a", "b", "c", "d", "e")]
    said = []
    run_errands([*errands, errand(tmp_path, "f", "e")], tmp_path / "logs", at_once=4, devices=devices, say=said.append)
    assert all((tmp_path / each).exists() for each in "abcdef")
    tries = sum(len((tmp_path / f"{each}.tries").read_text()) for each in "abcde")
    again = [line for line in said if "its device is full; again later" in line]
    assert 1 <= len(again) == tries - 5
    # Never below one for each device.
    places = [int(line.split("again later, ")[1].split()[0]) for line in again]
    assert places == sorted(places, reverse=True) and places[0] <= 3 and places[-1] >= max(1, len(devices))


def test_when_all_find_the_device_full_at_once_none_has_failed(tmp_path):
    """Each because of the others: the last place is no proof that its process was alone."""
    code = """
import os, sys, time
from pathlib import Path
there = Path(sys.argv[1]).parent / "there"
with there.open("a") as file:
    file.write("x")
if there.stat().st_size <= 3:
    while there.stat().st_size < 3:
        time.sleep(0.01)
    sys.exit(75)
open(sys.argv[1], "x")
"""
    errands = [errand(tmp_path, name, code=code) for name in "abc"]
    run_errands(errands, tmp_path / "logs", at_once=3, devices=["0"], say=lambda _: None)
    assert all((tmp_path / each).exists() for each in "abc")


def test_what_is_alone_on_its_device_and_finds_no_room_has_failed(tmp_path):
    full = errand(tmp_path, "a", code="import sys; sys.exit(75)")
    with pytest.raises(OutputError, match="1 of 2 failed: a"):
        run_errands([full, errand(tmp_path, "b")], tmp_path / "logs", at_once=1, devices=["7"], say=lambda _: None)
    assert (tmp_path / "b").exists()


RUNS = """
import sys
from pathlib import Path
from uniwhisper.reproduce.schedule import Errand, run_errands
folder = Path(sys.argv[1])
code = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
errands = [Errand(name, (), 1, (sys.executable, "-c", code, str(folder / name))) for name in "ab"]
run_errands(errands, folder / "logs", at_once=2, devices=[], say=print)
"""


def test_an_interrupt_leaves_no_process(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", RUNS, str(tmp_path)], stderr=subprocess.DEVNULL)
    files = [tmp_path / name for name in "ab"]
    until = time.monotonic() + 60
    while not all(file.is_file() and file.read_text() for file in files):
        assert time.monotonic() < until and process.poll() is None, "the processes did not begin"
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) != 0
    for file in files:
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.read_text()), 0)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system holds no process to cores")
def test_each_process_has_its_share_of_the_cores(tmp_path):
    code = "import os, sys, time; time.sleep(1); open(sys.argv[1], 'w').write(str(sorted(os.sched_getaffinity(0))))"
    errands = [Errand(name, (), 1, (sys.executable, "-c", code, str(tmp_path / name))) for name in "ab"]
    run_errands(errands, tmp_path / "logs", at_once=4, devices=[], say=print)  # two are all there are
    ours = os.sched_getaffinity(0)
    first, second = (set(json.loads((tmp_path / name).read_text())) for name in "ab")
    if len(ours) < 2:
        assert first == second == ours, "nothing to share"
    else:
        assert first | second == ours and not first & second
        assert abs(len(first) - len(second)) <= 1
