"""Sound of a manifest's records: decoded when asked, or read from a file in which all of it lies decoded.

The file holds every clip as 16-bit samples, one after the other in the order of the manifest, so the manifest itself
is its index. It is named after the manifest's hash and the source of the audio layer, whose decoder and resampler made
the samples, and appears only when it is complete.

Both readers give the same numbers bit for bit, so that a run may be resumed with or without the file.
"""

import hashlib
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Protocol

import numpy as np

from uniwhisper.audio.load import read, read_segment
from uniwhisper.core.errors import ManifestError
from uniwhisper.core.files import atomic_output
from uniwhisper.core.identity import layer_identity
from uniwhisper.data.manifest import Manifest, Record
from uniwhisper.data.parallel import Progress, in_threads
from uniwhisper.data.storage import Store, is_url

_FULL_SCALE = 32767
_PREPARE_AGAIN = "run `uniwhisper data prepare FOLDER -o OUT --overwrite`, then train again"


class ClipReader(Protocol):
    """Gives the sound of a manifest's records."""

    def read(self, record: Record) -> np.ndarray:
        """(samples,) float32 at 16 kHz: whole 16-bit steps, samples beyond full scale clipped."""
        ...


class EncodedReader:
    """Decodes each clip when it is asked for: no disk space, no wait, more work per step.

    Decoders give floats between the 16-bit steps that `DecodedReader` has on disk. They are rounded to these steps here
    too: else a run's losses would depend on whether it was given a cache.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    def read(self, record: Record) -> np.ndarray:
        """(samples,) float32 at 16 kHz.

        Raises:
            ManifestError: the archive is not what it was when the manifest was written.
        """
        if record.start_seconds is not None:
            return self._read_segment(record)
        content = self._manifest.audio_bytes(record)
        if hashlib.sha256(content).hexdigest() != record.sha256:
            raise _changed(record, f"bytes with sha256 {record.sha256[:12]}…", "other bytes")
        wave_S = read(content, name=record.id)
        if len(wave_S) != record.samples:
            raise _changed(record, f"{record.samples} samples", f"{len(wave_S)} after decoding")
        return from_int16(to_int16(wave_S))

    def _read_segment(self, record: Record) -> np.ndarray:
        # Hashing an hour for each of its sentences would cost more than decoding them: the file's size has to do.
        store = Store(self._manifest.root)
        own_file = record.offset == 0 and record.column is None and not is_url(self._manifest.root)
        if own_file and store.exists(record.archive) and store.size(record.archive) != record.size:
            raise _changed(record, f"{record.size} bytes", f"{store.size(record.archive)}")
        source = Path(store.path(record.archive)) if own_file else self._manifest.audio_bytes(record)
        wave_S = read_segment(source, start_seconds=record.start_seconds, samples=record.samples, name=record.id)
        if len(wave_S) != record.samples:
            raise _changed(record, f"{record.samples} samples", f"{len(wave_S)} after decoding")
        return from_int16(to_int16(wave_S))


class DecodedReader:
    """Reads clips from the memory-mapped file that `decode` wrote."""

    def __init__(self, manifest: Manifest, path: Path) -> None:
        self._manifest, self._path = manifest, path
        starts = accumulate((record.samples for record in manifest.records), initial=0)
        self._starts = dict(zip((record.id for record in manifest.records), starts, strict=False))
        size, expected = path.stat().st_size, 2 * sum(record.samples for record in manifest.records)
        if size != expected:
            raise ManifestError(
                f"the decoded audio {path} does not fit its manifest",
                expected=f"{expected:,} bytes",
                got=f"{size:,}",
                fix="delete the file; it is made again",
            )
        self.samples = np.memmap(path, dtype=np.int16, mode="r")
        """Every clip's 16-bit samples, one after the other in the order of the records."""

    def __reduce__(self):
        # A process that is not forked opens the file itself; pickling the map would copy its content.
        return DecodedReader, (self._manifest, self._path)

    def read(self, record: Record) -> np.ndarray:
        """(samples,) float32 at 16 kHz."""
        start = self._starts[record.id]
        return from_int16(self.samples[start : start + record.samples])


def decode(
    manifest: Manifest, folder: Path, *, workers: int | None = None, progress: Progress | None = None
) -> DecodedReader:
    """Decode every clip of the manifest into `folder`, unless that was done before.

    Args:
        workers: threads; None: one for each usable core.

    Raises:
        ManifestError: an archive is not what it was when the manifest was written.
        OutputError: the folder cannot be written.
    """
    path = decoded_path(manifest, folder)
    if not path.exists():
        write_samples(manifest, path, EncodedReader(manifest).read, workers=workers, progress=progress)
    return DecodedReader(manifest, path)


def write_samples(
    manifest: Manifest,
    path: Path,
    read: Callable[[Record], np.ndarray],
    *,
    workers: int | None,
    progress: Progress | None,
) -> None:
    """Write what `read` gives of every record, (samples,) float32, as a file for `DecodedReader`; whole or not at all.

    Args:
        workers: threads that read; None: one for each usable core.

    Raises:
        OutputError: the folder cannot be written.
    """
    with atomic_output(path, overwrite=True) as temporary, temporary.open("wb") as file:
        for done, wave_S in enumerate(in_threads(read, manifest.records, workers), start=1):
            file.write(to_int16(wave_S).tobytes())
            if progress is not None:
                progress(done, len(manifest.records))


def decoded_path(manifest: Manifest, folder: Path) -> Path:
    """Where `decode` puts the samples of a manifest; another decoder or resampler gets another file."""
    return Path(folder) / f"decoded-{manifest.hash[:16]}-{layer_identity('audio')}.int16"


def to_int16(wave_S: np.ndarray) -> np.ndarray:
    """wave_S (S,) float32 as 16-bit samples, rounded to the nearest and clipped to full scale."""
    return np.clip(np.rint(wave_S * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE).astype(np.int16)


def from_int16(samples_S: np.ndarray) -> np.ndarray:
    """samples_S (S,) int16, as `to_int16` gives them, as (S,) float32 in [-1, 1]."""
    return samples_S.astype(np.float32) / np.float32(_FULL_SCALE)


def _changed(record: Record, expected: str, got: str) -> ManifestError:
    return ManifestError(
        f"{record.id} changed since the manifest was written", expected=expected, got=got, fix=_PREPARE_AGAIN
    )
