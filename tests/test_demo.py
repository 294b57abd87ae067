"""The synthetic sounds are what their labels say, and the demo's pages hold what they promise."""

import json
import tarfile

import numpy as np
import pytest
from conftest import SAMPLE_RATE_HZ

from uniwhisper.demo.corpus import variants, write_corpus
from uniwhisper.demo.synth import KINDS, synthesise


def band_power(wave_S: np.ndarray, low_hz: float, high_hz: float) -> float:
    power = np.abs(np.fft.rfft(wave_S)) ** 2
    frequencies = np.fft.rfftfreq(len(wave_S), 1 / SAMPLE_RATE_HZ)
    return power[(frequencies >= low_hz) & (frequencies < high_hz)].sum()


def loud_stretches(wave_S: np.ndarray, window: int = 400) -> int:
    """How often the level rises above half of its highest value."""
    level = np.sqrt((wave_S[: len(wave_S) // window * window].reshape(-1, window) ** 2).mean(1))
    loud = level > 0.5 * level.max()
    return int(loud[0]) + int((loud[1:] & ~loud[:-1]).sum())


@pytest.mark.parametrize("label", KINDS)
def test_a_sound_is_a_function_of_its_number(label):
    one, again, other = synthesise(label, 3), synthesise(label, 3), synthesise(label, 4)
    np.testing.assert_array_equal(one.wave_S, again.wave_S)
    assert len(one.wave_S) != len(other.wave_S) or np.abs(one.wave_S - other.wave_S).max() > 0.01
    assert not np.array_equal(one.wave_S, synthesise(label, 3, seed=1).wave_S[: len(one.wave_S)])


@pytest.mark.parametrize("label", KINDS)
@pytest.mark.parametrize("variant", range(8))
def test_sounds_are_audio_of_one_to_four_seconds(label, variant):
    sound = synthesise(label, variant)
    assert sound.wave_S.dtype == np.float32 and sound.wave_S.ndim == 1
    assert np.isfinite(sound.wave_S).all() and 0.05 < np.abs(sound.wave_S).max() <= 0.91
    assert 1.0 <= sound.seconds <= 4.01 and sound.seconds == len(sound.wave_S) / SAMPLE_RATE_HZ


@pytest.mark.parametrize("variant", range(8))
def test_sounds_do_what_their_labels_say(variant):
    def peaks(label: str) -> np.ndarray:
        wave_S = synthesise(label, variant).wave_S
        rows = wave_S[: len(wave_S) // 1600 * 1600].reshape(-1, 1600) * np.hanning(1600)
        return np.abs(np.fft.rfft(rows)).argmax(1) * 10.0  # loudest frequency in hertz, every 100 ms

    assert np.ptp(peaks("steady tone")) <= 10
    assert (np.diff(peaks("rising sweep")) >= 0).all() and np.ptp(peaks("rising sweep")) > 100
    assert (np.diff(peaks("falling sweep")) <= 0).all() and np.ptp(peaks("falling sweep")) > 100
    assert loud_stretches(synthesise("two beeps", variant).wave_S) == 2
    assert loud_stretches(synthesise("three beeps", variant).wave_S) == 3
    # The first two formants lie together in "ah" (Peterson and Barney: 730, 1090 Hz), far apart in "ee" (270, 2290).
    for vowel, middle_is_louder in (("ah", True), ("ee", False)):
        wave_S = synthesise(f"vowel {vowel}", variant).wave_S
        assert bool(band_power(wave_S, 600, 1500) > band_power(wave_S, 1900, 3600)) == middle_is_louder
