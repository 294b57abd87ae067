"""What a thread does with inputs: their lengths, and their first windows; by a process where there is one for it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from uniwhisper.audio.load import AudioSource, describe, read_windows
from uniwhisper.core.errors import UserError
from uniwhisper.embedding.chunks import CHUNK_SECONDS, Chunk, next_chunk
from uniwhisper.embedding.workers import Workers

# A process is asked for neighbours together, and there are two such tasks for each, so that none waits for the next.
SECONDS_PER_TASK = 64.0
CLIPS_PER_TASK = 64


@dataclass(frozen=True)
class Planned:
    """One input, looked at but not decoded."""

    index: int
    name: str
    source: AudioSource
    seconds: float
    """Length according to the header: decides the order and the progress bar, never a result."""


class Opener:
    """Opens inputs, here or by `workers`; its methods may be called by many threads.

    With `workers`, every source is a path; they open what is no longer than a chunk.
    """

    def __init__(self, workers: Workers | None) -> None:
        self._workers = workers
        self._stopped = False

    def stop(self) -> None:
        """What is under way may be left unfinished, for nobody looks at it."""
        self._stopped = True

    def seconds(self, named: Sequence[tuple[AudioSource, str]]) -> list[float | UserError | None]:
        """Length of each source by its header, or why there is none; None: it was stopped before.

        Args:
            named: sources, and what errors call them.
        """
        found: list[float | UserError | None] = [None] * len(named)
        if self._workers is not None:
            found = self._workers.ask("seconds", [(str(source), name) for source, name in named])
        for place, (source, name) in enumerate(named):
            if self._stopped:
                break
            if found[place] is None:
                try:
                    found[place] = describe(source, name=name).seconds
                except UserError as error:
                    found[place] = error
        return found

    def together(self, plan: Iterator[Planned]) -> Iterator[list[Planned]]:
        """What is opened at once: neighbours for workers, each alone for threads."""
        together: list[Planned] = []
        seconds = 0.0
        for planned in plan:
            alone = self._workers is None or planned.seconds > CHUNK_SECONDS
            full = seconds + planned.seconds > SECONDS_PER_TASK or len(together) == CLIPS_PER_TASK
            if together and (alone or full):
                yield together
                together, seconds = [], 0.0
            if alone:
                yield [planned]
            else:
                together.append(planned)
                seconds += planned.seconds
        if together:
            yield together

    def first_chunks(self, together: Sequence[Planned], whole_only: bool) -> list[Chunk | UserError]:
        """The first chunk of each, or why there is none; together as `together` gives them.

        Args:
            whole_only: decode each once in advance, so that there is no chunk of one that fails at its end.
        """
        if self._workers is None or together[0].seconds > CHUNK_SECONDS:
            return [self._open_here(planned, whole_only) for planned in together]
        found = self._workers.ask("windows", [(str(planned.source), planned.name) for planned in together])
        opened: list[Chunk | UserError] = []
        for planned, answer in zip(together, found, strict=True):
            if answer is None:
                opened.append(self._open_here(planned, whole_only))
            else:
                opened.append(answer if isinstance(answer, UserError) else Chunk(answer, iter(())))
        return opened

    def _open_here(self, planned: Planned, whole_only: bool) -> Chunk | UserError:
        try:
            chunk = next_chunk(read_windows(planned.source, name=planned.name))
            if not whole_only or chunk.last:
                return chunk
            for _ in chunk.rest:
                if self._stopped:
                    break
            return next_chunk(read_windows(planned.source, name=planned.name))
        except UserError as error:
            return error
