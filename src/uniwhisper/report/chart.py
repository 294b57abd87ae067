"""The per-task bar chart with intervals, as PNG."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

from uniwhisper.core.errors import MissingExtraError
from uniwhisper.report.results import Average, Score
from uniwhisper.report.words import three_digits

_DPI = 150


@dataclass(frozen=True)
class Panel:
    """One set of bars: a score per encoder."""

    title: str
    scores: Sequence[Score | Average | None]
    """None: the encoder has no such score, and no bar."""
    reference: float | None
    """A score to mark with a line, such as always answering the most common class; None: no line."""


@dataclass(frozen=True)
class _Colours:
    ink: str
    quiet: str
    line: str
    bar: str
    baseline: str


_COLOURS = _Colours("#23211e", "#6d6860", "#dedad2", "#2f6690", "#b9b3a8")


def bar_chart(labels: Sequence[str], baselines: Sequence[bool], rows: Sequence[Sequence[Panel]]) -> bytes:
    """PNG of horizontal bars with intervals on white, a panel per task and measure.

    Args:
        labels: a name per encoder, in the order of each panel's scores.
        baselines: which encoders are drawn in grey.
        rows: panels that stand beside each other.

    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise MissingExtraError.of("matplotlib", "eval", "the report's chart") from None
    columns = max(map(len, rows))
    # With few encoders the axis and title set a panel's height, with many the bars do.
    panel_height = 0.62 + 0.27 * len(labels)
    with matplotlib.rc_context({"font.size": 9, "text.color": _COLOURS.ink, "text.parse_math": False}):
        figure = Figure(figsize=(9.4, panel_height * len(rows)), layout="constrained")
        figure.get_layout_engine().set(h_pad=0.06, w_pad=0.08, hspace=0.03)
        axes = figure.subplots(len(rows), columns, squeeze=False)
        found = [score for row in rows for panel in row for score in panel.scores if score is not None]
        longest = max([*(score.high or score.value for score in found), 1e-3])
        for y, row in enumerate(rows):
            for x, panel in enumerate(row):
                _draw(axes[y][x], panel, labels if x == 0 else [""] * len(labels), baselines, longest)
            for empty in axes[y][len(row) :]:
                empty.set_visible(False)
        stream = BytesIO()
        figure.savefig(stream, format="png", dpi=_DPI, facecolor="white", metadata={"Software": None})
    return stream.getvalue()


def _draw(axis, panel: Panel, labels: Sequence[str], baselines: Sequence[bool], longest: float) -> None:
    colours = _COLOURS
    places = range(len(labels))
    fills = [colours.baseline if baseline else colours.bar for baseline in baselines]
    axis.barh(places, [score.value if score else 0 for score in panel.scores], height=0.62, color=fills)
    for place, score in zip(places, panel.scores, strict=True):
        if score is None:
            continue
        if score.low is not None and score.high is not None:
            axis.plot([score.low, score.high], [place, place], color=colours.ink, linewidth=1.1, solid_capstyle="butt")
        end = score.high or score.value
        axis.text(end + 0.02 * longest, place, three_digits(score.value), va="center", fontsize=8)
    if panel.reference is not None:
        axis.axvline(panel.reference, color=colours.quiet, linewidth=0.9, linestyle=(0, (2, 2)))
    axis.set_title(panel.title, loc="left", fontsize=9.5, pad=5)
    axis.set_yticks(places, labels)
    axis.set_ylim(len(labels) - 0.45, -0.55)
    axis.set_xlim(0, min(1.12, longest * 1.16))
    axis.tick_params(axis="y", length=0, labelcolor=colours.ink)
    axis.tick_params(axis="x", length=0, labelcolor=colours.quiet, labelsize=7.5)
    axis.xaxis.set_major_locator(_ticks(longest))
    axis.grid(axis="x", color=colours.line, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.patch.set_alpha(0)
    for name, spine in axis.spines.items():
        spine.set_visible(name == "left")
        spine.set_color(colours.quiet)


def _ticks(longest: float):
    from matplotlib.ticker import MultipleLocator

    return MultipleLocator(0.1 if longest <= 0.6 else 0.2)
