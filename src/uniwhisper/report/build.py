"""A comparison of encoders as one HTML page, Markdown with its chart, CSV and JSON."""

from collections.abc import Sequence
from dataclasses import dataclass

from uniwhisper.report import sections, tables
from uniwhisper.report.answers import Answers
from uniwhisper.report.chart import Panel, bar_chart
from uniwhisper.report.comparison import Comparison, average_of, score_of
from uniwhisper.report.page import Page, Point
from uniwhisper.report.words import is_baseline, name_of


@dataclass(frozen=True)
class Difference:
    """Score of one encoder minus another's, on the same clips."""

    of: str
    """A task's name, or `headline` or `in_domain`."""
    pooling: str
    measure: str
    value: float
    low: float
    high: float
    p: float
    """Two-sided, not corrected for the number of rows."""


@dataclass(frozen=True)
class Differences:
    """`label` minus `against`."""

    label: str
    against: str
    rows: tuple[Difference, ...]


@dataclass(frozen=True)
class SoundMap:
    """Clips of a task on a plane, as one encoder hears them."""

    label: str
    task: str
    method: str
    points: tuple[Point, ...]
    media_type: str


@dataclass(frozen=True)
class Report:
    html: str
    markdown: str
    csv: str
    json: str


def build(
    comparison: Comparison,
    *,
    answers: Sequence[Answers] = (),
    differences: Sequence[Differences] = (),
    maps: Sequence[SoundMap] = (),
    png_name: str = "report.png",
) -> Report:
    """Report of a comparison.

    Args:
        answers: the answers of each result, in the order of the results; without them no confusion matrices.
        differences: of pairs of encoders.
        maps: none without audio.
        png_name: file name under which the caller puts the `chart` beside the Markdown file, which shows it.
    """
    return Report(
        html=_page(comparison, answers, differences, maps).render(),
        markdown=tables.markdown(comparison, differences, png_name),
        csv=tables.csv(comparison),
        json=tables.as_json(comparison, differences),
    )


def charted(comparison: Comparison) -> list[str]:
    """The first kNN and the strongest probe: a page with every measure as bars would not be read."""
    measures = comparison.measures
    return [measures[0]] if len(measures) == 1 else [measures[0], measures[-1]]


def chart(comparison: Comparison) -> bytes:
    """The bars of the page as PNG, for documents that show pictures only.

    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    rows = []
    for place, task in enumerate(comparison.results[0].tasks):
        for measure in charted(comparison):
            scores = [score_of(result.tasks[place], result.poolings[0], measure) for result in comparison.results]
            rows.append(Panel(f"{task.name} · {name_of(measure)}", scores, task.most_common))
    for side in ("headline", "in_domain"):
        for measure in charted(comparison):
            averages = [average_of(result, side, result.poolings[0], measure) for result in comparison.results]
            if any(averages):
                rows.append(Panel(f"mean, {name_of(side)} · {name_of(measure)}", averages, None))
    width = len(charted(comparison))
    grid = [rows[start : start + width] for start in range(0, len(rows), width)]
    return bar_chart(comparison.labels, list(map(is_baseline, comparison.results)), grid)


def _page(
    comparison: Comparison,
    answers: Sequence[Answers],
    differences: Sequence[Differences],
    maps: Sequence[SoundMap],
) -> Page:
    page = sections.begin(comparison)
    sections.averages(page, comparison)
    sections.bars(page, comparison, charted(comparison))
    sections.scores(page, comparison)
    sections.differences(page, comparison, differences)
    sections.confusions(page, comparison, answers)
    sections.maps(page, maps)
    sections.tasks(page, comparison)
    sections.protocol(page, comparison)
    sections.encoders(page, comparison)
    return page
