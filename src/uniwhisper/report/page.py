"""One self-contained HTML page, put together from text, tables, figures and sounds.

Everything given is text and is escaped here; there is no way to pass markup in. Pictures and sounds become data URIs,
and the page's own policy forbids the browser to load anything from elsewhere, and to run any script but the one that
plays a map's sounds (named by its hash).
"""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from pathlib import Path

from uniwhisper.report.drawings import Point, map_html, matrix_svg

_POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"
_SCRIPT = Path(__file__).with_name("map.js")


@dataclass(frozen=True)
class Cell:
    """A table cell with a quieter line below it, or several, divided by line breaks."""

    text: str
    detail: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Bar:
    """A share between 0 and 1 with its interval."""

    label: str
    value: float
    low: float | None
    high: float | None
    text: str
    """The value as it is printed."""
    quiet: bool = False
    """Drawn in grey: what the others are compared with."""


@dataclass(frozen=True)
class Bars:
    """Bars below each other under one title."""

    title: str
    bars: Sequence[Bar]
    reference: float | None = None
    """A share to mark on every bar; None: no mark."""


class Page:
    """Collects sections in the order of the calls; `render` gives the page.

    `title` is the heading and the window's title, `summary` the line below it.
    """

    def __init__(self, title: str, *, summary: str = "") -> None:
        self.title = title
        self._has_map = False
        self._parts = [f"<header><h1>{escape(title)}</h1>"]
        if summary:
            self._parts.append(f'<p class="summary">{escape(summary)}</p>')
        self._parts.append("</header>")

    def heading(self, text: str, *, level: int = 2) -> None:
        """Begin a section, or with level 3 a part of one."""
        self._parts.append(f"<h{level}>{escape(text)}</h{level}>")

    def text(self, *paragraphs: str) -> None:
        """Paragraphs of prose."""
        self._parts += [f"<p>{escape(paragraph)}</p>" for paragraph in paragraphs]

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[str | Cell]], *, caption: str = "", numeric: bool = True
    ) -> None:
        """A table whose first column names the row; the others are aligned right if `numeric`."""
        assert all(len(row) == len(columns) for row in rows), "each row has a cell per column"
        kind = ' class="numeric"' if numeric else ""
        head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
        body = "".join(f"<tr>{''.join(_cell(cell, first=i == 0) for i, cell in enumerate(row))}</tr>" for row in rows)
        title = f"<caption>{escape(caption)}</caption>" if caption else ""
        # The wrapper scrolls by itself, so a wide table never widens a phone's page; focusable for keyboards.
        self._parts.append(
            f'<div class="wide" tabindex="0"><table{kind}>{title}<thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
        )

    def image(
        self,
        png: bytes,
        *,
        alt: str,
        caption: str = "",
        narrow: bytes | None = None,
    ) -> None:
        """A figure; `narrow` is shown on narrow screens, None shows `png` there too."""
        inner = f'<source media="(max-width: 640px)" srcset="{_png(narrow)}">' if narrow else ""
        picture = f'<picture>{inner}<img src="{_png(png)}" alt="{escape(alt)}"></picture>'
        self._figure(picture, caption)

    def bars(self, panels: Sequence[Bars], *, caption: str = "") -> None:
        """Bar charts beside each other where there is room; all share the scale from 0 to the longest interval."""
        values = [value for panel in panels for bar in panel.bars for value in (bar.value, bar.high or 0)]
        longest = max([*values, 1e-9])
        inner = "".join(_panel(panel, longest) for panel in panels)
        self._figure(f'<div class="panels">{inner}</div>', caption)

    def matrix(self, shares: Sequence[Sequence[float]], labels: Sequence[str], *, caption: str) -> None:
        """A square of cells, the darker the larger the share (0 to 1); rows and columns have the same labels."""
        self._parts.append('<div class="wide matrix" tabindex="0">')
        self._figure(matrix_svg(shares, labels), caption)
        self._parts.append("</div>")

    def map(self, points: Sequence[Point], *, media_type: str, caption: str) -> None:
        """Points on a plane; a point with a sound plays it when it is clicked, or chosen with the keyboard.

        Args:
            media_type: of the sounds, e.g. `audio/mpeg`.
        """
        self._has_map = True
        self._figure(map_html(points, media_type), caption)

    def audio(self, content: bytes, *, media_type: str, caption: str = "") -> None:
        """A player for encoded audio, `media_type` e.g. `audio/wav` or `audio/ogg`."""
        uri = f"data:{escape(media_type)};base64,{b64encode(content).decode()}"
        self._figure(f'<audio controls preload="metadata" src="{uri}"></audio>', caption)

    def facts(self, facts: Mapping[str, str]) -> None:
        """Name and value, one pair a line."""
        pairs = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
        self._parts.append(f"<dl>{pairs}</dl>")

    def code(self, text: str) -> None:
        """Commands or other text in a fixed width, line breaks kept."""
        self._parts.append(f'<pre tabindex="0"><code>{escape(text)}</code></pre>')

    @contextmanager
    def folded(self, summary: str) -> Iterator[None]:
        """What is added inside the block is hidden until the reader opens it."""
        self._parts.append(f"<details><summary>{escape(summary)}</summary>")
        yield
        self._parts.append("</details>")

    def render(self) -> str:
        """The whole page."""
        style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
        policy, script = _POLICY, ""
        if self._has_map:
            code = _SCRIPT.read_text(encoding="utf-8")
            policy += f"; script-src 'sha256-{b64encode(sha256(code.encode()).digest()).decode()}'"
            script = f"<script>{code}</script>\n"
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta name="color-scheme" content="light dark">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
            f"<title>{escape(self.title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
            + "\n".join(self._parts)
            + f"\n</main>\n{script}</body>\n</html>\n"
        )

    def _figure(self, content: str, caption: str) -> None:
        text = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
        self._parts.append(f"<figure>{content}{text}</figure>")


def _panel(panel: Bars, longest: float) -> str:
    mark = "" if panel.reference is None else f'<i class="mark" style="left:{_percent(panel.reference / longest)}"></i>'
    rows = "".join(
        f'<div class="bar{" quiet" if bar.quiet else ""}"><span>{escape(bar.label)}</span><span class="track">'
        f'<i class="fill" style="width:{_percent(bar.value / longest)}"></i>{mark}{_whisker(bar, longest)}</span>'
        f"<span>{escape(bar.text)}</span></div>"
        for bar in panel.bars
    )
    return f'<div class="panel"><h4>{escape(panel.title)}</h4>{rows}</div>'


def _whisker(bar: Bar, longest: float) -> str:
    if bar.low is None or bar.high is None:
        return ""
    left, width = bar.low / longest, (bar.high - bar.low) / longest
    return f'<i class="whisker" style="left:{_percent(left)};width:{_percent(width)}"></i>'


def _percent(share: float) -> str:
    return f"{100 * min(max(share, 0), 1):.2f}%"


def _png(image: bytes) -> str:
    return f"data:image/png;base64,{b64encode(image).decode()}"


def _cell(cell: str | Cell, *, first: bool) -> str:
    cell = cell if isinstance(cell, Cell) else Cell(cell)
    text = f"<strong>{escape(cell.text)}</strong>" if cell.strong else escape(cell.text)
    detail = f"<small>{escape(cell.detail)}</small>" if cell.detail else ""
    return f'<th scope="row">{text}{detail}</th>' if first else f"<td>{text}{detail}</td>"
