"""`uniwhisper compare`: the difference between two encoders, with its interval."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from uniwhisper.evaluation.bootstrap import Difference


def compare(
    first: Annotated[Path, typer.Argument(metavar="A.json", help="A result of `uniwhisper evaluate`.")],
    second: Annotated[Path, typer.Argument(metavar="B.json", help="Another, of the same suite and protocol.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """How much B scores above A: paired bootstrap over seeds, then speakers or sources, then clips."""
    import sys
    from dataclasses import asdict

    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from uniwhisper.cli.output import print_json
    from uniwhisper.evaluation.bootstrap import LEVEL, RESAMPLES
    from uniwhisper.evaluation.compare import compare as run
    from uniwhisper.evaluation.compare import open_result

    opened = open_result(first), open_result(second)
    found = run(*opened)
    names = [each.result["model"]["label"] for each in opened]
    if as_json:
        rows = [
            {"of": of, "pooling": pooling, "measure": measure} | asdict(difference)
            for part in (found.averages, found.tasks)
            for (of, pooling, measure), difference in part.items()
        ]
        print_json(
            {"first": names[0], "second": names[1], "protocol": opened[0].result["protocol"], "differences": rows}
        )
        return
    table = Table("of", "pooling", "measure", box=SIMPLE_HEAD, pad_edge=False)
    for column in (f"{names[1]} minus {names[0]}", "p"):
        table.add_column(column, justify="right")
    for part in (found.averages, found.tasks):
        for (of, pooling, measure), difference in part.items():
            table.add_row(of, pooling, measure, _with_interval(difference), f"{difference.p:.3f}")
        table.add_section()
    Console(highlight=False, width=None if sys.stdout.isatty() else 120).print(table)
    protocol = opened[0].result["protocol"]
    print(
        f"protocol {protocol['name']} {protocol['version']}; {LEVEL:.0%} intervals and two-sided p of {RESAMPLES:,} "
        "paired draws of seeds, then groups, then clips; * the interval leaves out 0; "
        "p is not corrected for the number of rows"
    )


def _with_interval(difference: "Difference") -> str:
    clear = "" if difference.low <= 0 <= difference.high else " *"
    return f"{difference.difference:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]{clear or '  '}"
