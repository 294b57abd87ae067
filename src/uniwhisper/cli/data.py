"""`uniwhisper data`: from folders of recordings to a checked training set."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uniwhisper.cli.data_import import import_corpus
from uniwhisper.cli.data_measure import measure
from uniwhisper.cli.data_overlap import overlap
from uniwhisper.cli.data_plan import plan
from uniwhisper.cli.data_suite import suite
from uniwhisper.cli.data_synthesise import synthesise
from uniwhisper.cli.data_text_overlap import text_overlap

if TYPE_CHECKING:
    from uniwhisper.data.corpora import CorpusDescription

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Prepare and check training data.")


@app.callback()
def data() -> None:
    """Prepare and check training data."""


app.command()(plan)
app.command()(overlap)
app.command(name="text-overlap")(text_overlap)
app.command()(measure)
app.command(name="import")(import_corpus)
app.command()(synthesise)
app.command()(suite)


@app.command()
def prepare(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER|NAME",
            show_default=False,
            help="Folder (or URL) with a folder per corpus; with --root, the name of a published corpus.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="OUT", help="Folder for manifest.jsonl. [default: prepared/NAME]"),
    ] = None,
    root: Annotated[
        str | None, typer.Option(metavar="DIR", help="Where the corpus NAME lies, as it was downloaded and unpacked.")
    ] = None,
    splits: Annotated[
        list[str] | None,
        typer.Option("--split", help="Split to take; may be repeated. [default: those named train…, else all]"),
    ] = None,
    leave_out: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=PATTERN",
            help="Go without clips with such a field, e.g. 'license=*-NC*'; may be repeated. [default: none]",
        ),
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave bad clips out and say which, instead of stopping at the first.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing manifest.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Decode and check every clip of a corpus or of a folder of corpora, and write the manifest that training reads.

    A corpus in FOLDER holds tars, a table (metadata.csv, .tsv, .jsonl) with audio, Parquet or Arrow files of a Hugging
    Face dataset, or Lhotse's manifests or Shar. One that is not shipped is described by a corpus.json in its folder.
    With --root, NAME is one of the published corpora or of Lhotse's recipes; a wrong name lists them.

    Exit status 0: all good. 1: bad clips were left out, the manifest holds the rest. 2: nothing is written.
    """
    from uniwhisper.cli.left_out import are_shortened, left_out_lines
    from uniwhisper.cli.output import clip_progress, note, print_json
    from uniwhisper.data.manifest import Manifest
    from uniwhisper.data.named import prepare_named
    from uniwhisper.data.prepare import prepare_folder

    if output is None:
        if root is None:
            raise typer.BadParameter("name a folder for the manifest", param_hint="-o")
        output = Path("prepared") / source
    with clip_progress("checking clips") as progress:
        written, notes = (prepare_folder if root is None else partial(prepare_named, source))(
            source if root is None else root, output, splits=splits, leave_out=leave_out or (), skip_bad=skip_bad,
            overwrite=overwrite, progress=progress,
        )  # fmt: skip
    summary = _summary(written.counts, Manifest.read_corpora(written.path))
    if as_json:
        facts = {"manifest": str(written.path), "hash": written.hash, "corpora": summary, "notes": notes}
        print_json({**facts, "skipped": written.skipped})
    else:
        _print_table(summary)
        clips = sum(row["clips"] for row in summary)
        typer.echo(f"{written.path}  {clips:,} clips, hash {written.hash[:16]}")
    for line in notes:
        note(line)
    lines = left_out_lines(written.problems)
    for line in lines:
        note(line)
    if are_shortened(lines):
        note(f"all of them are named in the first line of {written.path} (skipped), and by --json")
    if written.skipped:
        clips = sum(row["clips"] for row in summary)
        note(f"{len(written.skipped)} left out of {len(written.skipped) + clips}")
        raise typer.Exit(1)


@app.command()
def tasks() -> None:
    """Print every task with an example, and what augmentation does to its answer: docs/tasks.md."""
    from uniwhisper.data.tasks_page import tasks_page

    typer.echo(tasks_page(), nl=False)


@app.command()
def merge(
    manifests: Annotated[
        list[Path], typer.Argument(metavar="PREPARED…", show_default=False, help="Folders written by `prepare`.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="OUT", show_default=False, help="Folder for manifest.jsonl.")
    ],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing manifest.")] = False,
) -> None:
    """Join manifests that were prepared apart into one to train on."""
    from uniwhisper.data.manifest import Manifest
    from uniwhisper.data.merge import merge as run

    written = run(manifests, output, overwrite=overwrite)
    summary = _summary(written.counts, Manifest.read_corpora(written.path))
    _print_table(summary)
    typer.echo(f"{written.path}  {sum(row['clips'] for row in summary):,} clips, hash {written.hash[:16]}")


@app.command()
def mixture(
    prepared: Annotated[Path, typer.Argument(show_default=False, help="Folder written by `data prepare`.")],
    recipe: Annotated[str, typer.Option(help="A shipped recipe (mini, …) or file.py:function.")] = "mini",
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="As for `train`; may be repeated.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps to draw, from the first.")] = 64,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Draw the first steps of a recipe and print what they hold: corpora, tasks, seconds and padding."""
    from uniwhisper.cli.output import print_json
    from uniwhisper.data.manifest import Manifest
    from uniwhisper.data.mixture import Mixture
    from uniwhisper.data.mixture_report import mixture_report
    from uniwhisper.recipes import load_recipe
    from uniwhisper.training.overrides import override

    loaded = override(load_recipe(recipe), assignments or [])
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
        f"padding: {report['audio_padding']:.1%} of audio, {report['padding']:.1%} of audio and text; text has none"
    )


def _summary(counts: Mapping[str, Any], corpora: "Mapping[str, CorpusDescription]") -> list[dict[str, Any]]:
    return [
        {
            "corpus": name,
            "clips": count["clips"],
            "hours": count["hours"],
            "domain": corpora[name].domain,
            "tasks": list(corpora[name].tasks),
            "licence": corpora[name].licence,
        }
        for name, count in counts.items()
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
