"""The curve of gain against training data, from the rows that were run to lines of the page."""

from collections.abc import Mapping, Sequence
from typing import Any

from uniwhisper.evaluation.words import MEASURE_NAMES
from uniwhisper.reproduce.growth import FARTHEST, SHARES, growth
from uniwhisper.reproduce.job import Job

START = "S"
ASKED = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, FARTHEST)
"""Shares of U's clips that the page shows; beyond 1 the curve says what it expects."""
_LEAST_SHARES = 3


def growth_of(scores: Mapping[str, Mapping[Job, float]]) -> list[dict[str, Any]]:
    """A JSON object for each measure: the curve through the gains over S of the rows on parts of the clips.

    Only training seeds that S and all of these rows have. With one seed there is no interval. Nothing where fewer than
    three shares were run.

    Args:
        scores: measure -> job -> score of the headline.
    """
    found = []
    for measure, by_job in scores.items():
        rows = [row for row in SHARES if any(job.row == row for job in by_job)]
        needed = [START, *rows]
        seeds = [
            seed for seed in sorted({job.seed for job in by_job}) if all(Job(row, seed) in by_job for row in needed)
        ]
        if len(rows) < _LEAST_SHARES or not seeds:
            continue
        gains = {SHARES[row]: [by_job[Job(row, seed)] - by_job[Job(START, seed)] for seed in seeds] for row in rows}
        fitted = growth(gains)
        at = []
        for share in ASKED:
            gain, low, high = fitted.at(share)
            several = len(seeds) > 1
            seen = sum(gains[share]) / len(seeds) if share in gains else None
            at.append(
                {
                    "share": share,
                    "measured": seen,
                    "gain": gain,
                    "low": low if several else None,
                    "high": high if several else None,
                }
            )
        curve = {"ceiling": fitted.curve.ceiling, "lost": fitted.curve.lost, "rate": fitted.curve.rate}
        found.append({"measure": measure, "seeds": seeds, "rows": rows, "curve": curve, "at": at})
    return found


def markdown(curves: Sequence[Mapping[str, Any]]) -> list[str]:
    """The table, line by line; nothing without a curve."""
    if not curves:
        return []
    columns = [f"{MEASURE_NAMES[one['measure']]} {what}" for one in curves for what in ("measured", "fitted")]
    lines = [
        "",
        "## Gain against training data",
        "",
        "Gain over S against training clips: `gain = ceiling - lost × share ** -rate`, fitted to "
        f"{', '.join(curves[0]['rows'])}. Intervals: 95 %, over training seeds alone. Beyond 1 nothing was measured; "
        f"beyond {FARTHEST:g} nothing is said.",
        "",
        f"| clips | {' | '.join(columns)} |",
        f"|---:|{'---:|---:|' * len(curves)}",
    ]
    for place, share in enumerate(ASKED):
        cells = [f"× {share:g}"]
        for one in curves:
            at = one["at"][place]
            measured = "–" if at["measured"] is None else f"{at['measured']:+.3f}"
            spread = "" if at["low"] is None else f" [{at['low']:+.3f}, {at['high']:+.3f}]"
            cells += [measured, f"{at['gain']:+.3f}{spread}"]
        lines.append(f"| {' | '.join(cells)} |")
    fits = (
        f"{MEASURE_NAMES[one['measure']]} {one['curve']['ceiling']:.3f} - {one['curve']['lost']:.3f} × share ** "
        f"-{one['curve']['rate']:.2f}, seeds {', '.join(map(str, one['seeds']))}"
        for one in curves
    )
    return [*lines, "", f"Fits: {'; '.join(fits)}."]
