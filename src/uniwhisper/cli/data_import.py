"""`uniwhisper data import`: a checkout of a public repository of recordings becomes a corpus."""

from pathlib import Path
from typing import Annotated

import typer


def import_corpus(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME…", show_default=False, help="Corpora to make; see --list.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option("--root", metavar="CHECKOUT", help="Folder of a checkout of the corpus's repository.")
    ] = None,
    checkouts: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Of several corpora: folder with a checkout for each, called by the corpus's NAME."
        ),
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
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object; of --checkouts by corpus.")] = False,
) -> None:
    """Make the corpus DIR/NAME from a checkout of the public repository that holds its recordings; or several.

    Recordings become clips of at most ten seconds in Ogg Opus. Silence, repeats, files that cannot be decoded and
    sounds of the --against sets are left out, counted, and named in DIR/NAME/import.json.
    """
    from uniwhisper.cli.output import clip_progress, note, print_json
    from uniwhisper.core.errors import ManifestError
    from uniwhisper.core.files import check_output
    from uniwhisper.data.public.heard import Heard
    from uniwhisper.data.public.importing import import_source
    from uniwhisper.data.public.row import shipped_sources, source_named
    from uniwhisper.data.sources.detect import DESCRIPTION_NAME

    if listing:
        _print_sources(shipped_sources(), as_json=as_json)
        return
    if not names or output is None or (root is None) == (checkouts is None):
        raise typer.BadParameter("give NAME, --root CHECKOUT and -o DIR; or NAME…, --checkouts FOLDER and -o DIR")
    if root is not None and len(names) > 1:
        raise typer.BadParameter(f"--root is one corpus's checkout; for {len(names)} give --checkouts FOLDER")
    found = {name: (source_named(name), root or checkouts / name) for name in names}
    for name, (source, checkout) in found.items():  # before minutes of listening
        if not checkout.is_dir():
            fix = f"git clone https://github.com/{source.repository} {checkout}"
            raise ManifestError(f"no checkout at {checkout}", expected="a folder", got="none", fix=fix)
        check_output(output / name, overwrite=overwrite, folder_with=DESCRIPTION_NAME)
    heard = None
    if against:
        with clip_progress("listening to the other sets") as progress:
            heard = Heard.of(against, progress=progress)
    reports = {}
    for name, (source, checkout) in found.items():
        with clip_progress(f"importing {name}") as progress:
            report = import_source(source, checkout, output, heard=heard, overwrite=overwrite, progress=progress)
        reports[name] = report.as_json()
        if not as_json:
            typer.echo(f"{output / name}  {report.clips:,} clips, {report.hours:.2f} hours, {report.archives} archives")
        for reason, count in report.omissions.counts().items():
            note(f"{name}: left out, {reason}: {count:,}")
    if as_json:
        print_json(reports[names[0]] if checkouts is None else reports)


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
