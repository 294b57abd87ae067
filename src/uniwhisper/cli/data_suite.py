"""`uniwhisper data suite`: the sets that a suite judges on, from the public originals."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from uniwhisper.evaluation.originals.make import Made
    from uniwhisper.evaluation.originals.sets import Original

_MOST_NAMED = 20
"""Files that are named on a terminal for one set; --json names all."""


def suite(
    name: Annotated[str, typer.Argument(metavar="SUITE", help="A shipped suite; mini is made from originals.")],
    sources: Annotated[
        Path | None,
        typer.Argument(
            metavar="SOURCES",
            show_default=False,
            help="Folder with an unpacked original per set, in a folder (or link) of the set's name; without it, the "
            "originals, their addresses and licences are listed.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="Folder for `evaluate --data`.", show_default=False),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--set", metavar="SET", help="Only this set; repeatable. [default: all]")
    ] = None,
    audio: Annotated[
        str,
        typer.Option(
            "--audio",
            metavar="kept|opus",
            help="The originals' own bytes; or coded in Opus, as for the published figures.",
        ),
    ] = "kept",
    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad", help="Write a set without its missing and bad clips; the shipped suite refuses such a set."
        ),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace sets that this command made.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make the sets that a suite judges on from their public originals.

    The clips, labels and folds of the published figures, but not the same bytes, so other figures: those were judged
    on copies in Opus. docs/how-to/judge.md says by how much.

    Exit status 0: all sets made. 1: some, the others are named with the reason. 2: none.
    """
    from uniwhisper.cli.output import clip_progress, note, print_json
    from uniwhisper.core.errors import ManifestError
    from uniwhisper.evaluation.originals.make import make_sets

    originals = _chosen(name, only or [])
    if sources is None:
        if output is not None:
            raise typer.BadParameter("name the folder of originals before -o", param_hint="SOURCES")
        _print_originals(originals, as_json=as_json)
        return
    if output is None:
        raise typer.BadParameter("name a folder for the sets", param_hint="-o")
    if audio not in ("kept", "opus"):
        raise typer.BadParameter(f"kept or opus, not {audio}", param_hint="--audio")
    with clip_progress(f"making {name}") as progress:
        reports = make_sets(
            originals, sources, output,
            opus=audio == "opus", skip_bad=skip_bad, overwrite=overwrite, progress=progress,
        )  # fmt: skip
    written = [report for report in reports if report.written]
    if as_json:
        print_json({"suite": name, "output": str(output), "sets": [_json(report) for report in reports]})
    for report in reports:
        if report.written and not as_json:
            cut = f", {report.cut:,} of them cut to {report.original.longest_seconds:g} s" if report.cut else ""
            typer.echo(f"{output / report.original.name}  {report.clips:,} clips{cut}, hash {report.hash[:16]}")
        for line in report.problems[:_MOST_NAMED]:
            note(f"{report.original.name}: {line}")
        if len(report.problems) > _MOST_NAMED:
            note(f"{report.original.name}: … {len(report.problems) - _MOST_NAMED:,} more, all named by --json")
        if report.problems and report.written:
            note(f"{report.original.name}: {len(report.problems):,} clips left out, so the suite {name} refuses it")
        elif len(report.problems) > 1:
            note(f"{report.original.name}: not made, {len(report.problems):,} clips are missing or bad")
    if not written:
        raise ManifestError(
            f"no set of {name} was made",
            expected=f"originals in {', '.join(str(sources / original.name) for original in originals)}",
            got="what is named above",
            fix=f"`uniwhisper data suite {name}` lists what to download",
        )
    if any(report.problems for report in reports):
        raise typer.Exit(1)


def _chosen(name: str, only: list[str]) -> "list[Original]":
    from uniwhisper.evaluation.originals.sets import ORIGINALS, originals_of
    from uniwhisper.evaluation.suites import SuiteError, load_suite

    if not originals_of(name):
        load_suite(name)  # a misspelt one is refused by its own message
        raise SuiteError(
            f"the sets of {name} are not made here",
            expected=f"one of {', '.join(ORIGINALS)}",
            got=name,
            fix="uniwhisper evaluate --list says where its sets come from",
        )
    known = {original.name: original for original in originals_of(name)}
    for unknown in [entry for entry in only if entry not in known]:
        raise SuiteError(
            f"suite {name} has no set {unknown!r}",
            expected=f"one of {', '.join(known)}",
            got=unknown,
            fix="leave --set out for all",
        )
    return [original for original in known.values() if not only or original.name in only]


def _json(report: "Made") -> dict[str, Any]:
    return {
        "set": report.original.name,
        "written": report.written,
        "clips": report.clips,
        "cut": report.cut,
        "hash": report.hash or None,
        "problems": report.problems,
        "url": report.original.url,
        "licence": report.original.licence,
    }


def _print_originals(originals: "list[Original]", *, as_json: bool) -> None:
    from uniwhisper.cli.output import print_json

    if as_json:
        rows = [
            {
                "set": original.name,
                "original": original.title,
                "url": original.url,
                "download": original.download,
                "licence": original.licence,
                "clips": len(original.clips()),
            }
            for original in originals
        ]
        print_json({"originals": rows})
        return
    for original in originals:
        print(f"SOURCES/{original.name}/  {len(original.clips()):,} clips of {original.title}")
        print(f"  {original.url}\n  {original.download}; {original.licence}")
