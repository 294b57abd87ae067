"""A recording -> the pieces that become clips: at most ten seconds, none silent, encoded as the shared corpora are."""

import io
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from uniwhisper.core.errors import MissingExtraError
from uniwhisper.core.units import SAMPLE_RATE_HZ

LONGEST_PIECE_SECONDS = 10
LONGEST_WHOLE_SECONDS = 30
SHORTEST_REST_SECONDS = 1
SHORTEST_CLIP_SECONDS = 0.1
SILENCE_DBFS = -60.0
_FRAME_SAMPLES = SAMPLE_RATE_HZ // 50
_BITS_PER_SECOND = 24_000
_COMPLEXITY = 5


def cut(wave_S: np.ndarray) -> Iterator[np.ndarray]:
    """Consecutive pieces of at most ten seconds; a rest under one second after a full piece is dropped.

    Args:
        wave_S: (S,) float32, 16 kHz.

    Yields:
        (P,) float32, views of `wave_S`.
    """
    longest = LONGEST_PIECE_SECONDS * SAMPLE_RATE_HZ
    for start in range(0, len(wave_S), longest):
        piece_S = wave_S[start : start + longest]
        if start == 0 or len(piece_S) >= SHORTEST_REST_SECONDS * SAMPLE_RATE_HZ:
            yield piece_S


def is_silent(wave_S: np.ndarray) -> bool:
    """Whether no 20 ms of `wave_S` ((S,) float32, full scale 1) have an RMS above -60 dBFS."""
    whole = len(wave_S) // _FRAME_SAMPLES * _FRAME_SAMPLES
    frames = wave_S[:whole].reshape(-1, _FRAME_SAMPLES) if whole else wave_S.reshape(1, -1)
    loudest = float(np.sqrt(np.mean(np.square(frames, dtype=np.float64), axis=1)).max())
    return loudest <= 10 ** (SILENCE_DBFS / 20)


def encode(wave_S: np.ndarray) -> bytes:
    """Ogg Opus, mono, 16 kHz, about 24 kbit/s; the same samples give the same bytes.

    PyAV and not libsndfile: the latter always takes Opus's slowest setting, ten times the time for 3 % of the bytes.

    Args:
        wave_S: (S,) float32, 16 kHz. Values beyond full scale are scaled back, not clipped.

    Raises:
        MissingExtraError: PyAV is not installed.
    """
    try:
        import av
    except ImportError:
        raise MissingExtraError.of("av", "m4a", "writing Opus") from None
    peak = float(np.abs(wave_S).max())
    scaled_S = np.round(wave_S * (32767 / max(1.0, peak))).astype(np.int16)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="ogg", options={"fflags": "+bitexact"}) as container:
        options = {"compression_level": str(_COMPLEXITY)}
        stream = container.add_stream("libopus", rate=SAMPLE_RATE_HZ, layout="mono", options=options)
        stream.bit_rate = _BITS_PER_SECOND
        frame = av.AudioFrame.from_ndarray(scaled_S[None], format="s16", layout="mono")
        # Without a time stamp, the stream's end would not say where the last sample is.
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE_HZ, 0, Fraction(1, SAMPLE_RATE_HZ)
        for samples in (frame, None):
            container.mux(stream.encode(samples))
    return buffer.getvalue()
