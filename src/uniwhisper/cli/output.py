"""What every verb prints, and where: results to stdout, everything else to stderr, progress as bars or lines."""

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from uniwhisper.core.errors import OutputError, UserError
from uniwhisper.core.progress import clips_counted
from uniwhisper.core.seldom import Seldom

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from uniwhisper.embedding.table import Failure


# Endings that promise a reader of that format.
# fmt: off
_ENDINGS = frozenset((
    ".parquet", ".csv", ".tsv", ".json", ".jsonl", ".npy", ".npz", ".pt", ".pth", ".pkl", ".h5", ".hdf5", ".arrow",
    ".feather", ".safetensors", ".zip", ".onnx",
))
# fmt: on
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""What breaks a line or, on a terminal, does worse; file names may hold all of it but 0."""


class _Log:
    """Progress in lines of a log instead of a bar."""

    def __init__(self) -> None:
        self._seldom = Seldom()

    def say(self, line: str) -> None:
        """`line` on stderr, unless the last one is not old enough."""
        if self._seldom.due():
            print(line, file=sys.stderr, flush=True)


def check_ending(output: "Path", written: str, reader: str) -> None:
    """Refuse a name that ends as a file of another format than `written`; `reader` says what reads it.

    Raises:
        OutputError: it does.
    """
    ending = output.suffix.lower()
    if ending in _ENDINGS - {written}:
        raise OutputError(
            f"{output} would be no {ending} file",
            expected=f"a name ending in {written}, which is the format that is written",
            got=output.suffix,
            fix=f"-o {output.with_suffix(written)}; {reader}",
        )


def stderr_console() -> "Console":
    """Rich console on stderr."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """One JSON object on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_facts(facts: Mapping[str, str]) -> None:
    """Aligned `name  value` lines on stdout; a value's further lines are indented to the first."""
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:<{width}}  {value}".replace("\n", "\n" + " " * (width + 2)))


def one_line(text: str) -> str:
    """`text` with control characters spelled out, a line break as `\\n`. For people; JSON and tables keep names."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def note(message: str) -> None:
    """One line on stderr, whatever names are in it."""
    print(one_line(message), file=sys.stderr)


def note_repeats(paths: Sequence[str], done: str) -> None:
    """Say that files were reached more than once, if any were."""
    if paths:
        count = "1 file was" if len(paths) == 1 else f"{len(paths):,} files were"
        note(f"{count} reached again, {done} once: {', '.join(paths[:3])}{' …' * (len(paths) > 3)}")


def print_error(error: UserError) -> None:
    """A user's error on stderr: the problem, then what was expected, what came, and what to do."""
    from rich.text import Text

    text = Text.assemble(("error: ", "bold red"), (one_line(error.problem), "bold"))
    for label, value in (("expected", error.expected), ("got", error.got), ("fix", error.fix)):
        text.append(f"\n  {label:<9}", "dim").append(value)
    stderr_console().print(text, soft_wrap=True)


def print_failures(failures: Sequence["Failure"]) -> None:
    """Each failed input with its reason, on stderr: a table on a terminal, one line each elsewhere."""
    console = stderr_console()
    if not console.is_terminal:
        for failure in failures:
            note(f"failed: {failure.name}: {failure.reason}")
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table("failed", "reason", box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.columns[0].overflow = "fold"
    for failure in failures:
        table.add_row(Text(one_line(failure.name), "red"), Text(one_line(failure.reason)))
    console.print(table)


@contextmanager
def audio_progress(label: str) -> Iterator[Callable[[float, float], None]]:
    """A bar on stderr while the block runs, lines if it is no terminal; gives a function of (seconds done, all)."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = stderr_console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TextColumn("{task.fields[audio]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task, log = bar.add_task(label, total=None, audio=""), _Log()

        def report(done_seconds: float, total_seconds: float) -> None:
            elapsed = bar.tasks[task].elapsed or 0.0
            speed = f", {done_seconds / elapsed:,.0f}× real time" if elapsed > 0 else ""
            audio = f"{duration(done_seconds)} of {duration(total_seconds)}{speed}"
            bar.update(task, completed=done_seconds, total=total_seconds, audio=audio)
            if not console.is_terminal:
                log.say(f"{label}: {audio}")

        yield report


def clip_progress(label: str) -> AbstractContextManager[Callable[[int, int | None], None]]:
    """A bar on stderr while the block runs, lines if it is no terminal; gives a function of (clips done, in all)."""
    return clips_counted(label, stderr_console())


@contextmanager
def task_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar per task on stderr while the block runs, else lines; gives a function of (task, done, all)."""
    from rich.progress import MofNCompleteColumn, Progress

    console = stderr_console()
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        rows: dict[str, Any] = {}
        log = _Log()

        def report(task: str, done: int, total: int) -> None:
            if task not in rows:
                rows[task] = progress.add_task(task, total=total)
            progress.update(rows[task], completed=done)
            if not console.is_terminal:
                log.say(f"{task}: {done:,} of {total:,}")

        yield report


def end_with_skipped(result: Mapping[str, Any]) -> None:
    """Name the clips that a result of tasks could not use; the exit status is then 1."""
    import typer

    skipped = [skip for task in result["tasks"] for skip in task["clips"]["skipped"]]
    for skip in skipped:
        note(f"skipped: {skip['id']}: {skip['reason']}")
    if skipped:
        raise typer.Exit(1)


def duration(seconds: float) -> str:
    """Seconds for people: `4.2 s`, `3:05 min`, `1:02:05 h`."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d} h"
