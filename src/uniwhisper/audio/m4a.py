"""MPEG-4 and raw AAC audio, through PyAV (the extra [m4a]). Of a video, the first audio stream."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from uniwhisper.audio.decode import Decoded, block_samples, damaged, no_audio
from uniwhisper.audio.formats import head_of
from uniwhisper.audio.resample import regroup
from uniwhisper.core.errors import AudioError, MissingExtraError, UserError

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer

# A header counts what the encoder put before and behind the signal, which the decoder may drop: at most two AAC-HE
# packets and the delay of the encoder.
_PADDING_SAMPLES = 2 * 2048 + 2112


@contextmanager
def open_m4a(file: BinaryIO, name: str) -> Iterator[Decoded]:
    """Open a file object holding MP4, M4A, QuickTime or ADTS.

    Raises:
        MissingExtraError: PyAV is not installed.
        AudioError: it cannot be decoded, holds no audio stream, or one without sample rate or channels.
    """
    try:
        import av
    except ImportError:
        raise MissingExtraError.of("av", "m4a", f"{name}: decoding MPEG-4 or AAC audio") from None
    head = head_of(file)
    with ExitStack() as stack:
        with _refused_as(lambda reason: no_audio(name, head, reason)):
            container = stack.enter_context(av.open(file, metadata_errors="replace"))
        with _refused_as(lambda reason: damaged(name, reason)):
            decoded = _decoded(container, name)
        yield decoded


def _decoded(container: "InputContainer", name: str) -> Decoded:
    if not container.streams.audio:
        raise AudioError(
            f"{name} holds no sound",
            expected="an audio stream",
            got=f"a file of format {container.format.name} without one",
            fix="leave it out",
        )
    stream = container.streams.audio[0]
    if not (stream.rate and stream.channels):
        raise ValueError(f"an audio stream of {stream.channels} channels at {stream.rate} Hz")
    # An ADTS stream has no header for the whole: its duration is FFmpeg's guess.
    is_stated = stream.duration is not None and "mp4" in container.format.name
    duration = float(stream.duration * stream.time_base) if is_stated else None
    return Decoded(
        sample_rate_hz=stream.rate,
        channels=stream.channels,
        format=f"{container.format.name.split(',')[0]} {stream.codec_context.name}",
        seconds=duration,
        samples=max(0, round(duration * stream.rate) - _PADDING_SAMPLES) if is_stated else None,
        blocks=regroup(_packets(stream, name), block_samples(stream.rate, stream.channels)),
    )


@contextmanager
def _refused_as(error_of: Callable[[str], AudioError]) -> Iterator[None]:
    """Damage shows as an error of FFmpeg's, or as a field PyAV cannot make sense of: absent, zero, no text."""
    import av

    try:
        yield
    except UserError:
        raise
    except (av.FFmpegError, ValueError, AttributeError, ArithmeticError) as error:
        raise error_of(f"FFmpeg: {getattr(error, 'strerror', None) or error}") from None


def _packets(stream: "AudioStream", name: str) -> Iterator[np.ndarray]:
    import av

    with _refused_as(lambda reason: damaged(name, reason)):
        # Also where rate or layout change in the middle: everything comes as the header announced it. Interleaved,
        # because of eight channels apart PyAV (18.1) reads a ninth, behind the end of FFmpeg's list, and crashes.
        to_float = av.AudioResampler(format="flt", layout=stream.layout, rate=stream.rate)
        for frame in stream.container.decode(stream):
            for converted in to_float.resample(frame):
                yield converted.to_ndarray().reshape(-1, stream.channels)
        for converted in to_float.resample(None):
            yield converted.to_ndarray().reshape(-1, stream.channels)
