"""Pictures of the demo's pages, as PNG bytes (matplotlib)."""

import io
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from uniwhisper.core.errors import MissingExtraError
from uniwhisper.core.units import FFT_SAMPLES, MEL_HOP_SAMPLES, SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOTS_PER_INCH = 150
LONGEST_LABEL = 24
# Where a label may stand around its point, in points of 1/72 inch; the first place that is free is taken.
LABEL_OFFSETS = [(7, 0), (-7, 0), (0, 8), (0, -8), (6, 7), (-6, 7), (6, -7), (-6, -7), (14, 13), (-14, -13)]


def map_picture(
    panels: list[tuple[str, np.ndarray]], groups: list[str], names: list[str] | None = None, *, narrow: bool = False
) -> bytes:
    """Maps side by side: one point per clip, coloured and shaped by its group.

    Args:
        panels: (title, points) with points (N, 2).
        groups: (N,) group of each clip; with more than one, the group's name stands in the legend.
        names: (N,) text beside each point where there is room; None: no text.
        narrow: for a phone, on which the text of a wide picture would be too small to read; one panel.
    """
    assert not narrow or len(panels) == 1, "panels side by side are wide"
    width = 4.2 if narrow else 7.5 if len(panels) == 1 else 5.4 * len(panels)
    columns = max(1, round(width / 2))
    rows = -(-len(set(groups)) // columns)
    figure = _figure(width, (3.6 if narrow else 5.2) + 0.24 * rows)
    distinct = list(dict.fromkeys(groups))
    all_axes = np.atleast_1d(figure.subplots(1, len(panels)))
    for axes, (title, points) in zip(all_axes, panels, strict=True):
        axes.set_title(title, loc="left", fontsize=12)
        for number, group in enumerate(distinct):
            members = points[[name == group for name in groups]]
            axes.scatter(*members.T, s=42, color=_colour(number), marker=_marker(number), linewidth=0, label=group)
        axes.set(xticks=[], yticks=[])
        axes.margins(0.12)
        axes.set_aspect("equal", adjustable="datalim")
        axes.spines[:].set_color("0.85")
    if len(distinct) > 1:
        handles, labels = all_axes[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower center", ncols=min(len(distinct), columns), frameon=False, fontsize=10
        )
    if names is not None:
        for axes, (_, points) in zip(all_axes, panels, strict=True):
            _label_points(axes, points, names)
    return _png(figure)


def spectrograms_picture(waves: list[tuple[str, np.ndarray]], *, in_a_row: int = 4) -> bytes:
    """Spectrograms, 0 to 8 kHz, 60 dB deep; `waves`: (title, float samples (S,) at 16 kHz) each."""
    rows = -(-len(waves) // in_a_row)
    figure = _figure(3 * in_a_row, 1.9 * rows)
    all_axes = figure.subplots(rows, in_a_row, squeeze=False).reshape(-1)
    for axes in all_axes[len(waves) :]:
        axes.set_axis_off()
    for axes, (title, wave_S) in zip(all_axes, waves, strict=False):
        frames = np.lib.stride_tricks.sliding_window_view(wave_S, FFT_SAMPLES)[::MEL_HOP_SAMPLES]
        power = np.abs(np.fft.rfft(frames * np.hanning(FFT_SAMPLES))) ** 2
        decibels = 10 * np.log10(power / power.max() + 1e-12)
        extent = (0, len(wave_S) / SAMPLE_RATE_HZ, 0, SAMPLE_RATE_HZ / 2000)
        axes.imshow(decibels.T, origin="lower", aspect="auto", vmin=-60, vmax=0, cmap="magma", extent=extent)
        axes.set_title(title, loc="left", fontsize=10)
        axes.tick_params(labelsize=7, length=2, color="0.6")
        axes.spines[:].set_visible(False)
    return _png(figure)


def loss_picture(steps: list[int], losses: list[float]) -> bytes:
    """Training loss (nats per answer token) over optimizer steps."""
    figure = _figure(7.5, 3.2)
    axes = figure.subplots()
    axes.plot(steps, losses, color="C0", linewidth=1.8)
    axes.set(xlabel="optimizer step", ylabel="nats per answer token", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.2)
    return _png(figure)


def _figure(width: float, height: float) -> "Figure":
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError.of("matplotlib", "eval", "drawing pictures") from None
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)  # attaches itself; only a canvas that draws can measure text
    return figure


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=DOTS_PER_INCH, format="png")
    return buffer.getvalue()


def _colour(number: int) -> tuple[float, ...]:
    from matplotlib import colormaps

    return colormaps["tab10"](number % 10)


def _marker(number: int) -> str:
    """With `_colour`, another pair for each of the first fifty numbers."""
    return "osD^v"[(number + number // 10) % 5]


def _label_points(axes: "Axes", points: np.ndarray, names: list[str]) -> None:
    """Write each name beside its point, where that covers no point and no other name.

    Where there is no room for the name, the clip's number (its row in the page's table, from 1); where there is none
    for that either, nothing.
    """
    axes.figure.canvas.draw()  # fixes the layout, so that text can be measured
    radius = 4 / 72 * axes.figure.dpi
    taken = [Box(x - radius, y - radius, x + radius, y + radius) for x, y in axes.transData.transform(points)]
    frame = Box(*axes.get_window_extent().extents)
    for number, (point, name) in enumerate(zip(points, names, strict=True), start=1):
        for label, (right, up) in product((_shortened(name), str(number)), LABEL_OFFSETS):
            side = "left" if right > 0 else "right" if right < 0 else "center"
            text = axes.annotate(
                label, point, (right, up), textcoords="offset points", fontsize=8, color="0.25", ha=side, va="center"
            )
            box = Box(*text.get_window_extent().extents)
            if box.inside(frame) and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()


class Box(NamedTuple):
    """A rectangle on the picture, in pixels."""

    left: float
    bottom: float
    right: float
    top: float

    def overlaps(self, other: "Box") -> bool:
        beside = self.right <= other.left or other.right <= self.left
        return not beside and self.bottom < other.top and other.bottom < self.top

    def inside(self, other: "Box") -> bool:
        across = other.left <= self.left and self.right <= other.right
        return across and other.bottom <= self.bottom and self.top <= other.top


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_LABEL else name[: LONGEST_LABEL - 1] + "…"
