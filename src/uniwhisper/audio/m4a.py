"""MPEG-4 and raw AAC audio, through PyAV (the extra [m4a]). Of a video, the first audio stream."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from uniwhisper.audio.decode import Decoded, block_samples, damaged, no_audio
from uniwhisper.audio.formats import head_of
from uniwhisper.audio.resample import regroup
from uniwhisper.core.errors import AudioError, MissingExtraError

if TYPE_CHECKING:
    from av.audio.stream import AudioStream

# A header counts what the encoder put before and behind the signal, which the decoder may drop: at most two AAC-HE
# packets and the delay of the encoder.
_PADDING_SAMPLES = 2 * 2048 + 2112


@contextmanager
def open_m4a(file: BinaryIO, name: str) -> Iterator[Decoded]:
    """Open a file object holding MP4, M4A, QuickTime or ADTS.

    Raises:
        MissingExtraError: PyAV is not installed.
        AudioError: it cannot be decoded, or holds no audio stream.
    """
    try:
        import av
    except ImportError:
        raise MissingExtraError.of("av", "m4a", f"{name}: decoding MPEG-4 or AAC audio") from None
    head = head_of(file)
    try:
        container = av.open(file)
    except av.FFmpegError as error:
        raise no_audio(name, head, f"FFmpeg: {error.strerror}") from None
    with container:
        if not container.streams.audio:
            raise AudioError(
                f"{name} holds no sound",
                expected="an audio stream",
                got=f"a file of format {container.format.name} without one",
                fix="leave it out",
            )
        stream = container.streams.audio[0]
        # An ADTS stream has no header for the whole: its duration is FFmpeg's guess.
        is_stated = stream.duration is not None and "mp4" in container.format.name
        duration = float(stream.duration * stream.time_base) if is_stated else None
        yield Decoded(
            sample_rate_hz=stream.rate,
            channels=stream.channels,
            format=f"{container.format.name.split(',')[0]} {stream.codec_context.name}",
            seconds=duration,
            samples=max(0, round(duration * stream.rate) - _PADDING_SAMPLES) if is_stated else None,
            blocks=regroup(_packets(stream, name), block_samples(stream.rate, stream.channels)),
        )


def _packets(stream: "AudioStream", name: str) -> Iterator[np.ndarray]:
    import av

    # Also where rate or layout change in the middle: everything comes as the header announced it.
    to_float = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)
    try:
        for frame in stream.container.decode(stream):
            for converted in to_float.resample(frame):
                yield converted.to_ndarray().T
        for converted in to_float.resample(None):
            yield converted.to_ndarray().T
    except av.FFmpegError as error:
        raise damaged(name, f"FFmpeg: {error.strerror}") from None
