"""`uniwhisper data import`: a checkout of a public repository of recordings becomes a corpus."""

from pathlib import Path
from typing import Annotated

import typer


def import_corpus(
    name: Annotated[str | None, typer.Argument(show_default=False, help="Corpus to make; see --list.")] = None,
    root: Annotated[
        Path | None, typer.Option("--root", metavar="CHECKOUT", help="Folder of a checkout of the corpus's repository.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Folder of corpora; the new one is DIR/NAME.")
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(
            "--against",
            metavar="FOLDER",
            help="Folder with one folder of tars per set: whatever sounds like a clip of it is left out. Repeatable.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing corpus of that name.")] = False,
    listing: Annotated[bool, typer.Option("--list", help="List the corpora, their repositories and licences.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make the corpus DIR/NAME from a checkout of the public repository that holds its recordings.

    Recordings become clips of at most ten seconds in Ogg Opus. Silence, repeats, files that cannot be decoded and
    sounds of the --against sets are left out, counted, and named in DIR/NAME/import.json.
    """
    from uniwhisper.cli.output import clip_progress, note, print_json
    from uniwhisper.data.public.heard import Heard
    from uniwhisper.data.public.importing import import_source
    from uniwhisper.data.public.row import shipped_sources, source_named

    if listing:
        _print_sources(shipped_sources(), as_json=as_json)
        return
    if name is None or root is None or output is None:
        raise typer.BadParameter("give NAME, --root CHECKOUT and -o DIR, or --list")
    source = source_named(name)
    heard = None
    if against:
        with clip_progress("listening to the other sets") as progress:
            heard = Heard.of(against, progress=progress)
    with clip_progress(f"importing {name}") as progress:
        report = import_source(source, root, output, heard=heard, overwrite=overwrite, progress=progress)
    if as_json:
        print_json(report.as_json())
    else:
        typer.echo(f"{output / name}  {report.clips:,} clips, {report.hours:.2f} hours, {report.archives} archives")
    for reason, count in report.omissions.counts().items():
        note(f"left out, {reason}: {count:,}")


def _print_sources(sources, *, as_json: bool) -> None:
    from uniwhisper.cli.output import print_json

    rows = [
        {
            "corpus": source.name,
            "repository": source.repository,
            "commit": source.commit,
            "domain": source.corpus.domain,
            "licence": source.licence,
            "clear_terms": source.clear_terms,
            "verified": source.verified,
        }
        for source in sources.values()
    ]
    if as_json:
        print_json({"corpora": rows})
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("corpus", "repository", "domain", box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("terms")
    table.add_column("licence", overflow="fold")
    for row in rows:
        terms = "clear" if row["clear_terms"] else "unclear"
        table.add_row(row["corpus"], row["repository"], row["domain"], terms, Text(row["licence"]))
    Console().print(table)
