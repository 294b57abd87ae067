"""Sources to windows, decoded ahead of the encoder in a few threads."""

import os
from bisect import insort
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from uniwhisper.audio.load import AudioSource, describe, read_windows
from uniwhisper.core.errors import AudioError, UserError
from uniwhisper.core.units import SAMPLE_RATE_HZ, WINDOW_SECONDS
from uniwhisper.embedding.table import Failure

# A source is decoded two windows at a time: the second tells whether there is more, and a clip of one window costs
# one task.
CHUNK_WINDOWS = 2
CHUNK_SECONDS = CHUNK_WINDOWS * WINDOW_SECONDS


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
        named = [(index, _name(index, source), source) for index, source in enumerate(sources)]
        self.skip = skip
        self.failures: list[Failure] = []
        self.planned: list[Planned] = []
        self._stopped = False
        threads = min(8, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="uniwhisper-decode")
        try:
            looks = [self._pool.submit(describe, source, name=name) for _, name, source in named]
            for (index, name, source), info in zip(named, looks, strict=True):
                try:
                    self.planned.append(Planned(index, name, source, info.result().seconds))
                except UserError as error:
                    self.fail(index, name, error)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Inputs":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget what has not been decoded, without waiting for it."""
        self._stopped = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def seconds(self) -> float:
        """Audio to come, according to the headers."""
        return sum(planned.seconds for planned in self.planned)

    def fail(self, index: int, name: str, error: UserError) -> None:
        """Raise `error`, or with `skip` write it down."""
        if not self.skip:
            raise error
        reason = f"{error.one_line}; {error.fix}".removeprefix(f"{name} ")
        insort(self.failures, Failure(index, name, reason), key=lambda failure: failure.index)

    def windows(self, *, longest_first: bool, whole_only: bool, ahead_seconds: float) -> Iterator[Window]:
        """All windows of all inputs; those of one input come together and in order.

        Args:
            longest_first: by falling length, so that windows of like length follow each other; else in the order of
                the input.
            whole_only: decode a long input once in advance, so that no window of an input that fails at its end is
                given out.
            ahead_seconds: how much audio may lie decoded and waiting.
        """
        order = sorted(self.planned, key=lambda planned: -planned.seconds) if longest_first else self.planned
        waiting: deque[tuple[Planned, Future[_Chunk]]] = deque()
        ahead = 0.0
        for planned in order:
            waiting.append((planned, self._pool.submit(self._open, planned, whole_only)))
            ahead += min(planned.seconds, CHUNK_SECONDS)
            while ahead > ahead_seconds:
                head, chunk = waiting.popleft()
                ahead -= min(head.seconds, CHUNK_SECONDS)
                yield from self._windows_of(head, chunk)
        for head, chunk in waiting:
            yield from self._windows_of(head, chunk)

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
                self.fail(planned.index, planned.name, error)
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
        # A file name may hold bytes that are no UTF-8; tables and terminals cannot, so these become \xNN.
        return str(source).encode(errors="surrogateescape").decode(errors="backslashreplace")
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
