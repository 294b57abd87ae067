"""Files and folders, as a user names them -> the audio files meant."""

import os
from collections.abc import Sequence
from pathlib import Path

from uniwhisper.audio.formats import AUDIO_EXTENSIONS
from uniwhisper.audio.load import missing
from uniwhisper.core.errors import AudioError


def find_audio(paths: Sequence[str | Path]) -> list[Path]:
    """Files in the order given, folders replaced by the audio files below them, sorted by path.

    A file named outright is kept whatever its extension; below a folder, the extension decides. Hidden files and
    folders, and links to folders, are left out there. A file reached twice is kept once, where it came first.

    Raises:
        AudioError: a path does not exist, a folder holds no audio or cannot be listed.
    """
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        for file in _below(path) if path.is_dir() else [path]:
            if file == path and not path.exists():
                raise missing(str(path))
            found.setdefault(file.resolve(), file)
    return list(found.values())


def _below(folder: Path) -> list[Path]:
    files: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [
            Path(parent, name)
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in AUDIO_EXTENSIONS
        ]
    if not files:
        raise AudioError(
            f"{folder} holds no audio",
            expected=f"files ending in {' '.join(sorted(AUDIO_EXTENSIONS))}",
            got="a folder without any, at any depth",
            fix="name another folder, or the files themselves whatever they are called",
        )
    return sorted(files)


def _refuse(error: OSError) -> None:
    raise AudioError(
        f"{error.filename} cannot be listed",
        expected="a folder that can be read",
        got=error.strerror or str(error),
        fix="change its permissions, or name another folder",
    )
