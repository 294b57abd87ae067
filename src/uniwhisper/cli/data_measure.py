"""`uniwhisper data measure`: answers that need no labels."""

from pathlib import Path
from typing import Annotated

import typer


def measure(
    prepared: Annotated[Path, typer.Argument(metavar="PREPARED", help="Folder written by `uniwhisper data prepare`.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="Folder for the new manifest.jsonl.")],
    cache: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Decoded audio of PREPARED, as training keeps it.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing manifest.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Measure the spectrum of every clip and write a manifest that asks for it too.

    Exit status 0: done. 2: nothing is written.
    """
    from uniwhisper.cli.output import clip_progress, note, print_json
    from uniwhisper.data.decoded import decode
    from uniwhisper.data.manifest import Manifest
    from uniwhisper.data.measured import FIELDS, measure

    manifest = Manifest.read(prepared)
    with clip_progress("measuring clips") as progress:
        reader = decode(manifest, cache, progress=progress) if cache is not None else None
        written = measure(manifest, output, reader=reader, overwrite=overwrite, progress=progress)
    if as_json:
        print_json({"path": str(written.path), "hash": written.hash, "counts": written.counts, "tasks": list(FIELDS)})
    else:
        note(f"asked of every clip, too: {', '.join(FIELDS)}")
        print(written.path)
