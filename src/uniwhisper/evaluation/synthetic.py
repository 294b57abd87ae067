"""Audio that the judge makes itself: perturbed channels and mixtures of speakers, the same on every machine.

What decides a sound is the content of its sources and numbers drawn from a stream seeded by that content, never an
order of files; the sound's identity is the hash of both, known before anything is decoded.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uniwhisper.audio.load import AudioSource, read
from uniwhisper.core.identity import hash_json
from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.data.archive import read_member
from uniwhisper.evaluation.rules import Mixtures, Perturbation

# A change in how a sound is made from its numbers must change its identity.
VERSION = 1

EQUALIZER_HZ = (125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 7000.0)
LEVEL_DB = 5.0
"""Voices of a mixture differ by up to this from each other."""
MIXTURE_RMS = 0.05


@dataclass(frozen=True)
class Recorded:
    """Encoded audio inside an archive, or a part of it."""

    sha256: str
    archive: Path
    offset: int
    size: int

    @property
    def content(self) -> str:
        return self.sha256

    def audio(self) -> AudioSource:
        """Raises ManifestError: the archive is missing or shorter than when it was indexed."""
        return read_member(self.archive, self.offset, self.size)


@dataclass(frozen=True)
class Perturbed:
    source: Recorded
    rule: Perturbation

    @property
    def content(self) -> str:
        rule = [self.rule.gain_db, self.rule.equalizer_db]
        return hash_json({"perturbed": VERSION, "source": self.source.content, "rule": rule})

    def audio(self) -> AudioSource:
        """Raises AudioError: the source cannot be decoded."""
        return perturb(read(self.source.audio()), self.rule, seed_of(self.content)), SAMPLE_RATE_HZ


@dataclass(frozen=True)
class Mixed:
    sources: tuple[Recorded, ...]
    seconds: float

    @property
    def content(self) -> str:
        sources = [source.content for source in self.sources]
        return hash_json({"mixed": VERSION, "sources": sources, "seconds": self.seconds})

    def audio(self) -> AudioSource:
        """Raises AudioError: a source cannot be decoded."""
        waves = [read(source.audio()) for source in self.sources]
        return mix(waves, round(self.seconds * SAMPLE_RATE_HZ), seed_of(self.content)), SAMPLE_RATE_HZ


Source = Recorded | Perturbed | Mixed


def seed_of(content: str) -> int:
    return int(content[:16], 16)


def perturb(wave_S: np.ndarray, rule: Perturbation, seed: int) -> np.ndarray:
    """Gain and a smooth equaliser: a normal gain per band, linear between the bands in log frequency; zero phase.

    `wave_S` is float32, mono, 16 kHz, and so is the result; scaled down where it would exceed full scale.
    """
    generator = np.random.default_rng(seed)
    bands_db = generator.normal(0, rule.equalizer_db, len(EQUALIZER_HZ))
    gain_db = generator.uniform(-rule.gain_db, rule.gain_db)
    spectrum_K = np.fft.rfft(wave_S.astype(np.float64))
    frequency_K = np.fft.rfftfreq(len(wave_S), 1 / SAMPLE_RATE_HZ)
    curve_db_K = np.interp(np.log(np.maximum(frequency_K, 1.0)), np.log(EQUALIZER_HZ), bands_db) + gain_db
    changed_S = np.fft.irfft(spectrum_K * 10 ** (curve_db_K / 20), len(wave_S))
    return (changed_S / max(1.0, np.abs(changed_S).max(initial=0.0))).astype(np.float32)


def mix(waves: list[np.ndarray], samples: int, seed: int) -> np.ndarray:
    """Voices (`waves`: each (S,) float32, mono, 16 kHz) of like level, each cut or padded to `samples`, summed.

    The level of the sum is the same whatever the number of voices, so that loudness gives nothing away.
    """
    generator = np.random.default_rng(seed)
    sum_S = np.zeros(samples)
    for wave_S in waves:
        voice_S = wave_S.astype(np.float64) / max(float(np.sqrt(np.mean(np.square(wave_S, dtype=np.float64)))), 1e-6)
        spare = len(voice_S) - samples
        start = int(generator.integers(abs(spare) + 1))
        voice_S = voice_S[start : start + samples] if spare >= 0 else np.pad(voice_S, (start, -spare - start))
        sum_S += voice_S * 10 ** (generator.uniform(-LEVEL_DB / 2, LEVEL_DB / 2) / 20)
    rms = max(float(np.sqrt(np.mean(np.square(sum_S)))), 1e-6)
    scaled_S = sum_S * MIXTURE_RMS / rms
    return (scaled_S / max(1.0, np.abs(scaled_S).max())).astype(np.float32)


def draw_mixtures(
    speakers: dict[str, list[Recorded]], rule: Mixtures
) -> list[tuple[str, dict[str, str], tuple[Recorded, ...]]]:
    """Key, fields (`speakers`: how many, `cell`) and sources of each mixture.

    Speakers are dealt into cells in the order of the hash of their clips, so that neither names nor files decide; all
    speakers of a mixture are of one cell, and differ.

    Raises:
        ValueError: a cell holds fewer speakers than the largest mixture wants.
    """
    clips = {name: sorted(found, key=lambda source: source.content) for name, found in speakers.items()}
    order = sorted(clips, key=lambda name: hash_json([source.content for source in clips[name]]))
    cells = [order[cell :: rule.cells] for cell in range(rule.cells)]
    if min(map(len, cells)) < max(rule.speakers):
        raise ValueError(f"{len(order)} speakers in {rule.cells} cells are too few for {max(rule.speakers)} at once")
    mixtures = []
    for cell, names in enumerate(cells):
        content = hash_json([source.content for name in names for source in clips[name]])
        generator = np.random.default_rng(seed_of(content))
        for count in rule.speakers:
            for number in range(rule.clips):
                chosen = [names[place] for place in generator.choice(len(names), count, replace=False)]
                sources = tuple(clips[name][int(generator.integers(len(clips[name])))] for name in chosen)
                fields = {"speakers": str(count), "cell": str(cell)}
                mixtures.append((f"cell-{cell}-of-{count}-number-{number}", fields, sources))
    return mixtures
