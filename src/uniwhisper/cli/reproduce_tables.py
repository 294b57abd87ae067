"""What `uniwhisper reproduce` prints."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from uniwhisper.reproduce.chain import Chain


def print_summary(chain: "Chain", summary: dict[str, Any], page: Path, curve: dict[str, Any] | None) -> None:
    """The table of a chain, its parts, and the page's path.

    Args:
        summary: of `reproduce.table.summarise`.
        curve: score against size, of `reproduce.sizes.gather`; None: there is no such curve.
    """
    import sys

    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from uniwhisper.reproduce import content, gate
    from uniwhisper.reproduce.table import steps_in_words

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    domains = {
        name for row in summary["rows"] for score in row["scores"].values() if score for name in score["domains"]
    }
    columns = sorted(domains)
    table = Table("row", box=SIMPLE_HEAD, pad_edge=False, title=f"{chain.scale.name}: means over seeds")
    for column in ("MLP", *columns, "kNN", *columns, "steps", "audio h", "min", "seeds"):
        table.add_column(column, justify="right")
    for row in summary["rows"]:
        cells = []
        for measure in ("mlp", "knn"):
            score = row["scores"][measure]
            cells += ["–"] * (1 + len(columns)) if score is None else [
                f"{score['score']:.3f}", *[f"{score['domains'][name]:.3f}" for name in columns]
            ]  # fmt: skip
        audio, minutes = f"{row['audio_seconds'] / 3600:.2f}", f"{row['train_seconds'] / 60:.1f}"
        table.add_row(row["row"], *cells, steps_in_words(row), audio, minutes, str(len(row["runs"])))
    console.print(table)
    table = Table("difference", "of", box=SIMPLE_HEAD, pad_edge=False, title="95 % intervals over seeds, groups, clips")
    table.add_column("MLP", justify="right")
    table.add_column("kNN", justify="right")
    for compared in summary["compared"]:
        found = {(one["of"], one["measure"]): one for one in compared["differences"]}
        for of in dict.fromkeys(of for of, _ in found):
            cells = [_interval(found.get((of, measure))) for measure in ("mlp", "knn")]
            table.add_row(f"{compared['second']} − {compared['first']}", of, *cells)
        table.add_section()
    console.print(table)
    for line in gate.sentences(summary["gate"]) if summary["gate"] else ():
        print(f"gate: {line}")
    for choice in summary["start"]:
        print(f"S, seed {choice['seed']}: taken after {choice['step']:,} of {choice['steps']:,} steps")
    if (line := content.check(summary["content"])) is not None:
        print(line)
    _print_growth(console, summary["growth"])
    _print_cost(console, summary["efficiency"])
    _print_answers(console, summary["answers"])
    for one in summary["examined"]:
        print(f"{one['kind']} of U, seed {one['seed']}: {chain.output / one['page']}")
    for one in summary["equal"]:
        verdict = "equal within 1 %" if one["holds"] else "NOT equal"
        print(
            f"{one['first']} and {one['second']}, seed {one['seed']}: {one['steps'][0]:,} and {one['steps'][1]:,} "
            f"steps, {one['audio_seconds'][0]:,.0f} and {one['audio_seconds'][1]:,.0f} s of audio: {verdict}"
        )
    if curve is not None:
        _print_sizes(console, curve)
    print(page)


def _interval(one: dict[str, Any] | None) -> str:
    return "–" if one is None else f"{one['difference']:+.3f} [{one['low']:+.3f}, {one['high']:+.3f}]"


def _print_growth(console: "Console", curves: list[dict[str, Any]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    if not curves:
        return
    table = Table("clips", box=SIMPLE_HEAD, pad_edge=False, title="gain over S against training clips; over seeds")
    for one in curves:
        table.add_column(f"{one['measure']} measured", justify="right")
        table.add_column(f"{one['measure']} fitted", justify="right")
    for points in zip(*(one["at"] for one in curves), strict=True):
        cells = []
        for point in points:
            spread = "" if point["low"] is None else f" [{point['low']:+.3f}, {point['high']:+.3f}]"
            cells += [
                "–" if point["measured"] is None else f"{point['measured']:+.3f}",
                f"{point['gain']:+.3f}{spread}",
            ]
        table.add_row(f"× {points[0]['share']:g}", *cells)
    console.print(table)


def _print_cost(console: "Console", rows: list[dict[str, Any]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from uniwhisper.reproduce.efficiency import millions, score

    if not rows:
        return
    table = Table("row", box=SIMPLE_HEAD, pad_edge=False, title="what a score costs, from the same start")
    for column in ("MLP", "kNN", "trained", "frozen", "steps", "audio h", "min"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            row["row"],
            score(row, "mlp"),
            score(row, "knn"),
            millions(row["trained_parameters"]),
            millions(row["frozen_parameters"]),
            f"{row['steps']:,}",
            f"{row['audio_seconds'] / 3600:.2f}",
            f"{row['device_seconds'] / 60:.1f}",
        )
    console.print(table)
    for row in rows:
        console.print(
            f"{row['row']}: {row['what']}; trained on {', '.join(row['devices']) or 'a device not written down'}"
        )


def _print_answers(console: "Console", answered: list[dict[str, Any]]) -> None:
    from uniwhisper.reproduce.answered import rows

    if not answered:
        return
    _print_body(console, "what U answers about held-out clips; ↓ lower is better", *rows(answered))


def _print_sizes(console: "Console", curve: dict[str, Any]) -> None:
    from uniwhisper.reproduce.sizes import rows

    _print_body(console, "score against size", *rows(curve))
    for one in curve["left_out"]:
        print(f"left out: {one['size']}, {one['reason']}")


def _print_body(console: "Console", title: str, columns: list[str], body: list[list[str]]) -> None:
    """Rows of words; the first two columns name them, the others are figures."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=title)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < 2 else "right")
    for row in body:
        table.add_row(*row)
    console.print(table)


def print_plan(described: dict[str, Any]) -> None:
    """The plan of `reproduce.dry_run.describe`."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table("row", "seed", "from", box=SIMPLE_HEAD, pad_edge=False, title=f"{described['scale']}: the plan")
    for column in ("steps", "audio h", "done"):
        table.add_column(column, justify="right")
    for job in described["jobs"]:
        hours = f"{job['audio_seconds'] / 3600:.2f}"
        table.add_row(job["row"], str(job["seed"]), job["after"] or "–", f"{job['steps']:,}", hours, job["done"])
    Console(highlight=False).print(table)
    for name, value in described["facts"].items():
        print(f"{name}: {value}")
