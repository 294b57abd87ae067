"""Several rows at once: each in a process of its own, as soon as what it starts from is done.

A process runs its row alone, so it leaves what a chain leaves that runs row by row. What has a lower rank goes first,
then what others wait for, then what takes more steps, then what stands first. Each has its share of the cores, else
every one would start loader processes for all of them. What finds its GPU full is begun again later, and from then on
one process fewer runs there: how much memory a row takes is not known before.
"""

import os
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

from uniwhisper.core.errors import DEVICE_FULL, OutputError

LOOK_SECONDS = 0.2
END_SECONDS = 30.0
"""Given to a process to end by itself before it is killed."""


@dataclass(frozen=True)
class Errand:
    """One process of the schedule."""

    name: str
    """Of its log, and what others wait for."""
    after: tuple[str, ...]
    """Errands that it waits for; one that is not in the schedule is not waited for."""
    steps: int
    """How long it takes, in any unit."""
    command: tuple[str, ...]
    rank: int = 0
    """Of those that are ready, the lowest is begun first."""


def run_errands(
    errands: Sequence[Errand], logs: Path, *, at_once: int, devices: Sequence[str], say: Callable[[str], None]
) -> None:
    """Run every errand, at most `at_once` at a time; each adds to `NAME.log` in `logs`.

    When one fails the others go on, but for those that wait for it. One that ends with `DEVICE_FULL` is begun again as
    soon as a place is free, unless it had its device for itself. However this ends, no process is left.

    Args:
        devices: values for `CUDA_VISIBLE_DEVICES`, dealt out evenly; none: the processes see what we see.

    Raises:
        OutputError: names what failed and what was therefore not begun.
    """
    logs.mkdir(parents=True, exist_ok=True)
    at_once = min(at_once, len(errands))  # else cores would be kept for rows that there are not
    by_name = {errand.name: errand for errand in errands}
    numbers = {errand.name: number for number, errand in enumerate(errands)}
    followed = {name for errand in errands for name in errand.after}
    order = TopologicalSorter({e.name: [name for name in e.after if name in by_name] for e in errands})
    order.prepare()
    ready: list[str] = []
    done: list[str] = []
    failed: list[str] = []
    places = dict.fromkeys(range(at_once))
    running: dict[int, tuple[str, subprocess.Popen[bytes]]] = {}
    alone: set[str] = set()  # begun as the only one of its device
    try:
        while True:
            ready += order.get_ready()
            ready.sort(key=lambda name: (by_name[name].rank, name not in followed, -by_name[name].steps, numbers[name]))
            for slot in [slot for slot in places if slot not in running][: len(ready)]:
                name = ready.pop(0)
                process = _begun(by_name[name], logs, devices[slot % len(devices)] if devices else None)
                running[slot] = (name, process)
                if not _another(places, slot, len(devices) or 1):
                    alone.add(name)
                _hold_to(process, slot, at_once)
                say(f"{name}: begun")
            if not running:
                break
            time.sleep(LOOK_SECONDS)
            ended = {slot: one for slot, one in running.items() if one[1].poll() is not None}
            for slot, (name, process) in ended.items():
                del running[slot]
                if process.returncode == DEVICE_FULL and name not in alone:
                    if _another(places, slot, len(devices) or 1):  # else all of them have just found it full
                        del places[slot]
                    ready.append(name)
                    say(f"{name}: its device is full; again later, {len(places)} at a time from now on")
                elif process.returncode:
                    failed.append(name)
                    say(f"{name}: FAILED with status {process.returncode}: {logs / f'{name}.log'}")
                    for line in _last_words(logs / f"{name}.log"):
                        say(f"{name}: {line}")
                else:
                    done.append(name)
                    order.done(name)
                    say(f"{name}: done ({len(done)} of {len(errands)})")
    finally:
        _end([process for _, process in running.values()])
    if failed:
        left = [name for name in by_name if name not in done and name not in failed]
        raise OutputError(
            f"{len(failed)} of {len(errands)} failed: {', '.join(failed)}",
            expected="every row's process to end with status 0",
            got=f"{len(done)} that did"
            + (f"; not begun, for they wait for one that failed: {', '.join(left)}" * bool(left)),
            fix=f"do what it says (all of it: {logs / failed[0]}.log) and type the command again",
        )


def _last_words(log: Path) -> list[str]:
    """What a process said of its failure: an error of ours, which takes four lines, else its last line."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    last = [line for line in lines if line.strip()][-4:]
    ours = [line.split()[0] for line in last] == ["error:", "expected", "got", "fix"]
    return last if ours else last[-1:]


def _another(places: Iterable[int], slot: int, devices: int) -> bool:
    """Whether another place has the same device, so that one can do without this one."""
    return any(other != slot and other % devices == slot % devices for other in places)


def _begun(errand: Errand, logs: Path, device: str | None) -> "subprocess.Popen[bytes]":
    environment = os.environ | ({} if device is None else {"CUDA_VISIBLE_DEVICES": device})
    with (logs / f"{errand.name}.log").open("ab") as log:
        return subprocess.Popen(
            errand.command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment
        )


def _hold_to(process: "subprocess.Popen[bytes]", slot: int, at_once: int) -> None:
    """Give a process that was just begun every `at_once`-th core; where there are fewer, or no such call: all."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    if len(cores) >= at_once:
        with suppress(ProcessLookupError):  # it has ended already
            os.sched_setaffinity(process.pid, cores[slot::at_once])


def _end(processes: Iterable["subprocess.Popen[bytes]"]) -> None:
    processes = list(processes)
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
