"""Drawings as inline SVG: they take the page's colours, light and dark, and scale with it. Texts are escaped here."""

from base64 import b64encode
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_SHADES = 10
_COLOURS = 10
# Above this many classes a cell is too small for its number, and above the other for its label.
_MOST_NUMBERED, _MOST_LABELLED = 14, 60
_MAP_WIDTH, _MAP_HEIGHT, _MARGIN = 1000, 640, 24


@dataclass(frozen=True)
class Point:
    """A clip on a map."""

    x: float
    y: float
    """Both between 0 and 1, y downwards."""
    group: str
    """What the clip is, e.g. its class; points of one group light up together."""
    name: str
    sound: bytes | None
    """Encoded audio; None: nothing to play."""


def matrix_svg(shares: Sequence[Sequence[float]], labels: Sequence[str]) -> str:
    """A square of cells, the darker the larger the share (0 to 1)."""
    count = len(labels)
    numbered, labelled = count <= _MOST_NUMBERED, count <= _MOST_LABELLED
    cell = 34 if numbered else 13 if labelled else max(2.0, 600 / count)
    size = 12 if numbered else 9.5
    shown = [label if len(label) <= 22 else label[:21] + "…" for label in labels]
    left = 12 + max(map(len, shown)) * size * 0.56 if labelled else 4
    side = count * cell
    parts = [
        _squares(shares, left, cell),
        f'<rect class="frame" x="{left:.1f}" y="0" width="{side:.1f}" height="{side:.1f}"/>',
    ]
    if labelled:
        for place, label in enumerate(shown):
            middle = (place + 0.5) * cell
            parts.append(f'<text class="row" x="{left - 6:.1f}" y="{middle:.1f}">{escape(label)}</text>')
            x = left + middle
            parts.append(
                f'<text class="row" x="{x:.1f}" y="{side + 6:.1f}" transform="rotate(-90 {x:.1f} {side + 6:.1f})">'
                f"{escape(label)}</text>"
            )
    if numbered:
        for y, row in enumerate(shares):
            for x, share in enumerate(row):
                if share >= 0.005:
                    kind = "number over" if share > 0.55 else "number"
                    place = f'x="{left + (x + 0.5) * cell:.1f}" y="{(y + 0.5) * cell:.1f}"'
                    parts.append(f'<text class="{kind}" {place}>{round(100 * share)}</text>')
    width, height = left + side + 2, side + (left if labelled else 4)
    return (
        f'<svg class="cells" viewBox="0 0 {width:.1f} {height:.1f}" width="{width:.0f}" height="{height:.0f}" '
        f'font-size="{size}" role="img" aria-label="Confusion matrix of {count} classes">{"".join(parts)}</svg>'
    )


def _squares(shares: Sequence[Sequence[float]], left: float, cell: float) -> str:
    """One path per shade: a matrix of 50 classes would otherwise be 2,500 elements."""
    paths: dict[int, list[str]] = defaultdict(list)
    for y, row in enumerate(shares):
        for x, share in enumerate(row):
            if share > 0:
                # From the root: single confusions of a hundredth should be seen beside a diagonal of one.
                shade = min(_SHADES, 1 + int(_SHADES * share**0.5))
                paths[shade].append(f"M{left + x * cell:.1f} {y * cell:.1f}h{cell:g}v{cell:g}h-{cell:g}z")
    return "".join(
        f'<path class="cell" fill-opacity="{shade / _SHADES:g}" d="{"".join(path)}"/>'
        for shade, path in sorted(paths.items())
    )


def map_html(points: Sequence[Point], media_type: str) -> str:
    """Points, each a button if it has a sound, a line that says which one was chosen, and a legend of few groups."""
    groups = list(dict.fromkeys(sorted(point.group for point in points)))
    sounds = []
    circles = []
    for point in points:
        x = _MARGIN + point.x * (_MAP_WIDTH - 2 * _MARGIN)
        y = _MARGIN + point.y * (_MAP_HEIGHT - 2 * _MARGIN)
        number = groups.index(point.group)
        text = escape(f"{point.group} · {point.name}", quote=True)
        plays = ""
        if point.sound:
            plays = f' tabindex="0" role="button" data-sound="{len(sounds)}"'
            sounds.append(f"data:{escape(media_type)};base64,{b64encode(point.sound).decode()}")
        circles.append(
            f'<circle class="c{number % _COLOURS}" cx="{x:.1f}" cy="{y:.1f}" r="9" data-group="{number}" '
            f'aria-label="{text}"{plays}><title>{text}</title></circle>'
        )
    legend = ""
    if len(groups) <= _COLOURS:
        keys = "".join(f'<span><i class="c{number}"></i>{escape(group)}</span>' for number, group in enumerate(groups))
        legend = f'<div class="legend">{keys}</div>'
    players = "".join(f'<audio preload="none" src="{sound}"></audio>' for sound in sounds)
    hint = "Click a point to hear it." if sounds else "Hover over a point to see what it is."
    return (
        f'<div class="map"><svg viewBox="0 0 {_MAP_WIDTH} {_MAP_HEIGHT}" role="group" '
        f'aria-label="Map of {len(points)} clips">{"".join(circles)}</svg>'
        f'<p class="chosen" aria-live="polite">{hint}</p>{legend}<div class="sounds" hidden>{players}</div></div>'
    )
