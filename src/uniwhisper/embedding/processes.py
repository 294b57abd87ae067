"""Decoding in other processes, for a GPU that the threads of one cannot feed.

Decoding releases Python's lock, but opening, checking and reading a clip takes it again some thirty times, and waiting
for it soon costs more than a further thread gains: docs/performance.md. Processes have a lock each.

Notable: they are forked, so they import nothing, need no guard in the caller's script, and cost tens of milliseconds.
They decode and touch no device. If one of them ends, the caller goes on with threads.
"""

import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

import torch

from uniwhisper.audio.load import AudioSource
from uniwhisper.core.cores import usable_cores

FEWEST_INPUTS = 1024
"""Fewer are done by threads before processes are under way."""
FEWEST_CORES = 4
MOST_PROCESSES = 16
"""What comes back passes through one process: beyond these it is the bound."""
_WATCH_SECONDS = 1.0


def decoding_processes(sources: Sequence[AudioSource], device: torch.device) -> int:
    """How many processes should decode `sources` for an encoder on `device`; 0: threads do."""
    if device.type == "cpu" or len(sources) < FEWEST_INPUTS or usable_cores() < FEWEST_CORES:
        return 0
    if any(isinstance(source, tuple) for source in sources):  # arrays would be sent there and back
        return 0
    if "fork" not in multiprocessing.get_all_start_methods() or multiprocessing.current_process().daemon:
        return 0
    return min(usable_cores() - 2, MOST_PROCESSES)


class Processes:
    """Forked processes that run functions of a module; as many as `count`."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.alive = True
        """False once one of them ended unasked: from then on nothing is taken."""
        self._pool = ProcessPoolExecutor(
            count, mp_context=multiprocessing.get_context("fork"), initializer=_begin, initargs=(os.getpid(),)
        )
        with warnings.catch_warnings():
            # Python warns of forks beside threads: a child could wait for a lock that one of them held. What runs here
            # takes none that others hold: no logging, no import, no device.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pool.submit(os.getpid)  # all are forked now, before the caller has threads of its own

    def submit(self, work: Callable[[Any], Any], argument: Any, *, instead: Callable[[], Any]) -> "Task | None":
        """`work(argument)`, both picklable, in one of the processes; None if they are gone.

        Args:
            work: a function of a module.
            argument: what it is given.
            instead: called in its place where the result is wanted, should the processes end before it is there.
        """
        if not self.alive:
            return None
        try:
            return Task(self, self._pool.submit(work, argument), instead)
        except BrokenProcessPool:
            self.gone()
            return None

    def gone(self) -> None:
        """Take nothing more, and say so once."""
        if self.alive:
            self.alive = False
            warnings.warn(
                "a process that decodes was ended from outside (out of memory?): going on with threads",
                RuntimeWarning,
                stacklevel=2,
            )

    def close(self) -> None:
        """Forget what has not begun, without waiting."""
        self._pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class Task:
    """What a process was asked for."""

    processes: Processes
    future: "Future[Any]"
    instead: Callable[[], Any]

    def result(self) -> Any:
        """Waits for it; what `instead` gives if the processes ended before it was there."""
        try:
            return self.future.result()
        except BrokenProcessPool:
            self.processes.gone()
            return self.instead()


def _begin(parent: int) -> None:
    """In a new process: leave Ctrl-C to the parent, and end when it has ended, however that was."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os._exit(1)
