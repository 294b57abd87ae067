"""`uniwhisper data plan`: what a mixture would hold and cost, as a table."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from uniwhisper.data.corpus_plan import Cost, Plan, PlannedCorpus


def plan(
    name: Annotated[str, typer.Argument(help="A shipped plan.")] = "paper-38k",
    permissive_only: Annotated[
        bool,
        typer.Option("--permissive-only", help="Leave out NC and ND corpora and audio without stated terms."),
    ] = False,
    passes: Annotated[float, typer.Option(min=0.001, help="Hours heard over hours of the plan.")] = 1.0,
    step_seconds: Annotated[
        float, typer.Option(min=1.0, help="Audio in one optimizer step, over all GPUs, in seconds.")
    ] = 3840.0,
    utilisation: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Share of an H100's peak that training reaches: an assumption.")
    ] = 0.3,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print a mixture of corpora: hours, licences, tasks, how often each is drawn, and what training costs.

    Hours are as publishers state them. GPU-hours are computed from the number of parameters, not measured.
    """
    from uniwhisper.cli.output import print_json
    from uniwhisper.data.corpus_plan import cost_of, make_plan

    def made(permissive: bool) -> "Plan":
        return make_plan(
            name, permissive_only=permissive, passes=passes, step_seconds=step_seconds, utilisation=utilisation
        )

    chosen = made(permissive_only)
    cost = cost_of(made(False), chosen) if permissive_only else None
    if as_json:
        print_json(_json(chosen, cost))
    else:
        _print(chosen, cost, step_seconds=step_seconds, utilisation=utilisation)


def _json(plan: "Plan", cost: "Cost | None") -> dict:
    rows = [
        {
            "name": row.name,
            "domain": row.domain,
            "hours": row.hours,
            "licence": row.licence,
            "terms": row.terms,
            "tasks": list(row.tasks),
            "weight": row.weight,
            "passes": row.passes,
            "steps": row.steps,
            "gpu_hours": row.gpu_hours,
            "disk_gib": row.disk_gib,
            "reader": row.reader,
            "note": row.note,
        }
        for row in plan.corpora
    ]
    value = {"name": plan.name, "total_hours": plan.total_hours, "corpora": rows}
    if cost is not None:
        value["left_out"] = [row.name for row in cost.left_out]
        value["tasks_lost"] = list(cost.tasks_lost)
    return value


_NUMBERS = ("hours", "weight", "steps", "GPU h", "GiB")
_WIDE = 120


def _print(plan: "Plan", cost: "Cost | None", *, step_seconds: float, utilisation: float) -> None:
    from rich.console import Console
    from rich.text import Text

    from uniwhisper.data.corpus_plan import H100_FLOPS

    console = Console(highlight=False)
    (_print_wide if console.width >= _WIDE else _print_narrow)(plan, console)
    parts = [
        f"{plan.name}: {len(plan.corpora)} corpora, {plan.total_hours:,.0f} hours, {len(plan.tasks)} tasks.",
        plan.about,
        "Hours and licences as publishers state them: nothing was downloaded or checked here.",
        f"A step is {step_seconds:,.0f} s of audio. GPU hours are computed, not measured: Whisper large-v3 and "
        f"Qwen3-0.6B on H100s at {100 * utilisation:.0f}% of {H100_FLOPS / 1e12:,.0f} TFLOP/s. GiB as distributed.",
    ]
    console.print(Text("\n".join(parts + (_cost_lines(cost) if cost is not None else []))))


def _print_wide(plan: "Plan", console: "Console") -> None:
    """One table, a row a corpus."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("corpus", no_wrap=True)
    table.add_column("domain", no_wrap=True)
    table.add_column("hours", justify="right", no_wrap=True)
    table.add_column("licence", ratio=1)
    table.add_column("tasks", ratio=1)
    for title in _NUMBERS[1:]:
        table.add_column(title, justify="right", no_wrap=True)
    for domain, rows in _by_domain(plan):
        for row in rows:
            hours, *others = _numbers((row,))
            table.add_row(Text(row.name), domain, hours, Text(row.licence), ", ".join(row.tasks), *others)
        table.add_section()
        hours, *others = _numbers(rows)
        table.add_row(f"all {domain}", "", hours, "", "", *others, style="bold")
        table.add_section()
    hours, *others = _numbers(plan.corpora)
    table.add_row("all", "", hours, "", "", *others, style="bold")
    console.print(table)


def _print_narrow(plan: "Plan", console: "Console") -> None:
    """Numbers on one line, licence and tasks below them."""
    from rich.padding import Padding
    from rich.text import Text

    def line(name: str, numbers: tuple[str, ...], style: str = "") -> Text:
        widths = (9, 8, 8, 7, 8)
        cells = "".join(f"{number:>{width}}" for number, width in zip(numbers, widths, strict=True))
        return Text(f"{name:<26}{cells}", style=style, no_wrap=True)

    console.print(line("corpus", _NUMBERS, "bold underline"))
    for domain, rows in _by_domain(plan):
        console.print(Text(f"\n{domain}", style="bold"))
        for row in rows:
            console.print(line(f"  {row.name}", _numbers((row,))))
            console.print(Padding(Text(f"{row.licence} · {', '.join(row.tasks)}", style="dim"), (0, 0, 0, 4)))
        console.print(line(f"  all {domain}", _numbers(rows), "bold"))
    console.print(line("\nall".ljust(27), _numbers(plan.corpora), "bold"), "")


def _by_domain(plan: "Plan") -> list[tuple[str, "tuple[PlannedCorpus, ...]"]]:
    from uniwhisper.data.corpora import DOMAINS

    return [(domain, rows) for domain in DOMAINS if (rows := plan.of(domain))]


def _numbers(rows: "tuple[PlannedCorpus, ...]") -> tuple[str, ...]:
    """Their sums as text: hours, weight, steps, GPU hours, GiB."""
    hours, weight, steps, gpu_hours, disk = (
        sum(getattr(row, name) for row in rows) for name in ("hours", "weight", "steps", "gpu_hours", "disk_gib")
    )
    return f"{hours:,.0f}", f"{100 * weight:.1f}%", f"{steps:,.0f}", f"{gpu_hours:,.1f}", f"{disk:,.0f}"


def _cost_lines(cost: "Cost") -> list[str]:
    reasons = {"nc": "not for commercial use", "nd": "not to be changed", "unstated": "no stated terms"}
    hours = ", ".join(f"{reasons[terms]} {lost:,.0f} h" for terms, lost in cost.hours_by_terms.items() if lost)
    total = sum(cost.hours_by_terms.values())
    domains = "; ".join(
        f"{domain} {before:,.0f} to {after:,.0f} h" for domain, (before, after) in cost.hours_by_domain.items()
    )
    repeated = cost.most_repeated
    return [
        f"Left out: {len(cost.left_out)} corpora, {total:,.0f} hours ({hours}).",
        f"What that costs: {domains}.",
        f"Tasks that nothing answers any more: {', '.join(cost.tasks_lost) or 'none'}.",
        f"An hour of {repeated.name} is heard {repeated.passes:.1f} times, the most of all corpora of 10 h and more.",
    ]
