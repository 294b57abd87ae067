"""When a job that nobody watches says how far it is: a line a minute is a log, a line a batch is none."""

import time

LINE_SECONDS = 60.0
"""Between two lines, and before the first: a job of less says nothing."""


class Seldom:
    """Says when the next line is due."""

    def __init__(self) -> None:
        self._next = time.monotonic() + LINE_SECONDS

    def due(self) -> bool:
        """Whether the last line is old enough; if so, the next one's time begins."""
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + LINE_SECONDS
        return True
