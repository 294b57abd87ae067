"""Making a training clip's sound: its recordings put together, its shape, and what colours it without moving an answer.

Every step is a function of (waveform, numbers) or (waveform, random stream, config). `tasks.json` says for each task
whether a step keeps the answer, relabels it or is forbidden; `reshape.py` and `colour` obey. Waveforms are float32 at
16 kHz. SpecAugment's masks are drawn here as numbers and applied by training, on its device.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import soundfile
import soxr

from uniwhisper.core.units import SAMPLE_RATE_HZ, mel_count
from uniwhisper.data.config import AugmentConfig
from uniwhisper.data.reshape import Shape
from uniwhisper.data.tasks import FORBID, Task

_STEPS = ("equalizer", "room", "band", "codec", "noise", "gain")
_EQUALIZER_POINTS = 6
_EQUALIZER_LOWEST_HZ = 50.0
_EQUALIZER_TAIL_SAMPLES = 160  # zeros that take what the filter smears, so that it does not wrap around
_ROOM_FALL_DB = 60.0  # reverberation time is defined by this fall (ISO 3382)
_BAND_OCTAVES = 0.25  # width of the band limit's slope
_TIME_MASK_SHARE = 10  # no time mask covers more than 1 / this of a clip
_TELEPHONE_RATE_HZ = 8_000
_ENCODED_AT_ONCE = 60 * SAMPLE_RATE_HZ
# (container, encoding, rate): what `codec` chooses from.
_CODECS = (
    ("OGG", "OPUS", SAMPLE_RATE_HZ),
    ("OGG", "VORBIS", SAMPLE_RATE_HZ),
    ("WAV", "ULAW", _TELEPHONE_RATE_HZ),
    ("WAV", "GSM610", _TELEPHONE_RATE_HZ),
)


@dataclass(frozen=True, slots=True)
class Masks:
    """SpecAugment masks of one clip."""

    time_mels: np.ndarray
    """(count, 2) int64: first mel and the one after the last."""
    frequency_bins: np.ndarray
    """(count, 2) int64: first bin and the one after the last."""


def join(waves: Sequence[np.ndarray], shifts: Sequence[int], levels_db: Sequence[float]) -> np.ndarray:
    """Recordings put together: each added from its sample `shifts[i]` on, at `levels_db[i]` over the first one's power.

    `waves` are (S,) float32, each at least one sample; the first keeps its level, and a silent one adds nothing. The
    result ends with the last recording and stays within [-1, 1].
    """
    joined = np.zeros(max(shift + len(wave) for wave, shift in zip(waves, shifts, strict=True)), dtype=np.float32)
    power_of_first = power(waves[0])
    for place, (wave_S, shift, level_db) in enumerate(zip(waves, shifts, levels_db, strict=True)):
        scale, own = 1.0, power(wave_S)
        if place > 0 and own > 0 and power_of_first > 0:
            scale = amplitude(level_db) * (power_of_first / own) ** 0.5
        joined[shift : shift + len(wave_S)] += np.float32(scale) * wave_S
    peak = np.abs(joined).max()
    return joined / peak if peak > 1 and len(waves) > 1 else joined


def apply_shape(wave_S: np.ndarray, shape: Shape) -> np.ndarray:
    """wave_S (S,) float32 as `shape` says: `shape.samples` samples. Not changed in place."""
    wave_S = resample(wave_S, shape.factor)[shape.crop_first :][: shape.voiced]
    # The resampler may give a sample less than the length that was planned.
    wave_S = np.pad(wave_S, (0, shape.voiced - len(wave_S)))
    return np.pad(np.resize(wave_S, shape.repeated), (shape.before, shape.behind))


def resample(wave_S: np.ndarray, factor: float) -> np.ndarray:
    """Play wave_S (S,) float32 `factor` times as fast: every frequency is multiplied, every duration divided by it."""
    if factor == 1:
        return wave_S
    return soxr.resample(wave_S, SAMPLE_RATE_HZ * factor, SAMPLE_RATE_HZ, quality="MQ")


def colour(wave_S: np.ndarray, tasks: Sequence[Task], stream: np.random.Generator, config: AugmentConfig) -> np.ndarray:
    """wave_S (S,) float32 after the steps that none of `tasks` forbids; as long as before, and not changed in place."""
    # One coin per step, tossed in a fixed order: what a task forbids does not change which other steps happen.
    tosses = stream.random(len(_STEPS)) < [getattr(config, f"{name}_probability") for name in _STEPS]
    for name, toss in zip(_STEPS, tosses, strict=True):
        if toss and all(task.augment[name] != FORBID for task in tasks):
            wave_S = COLOURS[name](wave_S, stream, config)
    return wave_S


def equalize(wave_S: np.ndarray, stream: np.random.Generator, config: AugmentConfig) -> np.ndarray:
    """Smooth random boosts and cuts of wave_S (S,) float32.

    Decibels are drawn at points even in log frequency, with straight lines between them.
    """
    points = np.geomspace(_EQUALIZER_LOWEST_HZ, SAMPLE_RATE_HZ / 2, _EQUALIZER_POINTS)
    levels = stream.uniform(-config.equalizer_max_db, config.equalizer_max_db, _EQUALIZER_POINTS)
    return _filter(wave_S, lambda hertz: np.interp(np.log(hertz + 1), np.log(points + 1), levels))


def add_room(wave_S: np.ndarray, stream: np.random.Generator, config: AugmentConfig) -> np.ndarray:
    """wave_S (S,) float32 with an echo that dies away: noise falling by 60 dB in the drawn time, at the drawn power."""
    seconds = stream.uniform(*config.room_seconds_range)
    level_db = stream.uniform(*config.room_db_range)
    taps = max(2, round(seconds * SAMPLE_RATE_HZ))
    fall = 10 ** (-_ROOM_FALL_DB / 20 * np.arange(1, taps + 1) / taps)
    response = (stream.standard_normal(taps) * fall).astype(np.float32)
    response *= amplitude(level_db) / np.sqrt(np.sum(response**2))
    size = _fast_length(len(wave_S) + taps)
    echo = np.fft.irfft(np.fft.rfft(wave_S, size) * np.fft.rfft(response, size), size)[: len(wave_S)]
    return (wave_S + np.concatenate([[0], echo[:-1]])).astype(np.float32)


def limit_band(wave_S: np.ndarray, stream: np.random.Generator, config: AugmentConfig) -> np.ndarray:
    """wave_S (S,) float32 without what is above a frequency; 60 dB down a quarter octave further up."""
    cut = stream.uniform(*config.band_hz_range)
    slope = [np.log2(cut), np.log2(cut) + _BAND_OCTAVES]
    return _filter(wave_S, lambda hertz: np.interp(np.log2(np.maximum(hertz, 1)), slope, [0, -60]))


def encode(wave_S: np.ndarray, stream: np.random.Generator, config: AugmentConfig) -> np.ndarray:  # noqa: ARG001
    """wave_S (S,) float32 after `through_drawn_codec`, as a step of `colour`."""
    return through_drawn_codec(wave_S, stream)


def through_drawn_codec(wave_S: np.ndarray, stream: np.random.Generator) -> np.ndarray:
    """wave_S (S,) float32 through a lossy codec: Opus or Vorbis at a low rate, or the telephone's u-law or GSM."""
    container, encoding, rate = _CODECS[int(stream.integers(len(_CODECS)))]
    return through_codec(wave_S, container, encoding, rate, level=float(stream.uniform(0.6, 1.0)))


def through_codec(wave_S: np.ndarray, container: str, encoding: str, rate_hz: int, *, level: float) -> np.ndarray:
    """wave_S (S,) float32 encoded at `rate_hz` and decoded again: as long as before, clipped to [-1, 1] on the way.

    `container` and `encoding` are libsndfile's names; `level` is its compression level, 0 best, 1 smallest, where the
    encoding has one.
    """
    sent = np.clip(wave_S, -1, 1)
    sent = sent if rate_hz == SAMPLE_RATE_HZ else soxr.resample(sent, SAMPLE_RATE_HZ, rate_hz)
    file = io.BytesIO()
    options = {"compression_level": level} if container in ("OGG", "MP3") else {}
    with soundfile.SoundFile(file, "w", rate_hz, 1, encoding, format=container, **options) as encoder:
        # In blocks: libvorbis lays a whole write on the stack, which more than two minutes overflow.
        for first in range(0, len(sent), _ENCODED_AT_ONCE):
            encoder.write(sent[first : first + _ENCODED_AT_ONCE])
    file.seek(0)
    heard, _ = soundfile.read(file, dtype="float32")
    heard = heard if rate_hz == SAMPLE_RATE_HZ else soxr.resample(heard, rate_hz, SAMPLE_RATE_HZ)
    return np.pad(heard[: len(wave_S)], (0, max(0, len(wave_S) - len(heard))))


def add_noise(wave_S: np.ndarray, stream: np.random.Generator, config: AugmentConfig) -> np.ndarray:
    """wave_S (S,) float32 with 1/f**e noise; its power over that of the noise is drawn in decibels."""
    snr_db = stream.uniform(*config.noise_snr_db_range)
    exponent = stream.uniform(0, config.noise_max_exponent)
    size = _fast_length(len(wave_S))
    spectrum = np.fft.rfft(stream.standard_normal(size, dtype=np.float32))
    slope = np.arange(len(spectrum), dtype=np.float32)
    slope[0] = 1
    noise = np.fft.irfft(spectrum * slope ** np.float32(-exponent / 2), size)[: len(wave_S)].astype(np.float32)
    own = power(noise)
    scale = amplitude(-snr_db) * (power(wave_S) / own) ** 0.5 if own > 0 else 0
    return wave_S + np.float32(scale) * noise


def change_gain(wave_S: np.ndarray, stream: np.random.Generator, config: AugmentConfig) -> np.ndarray:
    """wave_S (S,) float32 louder or softer."""
    return wave_S * np.float32(amplitude(stream.uniform(*config.gain_db_range)))


COLOURS = {
    "equalizer": equalize,
    "room": add_room,
    "band": limit_band,
    "codec": encode,
    "noise": add_noise,
    "gain": change_gain,
}
"""Step -> function, in the order they are applied."""


def draw_masks(samples: int, mel_bins: int, stream: np.random.Generator, config: AugmentConfig) -> Masks:
    """Time and frequency masks for a clip of `samples` samples, each kind a uniform number of times from 0."""
    mels = mel_count(samples)
    time_counts = int(stream.integers(config.time_masks + 1))
    frequency_counts = int(stream.integers(config.frequency_masks + 1))
    widest = min(config.time_mask_max_mels, mels // _TIME_MASK_SHARE)
    return Masks(
        _ranges(time_counts, mels, widest, stream),
        _ranges(frequency_counts, mel_bins, min(config.frequency_mask_max_bins, mel_bins), stream),
    )


def _ranges(count: int, length: int, widest: int, stream: np.random.Generator) -> np.ndarray:
    """(count, 2) ranges in [0, length], widths uniform from 0 to `widest`."""
    widths = stream.integers(widest + 1, size=count)
    starts = (stream.random(count) * (length - widths + 1)).astype(np.int64)
    return np.stack([starts, starts + widths], axis=1)


def _filter(wave_S: np.ndarray, decibels_at) -> np.ndarray:
    """wave_S (S,) float32 with the gain, in decibels, that `decibels_at` gives for frequencies in hertz."""
    size = _fast_length(len(wave_S) + _EQUALIZER_TAIL_SAMPLES)
    decibels = decibels_at(np.fft.rfftfreq(size, 1 / SAMPLE_RATE_HZ))
    spectrum = np.fft.rfft(wave_S, size) * (10 ** (decibels / 20)).astype(np.float32)
    return np.fft.irfft(spectrum, size)[: len(wave_S)].astype(np.float32)


def _fast_length(samples: int) -> int:
    """A length >= samples, at most a quarter more, that Fourier transforms quickly: m * 2**k with 8 <= m <= 16."""
    exponent = max(0, (samples - 1).bit_length() - 4)
    candidates = (factor << exponent for factor in (8, 9, 10, 12, 15, 16))
    return next(size for size in candidates if size >= samples)


def power(wave_S: np.ndarray) -> float:
    """Mean square of wave_S (S,) float32."""
    return float(np.dot(wave_S, wave_S)) / len(wave_S)


def amplitude(decibels: float) -> float:
    """Factor on samples of a level in decibels."""
    return 10 ** (decibels / 20)
