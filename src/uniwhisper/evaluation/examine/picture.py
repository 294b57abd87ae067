"""An examination as a picture: score over layers, or over conditions with the cosine below (matplotlib)."""

from io import BytesIO
from itertools import groupby
from typing import TYPE_CHECKING, Any

from uniwhisper.core.errors import MissingExtraError
from uniwhisper.evaluation.examine.tables import MEAN, columns_of
from uniwhisper.evaluation.words import MEASURE_NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DPI = 150
_INK, _QUIET, _LINE = "#23211e", "#6d6860", "#dedad2"
_DASHED = (0, (2, 2))
_COLOURS = 10


def picture(result: dict[str, Any]) -> bytes:
    """PNG on white: a panel per measure, of conditions also one of the cosine to the clean vector.

    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise MissingExtraError.of("matplotlib", "eval", "the picture") from None
    columns = columns_of(result)
    robustness = result["format"] == "uniwhisper-robustness"
    panels = len(result["measures"]) + robustness
    width = min(16.0, max(6.4, 2.6 + 0.42 * len(columns)))
    with matplotlib.rc_context({"font.size": 9, "text.color": _INK, "text.parse_math": False}):
        figure = Figure(figsize=(width, 0.9 + 2.7 * panels), layout="constrained")
        every = figure.subplots(panels, 1, squeeze=False, sharex=True)[:, 0]
        runs = _runs(result)
        for axes, measure in zip(every, result["measures"], strict=False):
            _scores(axes, result, measure, columns, runs)
        if robustness:
            _cosines(every[-1], result, columns, runs)
        rotated = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if robustness else {}
        every[-1].set_xticks(range(len(columns)), [title for _, title in columns], **rotated)
        every[-1].set_xlabel("" if robustness else "layer")
        handles, labels = every[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=8)
        stream = BytesIO()
        figure.savefig(stream, format="png", dpi=_DPI, facecolor="white", metadata={"Software": None})
    return stream.getvalue()


def _runs(result: dict[str, Any]) -> list[list[int]]:
    """Places that a line may join: all layers; of conditions those of one kind, which are steps of one thing."""
    if result["format"] == "uniwhisper-layers":
        return [list(range(len(result["layers"])))]
    kinds = ["clean", *(each["kind"] if each["kind"] != "codec" else each["name"] for each in result["conditions"])]
    return [list(places) for _, places in groupby(range(len(kinds)), key=kinds.__getitem__)]


def _scores(
    axes: "Axes", result: dict[str, Any], measure: str, columns: list[tuple[str, str]], runs: list[list[int]]
) -> None:
    for number, task in enumerate(result["tasks"]):
        scores = [task["scores"].get(name, {}).get(measure) for name, _ in columns]
        if any(scores):
            _curve(axes, scores, runs, **_look(number), label=task["name"], thin=len(result["tasks"]) > 1)
    means = [result["averages"]["headline"].get(name, {}).get(measure) for name, _ in columns]
    if len(result["tasks"]) > 1:
        _curve(axes, means, runs, colour=_INK, marker="o", label=MEAN, thin=False)
    if result["differences"]["against"] == columns[0][0] and means[0]:
        axes.axhline(means[0]["score"], color=_QUIET, linewidth=0.9, linestyle=_DASHED)
    axes.set_ylim(0, 1.03)
    _dress(axes, f"{MEASURE_NAMES[measure]} score")


def _curve(
    axes: "Axes",
    scores: list[dict[str, Any] | None],
    runs: list[list[int]],
    *,
    colour: str,
    marker: str,
    label: str,
    thin: bool,
) -> None:
    named: str | None = label
    for run in runs:
        inside = [(place, score) for place in run if (score := scores[place])]
        if not inside:
            continue
        places, values = zip(*((place, score["score"]) for place, score in inside), strict=True)
        style = {"color": colour, "linewidth": 1.1 if thin else 2.0, "marker": marker, "markersize": 3.5 if thin else 5}
        axes.plot(places, values, label=named, **style)
        named = None
        for place, score in inside:
            if score["low"] is not None:
                axes.plot([place, place], [score["low"], score["high"]], color=colour, linewidth=0.9, alpha=0.55)


def _cosines(axes: "Axes", result: dict[str, Any], columns: list[tuple[str, str]], runs: list[list[int]]) -> None:
    for number, task in enumerate(result["tasks"]):
        found = [task["cosine"].get(name) for name, _ in columns]
        scores = [None if each is None else {"score": each["mean"], "low": None, "high": None} for each in found]
        _curve(axes, scores, runs, **_look(number), label=task["name"], thin=True)
        if task["cosine_between_clips"] is not None:
            axes.axhline(task["cosine_between_clips"], color=_colour(number), linewidth=0.9, linestyle=_DASHED)
    _dress(axes, "cosine to clean")
    axes.text(
        1, 1.02, "dashed: between different clips", transform=axes.transAxes, ha="right", fontsize=7.5, color=_QUIET
    )


def _dress(axes: "Axes", title: str) -> None:
    axes.set_title(title, loc="left", fontsize=9.5, pad=5)
    axes.tick_params(length=0, labelcolor=_INK, labelsize=8)
    axes.grid(axis="y", color=_LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color(_QUIET)


def _colour(number: int) -> str:
    return f"C{number % _COLOURS}"


def _look(number: int) -> dict[str, str]:
    """Where colours begin again, another marker."""
    return {"colour": _colour(number), "marker": "os^D"[number // _COLOURS % 4]}
