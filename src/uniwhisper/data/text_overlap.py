"""What is said in evaluation sets, found word for word in texts that a language model is to be trained on."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from uniwhisper.core.errors import ManifestError
from uniwhisper.data.archive import index_archive
from uniwhisper.data.parallel import Progress

FIELDS = ("text", "transcript", "transcription", "sentence", "caption", "txt")
"""Where evaluation sets keep what is said; a list holds several texts."""
LEAST_WORDS = 5
"""Shorter texts are everywhere: `it was a day` says nothing about a leak."""
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Letters of scripts that put no spaces between words: Thai, Lao, Burmese, Khmer, kana and Chinese characters."""
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+(?:['’][^\W_{_UNSPACED}]+)*")


@dataclass(frozen=True, order=True)
class FoundText:
    """An evaluation text that stands in a file."""

    file: str
    """Relative to the folder of the texts."""
    text: str
    """As the first of its clips has it."""
    clips: tuple[str, ...]
    """`<set>/<key>` of all that have it."""


@dataclass(frozen=True)
class TextOverlap:
    """What was found, and of how much."""

    found: tuple[FoundText, ...]
    texts: int
    """Different texts that were looked for."""
    too_short: int
    """Different texts of fewer words than were asked for: not looked for."""
    words_read: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def words_of(text: str) -> list[str]:
    """Words without case and punctuation; an apostrophe within a word is part of it.

    Where a script puts no spaces between words, each sign counts as one.
    """
    return [word.replace("’", "'") for word in _WORD.findall(text.casefold())]


def find_text_overlap(
    files: Sequence[Path],
    archives: Sequence[Path],
    *,
    root: Path,
    fields: Sequence[str] = FIELDS,
    least_words: int = LEAST_WORDS,
    progress: Progress | None = None,
) -> TextOverlap:
    """Evaluation texts whose words stand in `files` one after the other, whatever lies between them but words.

    Args:
        files: UTF-8 text.
        archives: tars of evaluation sets.
        root: folder that holds the files, at any depth.
        fields: of a clip's labels, where its texts are; what is no text there is left out.
        least_words: of a text that is looked for.
        progress: told how many files are done.

    Raises:
        ManifestError: a file that cannot be read as UTF-8, a damaged archive, or no text in any of these fields.
    """
    looked_for: dict[tuple[str, ...], tuple[str, dict[str, None]]] = {}
    short: set[tuple[str, ...]] = set()
    for clip, text in _texts(archives, fields):
        words = tuple(words_of(text))
        if len(words) < least_words:
            short.add(words)
        else:
            looked_for.setdefault(words, (text, {}))[1][clip] = None  # once, though two fields say it
    if not looked_for and not short:
        fix = "name the field with --field; where an evaluation set has no texts, there is nothing to compare"
        raise ManifestError(
            "no text in the evaluation sets", expected=f"a field {' or '.join(fields)}", got="none", fix=fix
        )
    by_start: dict[tuple[str, ...], list[tuple[str, ...]]] = defaultdict(list)
    for words in looked_for:
        by_start[words[:least_words]].append(words)
    found, read = [], 0
    for done, file in enumerate(files, start=1):
        words = words_of(_read(file))
        read += len(words)
        here = {
            one
            for place in range(len(words) - least_words + 1)
            for one in by_start.get(tuple(words[place : place + least_words]), ())
            if tuple(words[place : place + len(one)]) == one
        }
        name = file.relative_to(root).as_posix()
        found += [FoundText(name, looked_for[one][0], tuple(looked_for[one][1])) for one in here]
        if progress is not None:
            progress(done, len(files))
    return TextOverlap(tuple(sorted(found)), len(looked_for), len(short), read)


def _texts(archives: Sequence[Path], fields: Sequence[str]) -> Iterator[tuple[str, str]]:
    """`<set>/<key>` and each text of every clip."""
    for path in archives:
        for clip in index_archive(path, list_field="events"):
            for name in fields:
                value = clip.fields.get(name)
                for text in value if isinstance(value, list) else [value]:
                    if isinstance(text, str) and text.strip():
                        yield f"{path.parent.name}/{clip.key}", text


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(
            f"{file} cannot be read", expected="text in UTF-8", got=str(error), fix="convert it"
        ) from None
