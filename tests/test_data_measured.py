"""Answers that are measured: against a second computation, by hand, and through the command line."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from toy_corpora import SOUND, clip, write_corpus
from uniwhisper.cli.data import app
from uniwhisper.data.config import AugmentConfig, DataConfig
from uniwhisper.data.instructions import answers
from uniwhisper.data.manifest import Manifest
from uniwhisper.data.measured import BANDS, FIELDS, spectrum
from uniwhisper.data.mixture import Mixture
from uniwhisper.data.tasks import FORBID, KEEP, all_tasks

RATE_HZ = 16_000


def levels(text: str) -> list[int]:
    return [int(number) for number in text.split(" ")]


def tone(frequency_hz: float, seconds: float = 1.0, size: float = 0.3) -> np.ndarray:
    return (size * np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)).astype(np.float32)


@pytest.mark.parametrize("band", [1, 5, 10, 15])
def test_a_tone_is_strongest_in_the_band_that_holds_it(band):
    # Four of 80 filters make a band; the edges of 80 Slaney filters are 82 points, even on the mel scale.
    def hertz(mel: float) -> float:
        return mel * 200 / 3 if mel < 15 else 1000 * math.exp((mel - 15) * math.log(6.4) / 27)

    top_mel = 15 + 27 * math.log(8) / math.log(6.4)
    middle = top_mel * (4 * band + 2.5) / 81
    found = levels(spectrum(tone(hertz(middle)))[0])
    assert len(found) == BANDS
    assert found[band] == max(found)
    assert found[band] > max(found[: band - 1] + found[band + 2 :])


def test_silence_makes_both_answers_untrue_and_repeating_leaves_the_mean():
    wave = (np.random.default_rng(0).normal(size=2 * RATE_HZ) * 0.05).astype(np.float32) + tone(440, 2.0)
    as_it_is, again, within = (
        [levels(text) for text in spectrum(one)] for one in (wave, np.tile(wave, 3), np.pad(wave, 6 * RATE_HZ))
    )
    assert again[0] == as_it_is[0] and all_tasks()["spectrum"].augment["repeat"] == KEEP
    for place, name in enumerate(FIELDS):
        assert np.abs(np.subtract(within[place], as_it_is[place])).max() > 3
        assert all_tasks()[name].augment["silence"] == FORBID


def test_what_is_written_is_what_transformers_features_say():
    from transformers import WhisperFeatureExtractor

    generator = np.random.default_rng(0)
    seconds = np.arange(3 * RATE_HZ) / RATE_HZ
    compared = 0
    for number in range(8):
        swell = np.abs(np.sin(np.pi * (number + 0.5) * seconds)) ** number
        wave = (generator.normal(size=len(seconds)) * 0.05 * swell).astype(np.float32)
        wave = np.cumsum(wave).astype(np.float32) if number % 2 else wave + tone(150.0 * 2**number % 7000, 3.0)
        mel = WhisperFeatureExtractor()(wave, sampling_rate=RATE_HZ, return_tensors="np").input_features[0, :, :300]
        bands = mel.reshape(BANDS, 4, 300).mean(axis=1)
        expected = 10 * (bands.mean(axis=1) - mel.max() + 2) / 2, 16 * bands.std(axis=1)
        for written, value in zip(spectrum(wave), expected, strict=True):
            # Only where both computations leave no doubt about the whole number.
            sure = np.abs(value - np.rint(value)) > 0.01
            compared += sure.sum()
            assert np.array(levels(written))[sure].tolist() == np.clip(np.floor(value[sure]), 0, 9).astype(int).tolist()
    assert compared > 0.9 * 8 * 2 * BANDS


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), gain=st.floats(0.05, 1.0), samples=st.integers(1, 20_000))
def test_how_loud_it_is_played_changes_nothing(seed, gain, samples):
    wave = np.random.default_rng(seed).normal(size=samples).astype(np.float32)
    for mine, other in zip(spectrum(wave), spectrum(wave * np.float32(gain)), strict=True):
        assert np.abs(np.subtract(levels(mine), levels(other))).max() <= 1  # a value at an edge may be rounded over it


def test_silence_and_one_sample_have_answers():
    assert spectrum(np.zeros(RATE_HZ, np.float32))[1] == " ".join("0" * BANDS)
    assert len(levels(spectrum(np.ones(1, np.float32))[0])) == BANDS


def test_on_and_off_varies_more_than_a_steady_tone():
    steady = tone(500, 2.0)
    switched = steady * (np.arange(len(steady)) // 4000 % 2)
    assert max(levels(spectrum(switched)[1])) >= max(levels(spectrum(steady)[1])) + 5
    # Half the frames at the floor and half near the top: a deviation of about 1, sixteen levels, of which 9 is told.
    assert max(levels(spectrum(switched)[1])) == 9


def test_a_measured_manifest_is_asked_for_it_and_keeps_the_rest(tmp_path):
    members = [
        part
        for number in range(12)
        for part in clip(f"c{number}", {"caption": f"tone {number}", "label": "tone"}, 1.0, 200.0 * (number + 1))
    ]
    write_corpus(tmp_path / "corpora" / "tones", SOUND, members)
    run = CliRunner().invoke
    assert run(app, ["prepare", str(tmp_path / "corpora"), "-o", str(tmp_path / "prepared")]).exit_code == 0
    arguments = ["measure", str(tmp_path / "prepared"), "-o", str(tmp_path / "measured")]
    result = run(app, [*arguments, "--cache", str(tmp_path / "cache"), "--json"])
    assert result.exit_code == 0, result.output
    before, after = (Manifest.read(tmp_path / name) for name in ("prepared", "measured"))
    assert json.loads(result.stdout)["hash"] == after.hash != before.hash
    for old, new in zip(before.records, after.records, strict=True):
        found = answers(after, new)
        assert {name: found.pop(name) for name in FIELDS} == dict(
            zip(FIELDS, spectrum(tone(200.0 * (int(new.id.rpartition("c")[2]) + 1))), strict=True)
        )
        assert found == answers(before, old)
        assert old.sha256 == new.sha256
    assert run(app, arguments).exit_code != 0  # the output exists
    with pytest.raises(ValueError, match="cannot be measured"):
        run(app, ["measure", str(tmp_path / "measured"), "-o", str(tmp_path / "twice")], catch_exceptions=False)
    assert not list(tmp_path.glob("twice/*"))

    always = AugmentConfig(
        speed_probability=1.0, equalizer_probability=1.0, room_probability=1.0, noise_probability=1.0
    )
    config = DataConfig(
        clips_per_step=32, group_steps=2, domain_weights={"sound": 1.0}, holdout_folds=None, augment=always
    )
    asked = [(question.task, draw) for draw in Mixture([after], config, 0).step(0) for question in draw.questions]
    assert {"spectrum", "caption"} <= {task for task, _ in asked}
    for task, draw in asked:
        if task == "spectrum":
            assert draw.shape.factor == 1
