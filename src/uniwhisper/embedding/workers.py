"""Decoding in processes of our own, for a GPU that the threads of one process cannot feed.

Decoding releases Python's lock, but opening, checking and reading a clip takes it again some thirty times, and waiting
for it soon costs more than a further thread gains: docs/performance.md. Processes have a lock each.

Notable: a worker is a fresh interpreter, nothing forked. It holds two pipes of its own and no other descriptor of ours,
so it ends when we do, however that was. One file after the other is answered, so when a worker ends, the first file
without an answer is the suspect: a fresh worker is asked for it first, and it fails by name if that ends too.
"""

import json
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from uniwhisper.audio.load import AudioSource
from uniwhisper.core import errors
from uniwhisper.core.cores import usable_cores
from uniwhisper.core.errors import AudioError, UserError
from uniwhisper.embedding.decoding_worker import READY

FEWEST_FILES = 2048
"""Fewer are done by threads before processes pay."""
FEWEST_CORES = 4
MOST_WORKERS = 32

_STARTS = 3
"""One may be ended from outside while it begins."""

_PIPE_BYTES = 1 << 20
"""A few clips of 5 s: a worker goes on while the thread that reads its answers waits for Python's lock."""

Answer = float | list[np.ndarray] | UserError | None
"""Seconds; windows (S,) float32, mono, 16 kHz; why there are none; None: decode it here."""


def worker_count(sources: Sequence[AudioSource], device_type: str) -> int:
    """How many processes should decode `sources` for an encoder on a device of this type; 0: threads do it."""
    if device_type != "cuda" or len(sources) < FEWEST_FILES or usable_cores() < FEWEST_CORES or not sys.executable:
        return 0
    if not all(isinstance(source, str | Path) for source in sources):
        return 0
    return min(MOST_WORKERS, usable_cores())


class Workers:
    """Processes that decode, each started when all others are at work; `ask` may be called by many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: set[_Worker] = set()
        self._idle: list[_Worker] = []
        self._closed = False
        self._cannot_start = False

    def ask(self, what: str, named: Sequence[tuple[str, str]]) -> list[Answer]:
        """The answers of one worker, in the order of the files.

        Args:
            what: "seconds", as headers state them, or "windows", all of a file.
            named: paths, and what errors call them.

        Returns:
            Per file seconds or windows, or its error. None: longer than a chunk, or no worker can be started.
        """
        answers: list[Answer] = []
        suspect = -1
        while len(answers) < len(named):
            first = len(answers)
            try:
                with self._lent(fresh=first == suspect) as worker:
                    if worker is None:
                        return answers + [None] * (len(named) - first)
                    for answer in worker.ask(what, named[first:]):
                        answers.append(answer)
            except _EndedError as ended:
                if len(answers) == suspect:
                    answers.append(_ends_the_decoder(named[suspect][1], str(ended)))
                else:
                    suspect = len(answers)
        return answers

    def close(self) -> None:
        """End all of them, now; who waits in `ask` gets an error that nobody looks at."""
        with self._lock:
            self._closed = True
            workers, idle = list(self._all), self._idle
            self._idle = []
        for worker in workers:
            worker.kill()
        for worker in idle:  # of the others, the thread that uses them closes the pipes
            worker.close()

    @contextmanager
    def _lent(self, *, fresh: bool = False) -> "Iterator[_Worker | None]":
        worker = self._take(fresh)
        try:
            yield worker
        except BaseException:
            # Answers of it may still be under way: nobody else could tell them from his own.
            self._end(worker)
            raise
        if worker is not None:
            with self._lock:
                if not self._closed:
                    self._idle.append(worker)
                    return
            self._end(worker)

    def _take(self, fresh: bool) -> "_Worker | None":
        for _ in range(_STARTS):
            with self._lock:
                if self._closed:
                    raise _ClosedError
                if self._idle and not fresh:  # one that waits may have been ended meanwhile
                    return self._idle.pop()
                if self._cannot_start:
                    return None
                worker = None
                with suppress(OSError):
                    worker = _Worker()
                    self._all.add(worker)
            if worker is not None and worker.begun():
                return worker
            self._end(worker)
        with self._lock:
            if self._closed:
                raise _ClosedError
            first, self._cannot_start = not self._cannot_start, True
        if first:
            warnings.warn("no process that decodes can be started: threads decode", RuntimeWarning, stacklevel=2)
        return None

    def _end(self, worker: "_Worker | None") -> None:
        if worker is not None:
            worker.kill()
            worker.close()
            with self._lock:
                self._all.discard(worker)


class _Worker:
    """One process and its two pipes; for one thread at a time, but for `kill`."""

    def __init__(self) -> None:
        paths = os.pathsep.join(str(Path(path).absolute()) for path in sys.path)
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            # -P: nothing of the working folder is imported that this process does not import from there.
            [sys.executable, "-P", "-m", "uniwhisper.embedding.decoding_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths, **one_thread},
            process_group=0 if os.name == "posix" else None,  # Ctrl-C is for us, who then end it
        )
        if sys.platform == "linux":
            import fcntl

            with suppress(OSError):  # a user may have so much of it and no more
                fcntl.fcntl(self._process.stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def begun(self) -> bool:
        """Waits until it takes requests; False: it ended before."""
        return self._process.stdout.readline() == READY

    def ask(self, what: str, named: Sequence[tuple[str, str]]) -> Iterator[Answer]:
        """As `Workers.ask`, one by one; `_EndedError` if the process ends before the next is answered."""
        try:
            self._process.stdin.write(json.dumps({"what": what, "files": named}).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None
        for _ in named:
            yield self._answer()

    def kill(self) -> None:
        """End it, and wait for that."""
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):  # on a file system that does not answer it cannot end
            self._process.wait(10)

    def close(self) -> None:
        """Close the pipes of a process that was killed."""
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(BrokenPipeError):
                pipe.close()

    def _answer(self) -> Answer:
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise self._ended()
        answer = json.loads(line)
        if "seconds" in answer:
            return answer["seconds"]
        if "samples" in answer:
            return [self._samples(count) for count in answer["samples"]]
        if "error" in answer:
            kind, problem, expected, got, fix = answer["error"]
            return getattr(errors, kind)(problem, expected=expected, got=got, fix=fix)
        if "fault" in answer:
            raise RuntimeError(f"in a process that decodes:\n{answer['fault']}")
        return None

    def _samples(self, count: int) -> np.ndarray:
        samples_S = np.empty(count, np.float32)
        view = memoryview(samples_S).cast("B")
        while len(view):
            got = self._process.stdout.readinto(view)
            if not got:
                raise self._ended()
            view = view[got:]
        return samples_S

    def _ended(self) -> "_EndedError":
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)  # its own end says more than ours
        self.kill()
        status = self._process.returncode
        return _EndedError(f"signal {-status}" if status < 0 else f"exit status {status}")


class _EndedError(Exception):
    """A worker ended by itself, or was ended by somebody else; the text says how."""


class _ClosedError(Exception):
    """`Workers.close` was called."""


def _ends_the_decoder(name: str, how: str) -> AudioError:
    return AudioError(
        f"{name} ends the process that decodes it",
        expected="a file that can be decoded within the memory there is",
        got=f"{how}, twice, the second time first in a fresh process",
        fix="leave it out, or convert it first, e.g. ffmpeg -i INPUT output.wav",
    )
