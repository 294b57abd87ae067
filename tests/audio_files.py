"""Sounds and encoded files that the audio tests share."""

from pathlib import Path

import numpy as np
import pytest


def tone(rate: int, seconds: float, hertz: float = 1000.0) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def chirp(rate: int, seconds: float) -> np.ndarray:
    """200 to 1,000 Hz over two seconds: unlike a tone, it resembles no shifted copy of itself."""
    time_S = np.arange(round(rate * seconds)) / rate
    return (0.4 * np.sin(2 * np.pi * (200 + 200 * time_S) * time_S)).astype(np.float32)


def encode_with_av(path: Path, container: str, codec: str, wave: np.ndarray, rate: int, **options: str) -> None:
    av = pytest.importorskip("av")
    with av.open(str(path), "w", format=container, options=options) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        converter = av.AudioResampler(format=stream.format.name, layout="mono", rate=rate)
        for converted in converter.resample(frame) + converter.resample(None):
            output.mux(stream.encode(converted))
        output.mux(stream.encode(None))


def streamed_flac(path: Path) -> bytes:
    """The file with the length in its header set to 0, which means unknown (RFC 9639, section 8.2)."""
    content = bytearray(path.read_bytes())
    field = int.from_bytes(content[18:26], "big")
    content[18:26] = (field >> 36 << 36).to_bytes(8, "big")
    return bytes(content)
