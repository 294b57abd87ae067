"""The same numbers for other programs and for other documents: Markdown, CSV, JSON."""

import csv as csv_module
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from uniwhisper.report.comparison import Comparison, average_of, score_of
from uniwhisper.report.results import Average, Score
from uniwhisper.report.words import about_scores, average_name, interval, name_of, protocol, signed, three_digits

if TYPE_CHECKING:
    from uniwhisper.report.build import Differences

CSV_COLUMNS = (
    "protocol", "suite", "suite_hash", "encoder", "weights", "code", "pooling", "measure", "task", "domain",
    "in_domain", "variant_of", "metric", "score", "low", "high", "fold_deviation", "seed_deviation",
    "clip_weighted", "clips",
)  # fmt: skip
"""`task` is `mean of headline` or `mean of in_domain` for the averages."""


def markdown(comparison: Comparison, differences: Sequence["Differences"], png_name: str) -> str:
    """Tables of every measure by each encoder's first pooling; `png_name` is shown on top."""
    first = comparison.results[0]
    title = _escape(f"# {first.suite['name']}, protocol {protocol(first)}")
    lines = [title, "", f"![Bar chart of the scores in the tables below]({quote(png_name)})", ""]
    for measure in comparison.measures:
        rows = []
        for place, task in enumerate(first.tasks):
            found = [score_of(result.tasks[place], result.poolings[0], measure) for result in comparison.results]
            if any(found):
                rows.append(_row([task.name + (" (in-domain)" if task.in_domain else ""), *map(_cell, found)]))
        for side in ("headline", "in_domain"):
            means = [average_of(result, side, result.poolings[0], measure) for result in comparison.results]
            if any(means):
                rows.append(_row([f"mean, {name_of(side)}", *map(_cell, means)]))
        if rows:
            head = [_row(["task", *comparison.labels]), _row(["---", *["---:"] * len(comparison.results)])]
            lines += [f"## {name_of(measure)}", "", *head, *rows, ""]
    for pair in differences:
        lines += [f"## {_escape(pair.label)} minus {_escape(pair.against)}", ""]
        lines += [_row(["of", "pooling", "measure", "difference", "p"]), _row([*["---"] * 3, "---:", "---:"])]
        for row in pair.rows:
            value = f"{signed(row.value)} [{signed(row.low)}, {signed(row.high)}]"
            lines.append(_row([name_of(row.of), name_of(row.pooling), name_of(row.measure), value, f"{row.p:.3f}"]))
        lines.append("")
    clips = ", ".join(f"{task.name} {task.scored:,}" for task in first.tasks)
    seeds = ", ".join(f"{name.replace('_', ' ')} {seed}" for name, seed in first.seeds.items())
    lines += [
        f"{about_scores(first)} Mean: {average_name(first)}.",
        _escape(f"Scored clips: {clips}. Seeds: {seeds}. Suite {first.suite['hash'][:12]}."),
        "",
        _row(["encoder", "weights", "code", "pooling", "command"]),
        _row(["---"] * 5),
    ]
    for label, result in zip(comparison.labels, comparison.results, strict=True):
        weights, code = result.identity["weights"][:12], result.identity["code"]
        lines.append(_row([label, f"`{weights}`", f"`{code}`", name_of(result.poolings[0]), f"`{result.command}`"]))
    return "\n".join(lines) + "\n"


def csv(comparison: Comparison) -> str:
    """One line per encoder, pooling, measure and task, and per average; columns `CSV_COLUMNS`."""
    stream = io.StringIO()
    writer = csv_module.DictWriter(stream, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in _rows(comparison):
        writer.writerow({name: _safe(row.get(name)) for name in CSV_COLUMNS})
    return stream.getvalue()


def as_json(comparison: Comparison, differences: Sequence["Differences"]) -> str:
    """Everything that the page says in numbers, in one object."""
    first = comparison.results[0]
    content = {
        "format": "uniwhisper-report",
        "format_version": 1,
        "protocol": first.protocol,
        "suite": first.suite,
        "seeds": first.seeds,
        "encoders": [
            {
                "label": label,
                "source": result.source,
                "width": result.width,
                "identity": result.identity,
                "trained_on": result.trained_on,
                "hop_seconds": result.hop_seconds,
                "check": result.check,
                "command": result.command,
                "seconds": result.seconds,
                "provenance": result.provenance,
                "file": result.file.name,
            }
            for label, result in zip(comparison.labels, comparison.results, strict=True)
        ],
        "scores": list(_rows(comparison)),
        "differences": [asdict(pair) for pair in differences],
        "duplicates": list(comparison.duplicates),
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _rows(comparison: Comparison) -> Iterator[dict[str, Any]]:
    for label, result in zip(comparison.labels, comparison.results, strict=True):
        common = {
            "protocol": protocol(result),
            "suite": result.suite["name"],
            "suite_hash": result.suite["hash"],
            "encoder": label,
            "weights": result.identity["weights"],
            "code": result.identity["code"],
        }
        for task in result.tasks:
            about = {
                "task": task.name,
                "domain": task.domain,
                "in_domain": task.in_domain,
                "variant_of": task.variant_of,
                "metric": task.metric,
                "clips": task.scored,
            }
            for pooling, measures in task.scores.items():
                for measure, score in measures.items():
                    numbers = {"fold_deviation": score.spread, "seed_deviation": score.seed_spread}
                    if score.directions:
                        numbers["directions"] = score.directions
                    yield common | about | {"pooling": pooling, "measure": measure} | _numbers(score) | numbers
        for side, poolings in result.averages.items():
            for pooling, measures in poolings.items():
                for measure, average in measures.items():
                    about = {"task": f"mean of {side}", "pooling": pooling, "measure": measure}
                    yield common | about | _numbers(average) | {"clip_weighted": average.clip_weighted}


def _numbers(score: Score | Average) -> dict[str, float | None]:
    return {"score": score.value, "low": score.low, "high": score.high}


def _safe(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula is marked as text."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _cell(score: Score | Average | None) -> str:
    if score is None:
        return "–"
    between = interval(score)
    return three_digits(score.value) + (f" [{between}]" if between else "")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_escape, cells))} |"


def _escape(text: str) -> str:
    """Neither markup nor the end of a cell in Markdown."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
