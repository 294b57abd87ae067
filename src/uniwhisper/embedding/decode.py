"""Sources to windows, decoded ahead of the encoder in a few threads, or in processes where these cannot keep up.

Notable: what is kept of each input is its source, as given, and its length, 8 bytes. Everything else (tasks, plans,
audio) exists for a bounded number of inputs at a time, so millions of short clips cost what their number says.
"""

from bisect import insort
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uniwhisper.audio.load import AudioSource
from uniwhisper.core.cores import usable_cores
from uniwhisper.core.errors import UserError
from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.embedding.chunks import CHUNK_SECONDS, Chunk, next_chunk
from uniwhisper.embedding.naming import input_name
from uniwhisper.embedding.opening import SECONDS_PER_TASK, Opener, Planned
from uniwhisper.embedding.table import Failure
from uniwhisper.embedding.workers import Workers

# So many inputs are sorted by length together: neighbours of them differ by a thousandth of the range, and their
# vectors, which wait until all of them are there, take 21 MB at a width of 1,280.
SORTED_CLIPS = 4096

# Beyond, threads wait for Python's lock: of a short clip's cost a fifth is Python.
MOST_THREADS = 32

# Handing a task to a thread costs as much as a header.
HEADERS_PER_TASK = 64


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
    With `workers`, so many processes decode what is no longer than a chunk; then every source is a path.
    """

    def __init__(self, sources: Sequence[AudioSource], *, skip: bool, workers: int = 0) -> None:
        self._sources = list(sources)
        for index, source in enumerate(self._sources):
            input_name(index, source)  # raises for a type that is no audio, before anything is opened
        self.skip = skip
        self.sorted_clips = SORTED_CLIPS
        self.failures: list[Failure] = []
        self._seconds_N = np.full(len(self._sources), np.nan)  # NaN: not known, or failed
        assert not workers or all(isinstance(source, str | Path) for source in self._sources), "workers open paths"
        self._workers = Workers() if workers else None
        self._opener = Opener(self._workers)
        # With workers, a thread for each, which waits for it.
        self._threads = workers or min(MOST_THREADS, usable_cores())
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
        self._opener.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._workers is not None:
            self._workers.close()

    @property
    def seconds(self) -> float:
        """Audio to come, according to the headers."""
        return float(np.nansum(self._seconds_N))

    def name(self, index: int) -> str:
        """What the input is called in tables and errors."""
        return input_name(index, self._sources[index])

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
        waiting: deque[tuple[int, Future[list[float | UserError | None]]]] = deque()
        for first in range(0, len(self), count):
            waiting.append((first, self._pool.submit(self._headers, first, count)))
            if len(waiting) > 2 * self._threads:
                self._note(*waiting.popleft())
        while waiting:
            self._note(*waiting.popleft())

    def _headers(self, first: int, count: int) -> list[float | UserError | None]:
        sources = self._sources[first : first + count]
        return self._opener.seconds([(source, self.name(index)) for index, source in enumerate(sources, first)])

    def _note(self, first: int, task: "Future[list[float | UserError | None]]") -> None:
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
        waiting: deque[tuple[Planned, _Place]] = deque()
        ahead = 0.0
        if self._workers is not None:
            ahead_seconds = max(ahead_seconds, 2 * SECONDS_PER_TASK * self._threads)
        for planned, place in self._tasks(self._plan(sort), whole_only):
            waiting.append((planned, place))
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

    def _tasks(self, plan: Iterator[Planned], whole_only: bool) -> "Iterator[tuple[Planned, _Place]]":
        """Each input and where its first chunk will be: tasks of neighbours for workers, of one for threads."""
        for together in self._opener.together(plan):
            task = self._pool.submit(self._opener.first_chunks, together, whole_only)
            yield from ((planned, _Place(task, place)) for place, planned in enumerate(together))

    def _windows_of(self, planned: Planned, place: "_Place") -> Iterator[Window]:
        chunk = place.chunk()
        while True:
            if isinstance(chunk, UserError):
                self.fail(planned.index, chunk)
                return
            following = None if chunk.last else self._pool.submit(next_chunk, chunk.rest)
            for samples in chunk.windows:
                yield Window(planned, samples)
            if following is None:
                return
            try:
                chunk = following.result()
            except UserError as error:
                chunk = error


@dataclass(frozen=True)
class _Place:
    """One input of a task."""

    task: "Future[list[Chunk | UserError]]"
    place: int

    def chunk(self) -> Chunk | UserError:
        return self.task.result()[self.place]
