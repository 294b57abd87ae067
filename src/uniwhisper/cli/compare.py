"""`uniwhisper compare`: the difference between two encoders with its interval, or that over several pairs."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uniwhisper.cli.pair_option import CommandWithPairs

if TYPE_CHECKING:
    from uniwhisper.evaluation.bootstrap import Difference
    from uniwhisper.evaluation.compare import Compared, Opened
    from uniwhisper.evaluation.compare_parts import Shared

app = typer.Typer(add_completion=False)


@app.command("compare", cls=CommandWithPairs)
def compare(
    first: Annotated[Path, typer.Argument(metavar="A.json", help="A result of `uniwhisper evaluate`.")],
    second: Annotated[
        Path, typer.Argument(metavar="B.json", help="Another, of the same suite or part of it, and protocol.")
    ],
    pair: Annotated[
        list[Path] | None,
        typer.Option(
            "--pair",
            metavar="A.json B.json",
            help="A further pair, as of two models of another training seed; may be given again. Of all pairs the "
            "mean difference is shown, its interval over pairs too, and the difference of each.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """How much B scores above A: paired bootstrap over seeds, then speakers or sources, then clips.

    Results of parts of one suite (`evaluate --task`) are compared on the tasks that all have; averages are over these.
    """
    from uniwhisper.cli.output import note
    from uniwhisper.evaluation.compare import compare as run
    from uniwhisper.evaluation.compare import open_result, unlike_averages
    from uniwhisper.evaluation.compare_parts import common_part

    # Files of several folders may have one name, so they are named as they were typed.
    opened = [replace(open_result(path), name=str(path)) for path in (first, second, *(pair or []))]
    opened, shared = common_part(opened)
    for line in unlike_averages(opened):
        note(line)
    if pair:
        from uniwhisper.cli.compare_pairs import compare_and_print

        compare_and_print(opened, shared, as_json=as_json)
        return
    found = run(*opened)
    if as_json:
        _print_json(opened, shared, found)
    else:
        _print_table(opened, shared, found)


def _print_json(opened: "list[Opened]", shared: "Shared", found: "Compared") -> None:
    from uniwhisper.cli.output import print_json

    rows = [
        {"of": of, "pooling": pooling, "measure": measure} | asdict(difference)
        for part in (found.averages, found.tasks)
        for (of, pooling, measure), difference in part.items()
    ]
    print_json(
        {
            "first": opened[0].result["model"]["label"],
            "second": opened[1].result["model"]["label"],
            "protocol": opened[0].result["protocol"],
            "tasks_of_both": list(shared.tasks),
            "left_out": {"only_in_first": list(shared.left_out[0]), "only_in_second": list(shared.left_out[1])},
            "differences": rows,
        }
    )


def _print_table(opened: "list[Opened]", shared: "Shared", found: "Compared") -> None:
    import sys

    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from uniwhisper.evaluation.bootstrap import LEVEL, RESAMPLES

    names = [each.result["model"]["label"] for each in opened]
    table = Table("of", "pooling", "measure", box=SIMPLE_HEAD, pad_edge=False)
    for column in (f"{names[1]} minus {names[0]}", "p"):
        table.add_column(column, justify="right")
    for part in (found.averages, found.tasks):
        for (of, pooling, measure), difference in part.items():
            table.add_row(of, pooling, measure, with_interval(difference), f"{difference.p:.3f}")
        table.add_section()
    Console(highlight=False, width=None if sys.stdout.isatty() else 120).print(table)
    protocol = opened[0].result["protocol"]
    print(
        f"protocol {protocol['name']} {protocol['version']}; {LEVEL:.0%} intervals and two-sided p of {RESAMPLES:,} "
        "paired draws of seeds, then groups, then clips; * the interval leaves out 0; "
        "p is not corrected for the number of rows"
    )
    if not shared.complete:
        # With the table, where that is kept; JSON has it in fields of its own.
        print(_said_of(shared, opened[0].name, opened[1].name))


def _said_of(shared: "Shared", first: str, second: str) -> str:
    """What was compared, and which tasks were left out because one of the two lacks them."""
    sides = zip(shared.left_out, (first, second), strict=True)
    left_out = "; ".join(f"{len(names)} only in {of}: {', '.join(names)}" for names, of in sides if names)
    counted = "1 task" if len(shared.tasks) == 1 else f"{len(shared.tasks)} tasks"
    return f"compared on the {counted} that both have, and averages over these alone; left out: {left_out}"


def with_interval(difference: "Difference") -> str:
    """`+0.165 [+0.150, +0.180] *`: 25 characters."""
    clear = "" if difference.low <= 0 <= difference.high else " *"
    return f"{difference.difference:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]{clear or '  '}"
