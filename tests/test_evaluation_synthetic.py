"""Audio that the judge makes: deterministic, its numbers heard in the sound, and speakers kept apart."""

import hashlib
import io
import json

import numpy as np
import pytest
import soundfile

from conftest import SAMPLE_RATE_HZ, tone
from test_evaluation_run import suite_content, write_tar
from uniwhisper.evaluation.clips import find_clips
from uniwhisper.evaluation.rules import Mixtures, Perturbation
from uniwhisper.evaluation.suites import SuiteError, load_suite
from uniwhisper.evaluation.synthetic import EQUALIZER_HZ, MIXTURE_RMS, Recorded, draw_mixtures, mix, perturb


def rms(wave) -> float:
    return float(np.sqrt(np.mean(np.square(wave.astype(np.float64)))))


def test_gain_alone_scales():
    wave = tone(0.5, amplitude=0.1)
    changed = perturb(wave, Perturbation(gain_db=12, equalizer_db=0), seed=3)
    ratio_db = 20 * np.log10(rms(changed) / rms(wave))
    assert abs(ratio_db) <= 12 and abs(ratio_db) > 0.01
    np.testing.assert_allclose(changed, wave * 10 ** (ratio_db / 20), atol=1e-6)


def test_the_equaliser_is_heard_band_by_band():
    """A tone at a band's centre changes by that band's number, drawn here again from the same stream."""
    rule = Perturbation(gain_db=0, equalizer_db=6)
    bands_db = np.random.default_rng(11).normal(0, 6, len(EQUALIZER_HZ))
    for frequency_hz, gain_db in zip(EQUALIZER_HZ, bands_db, strict=True):
        wave = tone(1.0, frequency_hz, amplitude=0.01)
        assert 20 * np.log10(rms(perturb(wave, rule, seed=11)) / rms(wave)) == pytest.approx(gain_db, abs=0.05)


def test_nothing_is_clipped():
    wave = tone(0.3, amplitude=1.0)
    for seed in range(20):
        assert np.abs(perturb(wave, Perturbation(gain_db=20, equalizer_db=6), seed)).max() <= 1.0


def test_a_mixture_holds_every_voice_and_its_level_says_nothing():
    voices = [
        tone(seconds, hz, amplitude=level) for seconds, hz, level in ((2, 300, 0.5), (1, 700, 0.01), (0.6, 1900, 0.2))
    ]
    for count in (1, 2, 3):
        mixed = mix(voices[:count], SAMPLE_RATE_HZ, seed=5)
        assert len(mixed) == SAMPLE_RATE_HZ and rms(mixed) == pytest.approx(MIXTURE_RMS, rel=1e-3)
        spectrum = np.abs(np.fft.rfft(mixed))
        loud = [spectrum[hz - 5 : hz + 6].max() > 0.02 * spectrum.max() for hz in (300, 700, 1900)]
        assert loud == [place < count for place in range(3)]


def sources(speakers: int, clips: int = 3) -> dict[str, list[Recorded]]:
    def one(name: str) -> Recorded:
        return Recorded(hashlib.sha256(name.encode()).hexdigest(), None, 0, 0)

    return {f"s{speaker}": [one(f"{speaker}/{clip}") for clip in range(clips)] for speaker in range(speakers)}


RULE = Mixtures(speaker="speaker", cells=3, speakers=(1, 2, 3), clips=4, seconds=1.0)


def test_mixtures_stay_within_their_cell_and_speakers_differ():
    speakers = sources(12)
    speaker_of = {source: name for name, found in speakers.items() for source in found}
    cell_of = {}
    drawn = draw_mixtures(speakers, RULE)
    assert len(drawn) == 3 * 3 * 4 and len({key for key, _, _ in drawn}) == len(drawn)
    for _, fields, chosen in drawn:
        names = [speaker_of[source] for source in chosen]
        assert len(set(names)) == len(names) == int(fields["speakers"])
        for name in names:
            assert cell_of.setdefault(name, fields["cell"]) == fields["cell"]


def test_mixtures_depend_on_content_alone():
    speakers = sources(12)
    renamed = {f"x{place}": found[::-1] for place, found in enumerate(reversed(speakers.values()))}
    assert draw_mixtures(speakers, RULE) == draw_mixtures(renamed, RULE)
    assert draw_mixtures(speakers, RULE) != draw_mixtures(sources(12, clips=4), RULE)
    with pytest.raises(ValueError, match="too few"):
        draw_mixtures(sources(6), RULE)


@pytest.fixture
def voices(tmp_path):
    clips = {}
    for speaker in range(8):
        for number in range(3):
            stream = io.BytesIO()
            soundfile.write(stream, tone(0.4, 200 + 60 * speaker + number), SAMPLE_RATE_HZ, format="WAV")
            clips[f"{speaker}-{number}"] = (stream.getvalue(), {"speaker": f"s{speaker}", "number": number})
    write_tar(tmp_path / "data" / "tones" / "all.tar", clips)
    return tmp_path / "data"


def load(tmp_path, **task):
    (tmp_path / "s.json").write_text(json.dumps(suite_content(**task)))
    return load_suite(tmp_path / "s.json").tasks[0]


def test_a_task_of_mixtures(voices, tmp_path):
    task = load(
        tmp_path,
        label={"field": "speakers"},
        group={"field": "cell"},
        folds={"by": "group", "of": {"field": "cell"}, "count": 2},
        audio={"as": "mixtures", "speaker": "speaker", "cells": 4, "speakers": [1, 2], "clips": 3, "seconds": 0.5},
    )
    found = find_clips(task, voices)
    assert len(found.clips) == 4 * 2 * 3 and found.classes == ["1", "2"] and task.synthetic
    assert all(len({clip.fold for clip in found.clips if clip.group == cell}) == 1 for cell in "0123")
    wave, rate_hz = found.clips[0].source.audio()
    again, _ = find_clips(task, voices).clips[0].source.audio()
    assert rate_hz == SAMPLE_RATE_HZ and len(wave) == 8000
    np.testing.assert_array_equal(wave, again)
    with pytest.raises(SuiteError, match="too few"):
        find_clips(
            load(
                tmp_path,
                label={"field": "speakers"},
                folds={"by": "content", "count": 2},
                audio={"as": "mixtures", "speaker": "speaker", "cells": 8, "speakers": [2], "clips": 3, "seconds": 0.5},
            ),
            voices,
        )


def test_a_perturbed_task_has_other_sounds_under_the_same_labels(voices, tmp_path):
    plain = find_clips(
        load(tmp_path, label={"field": "speaker"}, folds={"by": "group", "of": {"field": "number"}, "count": 3}), voices
    )
    other = find_clips(
        load(tmp_path, label={"field": "speaker"}, folds={"by": "group", "of": {"field": "number"}, "count": 3},
             audio={"as": "perturbed", "gain_db": 6, "equalizer_db": 3}), voices
    )  # fmt: skip
    assert [(c.id, c.label, c.fold) for c in plain.clips] == [(c.id, c.label, c.fold) for c in other.clips]
    assert not {clip.content for clip in plain.clips} & {clip.content for clip in other.clips}
    assert plain.hash != other.hash
    wave, _ = other.clips[0].source.audio()
    assert wave.dtype == np.float32 and len(wave) == 6400


def test_a_label_outside_the_list_is_refused(voices, tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "voices.txt").write_text("".join(f"s{speaker}\n" for speaker in range(7)))
    task = load(tmp_path, label={"field": "speaker", "classes": "voices"}, folds={"by": "content", "count": 2})
    with pytest.raises(SuiteError, match=r"clip all/7-0 has a class outside the list"):
        find_clips(task, voices)
