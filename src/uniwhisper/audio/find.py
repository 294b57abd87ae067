"""Files and folders, as a user names them -> the audio files meant.

Notable: inside, paths are text, which takes a quarter of the memory of a `Path` and a tenth of its time.
"""
# ruff: noqa: PTH110, PTH112, PTH114, PTH116, PTH118, PTH119 (what cannot be looked at, Path.exists raises)

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from uniwhisper.audio.formats import AUDIO_EXTENSIONS, UNREAD_EXTENSIONS
from uniwhisper.audio.load import unopened
from uniwhisper.core.errors import AudioError

_EXTENSIONS = tuple(AUDIO_EXTENSIONS | UNREAD_EXTENSIONS)


def find_audio(paths: Sequence[str | Path]) -> list[Path]:
    """Files in the order given, folders replaced by the audio files below them, sorted by path.

    A file named outright is kept whatever its extension; below a folder, the extension decides: also that of a
    recording which nothing here decodes, so that reading it names it. Hidden files and folders are left out there;
    links to folders are followed. A file reached twice is kept once, where it came first.

    Raises:
        AudioError: a name is empty, a path does not exist or cannot be looked at, a folder holds no audio or cannot
            be listed.
    """
    return list(map(Path, audio_paths(paths)))


def audio_paths_and_missing(
    paths: Sequence[str | Path], on_repeat: Callable[[str], None] = lambda _: None
) -> list[str]:
    """`audio_paths` of what is there; then the other paths, to fail like bad files without stopping the rest.

    Raises:
        AudioError: a name is empty, a folder holds no audio or cannot be listed.
    """
    names = [str(_named(path)) for path in paths]
    there = {path: os.path.exists(path) for path in names}
    missing = [path for path in there if not there[path]]
    return audio_paths([path for path in names if there[path]], on_repeat) + missing


def audio_paths(paths: Sequence[str | Path], on_repeat: Callable[[str], None] = lambda _: None) -> list[str]:
    """`find_audio` as text: a `Path` weighs several times as much, and there may be millions.

    Args:
        on_repeat: told of each file that was reached before, and is not given again.
    """
    found: dict[str, str] = {}

    def keep(real: str, path: str) -> None:
        if real in found:
            on_repeat(path)
        else:
            found[real] = path

    for path in map(_named, paths):
        if os.path.isdir(path):
            folder = real_folder = None
            for file in _below(path):
                if (parent := os.path.split(file)[0]) != folder:
                    folder, real_folder = parent, os.path.realpath(parent)
                real = _real(file, real_folder)
                keep(file if real == file else real, file)  # mostly equal: then one text, not two
        else:
            try:
                os.stat(path)
            except (OSError, ValueError) as error:
                raise unopened(str(path), error) from None
            keep(os.path.realpath(path), str(path))
    return list(found.values())


def _named(path: str | Path) -> Path:
    """A `Path` takes no name for the current folder: a shell's variable that is not set would embed all below it."""
    if not str(path):
        raise AudioError(
            "an empty name",
            expected="an audio file, or a folder with audio files",
            got="'', as from a shell's variable that is not set",
            fix="name it, or leave it out; the current folder is .",
        )
    return Path(path)


def _real(file: str, real_folder: str) -> str:
    """`os.path.realpath(file)`, with its folder's known: a whole look for each file would be most of the time."""
    return os.path.realpath(file) if os.path.islink(file) else os.path.join(real_folder, os.path.basename(file))


def _below(folder: Path) -> list[str]:
    """Audio files below a folder, written and sorted as Paths are."""
    files: list[str] = []
    here = str(folder) == "."
    real_root = os.path.realpath(folder)
    linked: set[str] = set()
    for parent, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        # In an order of our own: of two links to one folder the first is followed.
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and _leads_on(os.path.join(parent, name), real_root, linked)
        )
        written = parent[2:] if here else parent  # a Path has no "./"
        files += [
            os.path.join(written, name)
            for name in names
            if not name.startswith(".") and name.lower().endswith(_EXTENSIONS)
        ]
    if not files:
        raise AudioError(
            f"{folder} holds no audio",
            expected=f"files ending in {' '.join(sorted(AUDIO_EXTENSIONS))}",
            got="a folder without any, at any depth",
            fix="name another folder, or the files themselves whatever they are called",
        )
    # Part by part: what separates parts comes before every character of a name.
    files.sort(key=lambda file: file.replace(os.sep, "\0"))
    return files


def _leads_on(folder: str, real_root: str, linked: set[str]) -> bool:
    """Whether to look into a folder: not by a link to what is found without it, nor to what the root itself lies in,
    nor twice to one, so circles end."""
    if not os.path.islink(folder):
        return True
    real = os.path.realpath(folder)
    target = Path(real)
    found_anyway = target.is_relative_to(real_root) and not any(
        part.startswith(".") for part in target.relative_to(real_root).parts
    )
    above = Path(real_root).is_relative_to(target)
    if found_anyway or above or real in linked:
        return False
    linked.add(real)
    return True


def _refuse(error: OSError) -> None:
    raise AudioError(
        f"{error.filename} cannot be listed",
        expected="a folder that can be read",
        got=error.strerror or str(error),
        fix="change its permissions, or name another folder",
    )
