"""Sources to windows, decoded ahead of the encoder in a few threads.

Notable: what is kept of each input is its source, as given, and its length, 8 bytes. Everything else (tasks, plans,
audio) exists for a bounded number of inputs at a time, so millions of short clips cost what their number says.
"""

from bisect import insort
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from uniwhisper.audio.load import AudioSource, describe, read_windows
from uniwhisper.core.cores import usable_cores
from uniwhisper.core.errors import AudioError, UserError
from uniwhisper.core.units import SAMPLE_RATE_HZ, WINDOW_SECONDS
from uniwhisper.embedding.table import Failure

# A source is decoded two windows at a time: the second tells whether there is more, and a clip of one window costs
# one task.
CHUNK_WINDOWS = 2
CHUNK_SECONDS = CHUNK_WINDOWS * WINDOW_SECONDS

# So many inputs are sorted by length together: neighbours of them differ by a thousandth of the range, and their
# vectors, which wait until all of them are there, take 21 MB at a width of 1,280.
SORTED_CLIPS = 4096

# Beyond, threads wait for Python's lock: of a short clip's cost a fifth is Python.
MOST_THREADS = 32

# Handing a task to a thread costs as much as a header.
HEADERS_PER_TASK = 64


@dataclass(frozen=True)
class Planned:
    """One input, looked at but not decoded."""

    index: int
    name: str
    source: AudioSource
    seconds: float
    """Length according to the header: decides the order and the progress bar, never a result."""


@dataclass(frozen=True, eq=False)
class Window:
    """At most 30 s of one input: what the encoder takes at once."""

    planned: Planned
    samples: np.ndarray
    """(S,) float32, mono, 16 kHz."""

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE_HZ


class Inputs:
    """The inputs of one call and what failed among them; a context manager, because it owns threads.

    With `skip`, an input that fails is written to `failures`; without, its error is raised: the first in the order of
    the input among the errors a header shows, before anything is decoded; later errors in the order of decoding.
    """

    def __init__(self, sources: Sequence[AudioSource], *, skip: bool) -> None:
        self._sources = list(sources)
        for index, source in enumerate(self._sources):
            _name(index, source)  # raises for a type that is no audio, before anything is opened
        self.skip = skip
        self.sorted_clips = SORTED_CLIPS
        self.failures: list[Failure] = []
        self._seconds_N = np.full(len(self._sources), np.nan)  # NaN: not known, or failed
        self._stopped = False
        self._threads = min(MOST_THREADS, usable_cores())
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="uniwhisper-decode")
        try:
            self._look()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Inputs":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """Inputs, the failed ones among them."""
        return len(self._sources)

    def close(self) -> None:
        """Forget what has not been decoded, without waiting for it."""
        self._stopped = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def seconds(self) -> float:
        """Audio to come, according to the headers."""
        return float(np.nansum(self._seconds_N))

    def name(self, index: int) -> str:
        """What the input is called in tables and errors."""
        return _name(index, self._sources[index])

    def failed(self, index: int) -> bool:
        """Whether the input is in `failures`."""
        return bool(np.isnan(self._seconds_N[index]))

    def fail(self, index: int, error: UserError) -> None:
        """Raise `error`, or with `skip` write it down."""
        if not self.skip:
            raise error
        self._seconds_N[index] = np.nan
        name = self.name(index)
        reason = f"{error.one_line}; {error.fix}".removeprefix(f"{name} ")
        insort(self.failures, Failure(index, name, reason), key=lambda failure: failure.index)

    def _look(self) -> None:
        """The lengths of all inputs, from their headers."""
        # Where there are few, each is a task: a format that does not state its length is decoded to find it.
        count = max(1, min(HEADERS_PER_TASK, len(self) // (4 * self._threads)))
        waiting: deque[tuple[int, Future[list[float | UserError]]]] = deque()
        for first in range(0, len(self), count):
            waiting.append((first, self._pool.submit(self._headers, first, count)))
            if len(waiting) > 2 * self._threads:
                self._note(*waiting.popleft())
        while waiting:
            self._note(*waiting.popleft())

    def _headers(self, first: int, count: int) -> list[float | UserError]:
        found: list[float | UserError] = []
        for index in range(first, min(first + count, len(self))):
            if self._stopped:
                break
            try:
                found.append(describe(self._sources[index], name=self.name(index)).seconds)
            except UserError as error:
                found.append(error)
        return found

    def _note(self, first: int, task: "Future[list[float | UserError]]") -> None:
        for index, found in enumerate(task.result(), first):
            if isinstance(found, UserError):
                self.fail(index, found)
            else:
                self._seconds_N[index] = found

    def windows(self, *, sort: bool, whole_only: bool, ahead_seconds: float) -> Iterator[Window]:
        """All windows of all inputs; those of one input come together and in order.

        Args:
            sort: each `SORTED_CLIPS` inputs by length, falling and rising in turn, so that windows of like length
                follow each other; else in the order of the input.
            whole_only: decode a long input once in advance, so that no window of an input that fails at its end is
                given out.
            ahead_seconds: how much audio may lie decoded and waiting.
        """
        waiting: deque[tuple[Planned, Future[_Chunk]]] = deque()
        ahead = 0.0
        for planned in self._plan(sort):
            waiting.append((planned, self._pool.submit(self._open, planned, whole_only)))
            ahead += min(planned.seconds, CHUNK_SECONDS)
            while ahead > ahead_seconds:
                head, chunk = waiting.popleft()
                ahead -= min(head.seconds, CHUNK_SECONDS)
                yield from self._windows_of(head, chunk)
        while waiting:
            yield from self._windows_of(*waiting.popleft())

    def _plan(self, sort: bool) -> Iterator[Planned]:
        for first in range(0, len(self), self.sorted_clips):
            seconds_W = self._seconds_N[first : first + self.sorted_clips].copy()
            order = np.argsort(-seconds_W, kind="stable") if sort else np.arange(len(seconds_W))
            if sort and first // self.sorted_clips % 2:
                order = order[::-1]
            for place in order[~np.isnan(seconds_W[order])].tolist():
                index = first + place
                yield Planned(index, self.name(index), self._sources[index], float(seconds_W[place]))

    def _open(self, planned: Planned, whole_only: bool) -> "_Chunk":
        chunk = _next_chunk(read_windows(planned.source, name=planned.name))
        if not whole_only or chunk.last:
            return chunk
        for _ in chunk.rest:
            if self._stopped:
                break
        return _next_chunk(read_windows(planned.source, name=planned.name))

    def _windows_of(self, planned: Planned, future: "Future[_Chunk] | None") -> Iterator[Window]:
        while future is not None:
            try:
                chunk = future.result()
            except UserError as error:
                self.fail(planned.index, error)
                return
            future = None if chunk.last else self._pool.submit(_next_chunk, chunk.rest)
            for samples in chunk.windows:
                yield Window(planned, samples)


@dataclass(frozen=True, eq=False)
class _Chunk:
    windows: list[np.ndarray]
    rest: Iterator[np.ndarray]

    @property
    def last(self) -> bool:
        return len(self.windows) < CHUNK_WINDOWS


def _next_chunk(windows: Iterator[np.ndarray]) -> _Chunk:
    return _Chunk(list(islice(windows, CHUNK_WINDOWS)), windows)


def _name(index: int, source: object) -> str:
    """What an input is called in tables and errors.

    Raises:
        AudioError: the input is of no accepted type.
    """
    if isinstance(source, str | Path):
        text = str(source)
        if text.isascii():
            return text  # the caller's own: no second one in memory
        # A file name may hold bytes that are no UTF-8; tables and terminals cannot, so these become \xNN.
        return text.encode(errors="surrogateescape").decode(errors="backslashreplace")
    if isinstance(source, bytes):
        return f"<bytes {index}>"
    if isinstance(source, tuple) and len(source) == 2 and isinstance(source[0], np.ndarray):
        return f"<array {index}>"
    got = type(source).__name__
    if isinstance(source, np.ndarray):
        got = "an array without its sample rate"
    elif isinstance(source, tuple):
        got = "a tuple of (" + ", ".join(type(part).__name__ for part in source) + ")"
    raise AudioError(
        f"input {index} cannot be used as audio",
        expected="a path (str or Path), the bytes of a file, or (array, sample_rate_hz)",
        got=got,
        fix="pass one of these, e.g. embed([(samples, 16000)])",
    )
