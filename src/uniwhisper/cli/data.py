"""`uniwhisper data`: from folders of recordings to a checked training set."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from uniwhisper.data.manifest import Manifest

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Prepare and check training data.")


@app.callback()
def data() -> None:
    """Prepare and check training data."""


@app.command()
def prepare(
    folder: Annotated[Path, typer.Argument(show_default=False, help="Folder with one folder of tars per corpus.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="OUT", show_default=False, help="Folder for manifest.jsonl.")
    ],
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave bad clips out and name them, instead of stopping at the first.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing manifest.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Decode and check every clip of FOLDER/<corpus>/*.tar, and write the manifest that training reads.

    A corpus that is not shipped is described by a corpus.json in its folder.

    Exit status 0: all good. 1: bad clips were left out, the manifest holds the rest. 2: nothing is written.
    """
    from uniwhisper.cli.output import note, print_json
    from uniwhisper.data.manifest import MANIFEST_NAME
    from uniwhisper.data.prepare import prepare as run

    with _progress("checking clips") as progress:
        manifest = run(folder, output, skip_bad=skip_bad, overwrite=overwrite, progress=progress)
    path = output / MANIFEST_NAME
    summary = _summary(manifest)
    if as_json:
        print_json({"manifest": str(path), "hash": manifest.hash, "corpora": summary, "skipped": manifest.skipped})
    else:
        _print_table(summary)
        typer.echo(f"{path}  {len(manifest.records):,} clips, hash {manifest.hash[:16]}")
    for line in manifest.skipped:
        note(f"left out: {line}")
    if manifest.skipped:
        note(f"{len(manifest.skipped)} left out of {len(manifest.skipped) + len(manifest.records)}")
        raise typer.Exit(1)


@app.command()
def tasks() -> None:
    """Print every task with an example, and what augmentation does to its answer: docs/tasks.md."""
    from uniwhisper.data.tasks_page import tasks_page

    typer.echo(tasks_page(), nl=False)


@app.command()
def mixture(
    prepared: Annotated[Path, typer.Argument(show_default=False, help="Folder written by `data prepare`.")],
    recipe: Annotated[str, typer.Option(help="A shipped recipe (mini, …) or file.py:function.")] = "mini",
    steps: Annotated[int, typer.Option(min=1, help="Steps to draw, from the first.")] = 64,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Draw the first steps of a recipe and print what they hold: corpora, tasks, seconds and padding."""
    from uniwhisper.cli.output import print_json
    from uniwhisper.data.manifest import Manifest
    from uniwhisper.data.mixture import Mixture
    from uniwhisper.data.mixture_report import mixture_report
    from uniwhisper.recipes import load_recipe

    loaded = load_recipe(recipe)
    report = mixture_report(Mixture([Manifest.read(prepared)], loaded.data, loaded.seed), steps)
    if as_json:
        print_json(report)
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    for name in ("corpora", "tasks"):
        table = Table(name, box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
        table.add_column("share", justify="right")
        for row, share in report[name].items():
            table.add_row(row, f"{share:.1%}")
        console.print(table)
    console.print(
        f"{steps} steps: {report['clips_per_step']:.0f} clips and {report['questions_per_step']:.0f} questions a step, "
        f"{report['audio_seconds_per_step']:.0f} s of audio\n"
        f"padding: {report['audio_padding']:.1%} of audio, {report['text_padding']:.1%} of text, "
        f"{report['padding']:.1%} of both"
    )


def _summary(manifest: "Manifest") -> list[dict[str, Any]]:
    return [
        {
            "corpus": name,
            "clips": counts["clips"],
            "hours": counts["hours"],
            "domain": manifest.corpora[name].domain,
            "tasks": list(manifest.corpora[name].tasks),
            "licence": manifest.corpora[name].licence,
        }
        for name, counts in manifest.counts.items()
    ]


def _print_table(summary: list[dict[str, Any]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("corpus", box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("clips", justify="right")
    table.add_column("hours", justify="right")
    for name in ("domain", "tasks", "licence"):
        table.add_column(name, overflow="fold")
    for row in summary:
        hours, tasks = f"{row['hours']:.2f}", ", ".join(row["tasks"])
        table.add_row(Text(row["corpus"]), f"{row['clips']:,}", hours, row["domain"], tasks, Text(row["licence"]))
    clips, hours = sum(row["clips"] for row in summary), sum(row["hours"] for row in summary)
    table.add_section()
    table.add_row("all", f"{clips:,}", f"{hours:.2f}")
    Console().print(table)


def _progress(label: str):
    """A bar on stderr, if that is a terminal; gives a function of (clips done, in all)."""
    from contextlib import contextmanager

    @contextmanager
    def bar():
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        from uniwhisper.cli.output import stderr_console

        console = stderr_console()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task(label, total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)

    return bar()
