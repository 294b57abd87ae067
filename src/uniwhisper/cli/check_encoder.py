"""`uniwhisper check-encoder`: see whether an encoder can be judged."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from uniwhisper.evaluation.check import EncoderCheck, Finding


def check_encoder(
    model: Annotated[
        str, typer.Option("--model", help="As for `uniwhisper evaluate`; your own adapter is FILE.py[:CLASS].")
    ] = "default",
    device: Annotated[
        str, typer.Option("--device", metavar="auto|cpu|cuda", help="Where to embed; the choice is printed.")
    ] = "auto",
    long_seconds: Annotated[
        float, typer.Option("--long", min=1, metavar="SECONDS", help="Length of the longest clip it is given.")
    ] = 600.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure what an encoder promises: width, lengths, batches, determinism, long input, frame times.

    Exit status: 0 it can be judged; 1 it would be refused.
    """
    from uniwhisper.cli.output import note, print_json
    from uniwhisper.evaluation.check import check_encoder as measure
    from uniwhisper.evaluation.encoders import open_encoder

    judged = open_encoder(model, device=device)
    if (place := getattr(judged.encoder, "device", None)) is not None:
        note(f"device: {place}")
    with _progress() as on_progress:
        check = measure(judged.encoder, long_seconds=long_seconds, on_progress=on_progress)
    if as_json:
        print_json({"model": judged.source, "identity": dict(judged.encoder.identity)} | check.to_json())
    else:
        _print(check)
    raise typer.Exit(1 if check.failed("refuse") else 0)


def _progress():
    """A bar on stderr with the measurement under way, only on a terminal."""
    from contextlib import contextmanager

    from rich.progress import Progress

    from uniwhisper.cli.output import stderr_console

    @contextmanager
    def bar():
        console = stderr_console()
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            row = progress.add_task("")
            yield lambda name, done, total: progress.update(row, description=name, completed=done, total=total)

    return bar()


def _print(check: "EncoderCheck") -> None:
    import sys

    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    table = Table("", "measured", "found", box=SIMPLE_HEAD, pad_edge=False)
    for finding in check.findings:
        word, style = _verdict(finding)
        found = Text(finding.got)
        if not finding.passed:
            found.append(f"\nexpected: {finding.expected}\nfix: {finding.fix}", "dim")
        table.add_row(Text(word, style), finding.name, found)
    console.print(table)
    for name, value in check.measured.items():
        if value is not None:
            print(f"{name.replace('_', ' ')}: {value:.4g}")
    if check.failed("refuse"):
        print("it would be refused")
    elif check.failed("frames"):
        print("it can be judged on clips; tasks that need frame times would refuse it")
    else:
        print("it can be judged" + ("" if "hop_seconds" in check.measured else " on clips; it gives no frames"))


def _verdict(finding: "Finding") -> tuple[str, str]:
    if finding.passed:
        return "ok", "green"
    return {"refuse": ("REFUSED", "bold red"), "frames": ("no frames", "yellow"), "note": ("note", "yellow")}[
        finding.level
    ]
