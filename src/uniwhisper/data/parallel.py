"""Work on many clips with threads: decoding, resampling and hashing all release Python's lock."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from uniwhisper.core.cores import usable_cores

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[int, int | None], None]
"""Called with (items done, items in all; None: not known yet)."""
AHEAD = 2
"""Items per worker that are begun, or done and not yet taken: busy threads, yet never a whole corpus in memory."""


def in_threads(work: Callable[[Item], Result], items: Iterable[Item], workers: int | None) -> Iterator[Result]:
    """Results in the order of the items; `workers` None: one thread for each usable core.

    Work is never more than `AHEAD` items per worker ahead of what was taken. An error is raised in the place of its
    item. Leaving early (an error, Ctrl-C) drops the items that are not yet begun.
    """
    workers = workers or usable_cores()
    pool = ThreadPoolExecutor(max_workers=workers)
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) == AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
