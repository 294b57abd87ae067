"""Augmentation keeps what it says it keeps, relabels by what it did, and never does what a task forbids."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import tone
from uniwhisper.core.errors import RecipeError
from uniwhisper.data import augment as module
from uniwhisper.data.answers import note_number
from uniwhisper.data.augment import (
    add_noise,
    add_silence,
    augment,
    change_pitch,
    crop,
    draw_masks,
    equalize,
    mix,
    random_window,
)
from uniwhisper.data.config import NO_AUGMENTATION, AugmentConfig, DataConfig
from uniwhisper.data.tasks import STEPS, all_tasks

CONFIG = AugmentConfig()
ALWAYS = AugmentConfig(
    speed_probability=1,
    crop_probability=1,
    silence_probability=1,
    equalizer_probability=1,
    noise_probability=1,
    gain_probability=1,
)
TASKS = list(all_tasks().values())
SINGLE = [task for task in TASKS if task.made is None]
seeds = st.integers(0, 2**32)


def stream(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def loudest_hz(wave: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 1 << 18))
    return float(np.fft.rfftfreq(1 << 18, 1 / 16_000)[spectrum.argmax()])


@settings(max_examples=60, deadline=None)
@given(seed=seeds, task=st.sampled_from(TASKS), samples=st.sampled_from([1, 2, 159, 400, 8_000, 40_001, 480_000]))
def test_any_clip_stays_a_clip(seed, task, samples):
    """Finite float32 of at least one sample and at most a window; the same again for the same stream."""
    wave = stream(seed).standard_normal(samples).astype(np.float32) * 0.1
    before = wave.copy()
    altered, answer = augment(wave, task, "A4", stream(seed), ALWAYS)
    again, answer_again = augment(wave, task, "A4", stream(seed), ALWAYS)
    assert altered.dtype == np.float32
    assert altered.ndim == 1
    assert 1 <= len(altered) <= 480_000
    assert np.isfinite(altered).all()
    assert np.array_equal(wave, before), "changed in place"
    assert np.array_equal(altered, again)
    assert answer == answer_again


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@settings(max_examples=25, deadline=None)
@given(seed=seeds)
def test_each_task_gets_what_it_declares(task, seed):
    """Observed at the steps themselves: a forbidden one is never called, the answer moves only where relabelled."""
    called = []
    names = {
        "change_speed": "speed", "change_pitch": "speed", "crop": "crop", "add_silence": "silence",
        "equalize": "equalizer", "add_noise": "noise",
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for function, step in names.items():
            original = getattr(module, function)

            def spy(*arguments, original=original, step=step, function=function):
                called.append((step, function))
                return original(*arguments)

            patch.setattr(module, function, spy)
        _, answer = augment(tone(0.4), task, "A4", stream(seed), ALWAYS)
    steps = {step for step, _ in called}
    assert steps == {step for step in set(names.values()) if task.augment[step] != "forbid"}
    assert ("speed", "change_pitch") in called if task.augment["speed"] == "relabel" else answer == "A4"


def test_the_tables_say_what_they_must():
    """The truths that a typing error in tasks.json would break."""
    rules = {name: task.augment for name, task in all_tasks().items()}
    assert all(tuple(rule) == STEPS for rule in rules.values())
    assert rules["note"]["speed"] == "relabel"
    voice = {"speaker_sex", "age_group", "emotion", "pronunciation", "spoofing"}
    assert voice <= {name for name, rule in rules.items() if rule["speed"] == "forbid"}
    assert not [name for name, task in all_tasks().items() if task.answer == "text" and rules[name]["crop"] == "keep"
                and name not in ("caption", "music_caption")]  # fmt: skip
    assert rules["transcription"]["crop"] == rules["keyword"]["crop"] == "forbid"
    mixed = {name for name, task in all_tasks().items() if task.made}
    assert {name for name, rule in rules.items() if rule["mix"] == "relabel"} == mixed
    # A crop after mixing could cut the shorter clip out, and its answer would stay.
    assert all(rules[name]["crop"] == "forbid" for name in mixed)


@settings(max_examples=30, deadline=None)
@given(seed=seeds)
def test_a_relabelled_note_is_the_note_that_sounds(seed):
    """The tone that comes out, measured, is the pitch that the new answer names."""
    config = AugmentConfig(speed_probability=1, crop_probability=0, silence_probability=0, equalizer_probability=0,
                           noise_probability=0, gain_probability=0)  # fmt: skip
    wave, answer = augment(tone(1.0, 440.0), all_tasks()["note"], "A4", stream(seed), config)
    assert abs(note_number(answer) - 69) <= CONFIG.speed_semitones
    assert loudest_hz(wave) == pytest.approx(440 * 2 ** ((note_number(answer) - 69) / 12), rel=0.003)


def test_every_semitone_of_the_range_is_drawn():
    drawn = {change_pitch(tone(0.1), stream(seed), CONFIG)[1] for seed in range(200)}
    assert drawn == set(range(-CONFIG.speed_semitones, CONFIG.speed_semitones + 1))


def test_a_note_that_cannot_be_slowed_keeps_its_name():
    """A whole window slowed down would not fit; then neither sound nor answer moves."""
    for seed in range(20):
        wave, semitones = change_pitch(np.zeros(480_000, np.float32), stream(seed), CONFIG)
        assert semitones >= 0
        assert len(wave) <= 480_000


def test_noise_has_the_power_that_was_drawn():
    config = AugmentConfig(noise_snr_db_range=(12.0, 12.0))
    wave = tone(2.0)
    for seed in range(5):
        noise = add_noise(wave, stream(seed), config) - wave
        assert 10 * np.log10(np.mean(wave**2) / np.mean(noise**2)) == pytest.approx(12, abs=0.05)
    assert not add_noise(np.zeros(1000, np.float32), stream(), config).any(), "silence has no signal to compare with"


def test_brown_noise_is_darker_than_white():
    """Slope of the measured spectrum: 1/f**2 falls 20 dB a decade."""
    steep = AugmentConfig(noise_max_exponent=2.0)
    quiet = np.full(320_000, 1e-3, np.float32)

    class Steepest:
        """A stream that draws the largest exponent."""

        def __init__(self):
            self.inner = stream(1)

        def uniform(self, _, high):
            return high

        def standard_normal(self, *arguments, **options):
            return self.inner.standard_normal(*arguments, **options)

    noise = add_noise(quiet, Steepest(), steep) - quiet
    power = np.abs(np.fft.rfft(noise)) ** 2
    hertz = np.fft.rfftfreq(len(noise), 1 / 16_000)
    low, high = (power[(hertz > centre * 0.9) & (hertz < centre * 1.1)].mean() for centre in (100, 1000))
    assert 10 * np.log10(low / high) == pytest.approx(20, abs=1.5)


def test_the_equalizer_stays_within_its_decibels_and_its_time():
    click = np.zeros(16_000, np.float32)
    click[8_000] = 1
    for seed in range(10):
        changed = equalize(click, stream(seed), CONFIG)
        decibels = 20 * np.log10(np.abs(np.fft.rfft(changed)) + 1e-9)
        assert np.abs(decibels[100:]).max() <= CONFIG.equalizer_max_db + 0.5
        assert np.ptp(decibels[100:]) > 1, "it did nothing"
        assert np.sum(changed[7_000:9_000] ** 2) > 0.98 * np.sum(changed**2), "it smeared the click"


def test_crop_and_silence_only_cut_and_only_pad():
    wave = np.arange(1, 16_001, dtype=np.float32)
    for seed in range(20):
        part = crop(wave, stream(seed), CONFIG)
        assert 0.6 * 16_000 - 1 <= len(part) <= 16_000
        assert np.array_equal(part, wave[int(part[0]) - 1 :][: len(part)])
        padded = add_silence(wave, stream(seed), CONFIG)
        assert np.array_equal(padded[padded != 0], wave)
        assert len(padded) <= 16_000 + 2 * 0.3 * 16_000
    assert len(crop(wave[:4_000], stream(), CONFIG)) == 4_000, "already at the shortest"


def test_a_window_of_a_long_clip_reaches_both_ends():
    firsts = {int(random_window(np.arange(10), 7, stream(seed))[0]) for seed in range(100)}
    assert firsts == {0, 1, 2, 3}


@pytest.mark.parametrize("lengths", [(16_000, 4_000), (4_000, 16_000), (5_000, 5_000)])
def test_a_mixture_holds_both_clips_at_the_level_that_was_drawn(lengths):
    config = AugmentConfig(mix_db_range=(3.0, 3.0))
    one, other = (tone(n / 16_000, hz, 0.1) for n, hz in zip(lengths, (400, 3000), strict=True))
    mixed = mix(one, other, stream(), config)
    longer, shorter = (one, other) if len(one) >= len(other) else (other, one)
    assert len(mixed) == len(longer)
    rest = mixed - longer
    assert 10 * np.log10(np.sum(rest**2) / len(shorter) / np.mean(longer**2)) == pytest.approx(3, abs=0.1)


def test_mixing_with_silence_changes_nothing():
    silent = np.zeros(8_000, np.float32)
    assert np.array_equal(mix(tone(1.0), silent, stream(), CONFIG), tone(1.0))


@settings(max_examples=100, deadline=None)
@given(seed=seeds, samples=st.integers(1, 480_000), bins=st.sampled_from([80, 128]))
def test_masks_lie_inside_the_clip_and_leave_most_of_it(seed, samples, bins):
    masks = draw_masks(samples, bins, stream(seed), CONFIG)
    mels = -(-samples // 160)
    for ranges, length, most in ((masks.time_mels, mels, mels / 10), (masks.frequency_bins, bins, 16)):
        assert ranges.shape == (len(ranges), 2)
        assert len(ranges) <= 2
        for first, after in ranges:
            assert 0 <= first <= after <= length
            assert after - first <= most


def test_nothing_is_done_where_nothing_is_asked_for():
    for task in SINGLE:
        wave, answer = augment(tone(0.3), task, "A4", stream(), NO_AUGMENTATION)
        assert np.array_equal(wave, tone(0.3))
        assert answer == "A4"
    masks = draw_masks(16_000, 80, stream(), NO_AUGMENTATION)
    assert masks.time_mels.shape == masks.frequency_bins.shape == (0, 2)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: AugmentConfig(gain_probability=1.5), "gain_probability"),
        (lambda: AugmentConfig(speed_range=(1.1, 0.9)), "speed_range"),
        (lambda: AugmentConfig(speed_range=(0.1, 1.0)), "speed_range"),
        (lambda: AugmentConfig(crop_keep_range=(0.0, 1.0)), "crop_keep_range"),
        (lambda: AugmentConfig(time_masks=-1), "time_masks"),
        (lambda: DataConfig(clips_per_step=0), "clips_per_step"),
        (lambda: DataConfig(clips_per_step=1, max_seconds=31), "max_seconds"),
        (lambda: DataConfig(clips_per_step=1, max_seconds=float("nan")), "max_seconds"),
        (lambda: DataConfig(clips_per_step=1, domain_weights={"smell": 1}), "domain_weights"),
        (lambda: DataConfig(clips_per_step=1, domain_weights={"speech": 0}), "domain_weights"),
        (lambda: DataConfig(clips_per_step=1, corpus_temperature=2), "corpus_temperature"),
        (lambda: DataConfig(clips_per_step=1, holdout_folds=1), "holdout_folds"),
        (lambda: AugmentConfig(gain_probability="often"), "gain_probability"),
        (lambda: AugmentConfig(speed_range=[1, 2, 3]), "speed_range"),
        (lambda: AugmentConfig(speed_range=1.0), "speed_range"),
        (lambda: AugmentConfig(gain_db_range=("low", "high")), "gain_db_range"),
        (lambda: AugmentConfig(mix_db_range=(float("nan"), 1.0)), "mix_db_range"),
        (lambda: AugmentConfig(time_masks=None), "time_masks"),
        (lambda: DataConfig(clips_per_step="96"), "clips_per_step"),
        (lambda: DataConfig(clips_per_step=1, group_steps=1.5), "group_steps"),
        (lambda: DataConfig(clips_per_step=1, domain_weights={"sound": "x"}), "domain_weights"),
        (lambda: DataConfig(clips_per_step=1, domain_weights=["sound"]), "domain_weights"),
        (lambda: DataConfig(clips_per_step=1, domain_weights=3), "domain_weights"),
        (lambda: DataConfig(clips_per_step=1, corpus_temperature="hot"), "corpus_temperature"),
        (lambda: DataConfig(clips_per_step=1, max_seconds=None), "max_seconds"),
        (lambda: DataConfig(clips_per_step=1, holdout_folds="20"), "holdout_folds"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused_by_name(make, name):
    with pytest.raises(RecipeError, match=name):
        make()
