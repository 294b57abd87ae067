"""An unpacked original -> the folder of tars that a suite reads, with a note of where it came from.

Audio goes in as it lies in the original, byte for byte: whoever makes a set from the same download has the same data,
so their results stand in one table. Only recordings that the set holds a beginning of are cut, at their own rate. Or it
is coded in Opus, as the copies of the published figures were, but not to the same bytes.
"""

import hashlib
import io
import json
import tarfile
import wave
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from uniwhisper.audio.load import describe, read
from uniwhisper.core.errors import ManifestError, UserError
from uniwhisper.core.files import atomic_output, check_output
from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.data.parallel import Progress
from uniwhisper.data.public.pieces import encode
from uniwhisper.evaluation.originals.files import Files
from uniwhisper.evaluation.originals.sets import LabelledClip, ListedClip, Original, hash_labels

NOTE_NAME = "origin.json"
"""In a set's folder; a folder without it was not made here and is never replaced."""
_TOLERANCE_SECONDS = 0.02
"""Lengths are listed to a millisecond, and MP3 decoders differ in a few samples."""


@dataclass(slots=True)
class Made:
    """What became of one set."""

    original: Original
    clips: int = 0
    cut: int = 0
    """Clips that are the beginning of a longer recording."""
    hash: str = ""
    """Identity of keys and audio; empty where nothing was written."""
    problems: list[str] = field(default_factory=list)
    """Each missing or bad file, with the reason."""

    @property
    def written(self) -> bool:
        return bool(self.hash)


class _UnfinishedError(Exception):
    """Nothing is to stay of the set that is being written."""


def make_sets(
    originals: Sequence[Original],
    sources: Path,
    output: Path,
    *,
    opus: bool = False,
    skip_bad: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Made]:
    """Write `output`/<set>/ for each set whose original lies in `sources`/<set>/.

    Args:
        opus: code every clip as Ogg Opus at about 24 kbit/s, instead of keeping its bytes.
        skip_bad: write a set without its missing and bad clips. Else it is not written, for its suite wants all.
        progress: told how many clips of all are done.

    Returns:
        One report a set, in order; `written` is False where something was missing.

    Raises:
        OutputError: a folder that would be written exists and `overwrite` is False, or cannot be written. Nothing is
            written then.
        ManifestError: `sources` is no folder.
        MissingExtraError: `opus`, and PyAV is not installed.
    """
    sources, output = Path(sources), Path(output)
    if opus:
        encode(np.zeros(SAMPLE_RATE_HZ // 50, np.float32))  # a missing package is no fault of the first clip
    if not sources.is_dir():
        raise ManifestError(
            f"{sources} is no folder",
            expected=f"a folder that holds the originals, each in a folder named {originals[0].name}, …",
            got="no such folder",
            fix="`uniwhisper data suite mini` says what to download",
        )
    present = [original for original in originals if (sources / original.name).is_dir()]
    for original in present:
        check_output(output / original.name, overwrite=overwrite, folder_with=NOTE_NAME)
    total = sum(len(original.clips()) for original in present)
    before, reports = 0, []
    for original in originals:
        if original not in present:
            reports.append(Made(original, problems=[_absent(original, sources, "no such folder")]))
            continue
        step = None if progress is None else _from(progress, before, total)
        reports.append(
            make_set(original, sources, output, opus=opus, skip_bad=skip_bad, overwrite=overwrite, progress=step)
        )
        before += len(original.clips())
    return reports


def make_set(
    original: Original,
    sources: Path,
    output: Path,
    *,
    opus: bool = False,
    skip_bad: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Made:
    """Write one set; arguments, report and errors as in `make_sets`."""
    report = Made(original)
    files = Files(sources / original.name)
    listed = original.clips()
    try:
        clips = original.labels(listed, files.find)
        if hash_labels(clips) != original.labels_hash:
            raise ManifestError(
                f"{original.title} is another edition",
                expected="the labels that the suite was made with",
                got="others",
                fix=f"take it from {original.url}",
            )
    except ManifestError as error:
        report.problems.append(error.one_line)
        clips = []
    try:
        with atomic_output(output / original.name, overwrite=overwrite, folder_with=NOTE_NAME) as folder:
            folder.mkdir()
            digest = _write_tars(folder, clips, files, report, opus=opus, progress=progress)
            if not report.clips or (report.problems and not skip_bad):
                raise _UnfinishedError
            _write_note(folder / NOTE_NAME, report, digest, opus=opus)
            report.hash = digest
    except _UnfinishedError:
        if not report.clips and clips:
            packed = files.archives()
            got = f"only {', '.join(packed[:3])}, still packed" if packed else f"not one of {len(clips):,} files of it"
            report.problems = [_absent(original, sources, got)]
        report.clips = report.cut = 0
    return report


def _write_tars(
    folder: Path,
    clips: Sequence[LabelledClip],
    files: Files,
    report: Made,
    *,
    opus: bool,
    progress: Progress | None,
) -> str:
    """Fill `folder` and `report`; the hash of what was written."""
    digest, longest_seconds = hashlib.sha256(), report.original.longest_seconds
    with ExitStack() as stack:
        tars: dict[str, tarfile.TarFile] = {}
        for done, clip in enumerate(clips, start=1):
            try:
                audio, suffix, cut = _audio(files.find(clip.listed.file), clip.listed, longest_seconds, opus=opus)
            except UserError as error:
                report.problems.append(error.one_line)
            else:
                name = report.original.archive.format(fold=clip.listed.fold)
                if name not in tars:
                    tars[name] = stack.enter_context(tarfile.open(folder / name, "w"))
                fields = json.dumps({**clip.fields, "seconds": clip.listed.seconds}, ensure_ascii=False).encode()
                for extension, content in ((suffix, audio), (".json", fields)):
                    member = tarfile.TarInfo(clip.key + extension)
                    member.size = len(content)
                    tars[name].addfile(member, io.BytesIO(content))
                digest.update(f"{name} {clip.key} {hashlib.sha256(audio).hexdigest()}\n".encode())
                report.clips += 1
                report.cut += cut
            if progress is not None:
                progress(done, len(clips))
    return digest.hexdigest()


def _audio(path: Path, clip: ListedClip, longest_seconds: float | None, *, opus: bool) -> tuple[bytes, str, bool]:
    """Encoded audio of a clip, the ending of its name, and whether it is the beginning of a longer recording.

    Raises:
        AudioError: it cannot be read or decoded.
        ManifestError: it is of another length.
    """
    wave_S = read(path, name=clip.file)
    seconds = len(wave_S) / SAMPLE_RATE_HZ
    kept = seconds if longest_seconds is None else min(seconds, longest_seconds)
    if abs(kept - clip.seconds) > _TOLERANCE_SECONDS:
        raise ManifestError(
            f"{clip.file} is another recording",
            expected=f"{clip.seconds:.3f} s",
            got=f"{kept:.3f} s",
            fix="download and unpack the original again",
        )
    is_cut = longest_seconds is not None and seconds > longest_seconds
    if opus:
        return encode(wave_S[: round(kept * SAMPLE_RATE_HZ)]), ".ogg", is_cut
    if not is_cut:
        return path.read_bytes(), path.suffix.lower(), False
    return _beginning(path, kept), ".wav", True


def _beginning(path: Path, seconds: float) -> bytes:
    """WAV, mono, 16 bits, at the file's own rate. Samples of 16 bits stay what they were."""
    rate_hz = describe(path).sample_rate_hz
    wave_S = read(path, sample_rate_hz=rate_hz)[: round(seconds * rate_hz)]
    samples_S = np.clip(np.round(wave_S * 32768.0), -32768, 32767).astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples_S.tobytes())
    return buffer.getvalue()


def _write_note(path: Path, report: Made, digest: str, *, opus: bool) -> None:
    original = report.original
    note = {
        "set": original.name,
        "original": original.title,
        "url": original.url,
        "licence": original.licence,
        "audio": "Ogg Opus" if opus else "as in the original",
        "clips": report.clips,
        "cut": report.cut,
        "left_out": report.problems,
        "hash": digest,
    }
    path.write_text(json.dumps(note, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _absent(original: Original, sources: Path, got: str) -> str:
    return (
        f"no original in {sources / original.name} ({got}); unpack there what is at {original.url}: "
        f"{original.download} (licence: {original.licence})"
    )


def _from(progress: Progress, before: int, total: int) -> Progress:
    return lambda done, _: progress(before + done, total)
