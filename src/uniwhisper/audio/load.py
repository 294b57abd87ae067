"""Files, bytes and arrays -> mono float32 samples at 16 kHz, whole or window by window.

Notable: one path for everything. `read` is the concatenation of the blocks `read_windows` cuts its windows from, so the
two agree bit for bit, and memory stays bounded however long the file is. Channels are averaged before resampling.
Samples beyond [-1, 1] in float files are kept.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uniwhisper.audio.decode import Decoded, open_array, open_encoded
from uniwhisper.audio.resample import regroup, resample
from uniwhisper.audio.truncation import truncated
from uniwhisper.core.errors import AudioError
from uniwhisper.core.units import SAMPLE_RATE_HZ, WINDOW_SAMPLES

AudioSource = str | Path | bytes | tuple[np.ndarray, int]
"""A path, encoded bytes, or (samples, sample_rate_hz): (S,) or (S, channels) of float, int16, int32 or uint8."""


@dataclass(frozen=True)
class AudioInfo:
    """What a header says about a clip."""

    seconds: float
    """Duration as the header states it; counted by decoding where it does not (raw AAC, some MP3 and FLAC)."""
    sample_rate_hz: int
    """Of the source, before resampling."""
    channels: int
    """Of the source, before averaging."""
    format: str
    """Container and encoding, e.g. `WAV PCM_16`."""


def describe(source: AudioSource, *, name: str | None = None) -> AudioInfo:
    """Read the header of `source`, without decoding unless the header does not state the length.

    Args:
        source: see `AudioSource`.
        name: what errors call the source; None: the path as given, `<bytes>` or `<array>`.

    Raises:
        AudioError: the source is missing, empty, truncated (as far as its container shows), or no audio.
        MissingExtraError: MPEG-4 audio, and PyAV is not installed.
    """
    name = _name_of(source, name)
    with _open(source, name) as decoded:
        seconds = decoded.seconds
        if seconds is None:
            seconds = sum(map(len, decoded.blocks)) / decoded.sample_rate_hz
        if seconds == 0:
            raise _no_samples(name)
        return AudioInfo(seconds, decoded.sample_rate_hz, decoded.channels, decoded.format)


def read(source: AudioSource, *, name: str | None = None, sample_rate_hz: int = SAMPLE_RATE_HZ) -> np.ndarray:
    """Decode `source` to one array.

    Args:
        source: see `AudioSource`.
        name: as in `describe`.
        sample_rate_hz: of the result; another than 16 kHz is for encoders that are not ours.

    Returns:
        (S,) float32, mono, at `sample_rate_hz`, S >= 1, every value finite.

    Raises:
        AudioError: the source is missing, empty, truncated, damaged or no audio; has no samples, or values that are
            not finite.
        MissingExtraError: MPEG-4 audio, and PyAV is not installed.
    """
    return np.concatenate(list(_blocks(source, _name_of(source, name), sample_rate_hz)))


def read_windows(
    source: AudioSource,
    *,
    window_samples: int = WINDOW_SAMPLES,
    name: str | None = None,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
) -> Iterator[np.ndarray]:
    """Decode `source` in consecutive windows; their concatenation equals `read(source)` bit for bit.

    Memory is bounded whatever the length. An error in the middle of a file comes after the windows before it.

    Args:
        source: see `AudioSource`.
        window_samples: length of every window but the last, in samples at `sample_rate_hz`.
        name: as in `describe`.
        sample_rate_hz: as in `read`.

    Yields:
        (window_samples,) float32, mono, at `sample_rate_hz`; the last one shorter, at least one sample.

    Raises:
        AudioError, MissingExtraError: as `read`.
    """
    return regroup(_blocks(source, _name_of(source, name), sample_rate_hz), window_samples)


def _blocks(source: AudioSource, name: str, sample_rate_hz: int) -> Iterator[np.ndarray]:
    with _open(source, name) as decoded:
        yield from resample(_checked_mono(decoded, name), decoded.sample_rate_hz, sample_rate_hz)


def _checked_mono(decoded: Decoded, name: str) -> Iterator[np.ndarray]:
    count = 0
    for block_SC in decoded.blocks:
        finite_S = np.isfinite(block_SC).all(axis=1)
        if not finite_S.all():
            raise _not_finite(decoded, finite_S, count, name)
        count += len(block_SC)
        yield block_SC[:, 0] if block_SC.shape[1] == 1 else block_SC.mean(axis=1, dtype=np.float64).astype(np.float32)
    if decoded.samples is not None and count < decoded.samples:
        raise truncated(name, f"{decoded.samples:,} samples, as its header says", f"{count:,} samples")
    if count == 0:
        raise _no_samples(name)


@contextmanager
def _open(source: AudioSource, name: str) -> Iterator[Decoded]:
    match source:
        case str() | Path():
            with _open_path(Path(source), name) as file, open_encoded(file, name) as decoded:
                yield decoded
        case bytes():
            with open_encoded(io.BytesIO(source), name) as decoded:
                yield decoded
        case (samples, sample_rate_hz) if isinstance(source, tuple):
            yield open_array(samples, sample_rate_hz, name)
        case _:
            raise AudioError(
                f"{name} cannot be used",
                expected="a path, bytes of an audio file, or a tuple (samples, sample_rate_hz)",
                got=type(source).__name__,
                fix="pass e.g. 'dog.wav' or (samples, 16000)",
            )


def _open_path(path: Path, name: str) -> io.FileIO:
    try:
        if path.is_dir():
            raise AudioError(
                f"{name} is a folder", expected="an audio file", got="a folder", fix=f"name the files in {name}"
            )
        # Unbuffered: libsndfile reads the descriptor itself.
        return path.open("rb", buffering=0)
    except FileNotFoundError:
        raise missing(name) from None
    except (OSError, ValueError) as error:
        if isinstance(error, AudioError):
            raise
        raise AudioError(
            f"{name} cannot be opened",
            expected="a file that can be read",
            got=getattr(error, "strerror", None) or str(error),
            fix="check the path and the file's permissions",
        ) from None


def _name_of(source: AudioSource, name: str | None) -> str:
    if name is not None:
        return name
    if isinstance(source, str | Path):
        return str(source)
    return {bytes: "<bytes>", tuple: "<array>"}.get(type(source), "<source>")


def missing(name: str) -> AudioError:
    """The error for a path where nothing is."""
    folder = Path(name).parent
    where = "its folder exists" if folder.is_dir() else f"there is no folder {folder} either"
    return AudioError(
        f"{name} does not exist",
        expected="an audio file, or a folder with audio files",
        got=f"no such path ({where})",
        fix="check the spelling",
    )


def _no_samples(name: str) -> AudioError:
    return AudioError(
        f"{name} holds no samples", expected="at least one sample", got="audio of length zero", fix="leave it out"
    )


def _not_finite(decoded: Decoded, finite_S: np.ndarray, before: int, name: str) -> AudioError:
    first = before + int(np.argmin(finite_S))
    bad, total = int((~finite_S).sum()), before + len(finite_S)
    for block_SC in decoded.blocks:
        bad, total = bad + int((~np.isfinite(block_SC).all(axis=1)).sum()), total + len(block_SC)
    return AudioError(
        f"{name} holds values that are not numbers",
        expected="finite samples",
        got=f"{bad:,} of {total:,} samples NaN or infinite, the first at {first / decoded.sample_rate_hz:.3f} s",
        fix="repair or leave it out; numpy.nan_to_num(samples) replaces them, if silence there is right",
    )
