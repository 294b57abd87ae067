"""The parts of the page about scores: each writes one section, or nothing where there is nothing to say."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from uniwhisper.report import words
from uniwhisper.report.answers import Answers, confusion
from uniwhisper.report.comparison import Comparison, average_of, score_of
from uniwhisper.report.page import Bar, Bars, Cell, Page
from uniwhisper.report.results import Average, Result, Score
from uniwhisper.report.sources import encoders, protocol, tasks
from uniwhisper.report.words import average_name, count, interval, is_baseline, level, name_of, signed, three_digits
from uniwhisper.report.words import protocol as protocol_name

if TYPE_CHECKING:
    from uniwhisper.report.build import Differences, SoundMap

__all__ = ["averages", "bars", "begin", "confusions", "differences", "encoders", "maps", "protocol", "scores", "tasks"]

_SIDES = ("headline", "in_domain")
_WORST = 8


def begin(comparison: Comparison) -> Page:
    """The page with its title and summary."""
    first = comparison.results[0]
    clips = sum(task.scored for task in first.tasks)
    return Page(
        f"What frozen features know: {first.suite['name']}",
        summary=f"{count(len(comparison.results), 'encoder')}, {count(len(first.tasks), 'task')}, {clips:,} scored "
        f"clips. Protocol: {protocol_name(first)}. {first.suite['description']}",
    )


def averages(page: Page, comparison: Comparison) -> None:
    """The protocol's averages, then the domains."""
    page.heading("Averages")
    averaged = average_name(comparison.results[0])
    for side in _SIDES:
        measures = [m for m in comparison.measures if any(_average(r, side, m) for r in comparison.results)]
        if not measures:
            continue
        rows = []
        columns = [[_average(result, side, measure) for result in comparison.results] for measure in measures]
        for place, label in enumerate(comparison.labels):
            rows.append([label, *(_average_cell(column, place) for column in columns)])
        page.table(
            ["encoder", *map(name_of, measures)],
            rows,
            caption=f"{averaged[0].upper()}{averaged[1:]}" + ("" if side == "headline" else ", in-domain tasks"),
        )
        for measure in dict.fromkeys((measures[0], measures[-1])):
            _domains(page, comparison, side, measure)
    page.text(words.about_averages(comparison.results[0]))


def bars(page: Page, comparison: Comparison, measures: Sequence[str]) -> None:
    """A panel per task and measure."""
    page.heading("Task by task")
    panels = []
    # Speech recognition has one panel where others have one per measure: last, so that columns stay of one measure.
    tasks_in_order = sorted(enumerate(comparison.results[0].tasks), key=lambda each: each[1].kind == "asr")
    for place, task in tasks_in_order:
        for measure in measures if task.kind != "asr" else measures[-1:]:
            drawn = [
                Bar(label, score.value, score.low, score.high, three_digits(score.value), is_baseline(result))
                for label, result in zip(comparison.labels, comparison.results, strict=True)
                if (score := score_of(result.tasks[place], result.poolings[0], measure)) is not None
            ]
            if drawn:
                name = f"{task.name}{' (in-domain)' if task.in_domain else ''}"
                said = name_of("ctc" if any("ctc" in each for each in task.scores.values()) else measure)
                panels.append(Bars(f"{name} · {said}", drawn, task.most_common))
    marked, lines = "Dotted line: always answering the most common class.", any(panel.reference for panel in panels)
    page.bars(
        panels,
        caption=f"{words.about_scores(comparison.results[0])} Grey: baselines. {marked if lines else ''}".rstrip(),
    )


def scores(page: Page, comparison: Comparison) -> None:
    """A table per pooling and measure, and the folds."""
    page.heading("Scores")
    for measure in comparison.measures:
        _score_table(page, comparison, None, measure)
    others = [pooling for pooling in comparison.poolings if all(r.poolings[0] != pooling for r in comparison.results)]
    for pooling in others:
        with page.folded(f"The same with another pooling: {name_of(pooling)}"):
            for measure in comparison.measures:
                _score_table(page, comparison, pooling, measure)
    for place, task in enumerate(comparison.results[0].tasks):
        for measure in comparison.measures:
            _direction_table(page, comparison, place, task.name, measure)
    with page.folded("Scores of each fold"):
        for place, task in enumerate(comparison.results[0].tasks):
            for measure in comparison.measures:
                _fold_table(page, comparison, place, task.name, measure)


def differences(page: Page, comparison: Comparison, pairs: Sequence["Differences"]) -> None:
    """Differences of pairs of encoders, the clear ones in bold."""
    if not pairs:
        return
    page.heading("Differences")
    for pair in pairs:
        rows: dict[tuple[str, str], dict[str, Cell]] = {}
        measures = list(dict.fromkeys(row.measure for row in pair.rows))
        for row in pair.rows:
            clear = not row.low <= 0 <= row.high
            detail = f"{signed(row.low)} to {signed(row.high)}\np {three_digits(row.p)}"
            rows.setdefault((row.of, row.pooling), {})[row.measure] = Cell(signed(row.value), detail, clear)
        page.table(
            ["", *map(name_of, measures)],
            [
                [Cell(name_of(of), name_of(pooling)), *(cells.get(measure, Cell("–")) for measure in measures)]
                for (of, pooling), cells in rows.items()
            ],
            caption=f"{pair.label} minus {pair.against}",
        )
    page.text(
        f"Paired bootstrap on the same clips, with {level(comparison.results[0])} intervals. Bold: the interval does "
        "not hold 0. p is two-sided and not corrected for the number of rows: of twenty rows without any difference, "
        "one is bold by chance."
    )


def confusions(page: Page, comparison: Comparison, answers: Sequence[Answers]) -> None:
    """A matrix per task and encoder, of the last measure; the best encoder's first."""
    if not any(answers):
        return
    page.heading("What is taken for what")
    page.text("Rows: the true class. Columns: the answer. Numbers are per cent of the row.")
    measure = comparison.measures[-1]
    for task in comparison.results[0].tasks:
        with page.folded(task.name):
            for label, result, arrays in reversed(
                list(zip(comparison.labels, comparison.results, answers, strict=True))
            ):
                _confusion(page, label, result, arrays, task.name, measure)


def maps(page: Page, drawn: Sequence["SoundMap"]) -> None:
    """Maps whose points play their sound."""
    if not drawn:
        return
    page.heading("Maps")
    for each in drawn:
        page.heading(f"{each.task}, as {each.label} hears it", level=3)
        page.map(
            each.points,
            media_type=each.media_type,
            caption=f"{count(len(each.points), 'clip')}. Near points are near in the encoder's vectors; distances "
            f"between groups mean little. Placed by {each.method}.",
        )


def _domains(page: Page, comparison: Comparison, side: str, measure: str) -> None:
    found = [_average(result, side, measure) for result in comparison.results]
    names = list(dict.fromkeys(domain for average in found if average for domain in average.domains))
    if len(names) < 2:
        return
    rows = []
    for name in names:
        values = [average.domains.get(name) if average else None for average in found]
        top = max(value for value in values if value is not None)
        rows.append([name, *(_value_cell(value, len(values) > 1 and value == top) for value in values)])
    page.table(["domain", *comparison.labels], rows, caption=f"By domain, {name_of(measure)}")


def _value_cell(value: float | None, strong: bool) -> Cell:
    return Cell("–") if value is None else Cell(three_digits(value), strong=strong)


def _average(result: Result, side: str, measure: str) -> Average | None:
    return average_of(result, side, result.poolings[0], measure)


def _average_cell(column: list[Average | None], place: int) -> Cell:
    average = column[place]
    if average is None:
        return Cell("–")
    top = max(each.value for each in column if each is not None)
    weighted = "" if average.clip_weighted is None else f"by clips {three_digits(average.clip_weighted)}"
    detail = "\n".join(part for part in (interval(average), weighted) if part)
    return Cell(three_digits(average.value), detail, len(column) > 1 and average.value == top)


def _score_table(page: Page, comparison: Comparison, pooling: str | None, measure: str) -> None:
    """`pooling` None: each encoder's first."""
    rows = []
    for place, task in enumerate(comparison.results[0].tasks):
        found = [score_of(r.tasks[place], pooling or r.poolings[0], measure) for r in comparison.results]
        if any(found):
            rows.append([Cell(task.name, _marks(comparison.results[0], place)), *_score_cells(found)])
    means = [average_of(r, "headline", pooling or r.poolings[0], measure) for r in comparison.results]
    if any(means):
        rows.append([average_name(comparison.results[0]), *_score_cells(means)])
    if rows:
        page.table(["task", *comparison.labels], rows, caption=name_of(measure))


def _marks(result: Result, place: int) -> str:
    task = result.tasks[place]
    marks = [task.domain]
    marks += ["in-domain"] if task.in_domain else []
    marks += ["synthetic"] if task.synthetic else []
    marks += [f"variant of {task.variant_of}"] if task.variant_of else []
    return ", ".join(marks)


def _score_cells(found: Sequence[Score | Average | None]) -> list[Cell]:
    top = max(score.value for score in found if score is not None)
    return [
        Cell("–")
        if score is None
        else Cell(three_digits(score.value), interval(score), len(found) > 1 and score.value == top)
        for score in found
    ]


def _fold_table(page: Page, comparison: Comparison, place: int, task: str, measure: str) -> None:
    found = [score_of(result.tasks[place], result.poolings[0], measure) for result in comparison.results]
    first = next((score for score in found if score is not None), None)
    if first is None:
        return
    names = [name for name, _ in first.folds]
    rows = []
    for label, score in zip(comparison.labels, found, strict=True):
        if score is None:
            continue
        spreads = ["–" if each is None else three_digits(each) for each in (score.spread, score.seed_spread)]
        rows.append([label, *(three_digits(value) for _, value in score.folds), *spreads])
    columns = ["encoder", *names, "deviation over folds", "over seeds"]
    page.table(columns, rows, caption=f"{task}, {name_of(measure)}")


def _direction_table(page: Page, comparison: Comparison, place: int, task: str, measure: str) -> None:
    """Retrieval's other metrics, by each encoder's first pooling; nothing for other tasks."""
    rows, metrics = [], []
    for label, result in zip(comparison.labels, comparison.results, strict=True):
        score = score_of(result.tasks[place], result.poolings[0], measure)
        for direction, values in score.directions.items() if score else ():
            metrics = list(values)
            rows.append([Cell(label, name_of(direction)), *map(three_digits, values.values())])
    if rows:
        page.table(["encoder", *map(name_of, metrics)], rows, caption=f"{task}, {name_of(measure)}, both directions")


def _confusion(page: Page, label: str, result: Result, answers: Answers, task: str, measure: str) -> None:
    counted = confusion(answers, task, result.poolings[0], measure)
    if counted is None:
        page.text(f"{label}: no answers of one class per clip beside {result.file.name}.")
        return
    totals_C1 = counted.counts_CC.sum(axis=1, keepdims=True)
    shares_CC = counted.counts_CC / totals_C1.clip(min=1e-9)
    page.matrix(shares_CC.tolist(), counted.classes, caption=f"{label}, {name_of(measure)}")
    worst = counted.worst(_WORST)
    if worst:
        page.table(
            ["most often", "taken for", "clips", "of"],
            [[true, answer, f"{clips:.1f}".removesuffix(".0"), str(total)] for true, answer, clips, total in worst],
            numeric=False,
        )
