"""All rows of the table at a glance: the headline of each seed, their mean and its interval, by both measures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from uniwhisper.core.files import atomic_output
from uniwhisper.evaluation.words import MEASURE_NAMES
from uniwhisper.reproduce.differences import MEASURES

PICTURE_NAME = "rows.png"
_ROW_INCHES = 0.27
_SHOWN_FIRST = "U"
"""Drawn in another colour, with a line through its mean."""


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> bool:
    """Draw every row's headline; False: no Matplotlib.

    Args:
        rows: of the table, each with `levels` (mean and interval by measure) and `by_seed` (scores by measure).
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(8.4, 1.1 + _ROW_INCHES * len(rows)), layout="constrained")
    axes = figure.subplots(1, len(MEASURES), sharey=True, squeeze=False)[0]
    for panel, measure in zip(axes, reversed(MEASURES), strict=True):
        for place, row in enumerate(rows):
            level, color = row["levels"][measure], "C3" if row["row"] == _SHOWN_FIRST else "C0"
            if level is None:
                continue
            if row["row"] == _SHOWN_FIRST:
                panel.axvline(level["score"], color=color, alpha=0.3, linewidth=1)
            spread = [[level["score"] - level["low"]], [level["high"] - level["score"]]]
            panel.errorbar([level["score"]], [place], xerr=spread, fmt="o", color=color, capsize=2, markersize=4)
            seeds = row["by_seed"][measure]
            panel.plot(seeds, [place] * len(seeds), "|", color=color, markersize=9, alpha=0.6)
        panel.set(title=MEASURE_NAMES[measure], xlabel="headline: mean of domains")
        panel.grid(alpha=0.2)
        panel.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(rows)), [row["row"] for row in rows])
    axes[0].invert_yaxis()
    with atomic_output(path, overwrite=True) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
    return True
