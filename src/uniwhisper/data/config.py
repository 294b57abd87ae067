"""What a recipe says about data. Frozen, checked when made, without side effects."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from uniwhisper.core.errors import RecipeError
from uniwhisper.core.units import SAMPLE_RATE_HZ, WINDOW_SECONDS
from uniwhisper.data.corpora import DOMAINS
from uniwhisper.data.tasks import all_tasks

HOLDOUT_FOLDS = 20
"""Content folds of which the first is kept for validation. The shipped suite `dev` scores the same fold of as many, so
that a recipe that says nothing else has never trained on the files that `dev` asks about; a corpus with the same
recordings in other files is named in the suite, and refused there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentConfig:
    """How often and how far training clips are altered. `*_probability` is per clip whose task allows the step."""

    speed_probability: float = 0.3
    speed_range: tuple[float, float] = (0.9, 1.1)
    """Playback rate, pitch included. Where a task forbids `speed` but not `pitch`, semitones are drawn instead."""
    speed_semitones: int = 3
    """Largest shift, up or down, in whole semitones."""
    crop_probability: float = 0.3
    crop_keep_range: tuple[float, float] = (0.6, 1.0)
    """Fraction of the clip that stays."""
    crop_min_seconds: float = 0.5
    """Clips are never cropped below this."""
    repeat_probability: float = 0.0
    """Repeating what is kept, end to end, so that a set of short clips gives long ones."""
    repeat_max_seconds: float = 30.0
    """Longest clip that repeating makes; lengths are drawn evenly in their logarithm, from the clip's own."""
    silence_probability: float = 0.3
    silence_max_seconds: float = 0.3
    """Most digital silence put before, and most put behind, a clip."""
    equalizer_probability: float = 0.3
    equalizer_max_db: float = 9.0
    """Largest boost or cut at any frequency."""
    noise_probability: float = 0.3
    noise_snr_db_range: tuple[float, float] = (5.0, 35.0)
    """Power of the whole clip over power of the noise."""
    noise_max_exponent: float = 2.0
    """Noise power falls as 1/f**e, e uniform from 0 (white) to this (2: brown)."""
    gain_probability: float = 0.5
    gain_db_range: tuple[float, float] = (-12.0, 6.0)
    room_probability: float = 0.0
    """Echo of a room."""
    room_seconds_range: tuple[float, float] = (0.1, 0.6)
    """Time in which the echo falls by 60 dB."""
    room_db_range: tuple[float, float] = (-15.0, 0.0)
    """Power of the echo over that of the direct sound."""
    background_probability: float = 0.0
    """Another recording, quieter, behind the clip; allowed where noise is. Only for audio resident on a device."""
    background_db_range: tuple[float, float] = (-20.0, -6.0)
    """Power of the background over that of the clip, both where they sound."""
    band_probability: float = 0.0
    """Cut of everything above a frequency, as narrow-band recordings have it."""
    band_hz_range: tuple[float, float] = (2500.0, 7500.0)
    codec_probability: float = 0.0
    """Encoding with loss (Opus, Vorbis, telephone), and decoding again. Of audio resident on a device, each recording
    by a codec that its content decides, before anything else is done to it."""
    mix_db_range: tuple[float, float] = (-6.0, 6.0)
    """Level of each further clip over the first, after all were brought to equal power."""
    time_masks: int = 2
    """Most time masks per clip; the number is uniform from 0. SpecAugment: Park et al., 2019."""
    time_mask_max_mels: int = 30
    """Widest time mask; no mask covers more than a tenth of its clip."""
    frequency_masks: int = 2
    """Most frequency masks per clip; the number is uniform from 0."""
    frequency_mask_max_bins: int = 16
    """Widest frequency mask."""

    def __post_init__(self) -> None:
        for name in (
            "speed",
            "crop",
            "repeat",
            "silence",
            "equalizer",
            "room",
            "band",
            "codec",
            "noise",
            "gain",
            "background",
        ):
            value = getattr(self, f"{name}_probability")
            _require(_number(value) and 0 <= value <= 1, f"augment.{name}_probability", "from 0 to 1", value)
        for name in (
            "speed_range", "crop_keep_range", "noise_snr_db_range", "gain_db_range", "mix_db_range",
            "room_seconds_range", "room_db_range", "band_hz_range", "background_db_range",
        ):  # fmt: skip
            value = getattr(self, name)
            _require(_interval(value), f"augment.{name}", "two numbers, low <= high", value)
        _require(
            self.speed_range[0] >= 0.5 and self.speed_range[1] <= 2, "augment.speed_range", "0.5 to 2", self.speed_range
        )
        low, high = self.crop_keep_range
        _require(low > 0 and high <= 1, "augment.crop_keep_range", "above 0, to 1", self.crop_keep_range)
        for name in (
            "speed_semitones", "crop_min_seconds", "repeat_max_seconds", "silence_max_seconds", "equalizer_max_db",
            "noise_max_exponent", "time_masks", "time_mask_max_mels", "frequency_masks", "frequency_mask_max_bins",
        ):  # fmt: skip
            value = getattr(self, name)
            _require(_number(value) and value >= 0, f"augment.{name}", "a number >= 0", value)
        most = self.repeat_max_seconds
        _require(most <= WINDOW_SECONDS, "augment.repeat_max_seconds", f"at most one window ({WINDOW_SECONDS})", most)
        _require(self.speed_semitones <= 12, "augment.speed_semitones", "at most an octave", self.speed_semitones)


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """Which clips a step draws and what is done to them."""

    clips_per_step: int | None = None
    """Clips of one optimizer step, over all ranks and micro-batches; None: as many as `seconds_per_step` allows."""
    seconds_per_step: float | None = None
    """Most seconds of a step, padding included, where a text token counts as long as an audio token; None: no limit,
    but `clips_per_step`."""
    audio_seconds_per_step: float | None = None
    """Audio of a step on average, padding not counted: runs on different clips hear equally much in equally many
    steps. Within a group, steps have equally many clips."""
    tasks: tuple[str, ...] | None = None
    """What is asked; None: everything that a clip can answer. A clip must be able to answer one of them alone."""
    training_share: float = 1.0
    """Part of the clips that is trained on, decided by their content: a smaller share lies within a larger one."""
    questions_per_clip: int = 1
    """Most questions asked about one encoded clip; a clip that can answer fewer is asked fewer."""
    domain_weights: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(DOMAINS, 1.0))
    """Relative probability of each domain; domains with weight 0 or not named are not drawn."""
    corpus_temperature: float = 0.5
    """A corpus is drawn in proportion to clips ** temperature within its domain: 1 as it lies, 0 all alike."""
    corpus_weights: Mapping[str, float] = field(default_factory=dict)
    """Factors on a corpus's share of its domain; 1 for corpora not named, 0 leaves one out."""
    max_seconds: float = 12.0
    """Longer clips are cropped at random, or not used for tasks that forbid cropping."""
    group_steps: int = 16
    """Steps whose clips are drawn together and sorted by length, so that little is padded."""
    holdout_folds: int | None = HOLDOUT_FOLDS
    """Clips of content fold 0 of this many are kept for validation; None: all are trained on."""
    name_recordings: bool = False
    """Ask for each clip's name, three words made of its content hash: telling recordings apart, whatever was done to
    them, as one more question."""
    mean_share: float = 0.0
    """Share of the questions that are asked of one audio token alone, made of the mean of the clip's frames: what is to
    be read from a clip's vector must then lie in it. Not of tasks whose answer has an order in time."""
    mel_bins: int = 80
    """Height of the spectrogram that frequency masks are drawn for."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        budgets = ("clips_per_step", "seconds_per_step", "audio_seconds_per_step")
        got = tuple(getattr(self, name) for name in budgets)
        one = sum(value is not None for value in got) == 1
        _require(one, "clips_per_step", f"one of {', '.join(budgets)}, the others None", got)
        for name in budgets[1:]:
            value = getattr(self, name)
            _require(value is None or (_number(value) and value > 0), name, "a number > 0", value)
        good = self.tasks is None or (len(self.tasks) > 0 and set(self.tasks) <= set(all_tasks()))
        _require(good, "tasks", f"names from {', '.join(all_tasks())}; or None", self.tasks)
        good = _number(self.training_share) and 0 < self.training_share <= 1
        _require(good, "training_share", "above 0, to 1", self.training_share)
        counts = ("clips_per_step",) if self.clips_per_step is not None else ()
        for name in (*counts, "questions_per_clip", "group_steps", "mel_bins"):
            _require(_count(getattr(self, name), 1), name, "a whole number >= 1", getattr(self, name))
        weights = self.domain_weights
        good = isinstance(weights, Mapping) and set(weights) <= set(DOMAINS)
        _require(good, "domain_weights", f"weights of {DOMAINS} only", weights)
        good = all(_number(weight) and weight >= 0 for weight in weights.values()) and any(weights.values())
        _require(good, "domain_weights", "weights >= 0, one above 0", weights)
        factors = self.corpus_weights
        good = isinstance(factors, Mapping) and all(_number(factor) and factor >= 0 for factor in factors.values())
        _require(good, "corpus_weights", "an object {corpus: factor >= 0}", factors)
        good = _number(self.corpus_temperature) and 0 <= self.corpus_temperature <= 1
        _require(good, "corpus_temperature", "from 0 to 1", self.corpus_temperature)
        good = _number(self.max_seconds) and 1 / SAMPLE_RATE_HZ <= self.max_seconds <= WINDOW_SECONDS
        _require(good, "max_seconds", f"above 0, at most one window ({WINDOW_SECONDS})", self.max_seconds)
        _require(_number(self.mean_share) and 0 <= self.mean_share <= 1, "mean_share", "from 0 to 1", self.mean_share)
        good = self.holdout_folds is None or _count(self.holdout_folds, 2)
        _require(good, "holdout_folds", "a whole number >= 2, or None", self.holdout_folds)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _interval(value: Any) -> bool:
    pair = isinstance(value, Sequence) and len(value) == 2 and all(map(_number, value))
    return pair and value[0] <= value[1]


def _require(good: bool, name: str, expected: str, got: object) -> None:
    if not good:
        raise RecipeError(
            f"data field `{name}`", expected=expected, got=repr(got), fix=f"change `{name}` in the recipe"
        )


NO_AUGMENTATION = AugmentConfig(
    speed_probability=0,
    crop_probability=0,
    repeat_probability=0,
    silence_probability=0,
    equalizer_probability=0,
    noise_probability=0,
    gain_probability=0,
    room_probability=0,
    band_probability=0,
    background_probability=0,
    codec_probability=0,
    time_masks=0,
    frequency_masks=0,
)
