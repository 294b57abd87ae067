"""The same recording as somebody else would have it: cut, louder or quieter, resampled and encoded again."""

import io

import numpy as np
import soundfile
import soxr

from uniwhisper.audio.load import read

CODECS = ("mp3", "vorbis", "opus", "ulaw")
RATES_HZ = {"opus": (8_000, 16_000, 24_000, 48_000), "ulaw": (8_000,)}
ANY_RATE_HZ = (8_000, 11_025, 22_050, 44_100, 48_000)


def audible_seconds(wave_S: np.ndarray, loudest: float) -> float:
    """Seconds of 20 ms blocks that are less than 40 dB below the power `loudest`."""
    blocks = wave_S[: len(wave_S) // 320 * 320].reshape(-1, 320)
    return 0.02 * float((np.square(blocks).mean(axis=1) > 1e-4 * loudest).sum())


def alter(wave_S: np.ndarray, rng: np.random.Generator, codec: str) -> np.ndarray | None:
    """wave_S (16 kHz) cut to 2 to 5 s, -20 to +10 dB, in another codec and rate; None if no cut has a second of sound.

    Silence is the same in every recording: a cut that is nearly all silence cannot tell where it comes from.
    """
    loudest = float(np.square(wave_S[: len(wave_S) // 320 * 320].reshape(-1, 320)).mean(axis=1).max())
    for _ in range(8):
        length = int(16_000 * rng.uniform(2.0, max(2.0, min(5.0, len(wave_S) / 16_000))))
        start = int(rng.integers(0, len(wave_S) - length + 1))
        cut_S = wave_S[start : start + length]
        if audible_seconds(cut_S, loudest) >= 1.0:
            break
    else:
        return None
    cut_S = np.clip(cut_S * 10 ** (rng.uniform(-20, 10) / 20), -1, 1)
    rate_hz = int(rng.choice(RATES_HZ.get(codec, ANY_RATE_HZ)))
    resampled_S = soxr.resample(cut_S, 16_000, rate_hz)
    buffer = io.BytesIO()
    if codec == "ulaw":
        soundfile.write(buffer, resampled_S, rate_hz, format="WAV", subtype="ULAW")
    else:
        container, subtype = ("MP3", None) if codec == "mp3" else ("OGG", codec.upper())
        level = float(rng.uniform(0.3, 0.9))
        soundfile.write(buffer, resampled_S, rate_hz, format=container, subtype=subtype, compression_level=level)
    return read(buffer.getvalue())
