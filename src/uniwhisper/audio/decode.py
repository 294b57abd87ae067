"""Encoded audio or an array -> blocks of float32 samples, through libsndfile (and PyAV, in its own file)."""

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import soundfile

from uniwhisper.audio import formats
from uniwhisper.audio.mp3 import EndlessFile, states_length
from uniwhisper.audio.truncation import check_complete, with_data_size_filled_in
from uniwhisper.core.errors import AudioError

_BLOCK_SECONDS = 16
_BLOCK_VALUES = 1 << 20
_MOST_CHANNELS = 256
# Formats in which libsndfile goes to a sample exactly. In MP3 what it finds there depends on where it began.
_EXACT_SEEK = frozenset(("WAV", "WAVEX", "FLAC", "AIFF", "AU", "CAF", "W64", "RF64", "OGG"))
# libsndfile writes this as the length of a stream that does not state it.
_UNKNOWN_FRAMES = (1 << 63) - 1


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """An open source of samples."""

    sample_rate_hz: int
    channels: int
    format: str
    seconds: float | None
    """As the header says; None: it does not say."""
    samples: int | None
    """Samples per channel that the header promises; None: it promises nothing."""
    blocks: Iterator[np.ndarray]
    """(samples, channels) float32; valid while the source is open."""
    seek: Callable[[int], object] | None = None
    """Go to this sample before the first block is taken; None: this source can only be read from its start."""


def block_samples(sample_rate_hz: int, channels: int) -> int:
    """Samples per channel decoded at once: bounded in memory before and after resampling.

    It depends on nothing else, so a signal passes the resampler in the same blocks wherever it comes from.
    """
    return max(1, min(_BLOCK_SECONDS * sample_rate_hz, _BLOCK_VALUES // channels))


@contextmanager
def open_encoded(file: BinaryIO, name: str) -> Iterator[Decoded]:
    """Open a file object holding encoded audio, after checking that it is complete.

    Args:
        file: seekable; a real file must be unbuffered, since libsndfile reads its descriptor.
        name: what errors call it.

    Raises:
        AudioError: empty, truncated, damaged, or no audio at all.
        MissingExtraError: MPEG-4 audio, and PyAV is not installed.
    """
    size = file.seek(0, io.SEEK_END)
    if size == 0:
        raise AudioError(
            f"{name} is empty", expected=f"audio ({formats.READABLE})", got="0 bytes", fix="copy or download it again"
        )
    check_complete(file, size, name)
    if formats.is_mpeg4(file):
        from uniwhisper.audio.m4a import open_m4a

        with open_m4a(file, name) as decoded:
            yield decoded
    else:
        with _open_libsndfile(file, size, name) as decoded:
            yield decoded


def open_array(samples: np.ndarray, sample_rate_hz: int, name: str) -> Decoded:
    """Blocks of an array; integers are scaled to [-1, 1) as libsndfile scales them.

    Args:
        samples: (S,) or (S, channels), float16/32/64, int16, int32 or uint8.
        sample_rate_hz: positive int.
        name: what errors call it.

    Raises:
        AudioError: another shape or dtype, or a sample rate that is not a positive whole number.
    """
    if isinstance(sample_rate_hz, bool) or not isinstance(sample_rate_hz, int | np.integer) or sample_rate_hz < 1:
        raise _bad_array(name, "a sample rate in hertz, a positive int", repr(sample_rate_hz), "(samples, 16000)")
    if not isinstance(samples, np.ndarray):
        got = f"{type(samples).__module__}.{type(samples).__qualname__}"
        raise _bad_array(name, "samples as a numpy array", got, "(numpy.asarray(samples), sample_rate_hz)")
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and not 1 <= samples.shape[1] <= _MOST_CHANNELS):
        fix = "(samples.T, sample_rate_hz) if the channels come first"
        if samples.ndim > 2:
            fix = "each clip of a batch by itself: (samples[0].T, sample_rate_hz) if the channels come first"
        raise _bad_array(name, "samples of shape (S,) or (S, channels)", f"shape {samples.shape}", fix)
    if samples.dtype not in (np.uint8, np.int16, np.int32, np.float16, np.float32, np.float64):
        fix = "(samples.astype('float32'), sample_rate_hz), scaled to [-1, 1]"
        raise _bad_array(name, "dtype float16/32/64, int16, int32 or uint8", f"dtype {samples.dtype}", fix)
    samples = np.asarray(samples)  # of a subclass such as memmap, the plain array
    columns = samples.reshape(len(samples), -1) if len(samples) else samples.reshape(0, 1)
    step = block_samples(int(sample_rate_hz), columns.shape[1])
    return Decoded(
        sample_rate_hz=int(sample_rate_hz),
        channels=columns.shape[1],
        format=f"array {samples.dtype}",
        seconds=len(samples) / int(sample_rate_hz),
        samples=len(samples),
        blocks=(_to_float32(columns[start : start + step]) for start in range(0, len(columns), step)),
    )


def no_audio(name: str, head: bytes, reason: str) -> AudioError:
    """The error for content that no decoder took: `reason` is what the decoder said."""
    if signature := formats.audio_signature(head):
        return AudioError(
            f"{name} cannot be decoded",
            expected=f"a complete {signature} file",
            got=f"a {signature} signature followed by damaged or unsupported content ({reason})",
            fix=f"copy or download it again, or {formats.CONVERT}",
        )
    got = formats.looks_like(head)
    return AudioError(
        f"{name} is not audio that can be read",
        expected=formats.READABLE,
        got=got,
        fix="leave it out; if it "
        + ("lists files, name those" if got == formats.PLAIN_TEXT else f"does hold sound, {formats.CONVERT}"),
    )


def damaged(name: str, reason: str) -> AudioError:
    """The error for audio whose decoder gave up in the middle."""
    return AudioError(
        f"{name} is damaged or truncated",
        expected="audio that decodes to its end",
        got=reason,
        fix="copy or download it again; to keep what is there: ffmpeg -i INPUT repaired.wav",
    )


class _ForwardFile(soundfile.SoundFile):
    """Never seeks. soundfile otherwise seeks after each read, which a FLAC of unknown length answers with an error."""

    def seekable(self) -> bool:
        return False


class _CalledBack:
    """A Python file as libsndfile calls it: a seek that cannot be done leaves it where it is, as with a descriptor.

    A damaged header can send libsndfile before the start. Python's files raise there, and cffi, which cannot pass that
    on, prints a traceback.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __getattr__(self, name: str):
        return getattr(self._file, name)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with suppress(OSError, ValueError):
            self._file.seek(offset, whence)
        return self._file.tell()


@contextmanager
def _open_libsndfile(file: BinaryIO, size: int, name: str) -> Iterator[Decoded]:
    head = formats.head_of(file)
    with ExitStack() as stack:
        if (filled_in := with_data_size_filled_in(file, size)) is not None:
            file = stack.enter_context(filled_in)
        elif formats.audio_signature(head) == "MP3" and not states_length(file):
            file = EndlessFile(file)
        file.seek(0)
        try:
            # By descriptor, because soundfile would draw conclusions from the extension of a named file.
            sound = _ForwardFile(file.fileno() if isinstance(file, io.FileIO) else _CalledBack(file), closefd=False)
        except soundfile.SoundFileError as error:
            raise no_audio(name, head, _reason(error)) from None
        stack.enter_context(sound)
        unknown = sound.frames >= _UNKNOWN_FRAMES or isinstance(file, EndlessFile)
        yield Decoded(
            sample_rate_hz=sound.samplerate,
            channels=sound.channels,
            format=f"{sound.format} {sound.subtype}",
            seconds=None if unknown else sound.frames / sound.samplerate,
            samples=None if unknown else sound.frames,
            blocks=_libsndfile_blocks(sound, name, None if unknown else sound.frames),
            seek=sound.seek if not unknown and sound.format in _EXACT_SEEK else None,
        )


def _libsndfile_blocks(sound: soundfile.SoundFile, name: str, samples: int | None) -> Iterator[np.ndarray]:
    step = block_samples(sound.samplerate, sound.channels)
    # An array of a whole block for a clip of a second costs more than the clip. One sample more than is promised: what
    # follows the sound is looked at.
    asked = step if samples is None else min(step, samples + 1)
    while True:
        try:
            block_SC = sound.read(asked, dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            raise damaged(name, _reason(error)) from None
        if len(block_SC) == 0:
            return
        # What is read short is a view of an array of all that was asked for.
        yield block_SC if len(block_SC) >= asked - 1 else block_SC.copy()


def _reason(error: soundfile.SoundFileError) -> str:
    if isinstance(error, soundfile.LibsndfileError):
        return f"libsndfile: {error.error_string or f'error {error.code}'}"
    return f"libsndfile: {error}"


def _to_float32(block_SC: np.ndarray) -> np.ndarray:
    if block_SC.dtype == np.uint8:
        return (block_SC.astype(np.float32) - 128) / 128
    if block_SC.dtype.kind == "i":
        return (block_SC / -float(np.iinfo(block_SC.dtype).min)).astype(np.float32)
    with np.errstate(over="ignore"):  # what overflows becomes infinite, which is refused with its place
        return block_SC.astype(np.float32)


def _bad_array(name: str, expected: str, got: str, fix: str) -> AudioError:
    return AudioError(f"{name} cannot be used", expected=expected, got=got, fix=f"pass {fix}")
