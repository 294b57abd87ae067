"""Augmentation keeps what it says it keeps, relabels by what it did, and never does what a task forbids."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import tone
from uniwhisper.core.errors import RecipeError
from uniwhisper.data import augment as module
from uniwhisper.data.answer_formats import canonical, format_answer
from uniwhisper.data.answers import note_number
from uniwhisper.data.augment import (
    _CODECS,
    COLOURS,
    add_noise,
    add_room,
    apply_shape,
    colour,
    draw_masks,
    encode,
    equalize,
    join,
    limit_band,
)
from uniwhisper.data.config import NO_AUGMENTATION, AugmentConfig, DataConfig
from uniwhisper.data.reshape import Shape, draw_shape, relabel, unchanged
from uniwhisper.data.tasks import STEPS, all_tasks

CONFIG = AugmentConfig()
ALWAYS = dataclasses.replace(
    CONFIG,
    **{f"{name}_probability": 1.0 for name in ("speed", "crop", "repeat", "silence", "equalizer", "noise", "gain")},
    **{f"{name}_probability": 1.0 for name in ("room", "band", "codec")},
)
TASKS = list(all_tasks().values())
seeds = st.integers(0, 2**32)
A_VALUE = {"event_detection": [(0.1, 0.3, "bell")], "note_transcription": [(0.1, 0.3, "A4")], "note": "A4"}


def stream(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def an_answer(task):
    return A_VALUE.get(task.name, canonical(task, task.example))


def loudest_hz(wave: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 1 << 18))
    return float(np.fft.rfftfreq(1 << 18, 1 / 16_000)[spectrum.argmax()])


@settings(max_examples=60, deadline=None)
@given(
    seed=seeds,
    tasks=st.lists(st.sampled_from(TASKS), min_size=1, max_size=3, unique_by=lambda task: task.name),
    samples=st.sampled_from([1, 2, 159, 400, 8_000, 40_001, 480_000]),
)
def test_any_clip_stays_a_clip(seed, tasks, samples):
    """Finite float32 of the planned length, at most a window; the same again for the same stream."""
    wave = stream(seed).standard_normal(samples).astype(np.float32) * 0.1
    before = wave.copy()
    asked = [(task, an_answer(task)) for task in tasks]

    def altered() -> tuple:
        random = stream(seed)
        shape, values = draw_shape(samples, asked, random, ALWAYS)
        return shape, values, colour(apply_shape(wave, shape), tasks, random, ALWAYS)

    shape, values, changed = altered()
    assert changed.dtype == np.float32
    assert changed.shape == (shape.samples,)
    assert 1 <= shape.samples <= 480_000
    assert np.isfinite(changed).all()
    assert np.array_equal(wave, before), "changed in place"
    again = altered()
    assert np.array_equal(changed, again[2]) and values == again[1]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@settings(max_examples=15, deadline=None)
@given(seed=seeds, other=st.sampled_from(TASKS))
def test_each_task_gets_what_it_declares(task, seed, other):
    """A step that any question forbids is never done; an answer moves only where the table says so."""
    tasks = [task, other]
    called = []
    with pytest.MonkeyPatch.context() as patch:
        for name in COLOURS:
            patch.setitem(COLOURS, name, lambda wave, *_, name=name: (called.append(name), wave)[1])
        colour(tone(0.1), tasks, stream(seed), ALWAYS)
    forbidden = {step for step in STEPS for one in tasks if one.augment[step] == "forbid"}
    assert called == [name for name in module.COLOURS if name not in forbidden]

    asked = [(one, an_answer(one)) for one in tasks]
    shape, values = draw_shape(32_000, asked, stream(seed), ALWAYS)
    if "speed" in forbidden:
        assert shape.factor == 1 or ("pitch" not in forbidden and shape.factor == 2 ** (shape.semitones / 12))
    if forbidden >= {"speed", "pitch"}:
        assert shape.factor == 1
    if "crop" in forbidden:
        assert shape.crop_first == 0 and shape.voiced == int(32_000 / shape.factor)
    if "repeat" in forbidden:
        assert shape.repeated == shape.voiced
    if "silence" in forbidden:
        assert shape.before == shape.behind == 0
    for (one, before), after in zip(asked, values, strict=True):
        if "relabel" not in [one.augment[step] for step in ("speed", "pitch", "silence")]:
            assert after == canonical(one, before)


def test_the_tables_say_what_they_must():
    """The truths that a typing error in tasks.json would break."""
    rules = {name: task.augment for name, task in all_tasks().items()}
    kinds = {name: task.answer for name, task in all_tasks().items()}
    assert all(tuple(rule) == STEPS for rule in rules.values())
    voice = {"speaker_sex", "age_group", "emotion", "pronunciation", "spoofing"}
    assert all(rules[name][step] == "forbid" for name in voice for step in ("speed", "pitch"))
    for name, kind in kinds.items():
        # What names a pitch cannot follow a free factor; what names a time or tempo can.
        wanted = {"note": ("forbid", "relabel"), "key": ("forbid", "relabel"), "notes": ("forbid", "relabel"),
                  "tempo": ("relabel", "relabel"), "events": ("relabel", "relabel")}.get(kind)  # fmt: skip
        if wanted is not None:
            assert (rules[name]["speed"], rules[name]["pitch"]) == wanted, name
        else:
            assert "relabel" not in {rules[name][step] for step in STEPS[1:]}, name
        if kind in ("events", "notes"):
            assert rules[name]["silence"] == "relabel" and rules[name]["crop"] == "forbid"
    whole = {"transcription", "speech_translation", "keyword", "digit", "intent", "sound_tags", "count"}
    assert all(rules[name]["crop"] == "forbid" for name in whole)
    # Twice the words, events or notes are another answer, and a beat stumbles at the seam.
    once = {"text", "events", "notes", "sequence", "either", "tempo"}
    again = {name for name, rule in rules.items() if rule["repeat"] == "keep"}
    assert not again & {name for name, task in all_tasks().items() if task.ordered or name == "count"}
    assert {name for name in again if kinds[name] in once} == {
        "speaker", "caption", "music_caption", "recording", "spectrum",
    }  # fmt: skip
    mixed = {name for name, task in all_tasks().items() if task.made}
    assert {name for name, rule in rules.items() if rule["mix"] == "relabel"} == mixed
    # A crop after clips were put together could cut one of them out, and its answer would stay.
    assert all(rules[name]["crop"] == "forbid" for name in mixed)


@settings(max_examples=30, deadline=None)
@given(seed=seeds)
def test_a_relabelled_note_is_the_note_that_sounds(seed):
    """The tone that comes out, measured, is the pitch that the new answer names."""
    config = dataclasses.replace(NO_AUGMENTATION, speed_probability=1)
    shape, (answer,) = draw_shape(16_000, [(all_tasks()["note"], "A4")], stream(seed), config)
    wave = apply_shape(tone(1.0, 440.0), shape)
    assert abs(note_number(answer) - 69) <= CONFIG.speed_semitones
    assert loudest_hz(wave) == pytest.approx(440 * 2 ** ((note_number(answer) - 69) / 12), rel=0.003)


def test_every_semitone_of_the_range_is_drawn():
    config = dataclasses.replace(NO_AUGMENTATION, speed_probability=1)
    asked = [(all_tasks()["note"], "A4")]
    drawn = {draw_shape(1_600, asked, stream(seed), config)[0].semitones for seed in range(200)}
    assert drawn == set(range(-CONFIG.speed_semitones, CONFIG.speed_semitones + 1))


def test_a_note_that_cannot_be_slowed_keeps_its_name():
    """A whole window slowed down would not fit; then neither sound nor answer moves."""
    config = dataclasses.replace(NO_AUGMENTATION, speed_probability=1)
    for seed in range(20):
        shape, (answer,) = draw_shape(480_000, [(all_tasks()["note"], "A4")], stream(seed), config)
        assert shape.semitones >= 0
        assert note_number(answer) == 69 + shape.semitones
        assert shape.samples <= 480_000


@settings(max_examples=40, deadline=None)
@given(seed=seeds, start=st.floats(0, 0.8), length=st.floats(0.05, 0.5))
def test_relabelled_times_are_when_the_sound_is_heard(seed, start, length):
    """A burst of noise in silence, stretched and padded: the answer's times are those of the burst that comes out."""
    first, last = round(start * 16_000), round((start + length) * 16_000)
    wave = np.zeros(24_000, np.float32)
    wave[first:last] = stream(1).standard_normal(last - first).astype(np.float32)
    config = dataclasses.replace(NO_AUGMENTATION, speed_probability=1, silence_probability=1)
    asked = [(all_tasks()["event_detection"], [(first / 16_000, last / 16_000, "noise")])]
    shape, (((begin, end, label),),) = draw_shape(len(wave), asked, stream(seed), config)
    heard = np.flatnonzero(np.abs(apply_shape(wave, shape)) > 0.3) / 16_000
    assert label == "noise"
    assert begin == pytest.approx(heard[0], abs=0.015)
    assert end == pytest.approx(heard[-1], abs=0.015)


@pytest.mark.parametrize(
    ("task", "value", "factor", "semitones", "before", "after"),
    [
        ("tempo", 120, 1.1, 0, 0, "132 BPM"),
        ("tempo", 120, 2 ** (-1 / 12), -1, 800, "113 BPM"),
        ("key", "A minor", 2 ** (3 / 12), 3, 0, "C minor"),
        ("key", "C major", 2 ** (-1 / 12), -1, 0, "B major"),
        ("event_detection", [(1.0, 2.2, "bell")], 1.1, 0, 1600, "1.00-2.10 bell"),
        ("note_transcription", [(0.0, 1.0, "B3")], 2.0, 12, 800, "0.06-0.56 B4"),
        ("caption", "rain", 1.1, 0, 1600, "rain"),
    ],
)
def test_answers_after_a_change_of_shape_by_hand(task, value, factor, semitones, before, after):
    shape = Shape(factor, semitones, 0, 1000, 1000, before, 0)
    task = all_tasks()[task]
    written = format_answer(task, relabel(task, value, shape))
    # 50 ms is two and a half frames: half a frame is rounded up.
    assert written == after


def test_a_tempo_that_would_leave_its_range_keeps_sound_and_answer():
    config = dataclasses.replace(NO_AUGMENTATION, speed_probability=1, speed_range=(1.5, 1.5))
    shape, (tempo,) = draw_shape(16_000, [(all_tasks()["tempo"], 390)], stream(), config)
    assert (shape, tempo) == (unchanged(16_000), 390)


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


@pytest.mark.parametrize(("function", "name"), [(add_room, "room"), (limit_band, "band"), (encode, "codec")])
@settings(max_examples=20, deadline=None)
@given(seed=seeds, samples=st.sampled_from([1, 7, 400, 16_001]))
def test_channels_keep_the_length_and_stay_finite(function, name, seed, samples):
    assert COLOURS[name] is function
    wave = stream(seed).standard_normal(samples).astype(np.float32) * 0.1
    heard = function(wave, stream(seed), CONFIG)
    assert heard.shape == wave.shape and heard.dtype == np.float32 and np.isfinite(heard).all()


def test_a_room_echoes_at_its_level_and_dies_in_its_time():
    """A click: its own sample stays; the echo has the drawn energy and has fallen by 60 dB after the drawn time."""
    config = dataclasses.replace(CONFIG, room_seconds_range=(0.4, 0.4), room_db_range=(-6, -6))
    click = np.zeros(16_000, np.float32)
    click[100] = 1
    echo = add_room(click, stream(), config) - click
    assert np.abs(echo[:101]).max() < 1e-6
    assert 10 * np.log10(np.sum(echo**2)) == pytest.approx(-6, abs=0.05)
    assert np.abs(echo[101 + 6_400 :]).max() < 1e-6
    early, late = (np.sqrt(np.mean(echo[101 + first :][:640] ** 2)) for first in (0, 3_200))
    assert 20 * np.log10(early / late) == pytest.approx(30, abs=2), "half the time: 30 dB"


def test_a_band_limit_takes_what_is_above_and_nothing_below():
    config = dataclasses.replace(CONFIG, band_hz_range=(3_000, 3_000))
    low, high = tone(1.0, 2_000.0), tone(1.0, 5_000.0)
    heard = limit_band(low + high, stream(), config)[1_000:-1_000]
    assert np.abs(heard - low[1_000:-1_000]).max() < 0.01


def test_codecs_are_lossy_and_still_the_same_sound():
    """Each of them is drawn; what comes out is close to what went in, and not the same."""
    wave = tone(1.0, 500.0) * np.hanning(16_000).astype(np.float32)
    spread = set()
    for seed in range(24):
        heard = encode(wave, stream(seed), CONFIG)
        error = np.sum((heard - wave) ** 2) / np.sum(wave**2)
        assert 0 < error < 0.3
        spread.add(round(float(error), 6))
    assert len(spread) > 4


@pytest.mark.parametrize(("container", "encoding", "rate_hz"), _CODECS)
@pytest.mark.parametrize("seconds", [0.0001, 140.0])
def test_a_codec_takes_any_length(container, encoding, rate_hz, seconds):
    """In a process of its own: two minutes and more were too much for its stack."""
    code = (
        "import sys, numpy as np; from uniwhisper.data.augment import through_codec;"
        "w = np.random.default_rng(0).normal(0, 0.1, round(float(sys.argv[4]) * 16000)).astype(np.float32);"
        "h = through_codec(w, sys.argv[1], sys.argv[2], int(sys.argv[3]), level=0.8);"
        "assert h.shape == w.shape and np.isfinite(h).all()"
    )
    done = subprocess.run([sys.executable, "-c", code, container, encoding, str(rate_hz), str(seconds)])
    assert done.returncode == 0


def test_crop_and_silence_only_cut_and_only_pad():
    wave = np.arange(1, 16_001, dtype=np.float32)
    config = dataclasses.replace(NO_AUGMENTATION, crop_probability=1, silence_probability=1)
    asked = [(all_tasks()["caption"], "rain")]
    for seed in range(20):
        shape, _ = draw_shape(16_000, asked, stream(seed), config)
        padded = apply_shape(wave, shape)
        part = padded[padded != 0]
        assert 0.6 * 16_000 - 1 <= len(part) <= 16_000
        assert np.array_equal(part, wave[int(part[0]) - 1 :][: len(part)])
        assert len(padded) <= 16_000 + 2 * 0.3 * 16_000
    short = dataclasses.replace(config, silence_probability=0)
    assert draw_shape(4_000, asked, stream(), short)[0] == unchanged(4_000), "already at the shortest"


def test_repeating_only_repeats_and_is_spread_evenly_over_the_octaves_of_length():
    wave = np.arange(1, 8_001, dtype=np.float32)
    config = dataclasses.replace(NO_AUGMENTATION, repeat_probability=1, repeat_max_seconds=8.0)
    asked = [(all_tasks()["caption"], "rain")]
    lengths = []
    for seed in range(400):
        shape, values = draw_shape(8_000, asked, stream(seed), config)
        longer = apply_shape(wave, shape)
        assert values == ["rain"] and len(longer) == shape.samples <= 8 * 16_000
        assert np.array_equal(longer, wave[np.arange(len(longer)) % 8_000])
        lengths.append(len(longer))
    # From half a second to eight are four octaves.
    octaves = np.histogram(np.log2(np.array(lengths) / 8_000), bins=4, range=(0, 4))[0]
    assert octaves.sum() == 400 and octaves.min() > 70 and octaves.max() < 130
    longest = dataclasses.replace(config, repeat_max_seconds=0.2)
    assert draw_shape(8_000, asked, stream(), longest)[0] == unchanged(8_000), "longer than it makes"


def test_a_recipe_that_repeats_nothing_draws_what_it_drew_before_there_was_repeating():
    """By hand: three coins, then what each step draws, in this order."""
    config = dataclasses.replace(NO_AUGMENTATION, crop_probability=1, silence_probability=1)
    shape, _ = draw_shape(16_000, [(all_tasks()["caption"], "rain")], stream(5), config)
    drawn = stream(5)
    drawn.random(3)
    voiced = int(16_000 * drawn.uniform(*config.crop_keep_range))
    first = int(drawn.integers(16_000 - voiced + 1))
    before, behind = (int(part) for part in drawn.random(2) * config.silence_max_seconds * 16_000)
    assert shape == Shape(1.0, 0, first, voiced, voiced, before, behind)


@pytest.mark.parametrize("lengths", [(16_000, 4_000), (4_000, 16_000), (5_000, 5_000)])
def test_sounds_are_joined_at_the_level_and_place_that_were_drawn(lengths):
    one, other = (tone(n / 16_000, hz, 0.1) for n, hz in zip(lengths, (400, 3000), strict=True))
    joined = join([one, other], [0, 1_000], [0.0, 3.0])
    assert len(joined) == max(len(one), 1_000 + len(other))
    rest = joined.copy()
    rest[: len(one)] -= one
    assert not rest[:1_000].any()
    assert 10 * np.log10(np.sum(rest**2) / len(other) / np.mean(one**2)) == pytest.approx(3, abs=0.1)


def test_joining_with_silence_changes_nothing_and_loud_sums_are_brought_down():
    silent = np.zeros(8_000, np.float32)
    assert np.array_equal(join([tone(1.0), silent], [0, 0], [0.0, 6.0]), tone(1.0))
    assert np.array_equal(join([tone(1.0)], [0], [0.0]), tone(1.0))
    loud = join([tone(1.0, amplitude=0.9), tone(1.0, amplitude=0.9)], [0, 0], [0.0, 6.0])
    assert np.abs(loud).max() == pytest.approx(1)


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
    for task in TASKS:
        shape, (value,) = draw_shape(4_800, [(task, an_answer(task))], stream(), NO_AUGMENTATION)
        assert shape == unchanged(4_800)
        assert value == canonical(task, an_answer(task))
        wave = colour(apply_shape(tone(0.3), shape), [task], stream(), NO_AUGMENTATION)
        assert np.array_equal(wave, tone(0.3))
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
        (lambda: DataConfig(), "clips_per_step"),
        (lambda: DataConfig(clips_per_step=4, seconds_per_step=10.0), "clips_per_step"),
        (lambda: DataConfig(seconds_per_step=0.0), "seconds_per_step"),
        (lambda: DataConfig(clips_per_step=1, questions_per_clip=0), "questions_per_clip"),
        (lambda: DataConfig(clips_per_step=1, corpus_weights={"a": -1}), "corpus_weights"),
        (lambda: DataConfig(clips_per_step=1, corpus_weights=["a"]), "corpus_weights"),
        (lambda: AugmentConfig(codec_probability=2), "codec_probability"),
        (lambda: AugmentConfig(repeat_probability=2), "repeat_probability"),
        (lambda: AugmentConfig(repeat_max_seconds=31), "repeat_max_seconds"),
        (lambda: AugmentConfig(room_seconds_range=3), "room_seconds_range"),
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
