"""Write a synthetic corpus of a given length, in the layout of every other corpus."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from uniwhisper.core.files import check_output
from uniwhisper.data.corpora import parse_description
from uniwhisper.data.parallel import Progress, in_threads
from uniwhisper.data.prepare import DESCRIPTION_NAME
from uniwhisper.data.public.importing import Clip, ImportReport, Omissions, write_corpus
from uniwhisper.data.synthetic import music, speech


@dataclass(frozen=True, slots=True)
class Kind:
    """What can be synthesised."""

    corpus: str
    description: Mapping[str, Any]
    clip: Callable[[int, int], Clip]
    """(seed, index) -> the clip; any order, any number at once."""


SPEECH = Kind(speech.CORPUS, speech.DESCRIPTION, speech.clip)


def music_by(soundfonts: Sequence[Path]) -> Kind:
    """Music that these soundfonts play in turn.

    Raises:
        UserError: one is missing or is no soundfont, or two have one name.
    """
    return Kind(music.CORPUS, music.description(soundfonts), partial(music.clip, soundfonts=tuple(soundfonts)))


def synthesise(
    kind: Kind,
    output: Path,
    *,
    hours: float,
    seed: int = 0,
    overwrite: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Write `output`/<corpus>/ with clips 0, 1, 2, … of `seed` until they last `hours`.

    Args:
        workers: programs that run at once; None: one for each usable core. The clips do not depend on it.
        progress: told how many seconds are done, of how many.

    Raises:
        UserError: a program is missing or fails.
        OutputError: `output`/<corpus> exists and `overwrite` is False, or cannot be written.
    """
    target = Path(output) / kind.corpus
    check_output(target, overwrite=overwrite, folder_with=DESCRIPTION_NAME)
    description = parse_description(dict(kind.description), name=kind.corpus).as_json()
    clips = _until(kind, seed, hours * 3600, workers, progress)
    return write_corpus(kind.corpus, description, clips, target, Omissions(), overwrite=overwrite)


def _until(kind: Kind, seed: int, seconds: float, workers: int | None, progress: Progress | None) -> Iterator[Clip]:
    done = 0.0
    for clip in in_threads(partial(kind.clip, seed), count(), workers):
        yield clip
        done += clip.labels["seconds"]
        if progress is not None:
            progress(int(min(done, seconds)), int(seconds))
        if done >= seconds:
            return
