"""`uniwhisper data overlap`: is anything that is evaluated on also trained on?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from uniwhisper.data.overlap import OverlapReport

_SHOWN = 40


def overlap(
    training: Annotated[Path, typer.Argument(metavar="TRAIN", help="Folder written by `uniwhisper data prepare`.")],
    evaluation: Annotated[Path, typer.Argument(metavar="EVAL", help="Folder of evaluation sets (tars, at any depth).")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="CLEAN", help="Write a manifest without what overlaps.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Decoded audio of TRAIN, as training keeps it; written on first use.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing CLEAN.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:
    """Find clips of evaluation sets in a training set: by source id, file, decoded sound and acoustic fingerprint.

    The fingerprint survives re-encoding, resampling, gain and cuts of two seconds and more; it takes clips of two
    seconds and more.

    Exit status 0: nothing overlaps. 1: something does. 2: it could not be told.
    """
    from uniwhisper.cli.output import clip_progress, note, print_json
    from uniwhisper.core.files import check_output
    from uniwhisper.data.decoded import decode
    from uniwhisper.data.manifest import MANIFEST_NAME, Manifest
    from uniwhisper.data.overlap import evaluation_archives, find_overlap, without_overlap

    if output is not None:
        check_output(output / MANIFEST_NAME, overwrite=overwrite)
    archives = evaluation_archives(evaluation)
    manifest = Manifest.read(training)
    with clip_progress("comparing clips") as progress:
        reader = decode(manifest, cache, progress=progress) if cache is not None else None
        report = find_overlap(manifest, archives, reader=reader, progress=progress)
    if as_json:
        print_json(report.to_json())
    else:
        _print(report)
    if output is not None:
        clean = without_overlap(manifest, report)
        path = clean.write(output, overwrite=overwrite)
        note(f"{path}  {len(clean.records):,} clips, {len(report.training_ids):,} left out")
    if report.overlaps:
        raise typer.Exit(1)


def _print(report: "OverlapReport") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if report.overlaps:
        table = Table(
            "training clip", "evaluation clip", "by", "", box=SIMPLE_HEAD, header_style="bold", pad_edge=False
        )
        table.columns[0].overflow = table.columns[1].overflow = "fold"
        for one in report.overlaps[:_SHOWN]:
            known = f"{one.archive.parent.name}/{one.key}"
            table.add_row(Text(one.training_id), Text(known), one.by, Text(one.detail, "dim"))
        console.print(table)
        if len(report.overlaps) > _SHOWN:
            console.print(f"… and {len(report.overlaps) - _SHOWN:,} more: --json lists all")
    found, total = len(report.training_ids), report.training_clips
    console.print(
        f"{found:,} of {total:,} training clips are also in the evaluation sets "
        f"({report.evaluation_clips:,} clips, {report.fingerprinted:,} of them with a fingerprint)."
    )
