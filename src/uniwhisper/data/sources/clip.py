"""One clip of a corpus as its source lists it, before anything was decoded."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from uniwhisper.core.errors import ManifestError

OnProblem = Callable[[ManifestError], None]
"""Told of each problem. If it returns, the clip is left out and reading goes on."""


@dataclass(frozen=True, slots=True)
class SourceClip:
    """Where a clip's encoded audio lies, and its labels."""

    key: str
    """Unique in the corpus."""
    file: str
    """Name of the file that holds the audio, relative to the corpus's folder."""
    fields: dict[str, Any]
    """Labels as the corpus gives them. `seconds`, if there, is the declared length."""
    offset: int = 0
    """First byte of the encoded audio in the file; with `column`, the row."""
    size: int | None = None
    """Bytes of encoded audio; None: to the end of the file."""
    column: str | None = None
    """The audio lies in this column of a Parquet file (`a.b`: field b of the structure a). None: it lies as it is."""
    start_seconds: float | None = None
    """The clip begins here in a longer recording. None: it is the whole recording."""
    seconds: float | None = None
    """Length of a segment; None: to the end of the recording."""


def problem(where: str, *, expected: str, got: str, fix: str) -> ManifestError:
    """The error about one clip, row or file."""
    return ManifestError(where, expected=expected, got=got, fix=fix)
