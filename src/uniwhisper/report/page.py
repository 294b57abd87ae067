"""One self-contained HTML page, put together from text, tables, figures and sounds.

Everything given is text and is escaped here; there is no way to pass markup in. Pictures and sounds become data URIs,
and the page's own policy forbids the browser to load anything from elsewhere.
"""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path

_POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"


@dataclass(frozen=True)
class Cell:
    """A table cell with a second, quieter line."""

    text: str
    detail: str = ""
    strong: bool = False


class Page:
    """Collects sections in the order of the calls; `render` gives the page.

    `title` is the heading and the window's title, `summary` the line below it.
    """

    def __init__(self, title: str, *, summary: str = "") -> None:
        self.title = title
        self._parts = [f"<header><h1>{escape(title)}</h1>"]
        if summary:
            self._parts.append(f'<p class="summary">{escape(summary)}</p>')
        self._parts.append("</header>")

    def heading(self, text: str) -> None:
        """Begin a section."""
        self._parts.append(f"<h2>{escape(text)}</h2>")

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
        dark: bytes | None = None,
        narrow: bytes | None = None,
        narrow_dark: bytes | None = None,
    ) -> None:
        """A figure; the other versions are shown in dark mode and on narrow screens, None shows `png` there too."""
        dark_screen, narrow_screen = "(prefers-color-scheme: dark)", "(max-width: 640px)"
        sources = [
            (narrow_dark, f"{narrow_screen} and {dark_screen}"),
            (narrow, narrow_screen),
            (dark, dark_screen),
        ]
        inner = "".join(f'<source media="{media}" srcset="{_png(image)}">' for image, media in sources if image)
        picture = f'<picture>{inner}<img src="{_png(png)}" alt="{escape(alt)}"></picture>'
        self._figure(picture, caption)

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
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta name="color-scheme" content="light dark">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
            f"<title>{escape(self.title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
            + "\n".join(self._parts)
            + "\n</main>\n</body>\n</html>\n"
        )

    def _figure(self, content: str, caption: str) -> None:
        text = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
        self._parts.append(f"<figure>{content}{text}</figure>")


def _png(image: bytes) -> str:
    return f"data:image/png;base64,{b64encode(image).decode()}"


def _cell(cell: str | Cell, *, first: bool) -> str:
    cell = cell if isinstance(cell, Cell) else Cell(cell)
    text = f"<strong>{escape(cell.text)}</strong>" if cell.strong else escape(cell.text)
    detail = f"<small>{escape(cell.detail)}</small>" if cell.detail else ""
    return f'<th scope="row">{text}{detail}</th>' if first else f"<td>{text}{detail}</td>"
