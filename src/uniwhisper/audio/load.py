"""Files, bytes and arrays -> mono float32 samples at 16 kHz, whole or window by window.

Notable: one path for everything. `read` is the concatenation of the blocks `read_windows` cuts its windows from, so the
two agree bit for bit, and memory stays bounded however long the file is. Channels are averaged before resampling.
Samples beyond [-1, 1] in float files are kept; far beyond it with a warning, for those are mostly integers made
floats, and the encoder hears them as another sound.
"""

import io
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from uniwhisper.audio.decode import Decoded, open_array, open_encoded
from uniwhisper.audio.resample import regroup, resample
from uniwhisper.audio.truncation import truncated
from uniwhisper.core.errors import AudioError
from uniwhisper.core.units import SAMPLE_RATE_HZ, WINDOW_SAMPLES

AudioSource = str | Path | bytes | tuple[np.ndarray, int]
"""A path, encoded bytes, or (samples, sample_rate_hz): (S,) or (S, channels) of float (full scale 1.0), int16,
int32 or uint8."""

# 40 dB above full scale. Takes with overs stay below; 16-bit integers as floats do only where they peak below -50 dB.
_FAR_BEYOND_FULL_SCALE = 100.0


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


def read_segment(source: AudioSource, *, start_seconds: float, samples: int, name: str | None = None) -> np.ndarray:
    """Decode a part of `source`: cut at its own sample rate, then resampled, so it does not know what lies around it.

    Args:
        source: see `AudioSource`. Wav, FLAC, AIFF and Ogg are not decoded before `start_seconds`.
        start_seconds: where the part begins, >= 0.
        samples: its length at 16 kHz, >= 1.
        name: as in `describe`.

    Returns:
        (S,) float32, mono, 16 kHz, 1 <= S <= samples; shorter only if the source ends before.

    Raises:
        AudioError: as `read`; or the source ends before `start_seconds`.
        MissingExtraError: as `read`.
    """
    assert start_seconds >= 0 and samples >= 1, f"a segment of {samples} samples from {start_seconds} s"
    name = _name_of(source, name)
    with _open(source, name) as decoded:
        first = round(start_seconds * decoded.sample_rate_hz)
        count = -(-samples * decoded.sample_rate_hz // SAMPLE_RATE_HZ)
        if decoded.samples is not None and first >= decoded.samples:
            raise _ends_before(name, start_seconds, decoded.samples / decoded.sample_rate_hz)
        if decoded.seek is not None:
            decoded.seek(first)
            first = 0
        # Of a part, the length that the header promises says nothing.
        part = replace(decoded, samples=None, blocks=_cut(decoded.blocks, first, count))
        try:
            wave_S = np.concatenate(list(resample(_checked_mono(part, name), decoded.sample_rate_hz)))
        except _NoSamplesError:
            raise _ends_before(name, start_seconds, None) from None
        return wave_S[:samples]


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
    count, warned = 0, False
    for block_SC in decoded.blocks:
        finite_SC = np.isfinite(block_SC)
        if not finite_SC.all():
            raise _not_finite(decoded, finite_SC.all(axis=1), count, name)
        if not warned and len(block_SC) and max(block_SC.max(), -block_SC.min()) > _FAR_BEYOND_FULL_SCALE:
            warned = True
            # An array is not numbered, so that the filters of warnings show one of many.
            which = "an array" if decoded.format.startswith("array") else name
            warnings.warn(
                f"{which} holds floats far beyond full scale, which is 1.0: were they integers? "
                "16-bit ones are divided by 32768",
                RuntimeWarning,
                stacklevel=2,
            )
        count += len(block_SC)
        yield block_SC[:, 0] if block_SC.shape[1] == 1 else block_SC.mean(axis=1, dtype=np.float64).astype(np.float32)
    if decoded.samples is not None and count < decoded.samples:
        raise truncated(name, f"{decoded.samples:,} samples, as its header says", f"{count:,} samples")
    if count == 0:
        raise _no_samples(name)


def _cut(blocks: Iterator[np.ndarray], first: int, count: int) -> Iterator[np.ndarray]:
    """Samples `first` to `first + count` of blocks (samples, channels)."""
    for block_SC in blocks:
        part_SC = block_SC[first : first + count]
        first -= min(first, len(block_SC))
        count -= len(part_SC)
        if len(part_SC):
            yield part_SC
        if count == 0:
            return


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
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise AudioError(
                f"{name} is a folder",
                expected="an audio file",
                got="a folder",
                fix=f"name the files in {name}; uniwhisper.audio.find.find_audio([{name!r}]) lists them in Python",
            )
        if not stat.S_ISREG(mode):  # one that nobody writes to would be waited for without end
            raise AudioError(
                f"{name} is no file",
                expected="an audio file, which can be read from any place in it",
                got="a pipe or a device",
                fix="write what comes from it to a file first; in Python its bytes may be passed instead of a path",
            )
        # Unbuffered: libsndfile reads the descriptor itself.
        return path.open("rb", buffering=0)
    except AudioError:
        raise
    except (OSError, ValueError) as error:
        raise unopened(name, error) from None


def _name_of(source: AudioSource, name: str | None) -> str:
    if name is not None:
        return name
    if isinstance(source, str | Path):
        return str(source)
    return {bytes: "<bytes>", tuple: "<array>"}.get(type(source), "<source>")


def unopened(name: str, error: OSError | ValueError) -> AudioError:
    """The error for a path that cannot be looked at or opened: mostly, nothing is there."""
    if isinstance(error, FileNotFoundError):
        return _missing(name)
    return AudioError(
        f"{name} cannot be opened",
        expected="a file that can be read",
        got=getattr(error, "strerror", None) or str(error),
        fix="check the path and the file's permissions",
    )


def _missing(name: str) -> AudioError:
    folder = Path(name).parent
    if os.path.islink(name):  # noqa: PTH114 (Path.is_link raises)
        return AudioError(
            f"{name} is a link to nothing",
            expected="a link to an audio file, or to a folder with audio files",
            got=f"a link to {os.readlink(name)}, which does not exist",  # noqa: PTH115
            fix="mend the link, or leave it out",
        )
    where = "its folder exists" if folder.is_dir() else f"there is no folder {folder} either"
    return AudioError(
        f"{name} does not exist",
        expected="an audio file, or a folder with audio files",
        got=f"no such path ({where})",
        fix="check the spelling",
    )


class _NoSamplesError(AudioError):
    """Audio of length zero."""


def _ends_before(name: str, start_seconds: float, seconds: float | None) -> AudioError:
    length = "it ends before" if seconds is None else f"it is {seconds:.3f} s long"
    return AudioError(
        f"{name} has no sound at {start_seconds:.3f} s",
        expected=f"a recording longer than {start_seconds:.3f} s",
        got=length,
        fix="correct the start of the segment, or copy the recording again",
    )


def _no_samples(name: str) -> AudioError:
    return _NoSamplesError(
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
