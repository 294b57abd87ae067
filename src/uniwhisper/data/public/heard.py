"""Clips of other sets, to leave out what is in them already."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from uniwhisper.audio.load import read
from uniwhisper.data.archive import index_archive, read_member
from uniwhisper.data.fingerprint import Fingerprint, FingerprintIndex, fingerprint
from uniwhisper.data.parallel import Progress


class Heard:
    """The sound of `FOLDER/<set>/*.tar`, by acoustic fingerprint; clips under two seconds have none."""

    def __init__(self, entries: Sequence[tuple[str, Fingerprint]]) -> None:
        self._index = FingerprintIndex(entries)

    @classmethod
    def of(cls, folders: Sequence[Path], *, progress: Progress | None = None) -> "Heard":
        """Listen to every clip of `folders`, each `FOLDER/<set>/*.tar`.

        Raises:
            ManifestError: an archive cannot be read.
            AudioError: a clip cannot be decoded.
        """
        archives = [path for folder in folders for path in sorted(Path(folder).glob("*/*.tar"))]
        clips = [(path, clip) for path in archives for clip in index_archive(path, list_field="events")]
        entries = []
        for done, (path, clip) in enumerate(clips, start=1):
            name = f"{path.parent.name}/{clip.key}"
            entry = fingerprint(read(read_member(path, clip.offset, clip.size), name=name))
            if entry is not None:
                entries.append((name, entry))
            if progress is not None:
                progress(done, len(clips))
        return cls(entries)

    def find(self, wave_S: np.ndarray) -> str | None:
        """`<set>/<key>` of the clip that holds the sound of `wave_S` ((S,) float32, 16 kHz); None if none does."""
        asked = fingerprint(wave_S)
        found = [] if asked is None else self._index.search(asked)
        return found[0].name if found else None
