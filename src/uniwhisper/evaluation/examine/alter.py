"""What is done to a clip to see how its vector holds: noise, gain, codecs, length. The same on every machine.

A condition is written `kind:value`:

    decoded            nothing but decoding to 16 kHz mono, as every other condition begins: the control
    noise:DB           white noise; power of the clip over power of the noise in decibels
    gain:DB            louder or softer; what leaves [-1, 1] is clipped, as a file of integers would
    codec:NAME         through one of `CODECS` at the lowest rate, and back
    length:SECONDS     exactly that long: of a longer clip the loudest stretch, a shorter one repeated end to end
    within:SECONDS     once, at a drawn place, in noise 40 dB below it; a longer clip stays as it is

`length` keeps what is to be heard and changes only how much of it there is; `within` is the other extreme, a short
event in a long recording. The numbers drawn come from a stream seeded by the clip's content and the condition.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from uniwhisper.audio.load import AudioSource, read
from uniwhisper.core.errors import UserError
from uniwhisper.core.identity import hash_file, hash_json
from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.data import augment
from uniwhisper.data.config import AugmentConfig
from uniwhisper.evaluation.synthetic import Source, seed_of

CODECS = {
    "opus": ("OGG", "OPUS", SAMPLE_RATE_HZ, 1.0),
    "vorbis": ("OGG", "VORBIS", SAMPLE_RATE_HZ, 1.0),
    "mp3": ("MP3", "MPEG_LAYER_III", SAMPLE_RATE_HZ, 0.99),  # libsndfile refuses 1.0, which it means to accept
    "gsm": ("WAV", "GSM610", 8_000, 1.0),
}
"""Container, encoding, sample rate, and libsndfile's compression level: the smallest files it makes."""
WITHIN_DB = -40.0
_NUMBERS = {"noise": (-60.0, 100.0), "gain": (-120.0, 60.0), "length": (0.1, 3600.0), "within": (0.1, 3600.0)}
_UNITS = {"noise": "dB", "gain": "dB", "length": "s", "within": "s"}


@dataclass(frozen=True)
class Condition:
    """One way to alter clips; see the top of this file."""

    kind: str
    value: float | str | None

    @property
    def name(self) -> str:
        """What the user types."""
        if self.value is None:
            return self.kind
        return f"{self.kind}:{self.value:g}" if isinstance(self.value, float) else f"{self.kind}:{self.value}"

    @property
    def title(self) -> str:
        """For tables and pictures."""
        if isinstance(self.value, float):
            sign = "+" if self.kind == "gain" and self.value > 0 else ""
            return f"{self.kind} {sign}{self.value:g} {_UNITS[self.kind]}".replace("-", "−")
        return self.kind if self.value is None else str(self.value)


CONTROL = Condition("decoded", None)


def parse_condition(text: str) -> Condition:
    """Raises UserError: `text` is no condition."""
    kind, _, value = text.partition(":")
    if text == CONTROL.name:
        return CONTROL
    if kind == "codec" and value in CODECS:
        return Condition(kind, value)
    if kind in _NUMBERS and re.fullmatch(r"[+-]?\d+([.]\d+)?", value):
        low, high = _NUMBERS[kind]
        if low <= float(value) <= high:
            return Condition(kind, float(value) + 0.0)
    ranges = ", ".join(f"{name}:{low:g} to {high:g}" for name, (low, high) in _NUMBERS.items())
    raise UserError(
        f"no condition {text!r}",
        expected=f"decoded, {ranges}, or codec:{'|'.join(CODECS)}",
        got=text,
        fix="for example --condition noise:10 --condition codec:opus",
    )


DEFAULT = tuple(
    map(
        parse_condition,
        [CONTROL.name, "noise:20", "noise:10", "noise:0", "gain:-20", "gain:10"]
        + [f"codec:{name}" for name in CODECS]
        + [f"length:{seconds}" for seconds in (1, 2, 5, 10, 30, 60)]
        + ["within:10", "within:60"],
    )
)


@dataclass(frozen=True)
class Altered:
    """A clip's sound under a condition."""

    source: Source
    condition: Condition

    @cached_property
    def content(self) -> str:
        """Identity of the sound: what it is made from, and the source of the code that makes it."""
        return hash_json({"altered": _code(), "source": self.source.content, "condition": self.condition.name})

    def audio(self) -> AudioSource:
        """Raises AudioError: the source cannot be decoded."""
        seed = seed_of(hash_json([self.source.content, self.condition.name]))
        return alter(read(self.source.audio()), self.condition, seed), SAMPLE_RATE_HZ


def alter(wave_S: np.ndarray, condition: Condition, seed: int) -> np.ndarray:
    """`wave_S` (S,) float32, mono, 16 kHz, under `condition`, float32; as long as before but for length and within."""
    stream, value = np.random.default_rng(seed), condition.value
    match condition.kind, value:
        case "decoded", _:
            return wave_S
        case "noise", float():
            config = AugmentConfig(noise_snr_db_range=(value, value), noise_max_exponent=0.0)
            return augment.add_noise(wave_S, stream, config)
        case "gain", float():
            config = AugmentConfig(gain_db_range=(value, value))
            return np.clip(augment.change_gain(wave_S, stream, config), -1, 1)
        case "codec", str():
            container, encoding, rate_hz, level = CODECS[value]
            return augment.through_codec(wave_S, container, encoding, rate_hz, level=level)
        case "length", float():
            return _as_long_as(wave_S, round(value * SAMPLE_RATE_HZ))
        case "within", float():
            return _within(wave_S, round(value * SAMPLE_RATE_HZ), stream)
    raise AssertionError(f"no condition {condition}")


def affects(condition: Condition, seconds_N: Sequence[float], peaks_N: Sequence[float]) -> dict[str, int]:
    """How many clips of these lengths and peaks (largest absolute sample) a condition cuts, repeats or clips, …"""
    value = condition.value if isinstance(condition.value, float) else 0.0
    if condition.kind == "gain":
        return {"clipped": sum(peak * augment.amplitude(value) > 1 for peak in peaks_N)}
    if condition.kind == "length":
        return {"cut": sum(each > value for each in seconds_N), "repeated": sum(each < value for each in seconds_N)}
    if condition.kind == "within":
        return {"unchanged": sum(each >= value for each in seconds_N)}
    return {}


def _as_long_as(wave_S: np.ndarray, samples: int) -> np.ndarray:
    if len(wave_S) <= samples:
        return np.resize(wave_S, samples)  # NumPy's function repeats; the array's method would pad
    energy = np.concatenate([[0.0], np.cumsum(np.square(wave_S, dtype=np.float64))])
    start = int(np.argmax(energy[samples:] - energy[:-samples]))
    return wave_S[start : start + samples]


def _within(wave_S: np.ndarray, samples: int, stream: np.random.Generator) -> np.ndarray:
    if len(wave_S) >= samples:
        return wave_S
    level = augment.amplitude(WITHIN_DB) * augment.power(wave_S) ** 0.5
    long_S = np.float32(level) * stream.standard_normal(samples, dtype=np.float32)
    start = int(stream.integers(samples - len(wave_S) + 1))
    long_S[start : start + len(wave_S)] += wave_S
    return long_S


@lru_cache(maxsize=1)
def _code() -> str:
    return "+".join(hash_file(Path(file))[:12] for file in (__file__, augment.__file__))
