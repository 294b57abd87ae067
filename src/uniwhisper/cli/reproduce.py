"""`uniwhisper reproduce`: the experiment as one command."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def reproduce(
    scale: Annotated[
        str,
        typer.Argument(
            metavar="smoke|miniature|paper",
            help="smoke: synthetic sounds, a CPU, minutes. miniature: real corpora, one GPU. paper: from a published "
            "Whisper.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", show_default="runs/SCALE", help="Rows, results and the table."),
    ] = None,
    rows: Annotated[
        list[str] | None,
        typer.Option(
            "--row",
            show_default=False,
            help="Only this row, and what it starts from; may be repeated. Else those that the experiment is about, "
            "which --dry-run lists.",
        ),
    ] = None,
    seeds: Annotated[list[int] | None, typer.Option("--seed", help="Only this seed; may be repeated.")] = None,
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="Folder of `uniwhisper data prepare`.")] = Path(
        "prepared"
    ),
    evaluation: Annotated[
        Path, typer.Option("--evaluation", metavar="DIR", help="Folder that holds the suite's tasks.")
    ] = Path("evaluation"),
    suite: Annotated[
        str | None, typer.Option("--suite", help="miniature, paper: another suite than mini, such as dev.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            "--size",
            metavar="tiny|base",
            show_default="tiny",
            help="miniature: the encoder's. Each size has its folder in -o; the sizes there are compared.",
        ),
    ] = None,
    start_steps: Annotated[
        int | None,
        typer.Option(
            "--start-steps",
            metavar="N",
            show_default="2000",
            help="miniature: how long S trains. A folder -o holds the rows of one N.",
        ),
    ] = None,
    development: Annotated[
        Path | None,
        typer.Option(
            "--development",
            metavar="DIR",
            show_default="the folder that --data was prepared from",
            help="Folder that holds the tasks of the development suite: it chooses S and is asked by the gate.",
        ),
    ] = None,
    despite_gate: Annotated[
        bool, typer.Option("--despite-gate", help="Go on to the long runs though the gate is not passed.")
    ] = False,
    at_once: Annotated[
        int,
        typer.Option("--at-once", metavar="N", min=1, help="Rows run at once, each a process, spread over the GPUs."),
    ] = 1,
    collect: Annotated[
        bool,
        typer.Option("--collect", help="Run nothing: the table of what is judged in -o, from whichever machines."),
    ] = False,
    alone: Annotated[
        Literal["train", "judge", "gate"] | None,
        typer.Option("--alone", hidden=True, help="That, of these rows only, or the gate alone; no table."),
    ] = None,
    lm: Annotated[
        str, typer.Option("--lm", metavar="MODEL", help="Language model: folder, hub id, or default: the packaged one.")
    ] = "runs/lm",
    start: Annotated[
        str | None, typer.Option("--start", metavar="MODEL", help="paper: the Whisper that S is, e.g. a hub id.")
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option("--cache", metavar="DIR", show_default="DIR/decoded of -o", help="Where decoded audio is kept."),
    ] = None,
    device: Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda")] = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and show the plan; stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train, judge and compare the rows of the paper's experiment; print the table.

    An interrupted chain continues where it stopped. Before the long runs a gate asks whether the frozen language model
    costs anything; if it does, the chain stops. Exit status: 0 all done; 1 rows that are compared had unequal
    steps or audio; 2 nothing was done.
    """
    from uniwhisper.cli.output import note, print_json
    from uniwhisper.reproduce.open import open_chain

    options = {"data": data, "evaluation": evaluation, "language_model": lm, "start": start, "cache": cache}
    options |= {
        "suite": suite,
        "size": size,
        "start_steps": start_steps,
        "development": development,
        "despite_gate": despite_gate,
    }
    chain, names, numbers = open_chain(scale, output, rows, seeds, device=device, say=note, **options)
    if dry_run:
        from uniwhisper.cli.reproduce_tables import print_plan
        from uniwhisper.reproduce.dry_run import describe

        described = describe(chain, names, numbers)
        if as_json:
            print_json(described)
        else:
            print_plan(described)
        return
    if alone == "gate":
        chain.ask_gate(numbers, note)
        return
    if alone is not None:
        chain.run(names, numbers, note, alone=True, judge=alone == "judge")
        return
    if at_once > 1 and not collect:
        from uniwhisper.reproduce.at_once import run_at_once

        arguments = ["reproduce", scale, "--device", device, "--cache", str(chain.cache)]
        arguments += ["--data", str(data), "--evaluation", str(evaluation), "--lm", lm]
        given = {
            "-o": output,
            "--suite": suite,
            "--size": size,
            "--start-steps": start_steps,
            "--start": start,
            "--development": development,
        }
        for option, value in given.items():
            arguments += [] if value is None else [option, str(value)]
        run_at_once(chain, names, numbers, arguments, at_once=at_once, say=note)
    from uniwhisper.cli.reproduce_tables import print_summary
    from uniwhisper.reproduce import collected, sizes
    from uniwhisper.reproduce.scale import SIZES
    from uniwhisper.reproduce.table import summarise, write

    done = collected.collect(chain) if collect else chain.run(names, numbers, note)
    summary = summarise(chain, done)
    page = write(chain, summary)
    curve = None
    if scale == "miniature":
        curve = sizes.gather(chain.output.parent, list(SIZES))
        assert curve is not None, "a table was just written"
        sizes.write(chain.output.parent, curve)
    if as_json:
        print_json(summary | {"path": str(page), "sizes": curve})
    else:
        print_summary(chain, summary, page, curve)
    if not all(one["holds"] for one in summary["equal"]):
        note("rows that are compared had unequal steps or audio; the table says which")
        raise typer.Exit(1)
