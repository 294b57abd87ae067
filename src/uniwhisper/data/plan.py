"""A draw as numbers: which samples of which recordings, how fast, how loud, what noise. No sound is touched here.

The draw decides lengths and answers; what only colours the sound is drawn here, once per example from its own random
stream, by any process. A whole batch of plans is carried out by `resident.ResidentAudio`, where the recordings lie.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.data.config import AugmentConfig
from uniwhisper.data.draws import Draw, Part
from uniwhisper.data.tasks import FORBID

NOISE_KINDS = 5
"""Noise colours: power falls as 1/f**e, e in equal steps from 0 to `resident.MAX_EXPONENT`."""
NOISE_SAMPLES = 1 << 21
"""Samples of each colour that noise and rooms are cut from."""
EQUALIZER_POINTS = 6
_STEPS = ("equalizer", "room", "band", "noise", "gain")


@dataclass(frozen=True, slots=True)
class Plan:
    """One example. Its first part sets the level; each further one lies `level_db` above it in power."""

    draw: Draw
    background: Part | None
    """Another recording behind the example, in samples of the example before its shape is changed."""
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
    coded: bool
    """Whether each recording is taken after a codec (`coded.py`)."""

    @property
    def parts(self) -> tuple[Part, ...]:
        return self.draw.parts if self.background is None else (*self.draw.parts, self.background)

    @property
    def samples(self) -> int:
        """Length of the example."""
        return self.draw.samples


def make_plan(
    draw: Draw,
    stream: np.random.Generator,
    config: AugmentConfig,
    draw_background: Callable[[int, np.random.Generator], Part],
) -> Plan:
    """How the sound of a draw is coloured; nothing that one of its tasks forbids.

    Args:
        draw_background: gives a part of at most so many samples, from the stream.
    """
    # One coin per step, tossed in a fixed order: what a task forbids does not change which other steps happen.
    tosses = stream.random(len(_STEPS)) < [getattr(config, f"{name}_probability") for name in _STEPS]
    chosen = {
        name
        for name, toss in zip(_STEPS, tosses, strict=True)
        if toss and all(task.augment[name] != FORBID for task in draw.tasks)
    }
    equalizer_db = np.zeros(EQUALIZER_POINTS)
    if "equalizer" in chosen:
        equalizer_db = stream.uniform(-config.equalizer_max_db, config.equalizer_max_db, EQUALIZER_POINTS)
    background = None
    if stream.random() < config.background_probability and all(task.augment["noise"] != FORBID for task in draw.tasks):
        background = draw_background(max(part.shift + part.length for part in draw.parts), stream)
    noise_snr_db = stream.uniform(*config.noise_snr_db_range) if "noise" in chosen else np.inf
    noise_kind, noise_first = int(stream.integers(NOISE_KINDS)), int(stream.integers(NOISE_SAMPLES))
    # Where the noise begins is as good as a coin, and nothing else is then drawn otherwise than without codecs.
    coded = noise_first < config.codec_probability * NOISE_SAMPLES
    return Plan(
        draw=draw,
        background=background,
        equalizer_db=equalizer_db,
        noise_snr_db=noise_snr_db,
        noise_kind=noise_kind,
        noise_first=noise_first,
        gain=10 ** (stream.uniform(*config.gain_db_range) / 20) if "gain" in chosen else 1.0,
        room_seconds=stream.uniform(*config.room_seconds_range) if "room" in chosen else 0.0,
        room_db=stream.uniform(*config.room_db_range),
        band_hz=stream.uniform(*config.band_hz_range) if "band" in chosen else SAMPLE_RATE_HZ / 2,
        coded=coded and all(task.augment["codec"] != FORBID for task in draw.tasks),
    )


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
    repeated_B: Tensor
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
    coded_B: Tensor
    """int64, 0 or 1."""

    @classmethod
    def of(cls, plans: Sequence[Plan], place: Callable[[Part], int]) -> "Plans":
        """Stack plans, in their order; `place` gives the index of a part's recording in the resident audio."""
        most = max(len(plan.parts) for plan in plans)
        parts_BK5 = torch.zeros(len(plans), most, 5, dtype=torch.float64)
        for row_K5, plan in zip(parts_BK5, plans, strict=True):
            numbers = [(place(part), part.first, part.length, part.shift, part.level_db) for part in plan.parts]
            row_K5[: len(numbers)] = torch.tensor(numbers, dtype=torch.float64)
        clip_BK, first_BK, length_BK, shift_BK, level_db_BK = parts_BK5.unbind(dim=2)
        shapes = [plan.draw.shape for plan in plans]

        def whole(name: str, of: Sequence = plans) -> Tensor:
            return torch.tensor([getattr(one, name) for one in of], dtype=torch.int64)

        def real(name: str, of: Sequence = plans) -> Tensor:
            return torch.tensor([getattr(one, name) for one in of], dtype=torch.float64)

        return cls(
            clip_BK=clip_BK.long(),
            first_BK=first_BK.long(),
            length_BK=length_BK.long(),
            shift_BK=shift_BK.long(),
            level_db_BK=level_db_BK,
            factor_B=real("factor", shapes),
            crop_first_B=whole("crop_first", shapes),
            voiced_B=whole("voiced", shapes),
            repeated_B=whole("repeated", shapes),
            before_B=whole("before", shapes),
            samples_B=whole("samples"),
            equalizer_db_BE=torch.from_numpy(np.stack([plan.equalizer_db for plan in plans])),
            band_hz_B=real("band_hz"),
            room_seconds_B=real("room_seconds"),
            room_db_B=real("room_db"),
            noise_snr_db_B=real("noise_snr_db"),
            noise_kind_B=whole("noise_kind"),
            noise_first_B=whole("noise_first"),
            gain_B=real("gain"),
            coded_B=whole("coded"),
        )

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}
