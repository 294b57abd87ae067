"""Altering a training clip without making its answer false.

Every step is a function of (waveform, random stream, config). `tasks.json` says for each task whether a step keeps the
answer, relabels it (a speed change moves a note) or is forbidden; `augment` obeys. Waveforms are float32 at 16 kHz.
SpecAugment's masks are drawn here as numbers and applied by training, on its device.
"""

from dataclasses import dataclass

import numpy as np
import soxr

from uniwhisper.core.units import SAMPLE_RATE_HZ, WINDOW_SAMPLES, mel_count
from uniwhisper.data.answer_formats import Value
from uniwhisper.data.answers import SEMITONES_PER_OCTAVE, transpose
from uniwhisper.data.config import AugmentConfig
from uniwhisper.data.tasks import FORBID, RELABEL, Task

_OPTIONAL_STEPS = ("speed", "crop", "silence", "equalizer", "noise", "gain")
_EQUALIZER_POINTS = 6
_EQUALIZER_LOWEST_HZ = 50.0
_EQUALIZER_TAIL_SAMPLES = 160  # zeros that take what the filter smears, so that it does not wrap around
_TIME_MASK_SHARE = 10  # no time mask covers more than 1 / this of a clip


@dataclass(frozen=True, slots=True)
class Masks:
    """SpecAugment masks of one clip."""

    time_mels: np.ndarray
    """(count, 2) int64: first mel and the one after the last."""
    frequency_bins: np.ndarray
    """(count, 2) int64: first bin and the one after the last."""


def augment(
    wave_S: np.ndarray, task: Task, value: Value, stream: np.random.Generator, config: AugmentConfig
) -> tuple[np.ndarray, Value]:
    """An altered waveform and the answer (as a value) that is true of it.

    Args:
        wave_S: (S,) float32, 1 <= S <= one window. Not changed in place.

    Returns:
        waveform: (S',) float32, at least one sample, at most one window.
        value: as given, unless a step relabelled it.
    """
    # One coin per step, tossed in a fixed order: what a task forbids does not change which other steps happen.
    tosses = zip(_OPTIONAL_STEPS, stream.random(len(_OPTIONAL_STEPS)), strict=True)
    wanted = [name for name, toss in tosses if toss < getattr(config, f"{name}_probability")]
    chosen = [name for name in wanted if task.augment[name] != FORBID]
    if "speed" in chosen and task.augment["speed"] == RELABEL:
        wave_S, semitones = change_pitch(wave_S, stream, config)
        value = transpose(value, semitones)
    elif "speed" in chosen:
        wave_S = change_speed(wave_S, stream, config)
    if "crop" in chosen:
        wave_S = crop(wave_S, stream, config)
    if "silence" in chosen:
        wave_S = add_silence(wave_S, stream, config)
    if "equalizer" in chosen:
        wave_S = equalize(wave_S, stream, config)
    if "noise" in chosen:
        wave_S = add_noise(wave_S, stream, config)
    if "gain" in chosen:
        wave_S = wave_S * np.float32(_amplitude(stream.uniform(*config.gain_db_range)))
    return wave_S, value


def random_window(wave_S: np.ndarray, max_samples: int, stream: np.random.Generator) -> np.ndarray:
    """wave_S (S,), or a random part of `max_samples` of it if it is longer; a view, not a copy."""
    spare = max(0, len(wave_S) - max_samples)
    first = int(stream.integers(spare + 1))
    return wave_S[first : first + max_samples]


def mix(one_S: np.ndarray, other_S: np.ndarray, stream: np.random.Generator, config: AugmentConfig) -> np.ndarray:
    """Both clips at once, the shorter one at a random place in the longer; a silent clip adds nothing.

    one_S and other_S are (S,) float32, each at least one sample; the result is as long as the longer, within [-1, 1].
    """
    longer, shorter = (one_S, other_S) if len(one_S) >= len(other_S) else (other_S, one_S)
    level = _amplitude(stream.uniform(*config.mix_db_range))
    power_of_longer, power_of_shorter = _power(longer), _power(shorter)
    if power_of_longer > 0 and power_of_shorter > 0:
        level *= (power_of_longer / power_of_shorter) ** 0.5
    first = int(stream.integers(len(longer) - len(shorter) + 1))
    mixed = longer.copy()
    mixed[first : first + len(shorter)] += np.float32(level) * shorter
    peak = np.abs(mixed).max()
    return mixed / peak if peak > 1 else mixed


def change_speed(wave_S: np.ndarray, stream: np.random.Generator, config: AugmentConfig) -> np.ndarray:
    """wave_S (S,) float32 faster and higher, or slower and lower, by a factor from the range."""
    return resample(wave_S, stream.uniform(*config.speed_range))


def change_pitch(wave_S: np.ndarray, stream: np.random.Generator, config: AugmentConfig) -> tuple[np.ndarray, int]:
    """wave_S (S,) float32 moved by whole semitones of the equal temperament, with its speed; and how many semitones.

    The number is 0, and the clip unchanged, where the result would not fit a window.
    """
    semitones = int(stream.integers(-config.speed_semitones, config.speed_semitones + 1))
    factor = 2 ** (semitones / SEMITONES_PER_OCTAVE)
    changed = resample(wave_S, factor)
    return (changed, semitones) if changed is not wave_S else (wave_S, 0)


def resample(wave_S: np.ndarray, factor: float) -> np.ndarray:
    """Play wave_S (S,) float32 `factor` times as fast: every frequency is multiplied, every duration divided by it.

    The very same array comes back if nothing would change or the result would not fit: longer than a window, or empty.
    """
    if factor == 1 or not 1 <= len(wave_S) / factor <= WINDOW_SAMPLES - 1:
        return wave_S
    changed = soxr.resample(wave_S, SAMPLE_RATE_HZ * factor, SAMPLE_RATE_HZ, quality="MQ")
    return changed if len(changed) else wave_S


def crop(wave_S: np.ndarray, stream: np.random.Generator, config: AugmentConfig) -> np.ndarray:
    """A random part of wave_S (S,)."""
    kept = int(len(wave_S) * stream.uniform(*config.crop_keep_range))
    least = int(config.crop_min_seconds * SAMPLE_RATE_HZ)
    return random_window(wave_S, max(kept, least, 1), stream)


def add_silence(wave_S: np.ndarray, stream: np.random.Generator, config: AugmentConfig) -> np.ndarray:
    """Zeros before and behind wave_S (S,), as far as a window has room."""
    room = (WINDOW_SAMPLES - len(wave_S)) // 2
    before, after = (stream.random(2) * min(room, config.silence_max_seconds * SAMPLE_RATE_HZ)).astype(int)
    return np.pad(wave_S, (before, after))


def equalize(wave_S: np.ndarray, stream: np.random.Generator, config: AugmentConfig) -> np.ndarray:
    """Smooth random boosts and cuts of wave_S (S,) float32.

    Decibels are drawn at points even in log frequency, with straight lines between them.
    """
    size = _fast_length(len(wave_S) + _EQUALIZER_TAIL_SAMPLES)
    points = np.geomspace(_EQUALIZER_LOWEST_HZ, SAMPLE_RATE_HZ / 2, _EQUALIZER_POINTS)
    levels = stream.uniform(-config.equalizer_max_db, config.equalizer_max_db, _EQUALIZER_POINTS)
    frequencies = np.fft.rfftfreq(size, 1 / SAMPLE_RATE_HZ)
    decibels = np.interp(np.log(frequencies + 1), np.log(points + 1), levels)
    spectrum = np.fft.rfft(wave_S, size) * (10 ** (decibels / 20)).astype(np.float32)
    return np.fft.irfft(spectrum, size)[: len(wave_S)].astype(np.float32)


def add_noise(wave_S: np.ndarray, stream: np.random.Generator, config: AugmentConfig) -> np.ndarray:
    """wave_S (S,) float32 with 1/f**e noise; its power over that of the noise is drawn in decibels."""
    snr_db = stream.uniform(*config.noise_snr_db_range)
    exponent = stream.uniform(0, config.noise_max_exponent)
    size = _fast_length(len(wave_S))
    spectrum = np.fft.rfft(stream.standard_normal(size, dtype=np.float32))
    slope = np.arange(len(spectrum), dtype=np.float32)
    slope[0] = 1
    noise = np.fft.irfft(spectrum * slope ** np.float32(-exponent / 2), size)[: len(wave_S)].astype(np.float32)
    power = _power(noise)
    scale = _amplitude(-snr_db) * (_power(wave_S) / power) ** 0.5 if power > 0 else 0
    return wave_S + np.float32(scale) * noise


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


def _fast_length(samples: int) -> int:
    """A length >= samples, at most a quarter more, that Fourier transforms quickly: m * 2**k with 8 <= m <= 16."""
    power = max(0, (samples - 1).bit_length() - 4)
    candidates = (factor << power for factor in (8, 9, 10, 12, 15, 16))
    return next(size for size in candidates if size >= samples)


def _power(wave_S: np.ndarray) -> float:
    return float(np.dot(wave_S, wave_S)) / len(wave_S)


def _amplitude(decibels: float) -> float:
    return 10 ** (decibels / 20)
