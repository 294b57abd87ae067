"""Numbers for making a training clip: which recordings, how fast, how loud, what noise. No sound is touched here.

A plan is drawn once per example from its own random stream, by any process, and carried out for a whole batch at once
by `resident.ResidentAudio`, where the recordings lie. What a task forbids is not planned; what it relabels changes the
answer here. The steps and their order are those of `augment.augment`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from uniwhisper.core.units import SAMPLE_RATE_HZ, WINDOW_SAMPLES
from uniwhisper.data.answer_formats import Value
from uniwhisper.data.answers import SEMITONES_PER_OCTAVE, transpose
from uniwhisper.data.config import AugmentConfig
from uniwhisper.data.tasks import FORBID, RELABEL, Task

NOISE_KINDS = 5
"""Noise colours: power falls as 1/f**e, e in equal steps from 0 to `AugmentConfig.noise_max_exponent`."""
NOISE_SAMPLES = 1 << 21
"""Samples of each colour that noise and rooms are cut from."""
EQUALIZER_POINTS = 6
_STEPS = ("speed", "crop", "silence", "equalizer", "noise", "gain", "room", "band")


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of one recording within an example."""

    clip: int
    """Index of the recording in the resident audio."""
    first: int
    """First sample taken of it."""
    length: int
    """Samples taken of it, at least 1."""
    shift: int = 0
    """Samples of the example, before any change of speed, that come before it."""
    level_db: float = 0.0
    """Power over that of the example's first part, after both were brought to equal power; unused for the first."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One example: its parts, then what is done to their sum."""

    parts: tuple[Part, ...]
    factor: float
    """Playback rate, pitch included."""
    crop_first: int
    """Samples cut off the front, after the change of speed."""
    voiced: int
    """Samples kept from there."""
    before: int
    behind: int
    """Zeros before and behind."""
    equalizer_db: np.ndarray
    """(EQUALIZER_POINTS,) boosts at points even in log frequency; zeros: none."""
    band_hz: float
    """Everything above is cut; half the sample rate: nothing."""
    room_seconds: float
    """Time in which the room's echo falls by 60 dB; 0: no room."""
    room_db: float
    """Power of the echo over that of the direct sound."""
    noise_snr_db: float
    """Power of the clip over that of the noise; infinity: no noise."""
    noise_kind: int
    noise_first: int
    """Where in the bank of noise the noise begins; the room's echo begins there too."""
    gain: float
    """Amplitude."""

    @property
    def samples(self) -> int:
        """Length of the example."""
        return self.before + self.voiced + self.behind


def make_plan(
    parts: Sequence[Part], task: Task, value: Value, stream: np.random.Generator, config: AugmentConfig
) -> tuple[Plan, Value]:
    """What to do to these parts for a question of `task`, and the value that is true of the result."""
    # One coin per step, tossed in a fixed order: what a task forbids does not change which other steps happen.
    chances = [getattr(config, f"{name}_probability") for name in _STEPS]
    tosses = stream.random(len(_STEPS)) < chances
    wanted = {name for name, toss in zip(_STEPS, tosses, strict=True) if toss}
    asked = {"room": "equalizer", "band": "equalizer"}
    chosen = {name for name in wanted if task.augment[asked.get(name, name)] != FORBID}
    length = max(part.shift + part.length for part in parts)

    factor = 1.0
    if "speed" in chosen and task.augment["speed"] == RELABEL:
        semitones = int(stream.integers(-config.speed_semitones, config.speed_semitones + 1))
        if 1 <= length / 2 ** (semitones / SEMITONES_PER_OCTAVE) < WINDOW_SAMPLES:
            factor, value = 2 ** (semitones / SEMITONES_PER_OCTAVE), transpose(value, semitones)
    elif "speed" in chosen:
        drawn = stream.uniform(*config.speed_range)
        factor = drawn if 1 <= length / drawn < WINDOW_SAMPLES else 1.0
    length = max(1, int(length / factor))

    crop_first, voiced = 0, length
    if "crop" in chosen:
        least = max(1, int(config.crop_min_seconds * SAMPLE_RATE_HZ))
        voiced = min(length, max(least, int(length * stream.uniform(*config.crop_keep_range))))
        crop_first = int(stream.integers(length - voiced + 1))
    before = behind = 0
    if "silence" in chosen:
        room = (WINDOW_SAMPLES - voiced) // 2
        before, behind = (
            int(part) for part in stream.random(2) * min(room, config.silence_max_seconds * SAMPLE_RATE_HZ)
        )
    equalizer_db = np.zeros(EQUALIZER_POINTS)
    if "equalizer" in chosen:
        equalizer_db = stream.uniform(-config.equalizer_max_db, config.equalizer_max_db, EQUALIZER_POINTS)
    plan = Plan(
        parts=tuple(parts),
        factor=factor,
        crop_first=crop_first,
        voiced=voiced,
        before=before,
        behind=behind,
        equalizer_db=equalizer_db,
        noise_snr_db=stream.uniform(*config.noise_snr_db_range) if "noise" in chosen else np.inf,
        noise_kind=int(stream.integers(NOISE_KINDS)),
        noise_first=int(stream.integers(NOISE_SAMPLES)),
        gain=10 ** (stream.uniform(*config.gain_db_range) / 20) if "gain" in chosen else 1.0,
        room_seconds=stream.uniform(*config.room_seconds_range) if "room" in chosen else 0.0,
        room_db=stream.uniform(*config.room_db_range),
        band_hz=stream.uniform(*config.band_hz_range) if "band" in chosen else SAMPLE_RATE_HZ / 2,
    )
    return plan, value


@dataclass(frozen=True, slots=True)
class Plans:
    """The plans of a batch as tensors on the CPU, padded to the largest number of parts."""

    clip_BK: Tensor
    first_BK: Tensor
    length_BK: Tensor
    """int64; 0: no such part."""
    shift_BK: Tensor
    level_db_BK: Tensor
    factor_B: Tensor
    """float64, as all that is not counted in samples."""
    crop_first_B: Tensor
    voiced_B: Tensor
    before_B: Tensor
    samples_B: Tensor
    """int64: length of each example."""
    equalizer_db_BE: Tensor
    band_hz_B: Tensor
    room_seconds_B: Tensor
    room_db_B: Tensor
    noise_snr_db_B: Tensor
    noise_kind_B: Tensor
    noise_first_B: Tensor
    gain_B: Tensor

    @classmethod
    def of(cls, plans: Sequence[Plan]) -> "Plans":
        """Stack plans, in their order."""
        most = max(len(plan.parts) for plan in plans)
        nothing = Part(clip=0, first=0, length=0)
        rows = [[*plan.parts, *[nothing] * (most - len(plan.parts))] for plan in plans]

        def of_parts(name: str) -> Tensor:
            return torch.tensor([[getattr(part, name) for part in row] for row in rows])

        def of_plans(name: str, dtype: torch.dtype = torch.float64) -> Tensor:
            return torch.tensor([getattr(plan, name) for plan in plans], dtype=dtype)

        return cls(
            clip_BK=of_parts("clip"),
            first_BK=of_parts("first"),
            length_BK=of_parts("length"),
            shift_BK=of_parts("shift"),
            level_db_BK=of_parts("level_db").double(),
            factor_B=of_plans("factor"),
            crop_first_B=of_plans("crop_first", torch.int64),
            voiced_B=of_plans("voiced", torch.int64),
            before_B=of_plans("before", torch.int64),
            samples_B=of_plans("samples", torch.int64),
            equalizer_db_BE=torch.from_numpy(np.stack([plan.equalizer_db for plan in plans])),
            band_hz_B=of_plans("band_hz"),
            room_seconds_B=of_plans("room_seconds"),
            room_db_B=of_plans("room_db"),
            noise_snr_db_B=of_plans("noise_snr_db"),
            noise_kind_B=of_plans("noise_kind", torch.int64),
            noise_first_B=of_plans("noise_first", torch.int64),
            gain_B=of_plans("gain"),
        )

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}
