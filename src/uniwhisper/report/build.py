"""A comparison of encoders as one HTML page, one Markdown file and the chart as PNG."""

from dataclasses import dataclass
from urllib.parse import quote

from uniwhisper.report.chart import Panel, bar_chart, three_digits
from uniwhisper.report.page import Cell, Page
from uniwhisper.report.results import Comparison, Result, Score, TaskResult

NAMES = {"knn": "kNN", "knn_standardised": "kNN, standardised", "probe": "linear probe"}
CHARTED = ("knn", "probe")
_ALT = "Bar chart of the scores in the tables below, one panel per task and measure."


@dataclass(frozen=True)
class Report:
    html: str
    markdown: str
    png: bytes


def build(comparison: Comparison, *, png_name: str = "report.png") -> Report:
    """Report of a comparison.

    Args:
        png_name: file name under which the caller puts the chart beside the Markdown file, which shows it.

    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    charts = {
        (dark, narrow): _chart(comparison, dark=dark, narrow=narrow)
        for dark in (False, True)
        for narrow in (False, True)
    }
    return Report(
        html=_page(comparison, charts).render(),
        markdown=_markdown(comparison, png_name),
        png=_chart(comparison, background="white"),
    )


def name_of(measure: str) -> str:
    return NAMES.get(measure, measure)


def is_baseline(result: Result) -> bool:
    """Drawn in grey: what a trained encoder is compared with."""
    return result.source == "log-mel" or result.source.startswith("random:")


def _chart(comparison: Comparison, **style) -> bytes:
    measures = [measure for measure in CHARTED if measure in comparison.measures] or list(comparison.measures)
    rows = []
    for place, task in enumerate(comparison.results[0].tasks):
        panels = [
            Panel(
                f"{task.name} · {name_of(measure)}",
                [result.tasks[place].scores[measure] for result in comparison.results],
                task.most_common,
            )
            for measure in measures
        ]
        rows.append(panels)
    if len(rows) > 1:
        rows.append(
            [
                Panel(f"mean · {name_of(measure)}", [result.headline[measure] for result in comparison.results], None)
                for measure in measures
            ]
        )
    return bar_chart(comparison.labels, list(map(is_baseline, comparison.results)), rows, **style)


def _page(comparison: Comparison, charts: dict[tuple[bool, bool], bytes]) -> Page:
    first = comparison.results[0]
    clips = sum(task.scored for task in first.tasks)
    encoders = len(comparison.results)
    page = Page(
        f"What frozen features know: {first.suite['name']}",
        summary=f"{_count(encoders, 'encoder')}, {_count(len(first.tasks), 'task')}, {clips:,} scored clips. "
        f"Protocol: {_protocol(first)}. {first.suite['description']}",
    )
    page.image(
        charts[False, False],
        dark=charts[True, False],
        narrow=charts[False, True],
        narrow_dark=charts[True, True],
        alt=_ALT,
        caption=f"Accuracy, mean over folds, with {_level(first)} bootstrap intervals over clips. Grey: baselines. "
        "Dotted line: always answering the most common class.",
    )
    page.heading("Scores")
    for measure in comparison.measures:
        _score_table(page, comparison, measure)
    if len(first.tasks) > 1:
        page.text("The mean is the mean of the domains' means, so that a domain of many tasks does not decide alone.")
    with page.folded("Scores of each fold"):
        for place, task in enumerate(first.tasks):
            for measure in comparison.measures:
                _fold_table(page, comparison, place, task, measure)
    _tasks(page, comparison)
    _protocol_section(page, first)
    _encoders(page, comparison)
    return page


def _score_table(page: Page, comparison: Comparison, measure: str) -> None:
    first = comparison.results[0]
    columns = ["encoder", *(task.name for task in first.tasks), "mean"]
    scores = [
        [*(task.scores[measure] for task in result.tasks), result.headline[measure]] for result in comparison.results
    ]
    best = [max(column, key=lambda score: score.value).value for column in zip(*scores, strict=True)]
    several = len(scores) > 1
    rows = [
        [label, *(_score_cell(score, several and score.value == top) for score, top in zip(row, best, strict=True))]
        for label, row in zip(comparison.labels, scores, strict=True)
    ]
    page.table(columns, rows, caption=name_of(measure))


def _score_cell(score: Score, strong: bool) -> Cell:
    return Cell(three_digits(score.value), _interval(score), strong)


def _fold_table(page: Page, comparison: Comparison, place: int, task: TaskResult, measure: str) -> None:
    folds = [fold for fold, _ in task.scores[measure].folds]
    rows = []
    for label, result in zip(comparison.labels, comparison.results, strict=True):
        score = result.tasks[place].scores[measure]
        spread = "–" if score.spread is None else three_digits(score.spread)
        rows.append([label, *(three_digits(value) for _, value in score.folds), spread])
    page.table(["encoder", *folds, "deviation"], rows, caption=f"{task.name}, {name_of(measure)}")


def _tasks(page: Page, comparison: Comparison) -> None:
    page.heading("Tasks")
    rows = []
    for place, task in enumerate(comparison.results[0].tasks):
        skipped = [len(result.tasks[place].skipped) for result in comparison.results]
        left_out = "; ".join(f"{count:,} left out: {reason}" for reason, count in task.left_out.items())
        rows.append(
            [
                Cell(task.name, task.domain),
                Cell(task.description, left_out),
                f"{task.expected:,}",
                f"{task.scored:,}",
                str(max(skipped)),
                str(task.classes),
                three_digits(task.most_common),
            ]
        )
    page.table(["task", "what", "clips", "scored", "skipped", "classes", "most common class"], rows, numeric=False)
    for label, result in zip(comparison.labels, comparison.results, strict=True):
        for task in result.tasks:
            notes = [*task.notes, *(f"skipped {clip}: {reason}" for clip, reason in task.skipped[:20])]
            if len(task.skipped) > 20:
                notes.append(f"and {len(task.skipped) - 20} more skipped, named in {result.file}")
            page.text(*(f"{label}, {task.name}: {note}" for note in notes))
    if comparison.duplicates:
        page.text(f"Identical copies left out: {len(comparison.duplicates)} ({', '.join(comparison.duplicates)}).")


def _protocol_section(page: Page, result: Result) -> None:
    page.heading("Protocol")
    facts = {}
    for name, value in result.protocol.items():
        if isinstance(value, dict):
            value = "; ".join(f"{key.replace('_', ' ')}: {_plain(part)}" for key, part in value.items())
        facts[name_of(name).replace("_", " ")] = _plain(value)
    facts["suite"] = f"{result.suite['name']}, {result.suite['hash'][:12]}"
    facts["seeds"] = ", ".join(f"{name.replace('_', ' ')} {seed}" for name, seed in result.seeds.items())
    page.facts(facts)


def _encoders(page: Page, comparison: Comparison) -> None:
    page.heading("Encoders")
    rows = []
    for label, result in zip(comparison.labels, comparison.results, strict=True):
        identity = result.identity
        commit = str(result.provenance.get("commit") or "no checkout")
        rows.append(
            [
                Cell(label, f"{result.width} numbers"),
                identity["weights"][:12],
                Cell(identity["code"], commit[:12] + ("-dirty" if commit.endswith("-dirty") else "")),
                Cell(identity["pooling"], f"layer: {identity['layer']}"),
                Cell(f"{result.seconds['total']:.0f} s", f"vectors {result.seconds['vectors']:.0f} s"),
            ]
        )
    page.table(["encoder", "weights", "code, commit", "pooling, layer", "time"], rows, numeric=False)
    page.text("The command behind each row; DIR is the folder that holds the tasks' folders.")
    page.code("\n".join(result.command for result in comparison.results))
    with page.folded("Versions"):
        page.table(
            ["encoder", "Python", "packages"],
            [
                [label, str(result.provenance.get("python", "–")), _packages(result)]
                for label, result in zip(comparison.labels, comparison.results, strict=True)
            ],
            numeric=False,
        )


def _markdown(comparison: Comparison, png_name: str) -> str:
    first = comparison.results[0]
    lines = [_escape(f"# {first.suite['name']}, protocol {_protocol(first)}"), "", f"![{_ALT}]({quote(png_name)})", ""]
    names = [task.name for task in first.tasks]
    for measure in comparison.measures:
        lines += [f"## {name_of(measure)}", "", _row(["encoder", *names, "mean"])]
        lines.append(_row(["---", *["---:"] * (len(names) + 1)]))
        for label, result in zip(comparison.labels, comparison.results, strict=True):
            scores = [*(task.scores[measure] for task in result.tasks), result.headline[measure]]
            lines.append(_row([label, *(f"{three_digits(score.value)} [{_interval(score)}]" for score in scores)]))
        lines.append("")
    clips = ", ".join(f"{task.name} {task.scored:,}" for task in first.tasks)
    seeds = ", ".join(f"{name.replace('_', ' ')} {seed}" for name, seed in first.seeds.items())
    lines += [
        f"Accuracy, mean over folds; in brackets the {_level(first)} bootstrap interval over clips. Mean: of the",
        _escape(f"domains' means. Scored clips: {clips}. Seeds: {seeds}."),
        "",
        _row(["encoder", "weights", "code", "command"]),
        _row(["---"] * 4),
    ]
    for label, result in zip(comparison.labels, comparison.results, strict=True):
        weights, code = result.identity["weights"][:12], result.identity["code"]
        lines.append(_row([label, f"`{weights}`", f"`{code}`", f"`{result.command}`"]))
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(map(_escape, cells))} |"


def _escape(text: str) -> str:
    """Neither markup nor the end of a cell in Markdown."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _interval(score: Score) -> str:
    return f"{three_digits(score.low)}–{three_digits(score.high)}"


def _level(result: Result) -> str:
    interval = result.protocol.get("interval")
    return f"{interval['level']:.0%}" if isinstance(interval, dict) and "level" in interval else "its protocol's"


def _protocol(result: Result) -> str:
    return f"{result.protocol.get('name', '?')} {result.protocol.get('version', '')}".strip()


def _packages(result: Result) -> str:
    packages = result.provenance.get("packages") or {}
    return ", ".join(f"{name} {version}" for name, version in packages.items() if version)


def _plain(value) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'s' if number != 1 else ''}"
