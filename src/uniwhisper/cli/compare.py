"""`uniwhisper compare`: the difference between two encoders, with its interval."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from uniwhisper.evaluation.bootstrap import Difference
    from uniwhisper.evaluation.compare_parts import Shared


def compare(
    first: Annotated[Path, typer.Argument(metavar="A.json", help="A result of `uniwhisper evaluate`.")],
    second: Annotated[
        Path, typer.Argument(metavar="B.json", help="Another, of the same suite or part of it, and protocol.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """How much B scores above A: paired bootstrap over seeds, then speakers or sources, then clips.

    Results of parts of one suite (`evaluate --task`) are compared on the tasks that both have; averages are over these.
    """
    import sys
    from dataclasses import asdict

    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from uniwhisper.cli.output import note, print_json
    from uniwhisper.evaluation.bootstrap import LEVEL, RESAMPLES
    from uniwhisper.evaluation.compare import compare as run
    from uniwhisper.evaluation.compare import open_result
    from uniwhisper.evaluation.compare_parts import common_part

    *opened, shared = common_part(open_result(first), open_result(second))
    found = run(*opened)
    if not shared.complete:
        note(_said_of(shared, str(first), str(second)))
    names = [each.result["model"]["label"] for each in opened]
    if as_json:
        rows = [
            {"of": of, "pooling": pooling, "measure": measure} | asdict(difference)
            for part in (found.averages, found.tasks)
            for (of, pooling, measure), difference in part.items()
        ]
        print_json(
            {
                "first": names[0],
                "second": names[1],
                "protocol": opened[0].result["protocol"],
                "tasks_of_both": list(shared.tasks),
                "left_out": {"only_in_first": list(shared.only_first), "only_in_second": list(shared.only_second)},
                "differences": rows,
            }
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
    if not shared.complete:
        print(f"averages are over tasks that both results have ({len(shared.tasks)}) and are no whole suite's")


def _said_of(shared: "Shared", first: str, second: str) -> str:
    """What was compared, and which tasks were left out because one of the two lacks them."""
    sides = ((shared.only_first, first), (shared.only_second, second))
    left_out = "; ".join(f"{len(names)} only in {of}: {', '.join(names)}" for names, of in sides if names)
    counted = "1 task" if len(shared.tasks) == 1 else f"{len(shared.tasks)} tasks"
    return f"compared on the {counted} that both have, and averages over these alone; left out: {left_out}"


def _with_interval(difference: "Difference") -> str:
    clear = "" if difference.low <= 0 <= difference.high else " *"
    return f"{difference.difference:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]{clear or '  '}"
