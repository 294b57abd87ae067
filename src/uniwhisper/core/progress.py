"""How far a job is that goes through clips: a bar for who watches, seldom a line for a log."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from uniwhisper.core.seldom import Seldom

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def clips_counted(label: str, console: "Console") -> Iterator[Callable[[int, int | None], None]]:
    """A bar on `console` while the block runs, lines if it is no terminal; gives a function of (clips done, in all)."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task, log = bar.add_task(label, total=None), Seldom()

        def report(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total)
            if not console.is_terminal and log.due():
                counted = f"{done:,} of {total:,} clips" if total else f"{done:,} clips"
                console.print(f"{label}: {counted}", highlight=False, soft_wrap=True)

        yield report
