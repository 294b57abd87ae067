"""What `uniwhisper compare --pair` prints: mean differences over pairs with intervals, and the difference of each."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uniwhisper.evaluation.compare import Opened
    from uniwhisper.evaluation.compare_pairs import ComparedPairs, OverPairs
    from uniwhisper.evaluation.compare_parts import Shared

    Pairs = Sequence[tuple[Opened, Opened]]


def compare_and_print(opened: "Sequence[Opened]", shared: "Shared", *, as_json: bool) -> None:
    """Compare and print.

    Args:
        opened: results cut down to the tasks that all have: the first pair's first and second, the next pair's, ….
        shared: which tasks these are.

    Raises:
        CompareError: as `evaluation.compare_pairs.compare_pairs`.
    """
    from uniwhisper.cli.output import note, task_progress
    from uniwhisper.evaluation.compare_pairs import compare_pairs, in_several, refuse_repeated

    pairs = list(zip(opened[::2], opened[1::2], strict=True))
    refuse_repeated(pairs)
    with task_progress() as report:
        found = compare_pairs(pairs, lambda done, in_all: report("resampling", done, in_all))
    for name, times in in_several(pairs).items():
        note(f"{name} is in {times} pairs: intervals say nothing of another training of it")
    if as_json:
        _print_json(pairs, shared, found)
    else:
        _print_table(pairs, shared, found)


def _left_out(pairs: "Pairs", shared: "Shared") -> str:
    files: dict[tuple[str, ...], dict[str, None]] = {}
    for each, tasks in zip((side for pair in pairs for side in pair), shared.left_out, strict=True):
        files.setdefault(tasks, {})[each.name] = None
    left_out = "; ".join(
        f"{len(tasks)} of {', '.join(names)}: {', '.join(tasks)}" for tasks, names in files.items() if tasks
    )
    counted = "1 task" if len(shared.tasks) == 1 else f"{len(shared.tasks)} tasks"
    return f"compared on the {counted} that all results have, and averages over these alone; left out: {left_out}"


def _print_json(pairs: "Pairs", shared: "Shared", found: "ComparedPairs") -> None:
    from uniwhisper.cli.output import print_json

    rows = [
        {"of": of, "pooling": pooling, "measure": measure} | asdict(one.mean) | {"of_pairs": list(one.of_pairs)}
        for part in (found.averages, found.tasks)
        for (of, pooling, measure), one in part.items()
    ]
    said = [
        {"first": first.result["model"]["label"], "second": second.result["model"]["label"]} for first, second in pairs
    ]
    print_json(
        {
            "pairs": said,
            "protocol": pairs[0][0].result["protocol"],
            "tasks_of_all": list(shared.tasks),
            "left_out": list(dict.fromkeys(name for names in shared.left_out for name in names)),
            "differences": rows,
        }
    )


def _print_table(pairs: "Pairs", shared: "Shared", found: "ComparedPairs") -> None:
    import sys

    from rich.console import Console
    from rich.text import Text

    from uniwhisper.evaluation.bootstrap import LEVEL, RESAMPLES

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    keys = [key for part in (found.averages, found.tasks) for key in part]
    width = max(len(measure) for _, _, measure in keys)
    console.print(Text(f"{'':{width + 2}} {f'mean of {len(pairs)} pairs':<25}  each pair", "bold"))
    before = None
    for part in (found.averages, found.tasks):
        for (of, pooling, measure), one in part.items():
            if before != (of, pooling):
                console.print(Text(f"{of}, {pooling}", "bold"), soft_wrap=True)
                before = of, pooling
            for line in _lines(f"  {measure:<{width}} ", one, console.width):
                console.print(Text(line), soft_wrap=True)
        console.print()
    print("pairs, in this order:")
    for first, second in _named(pairs):
        print(f"  {second} minus {first}")
    protocol = pairs[0][0].result["protocol"]
    said = (
        f"protocol {protocol['name']} {protocol['version']}; {LEVEL:.0%} intervals of {RESAMPLES:,} draws of pairs "
        "(training seeds), then seeds of probes, groups and clips, paired; * the interval leaves out 0"
    )
    console.print(Text(said))
    if not shared.complete:
        console.print(Text(_left_out(pairs, shared)), soft_wrap=True)


def _lines(start: str, one: "OverPairs", width: int) -> list[str]:
    """A row; differences of pairs that have no room in its first line stand below those that have."""
    from uniwhisper.cli.compare import with_interval

    start += with_interval(one.mean) + "  "
    in_line = max(1, (width - len(start) + 1) // 7)
    values = [f"{value:+.3f}" for value in one.of_pairs]
    lines = [" ".join(values[place : place + in_line]) for place in range(0, len(values), in_line)]
    return [(" " * len(start) if number else start) + line for number, line in enumerate(lines)]


def _named(pairs: "Pairs") -> list[tuple[str, str]]:
    """Both of each pair by label; by file where labels do not tell pairs apart."""
    labels = [(first.result["model"]["label"], second.result["model"]["label"]) for first, second in pairs]
    if len(set(labels)) == len(labels):
        return labels
    return [(first.name, second.name) for first, second in pairs]
