"""Sounds made of formulas, so that the demo needs no recording made elsewhere.

Fourteen kinds, each a function of a random generator: pitch, length, speed, level, background and spacing are drawn
anew for every variant, so that a kind is recognised by what it does in time and not by its pitch or its loudness.
Several kinds differ only in order or number (rising and falling sweep; two and three beeps).

Sources: plucked string, Karplus and Strong, Computer Music Journal 7(2), 1983; bell, Chowning, "The Synthesis of
Complex Audio Spectra by Means of Frequency Modulation", JAES 21(7), 1973; vowel formants, Peterson and Barney, JASA
24(2), 1952, men's averages.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from uniwhisper.core.units import SAMPLE_RATE_HZ

Draw = np.random.Generator


@dataclass(frozen=True)
class Sound:
    """One synthesised clip."""

    label: str
    """Name of the kind, e.g. `rising sweep`."""
    caption: str
    """One sentence about it."""
    wave_S: np.ndarray
    """float32, mono, 16 kHz, within [-1, 1]."""

    @property
    def seconds(self) -> float:
        return len(self.wave_S) / SAMPLE_RATE_HZ


def synthesise(label: str, variant: int, *, seed: int = 0) -> Sound:
    """The clip of this kind and number: the same on every machine up to rounding.

    Raises:
        KeyError: `label` is not one of `KINDS`.
    """
    make, caption = KINDS[label]
    draw = np.random.default_rng([seed, list(KINDS).index(label), variant])
    wave_S = make(draw)
    wave_S = wave_S / max(np.abs(wave_S).max(), 1e-9)
    # A background 12 to 40 dB below the peak and an overall level over 20 dB: neither says what is heard.
    background_S = _filtered_noise(draw, len(wave_S), tilt=draw.uniform(0.0, 1.0))
    wave_S = wave_S + background_S * 10 ** (draw.uniform(-40, -12) / 20)
    wave_S = 0.9 * wave_S / np.abs(wave_S).max() * 10 ** (draw.uniform(-20, 0) / 20)
    return Sound(label, caption, wave_S.astype(np.float32))


def _seconds(draw: Draw, shortest: float = 1.0, longest: float = 3.0) -> int:
    """A drawn length in samples."""
    return round(draw.uniform(shortest, longest) * SAMPLE_RATE_HZ)


def _log_uniform(draw: Draw, low: float, high: float) -> float:
    return float(np.exp(draw.uniform(np.log(low), np.log(high))))


def _time(samples: int) -> np.ndarray:
    return np.arange(samples) / SAMPLE_RATE_HZ


def _oscillate(frequency_S: np.ndarray) -> np.ndarray:
    """Sine whose frequency in hertz is given per sample."""
    return np.sin(2 * np.pi * np.cumsum(frequency_S) / SAMPLE_RATE_HZ)


def _fade(wave_S: np.ndarray, seconds: float = 0.02) -> np.ndarray:
    """The same with a linear ramp at both ends, so that it starts and stops without a click."""
    ramp = np.minimum(1.0, np.arange(len(wave_S)) / (seconds * SAMPLE_RATE_HZ))
    return wave_S * ramp * ramp[::-1]


def _shape_spectrum(wave_S: np.ndarray, gain: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The same with every frequency (hertz) multiplied by its gain."""
    spectrum = np.fft.rfft(wave_S)
    return np.fft.irfft(spectrum * gain(np.fft.rfftfreq(len(wave_S), 1 / SAMPLE_RATE_HZ)), len(wave_S))


def _filtered_noise(draw: Draw, samples: int, tilt: float) -> np.ndarray:
    """Noise whose amplitude falls as frequency to the power -tilt; peak 1."""
    noise_S = _shape_spectrum(draw.standard_normal(samples), lambda hertz: np.maximum(hertz, 50.0) ** -tilt)
    return noise_S / np.abs(noise_S).max()


def _place(samples: int, events: list[tuple[float, np.ndarray]]) -> np.ndarray:
    """Sum of short waves, each starting at its time in seconds; what passes the end is cut off."""
    wave_S = np.zeros(samples)
    for start_seconds, event_S in events:
        start = round(start_seconds * SAMPLE_RATE_HZ)
        stop = min(samples, start + len(event_S))
        wave_S[start:stop] += event_S[: max(0, stop - start)]
    return wave_S


def _tone(draw: Draw) -> np.ndarray:
    samples = _seconds(draw)
    return _fade(_oscillate(np.full(samples, _log_uniform(draw, 200, 3000))))


def _sweep(draw: Draw, *, rising: bool) -> np.ndarray:
    samples = _seconds(draw)
    low = _log_uniform(draw, 150, 1200)
    frequency_S = low * _log_uniform(draw, 2.0, 5.0) ** np.linspace(0, 1, samples)
    return _fade(_oscillate(frequency_S if rising else frequency_S[::-1]))


def _beeps(draw: Draw, *, count: int) -> np.ndarray:
    beep_seconds, gap_seconds = draw.uniform(0.1, 0.25), draw.uniform(0.1, 0.3)
    beep_S = _fade(_oscillate(np.full(round(beep_seconds * SAMPLE_RATE_HZ), _log_uniform(draw, 300, 2500))), 0.005)
    first = draw.uniform(0.05, 0.5)
    starts = first + (beep_seconds + gap_seconds) * np.arange(count)
    samples = round((starts[-1] + beep_seconds + draw.uniform(0.1, 1.0)) * SAMPLE_RATE_HZ)
    return _place(max(samples, SAMPLE_RATE_HZ), [(start, beep_S) for start in starts])


def _pluck(draw: Draw) -> np.ndarray:
    samples = _seconds(draw)
    period = round(SAMPLE_RATE_HZ / _log_uniform(draw, 80, 500))
    decay = draw.uniform(0.985, 0.998)
    rows = -(-samples // period)
    # One row per period: each is the row before, averaged over neighbours. Equal to the delay line, without its loop.
    string = np.empty((rows, period))
    string[0] = draw.uniform(-1, 1, period)
    for row in range(1, rows):
        before = string[row - 1]
        string[row] = decay * 0.5 * (before + np.roll(before, 1))
    return string.reshape(-1)[:samples]


def _bell(draw: Draw) -> np.ndarray:
    samples = _seconds(draw, 1.5)
    time_S = _time(samples)
    decay_S = np.exp(-time_S * draw.uniform(1.0, 3.0))
    carrier = _log_uniform(draw, 200, 1200)
    modulator_S = np.sin(2 * np.pi * carrier * draw.choice([1.4, 1.414, 2.76]) * time_S)
    return decay_S * np.sin(2 * np.pi * carrier * time_S + draw.uniform(3, 8) * decay_S * modulator_S)


def _rain(draw: Draw) -> np.ndarray:
    samples = _seconds(draw, 1.5)
    drops = []
    for start in draw.uniform(0, samples / SAMPLE_RATE_HZ, int(samples / SAMPLE_RATE_HZ * draw.uniform(10, 40))):
        time_S = _time(round(0.03 * SAMPLE_RATE_HZ))
        frequency_hz = _log_uniform(draw, 1500, 6000)
        drops.append(
            (start, draw.uniform(0.2, 1.0) * np.exp(-time_S * 200) * np.sin(2 * np.pi * frequency_hz * time_S))
        )
    return _fade(0.4 * _filtered_noise(draw, samples, tilt=draw.uniform(0.0, 0.5)) + _place(samples, drops), 0.1)


def _knocks(draw: Draw) -> np.ndarray:
    count, spacing_seconds = int(draw.integers(3, 7)), draw.uniform(0.15, 0.4)
    resonance_hz = _log_uniform(draw, 120, 500)
    time_S = _time(round(0.12 * SAMPLE_RATE_HZ))
    starts = draw.uniform(0.05, 0.3) + np.cumsum(draw.normal(spacing_seconds, 0.02, count))
    events = []
    for start in starts:
        wood_S = np.sin(2 * np.pi * resonance_hz * time_S) + 0.5 * draw.standard_normal(len(time_S))
        events.append((start, draw.uniform(0.6, 1.0) * np.exp(-time_S * 60) * wood_S))
    samples = round((starts[-1] + draw.uniform(0.3, 0.8)) * SAMPLE_RATE_HZ)
    return _place(max(samples, SAMPLE_RATE_HZ), events)


def _buzz(draw: Draw, fundamental_S: np.ndarray, gain: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Sum of harmonics below 7 kHz of a fundamental in hertz per sample, each with the gain of its mean frequency."""
    phase_S = 2 * np.pi * np.cumsum(fundamental_S) / SAMPLE_RATE_HZ
    numbers = np.arange(1, max(2, int(7000 / fundamental_S.max())))
    gains = gain(numbers * fundamental_S.mean())
    return sum(g * np.sin(number * phase_S + draw.uniform(0, 0.3)) for number, g in zip(numbers, gains, strict=True))


def _wander(draw: Draw, samples: int, knots_per_second: float) -> np.ndarray:
    """A slow random curve with standard deviation about 1."""
    knots = max(2, round(samples / SAMPLE_RATE_HZ * knots_per_second))
    return np.interp(np.linspace(0, knots - 1, samples), np.arange(knots), draw.standard_normal(knots))


def _engine(draw: Draw) -> np.ndarray:
    samples = _seconds(draw, 1.5)
    speed_hz = _log_uniform(draw, 25, 90) * (1 + 0.04 * _wander(draw, samples, 20))
    resonance_hz = _log_uniform(draw, 200, 900)
    wave_S = _buzz(draw, speed_hz, lambda hertz: 1 / (1 + (hertz / resonance_hz) ** 2))
    return _fade(wave_S / np.abs(wave_S).max() + 0.15 * _filtered_noise(draw, samples, tilt=0.7), 0.1)


def _siren(draw: Draw) -> np.ndarray:
    samples = _seconds(draw, 2.0)
    swing_S = np.sin(2 * np.pi * draw.uniform(0.6, 2.5) * _time(samples) + draw.uniform(0, 6))
    return _fade(np.tanh(2 * _oscillate(_log_uniform(draw, 400, 1200) * draw.uniform(1.2, 1.8) ** swing_S)))


def _warble(draw: Draw) -> np.ndarray:
    samples = _seconds(draw)
    high = np.sin(2 * np.pi * draw.uniform(4, 12) * _time(samples)) > 0
    return _fade(np.tanh(2 * _oscillate(_log_uniform(draw, 400, 1200) * np.where(high, draw.uniform(1.2, 1.8), 1.0))))


def _vowel(draw: Draw, *, formants_hz: tuple[float, float, float]) -> np.ndarray:
    samples = _seconds(draw)
    pitch_hz = _log_uniform(draw, 90, 280) * 2 ** (_wander(draw, samples, 4) / 12)
    size = draw.uniform(0.95, 1.15)  # length of the vocal tract

    def gain(hertz: np.ndarray) -> np.ndarray:
        peaks = [1 / (1 + ((hertz - size * formant) / 90) ** 2) for formant in formants_hz]
        return peaks[0] + 0.5 * peaks[1] + 0.2 * peaks[2] + 0.01

    return _fade(_buzz(draw, pitch_hz, gain), 0.05)


KINDS: dict[str, tuple[Callable[[Draw], np.ndarray], str]] = {
    "steady tone": (_tone, "One tone holds its pitch."),
    "rising sweep": (lambda draw: _sweep(draw, rising=True), "A tone glides from low to high."),
    "falling sweep": (lambda draw: _sweep(draw, rising=False), "A tone glides from high to low."),
    "two beeps": (lambda draw: _beeps(draw, count=2), "A device beeps twice."),
    "three beeps": (lambda draw: _beeps(draw, count=3), "A device beeps three times."),
    "siren": (_siren, "A siren wails up and down."),
    "warble": (_warble, "An alarm jumps between two pitches."),
    "plucked string": (_pluck, "A string is plucked and fades."),
    "bell": (_bell, "A bell rings out."),
    "knocking": (_knocks, "Somebody knocks on wood."),
    "rain": (_rain, "Rain falls in drops."),
    "engine": (_engine, "An engine idles roughly."),
    "vowel ah": (lambda draw: _vowel(draw, formants_hz=(730, 1090, 2440)), "A voice holds the vowel ah."),
    "vowel ee": (lambda draw: _vowel(draw, formants_hz=(270, 2290, 3010)), "A voice holds the vowel ee."),
}
"""Label -> how it is made, and the sentence about it."""
