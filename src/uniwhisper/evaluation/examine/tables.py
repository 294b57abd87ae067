"""An examination as a table: rows for people, for Markdown and for the terminal alike."""

from collections.abc import Sequence
from typing import Any

from uniwhisper.evaluation.words import MEASURE_NAMES, marked, with_interval

MEAN = "mean of domains"


def columns_of(result: dict[str, Any]) -> list[tuple[str, str]]:
    """(name in `scores`, title) of what is compared: layers, or clean and the conditions."""
    if result["format"] == "uniwhisper-layers":
        return [(layer["name"], layer["name"]) for layer in result["layers"]]
    return [("clean", "clean"), *((each["name"], each["title"]) for each in result["conditions"])]


def table(result: dict[str, Any], measure: str) -> list[list[str]]:
    """Header and one row per layer or condition: score with interval per task, the mean, its difference.

    Of conditions also the mean cosine over all clips asked, and what was done to how many of them.
    """
    tasks = [task for task in result["tasks"] if any(measure in each for each in task["scores"].values())]
    robustness = result["format"] == "uniwhisper-robustness"
    first = "condition" if robustness else "layer"
    against = result["differences"]["against"]
    header = [first, *(marked(task) for task in tasks), MEAN, f"minus {against}"]
    rows = [[*header, "cosine to clean", "clips"] if robustness else header]
    for name, title in columns_of(result):
        row = [title, *(with_interval(task["scores"].get(name, {}).get(measure)) for task in tasks)]
        row.append(with_interval(result["averages"]["headline"].get(name, {}).get(measure)))
        difference = result["differences"]["mean"].get(name, {}).get(measure)
        row.append(_signed(difference) if difference and name != against else "")
        if robustness:
            row += [_cosine(tasks, name), _done_to(tasks, name)]
        rows.append(row)
    return rows


def cosine(tasks: Sequence[dict[str, Any]], name: str) -> float | None:
    """Mean over tasks, by clips, of the cosine of altered with clean; None: clean itself."""
    parts = [(task["cosine"][name]["mean"], task["clips"]["scored"]) for task in tasks if name in task["cosine"]]
    return sum(value * clips for value, clips in parts) / sum(clips for _, clips in parts) if parts else None


def markdown(result: dict[str, Any], png_name: str) -> str:
    """A page with the picture and a table per measure."""
    kind = result["format"].removeprefix("uniwhisper-")
    lines = [f"# {kind.capitalize()}: {result['model']['label']} on {result['suite']['name']}", ""]
    lines += [f"![The tables below as curves]({png_name})", ""]
    for measure in result["measures"]:
        header, *rows = table(result, measure)
        lines += [f"## {MEASURE_NAMES[measure]}", "", _row(header), _row(["---", *["---:"] * (len(header) - 1)])]
        lines += [*map(_row, rows), ""]
    lines += [*(f"- {line}" for line in remarks(result)), "", f"`{result['command']}`", ""]
    identity = result["model"]["identity"]
    lines.append(
        f"Weights `{identity['weights'][:12]}`, code `{identity['code']}`, suite `{result['suite']['hash'][:12]}`, "
        f"protocol {result['protocol']['name']} {result['protocol']['version']}, pooling {result['pooling']}."
    )
    return "\n".join(lines) + "\n"


def remarks(result: dict[str, Any]) -> list[str]:
    """What a reader of the numbers must know, a line each."""
    lines = ["Means over folds and seeds; in brackets 95 % bootstrap intervals; differences are paired."]
    if result["format"] == "uniwhisper-layers":
        lines.append(
            "Layer 0 enters the first block, k leaves the k-th, final is the output that evaluate judges. The best of "
            "many layers, chosen on the clips it is scored on, looks better than it is."
        )
    else:
        clips = ", ".join(
            f"{task['name']} {task['clips']['scored']:,} of {task['clips']['used']:,} "
            f"(median {task['seconds']['median']:.1f} s; cosine between different clips {_three(task)})"
            for task in result["tasks"]
        )
        lines += [f"Altered are {result['altered']}.", f"Clips asked: {clips}."]
    lines += [f"Not examined: {each['task']}, {each['reason']}." for each in result["left_out"]]
    lines += [f"{task['name']}: {note}" for task in result["tasks"] for note in task["notes"]]
    return lines


def _three(task: dict[str, Any]) -> str:
    value = task["cosine_between_clips"]
    return "unknown" if value is None else f"{value:.3f}"


def _signed(difference: dict[str, Any]) -> str:
    between = "" if difference["low"] is None else f" [{difference['low']:+.3f}, {difference['high']:+.3f}]"
    return f"{difference['value']:+.3f}{between}"


def _cosine(tasks: Sequence[dict[str, Any]], name: str) -> str:
    value = cosine(tasks, name)
    return "" if value is None else f"{value:.3f}"


def _done_to(tasks: Sequence[dict[str, Any]], name: str) -> str:
    counts: dict[str, int] = {}
    for task in tasks:
        for what, clips in task["altered"].get(name, {}).items():
            counts[what] = counts.get(what, 0) + clips
    return ", ".join(f"{clips:,} {what}" for what, clips in counts.items() if clips)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"
