"""A checkout of a public repository -> a corpus: archives, `corpus.json`, and `import.json` with every omission."""

import hashlib
import io
import json
import re
import tarfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from uniwhisper.audio.formats import AUDIO_EXTENSIONS
from uniwhisper.audio.load import read
from uniwhisper.core.errors import AudioError, ManifestError
from uniwhisper.core.files import atomic_output, check_output
from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.data.parallel import Progress
from uniwhisper.data.prepare import DESCRIPTION_NAME
from uniwhisper.data.public.heard import Heard
from uniwhisper.data.public.pieces import LONGEST_WHOLE_SECONDS, SHORTEST_CLIP_SECONDS, cut, encode, is_silent
from uniwhisper.data.public.row import Source

REPORT_NAME = "import.json"
LARGEST_ARCHIVE_BYTES = 48_000_000
LARGEST_FILE_BYTES = 4 * 2**20
"""Larger recordings are left out: the copies that the rows were checked on do not hold them."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One piece of a recording, ready to be written."""

    key: str
    wave_S: np.ndarray
    """(S,) float32, 16 kHz."""
    labels: Mapping[str, Any]


@dataclass(slots=True)
class Omissions:
    """What became no clip, by reason, in the order it was met."""

    by_reason: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, reason: str, name: str) -> None:
        self.by_reason[reason].append(name)

    def counts(self) -> dict[str, int]:
        return {reason: len(names) for reason, names in sorted(self.by_reason.items())}


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import wrote and what it left out."""

    corpus: str
    clips: int
    hours: float
    archives: int
    omissions: Omissions

    def as_json(self) -> dict[str, Any]:
        return {
            "corpus": self.corpus,
            "clips": self.clips,
            "hours": self.hours,
            "archives": self.archives,
            "omitted": self.omissions.counts(),
        }


def import_source(
    source: Source,
    root: Path,
    output: Path,
    *,
    heard: Heard | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Write `output`/<name>/ from the checkout at `root`.

    Args:
        heard: other sets; a piece that holds the sound of one of their clips is left out. None: no comparison.
        progress: told how many files are done.

    Raises:
        ManifestError: `root` holds no file that the row takes, or no clip is left.
        OutputError: `output`/<name> exists and `overwrite` is False, or cannot be written.
    """
    target = Path(output) / source.name
    check_output(target, overwrite=overwrite, folder_with=DESCRIPTION_NAME)
    omissions = Omissions()
    clips = clips_of(source, Path(root), omissions, heard=heard, progress=progress)
    return write_corpus(source.name, source.corpus.as_json(), clips, target, omissions, overwrite=overwrite)


def clips_of(
    source: Source, root: Path, omissions: Omissions, *, heard: Heard | None = None, progress: Progress | None = None
) -> Iterator[Clip]:
    """Every clip of the checkout at `root`, in the order of the paths; what is left out goes to `omissions`.

    Raises:
        ManifestError: `root` holds no file that the row takes, or its table cannot be read.
    """
    table = source.read_table(root)
    taken = [(path, labels) for path in audio_paths(root) if (labels := source.fields_of(path, table)) is not None]
    if not taken:
        raise ManifestError(
            f"{root} is no checkout of {source.repository}",
            expected=f"files such as {source.files[0]['path']}",
            got="none",
            fix=f"git clone https://github.com/{source.repository} and give its folder as --root",
        )
    written: set[str] = set()
    for done, (path, labels) in enumerate(taken, start=1):
        for number, piece_S in enumerate(_pieces(source, root, path, omissions)):
            name = f"{path}#{number}"
            content = hashlib.sha256((piece_S * 32767).round().astype(np.int16).tobytes()).hexdigest()
            if name in source.leave_out:
                omissions.add(source.leave_out[name], name)
            elif is_silent(piece_S):
                omissions.add("silent", name)
            elif content in written:
                omissions.add("the same samples twice", name)
            elif heard is not None and (match := heard.find(piece_S)) is not None:
                omissions.add(f"the same sound as in {match.rpartition('/')[0]}", f"{name} = {match}")
            else:
                written.add(content)
                terms = {"source": source.repository, "license": source.licence, "clear_terms": source.clear_terms}
                seconds = round(len(piece_S) / SAMPLE_RATE_HZ, 3)
                yield Clip(key_of(name), piece_S, {**terms, **labels, "file": name, "seconds": seconds})
        if progress is not None:
            progress(done, len(taken))


def write_corpus(
    name: str,
    description: Mapping[str, Any],
    clips: Iterator[Clip],
    target: Path,
    omissions: Omissions,
    *,
    overwrite: bool = False,
) -> ImportReport:
    """Write a corpus folder: `<name>-000000.tar` and on (each below 50 MB), `corpus.json`, `import.json`.

    Raises:
        ManifestError: there is no clip.
        OutputError: `target` exists and `overwrite` is False, or cannot be written.
    """
    with atomic_output(target, overwrite=overwrite, folder_with=DESCRIPTION_NAME) as folder:
        folder.mkdir()
        writer = _ArchiveWriter(folder, name)
        for clip in clips:
            writer.write(clip)
        writer.close()
        report = ImportReport(name, writer.clips, round(writer.seconds / 3600, 3), writer.archives, omissions)
        if not report.clips:
            raise ManifestError(
                f"{name} has no clip", expected="at least one", got=f"left out: {omissions.counts()}", fix="see --root"
            )
        _write_json(folder / DESCRIPTION_NAME, description)
        _write_json(folder / REPORT_NAME, {**report.as_json(), "omitted_files": dict(omissions.by_reason)})
    return report


def audio_paths(root: Path) -> list[str]:
    """Paths of the audio files below `root`, with `/`, sorted; nothing below a folder that starts with a dot.

    Raises:
        ManifestError: `root` is no folder.
    """
    if not root.is_dir():
        raise ManifestError(f"{root} is no folder", expected="a checkout", got="no such folder", fix="check --root")
    relative = (path.relative_to(root) for path in root.rglob("*") if path.suffix.lower() in AUDIO_EXTENSIONS)
    return sorted(path.as_posix() for path in relative if not any(part.startswith(".") for part in path.parts))


def key_of(name: str) -> str:
    """A key for an archive: the readable end of `name` and six digits of its hash."""
    readable = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[-60:]
    return f"{readable}_{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def _pieces(source: Source, root: Path, path: str, omissions: Omissions) -> Iterator[np.ndarray]:
    if path in source.leave_out:
        omissions.add(source.leave_out[path], path)
        return
    if (root / path).stat().st_size >= LARGEST_FILE_BYTES:
        omissions.add("a file of 4 MiB or more", path)
        return
    try:
        wave_S = read(root / path, name=path)
    except AudioError as error:
        omissions.add("cannot be decoded", error.one_line)
        return
    seconds = len(wave_S) / SAMPLE_RATE_HZ
    if seconds < SHORTEST_CLIP_SECONDS:
        omissions.add(f"shorter than {SHORTEST_CLIP_SECONDS} s", path)
    elif source.whole and seconds > LONGEST_WHOLE_SECONDS:
        omissions.add(f"longer than {LONGEST_WHOLE_SECONDS} s, with one text", path)
    elif source.whole:
        yield wave_S
    else:
        for number, piece_S in enumerate(cut(wave_S)):
            if source.most_pieces is not None and number >= source.most_pieces:
                omissions.add(f"beyond the first {source.most_pieces} pieces of a recording", f"{path}#{number}")
            else:
                yield piece_S


class _ArchiveWriter:
    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._archive: tarfile.TarFile | None = None
        self._bytes = 0
        self.clips = self.archives = 0
        self.seconds = 0.0

    def write(self, clip: Clip) -> None:
        audio = encode(clip.wave_S)
        labels = json.dumps(clip.labels, ensure_ascii=False, sort_keys=True).encode()
        if self._archive is None or self._bytes + len(audio) + len(labels) > LARGEST_ARCHIVE_BYTES:
            self.close()
            self._archive = tarfile.open(self._folder / f"{self._name}-{self.archives:06d}.tar", "w")  # noqa: SIM115
            self.archives, self._bytes = self.archives + 1, 0
        for extension, content in (("ogg", audio), ("json", labels)):
            member = tarfile.TarInfo(f"{clip.key}.{extension}")
            member.size = len(content)
            self._archive.addfile(member, io.BytesIO(content))
            self._bytes += len(content) + 2 * tarfile.BLOCKSIZE
        self.clips += 1
        self.seconds += len(clip.wave_S) / SAMPLE_RATE_HZ

    def close(self) -> None:
        if self._archive is not None:
            self._archive.close()
            self._archive = None


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
