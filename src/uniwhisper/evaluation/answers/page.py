"""A result of answers as rows of text: one row for each task and measure, the same on a terminal and in Markdown."""

from collections.abc import Sequence
from typing import Any

from uniwhisper.evaluation.words import with_interval

COLUMNS = ("task", "measure", "answers", "most common", "options ranked", "unreadable", "cut off", "clips")
MEASURES = {
    "accuracy": "accuracy",
    "wer": "WER ↓",
    "cer": "CER ↓",
    "f1": "F1",
    "f1_macro": "F1, mean of labels",
}
"""Measure -> its name in a table."""
_EXAMPLES = 3
"""Answers of each task that the page shows."""
LEGEND = (
    "Answers are decoded greedily and read by the task's own parser; one that cannot be read is wrong. "
    "Cut off: longer than the text tokens that are allowed, scored as far as it goes. Most common: "
    "what the same measure gives to the answer of most clips that are not held out. Options ranked: accuracy of the "
    "likeliest of all answers in the manifest (behind the stroke, how many). WER and CER in lower case, without "
    "punctuation: lower is better. Intervals: 95 %, over speakers (else recordings), then clips."
)


def rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row for each task and measure, as `COLUMNS` says."""
    found = []
    for task in result["tasks"]:
        floor = task["most_common"]["scores"] if task["most_common"] else {}
        for number, (measure, score) in enumerate(task["scores"].items()):
            ranked = task["ranked"] if measure == "accuracy" else None
            found.append(
                (
                    task["task"] if number == 0 else "",
                    MEASURES[measure],
                    with_interval(score),
                    f"{floor[measure]['score']:.3f}" if measure in floor else "–",
                    f"{with_interval(ranked)} / {task['options']}" if ranked else "–",
                    f"{task['unreadable']['count']:,}" if number == 0 else "",
                    _cut(task) if number == 0 else "",
                    _clips(task["clips"]) if number == 0 else "",
                )
            )
    return found


def facts(result: dict[str, Any]) -> list[str]:
    """What was asked of how many clips, in lines."""
    config = result["config"]
    held_out = f"content fold 0 of {config['folds']}" if config["folds"] > 1 else "every clip"
    most = f"at most {config['most_clips']:,} clips a task" if config["most_clips"] else "all of them"
    too_long = [f"{task['task']} {n:,}" for task in result["tasks"] if (n := task["clips"]["too_long"])]
    lines = [
        f"Model {result['model']['name']}, weights {result['model']['weights'][:12]}; manifest "
        f"{result['manifest'][:16]}; held out: {held_out}, {most}, seed {config['seed']}; "
        f"answers of at most {config['most_tokens']:,} text tokens.",
    ]
    if too_long:
        lines.append(f"Not asked, for clips longer than 30 s: {', '.join(too_long)}.")
    return lines


def markdown(result: dict[str, Any], answers: Sequence[dict[str, Any]] = ()) -> str:
    """A page: the table, each task's question, and some answers."""
    lines = ["# What the model answers", "", *facts(result), "", LEGEND, "", *table(result)]
    lines += ["", "| task | asked | most common answer |", "|---|---|---|"]
    for task in result["tasks"]:
        common = task["most_common"]["answer"] if task["most_common"] else "–"
        lines.append(f"| {task['task']} | {_cell(task['instruction'])} | {_cell(common)} |")
    lines += ["", "| task | corpus | clips | answers |", "|---|---|---:|---|"]
    for task in result["tasks"]:
        for corpus, part in task["corpora"].items():
            each = ", ".join(f"{MEASURES[name]} {score:.3f}" for name, score in part["scores"].items())
            lines.append(f"| {task['task']} | {corpus} | {part['clips']:,} | {each} |")
    if answers:
        lines += ["", f"The first {_EXAMPLES} clips of each task:", "", "| task | clip | expected | said |"]
        lines += ["|---|---|---|---|"]
    for task in result["tasks"]:
        for one in [one for one in answers if one["task"] == task["task"]][:_EXAMPLES]:
            said = _cell(one["said"]) + ("" if one["readable"] else " (unreadable)")
            said += " (cut off)" if one.get("cut") else ""
            lines.append(f"| {task['task']} | {_cell(one['clip'])} | {_cell(one['expected'])} | {said} |")
    lines += ["", f"Commit {result['provenance']['commit'] or 'no checkout'}: `{result['command']}`"]
    return "\n".join(lines) + "\n"


def table(result: dict[str, Any]) -> list[str]:
    """The table in Markdown, line by line."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---|---|---:|---:|---:|---:|---:|---:|"]
    return lines + [f"| {' | '.join(row)} |" for row in rows(result)]


def _cut(task: dict[str, Any]) -> str:
    """Results of before did not count them."""
    return f"{task['cut']['count']:,}" if "cut" in task else "–"


def _clips(clips: dict[str, int]) -> str:
    return f"{clips['asked']:,} of {clips['held_out']:,}"


def _cell(text: str, most: int = 80) -> str:
    short = text if len(text) <= most else text[: most - 1] + "…"
    return short.replace("\n", " ").replace("|", "\\|")
