"""Audio made on the device from plans, against measurements of the sound itself and against the loader's draws."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from small import write_corpus, write_language_model
from uniwhisper.core.errors import ManifestError, RecipeError
from uniwhisper.data import drawer
from uniwhisper.data.coded import code
from uniwhisper.data.config import NO_AUGMENTATION, AugmentConfig, DataConfig
from uniwhisper.data.decoded import EncodedReader, decode
from uniwhisper.data.draws import Draw, Part
from uniwhisper.data.instructions import Question
from uniwhisper.data.loader import StepDataset, step_batches
from uniwhisper.data.mixture import Mixture
from uniwhisper.data.plan import EQUALIZER_POINTS, Plan, Plans, make_plan
from uniwhisper.data.prepare import prepare
from uniwhisper.data.reshape import unchanged
from uniwhisper.data.resident import ResidentAudio
from uniwhisper.data.resident_batches import PlanDataset, resident_batches
from uniwhisper.data.tasks import FORBID, all_tasks
from uniwhisper.features.logmel import log_mel
from uniwhisper.features.training_logmel import training_log_mel

RATE = 16_000
CPU = torch.device("cpu")


def tone(frequency_hz: float, seconds: float = 1.0, amplitude: float = 0.3) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * frequency_hz * np.arange(int(seconds * RATE)) / RATE)


@pytest.fixture(scope="module")
def audio() -> ResidentAudio:
    """Clip 0: 440 Hz, clip 1: 3 kHz and quiet, clip 2: silence, clip 3: one sample."""
    clips = [tone(440), tone(3000, amplitude=0.05), np.zeros(8000), np.ones(1) * 0.5]
    samples = torch.from_numpy(np.rint(np.concatenate(clips) * 32767).astype(np.int16))
    return ResidentAudio(samples, [len(clip) for clip in clips])


def drawn(*parts: Part, task: str = "sound_tag", **shape) -> Draw:
    """The clips of these parts are numbers: their places in `audio`."""
    length = max(part.shift + part.length for part in parts)
    shape = {"repeated": shape.get("voiced", length), **shape}
    return Draw(parts, replace(unchanged(length), **shape), (Question(task, "What is it?", "tone"),))


def plan(*parts: Part, background: Part | None = None, shape: dict | None = None, **changes) -> Plan:
    plain = Plan(
        draw=drawn(*parts, **(shape or {})), background=background, equalizer_db=np.zeros(EQUALIZER_POINTS),
        band_hz=RATE / 2, room_seconds=0.0, room_db=0.0, noise_snr_db=np.inf, noise_kind=0, noise_first=0, gain=1.0,
        coded=False,
    )  # fmt: skip
    return replace(plain, **changes)


def no_background(most: int, stream: np.random.Generator) -> Part:  # noqa: ARG001
    raise AssertionError("no background was asked for")


def render(audio: ResidentAudio, *plans: Plan) -> list[np.ndarray]:
    wave_BS = audio.render(Plans.of(plans, lambda part: part.clip)).numpy()
    return [wave_S[: plan.samples] for wave_S, plan in zip(wave_BS, plans, strict=True)]


def power(wave_S: np.ndarray, frequency_hz: float | None = None) -> float:
    """Mean power; of one frequency, if given."""
    if frequency_hz is None:
        return float(np.mean(wave_S**2))
    turn = np.exp(-2j * np.pi * frequency_hz * np.arange(len(wave_S)) / RATE)
    return float(2 * abs(np.mean(wave_S * turn)) ** 2)


WHOLE = Part(clip=0, first=0, length=RATE)


def test_a_plan_that_changes_nothing_gives_the_recording(audio):
    (wave_S,) = render(audio, plan(WHOLE))
    assert np.abs(wave_S - np.rint(tone(440) * 32767) / 32767).max() < 1e-5


def test_a_recording_after_a_codec_is_the_second_of_its_kind(audio):
    other = torch.from_numpy(np.rint(np.concatenate([tone(700), tone(90)]) * 32767).astype(np.int16))
    own = torch.from_numpy(np.rint(np.concatenate([tone(440), tone(3000)]) * 32767).astype(np.int16))
    both = ResidentAudio(torch.cat([own, other]), [RATE, RATE])
    plain_S, coded_S, joined_S = render(
        both, plan(WHOLE), plan(WHOLE, coded=True), plan(WHOLE, Part(1, 0, 4000, shift=8000), coded=True)
    )
    assert np.abs(plain_S - tone(440)).max() < 1e-4 and np.abs(coded_S - tone(700)).max() < 1e-4
    assert power(joined_S[8000:12000], 90) > 100 * power(joined_S[8000:12000], 3000)
    with pytest.raises(AssertionError, match="not loaded"):
        render(audio, plan(WHOLE, coded=True))


def test_codecs_are_as_frequent_as_said_and_change_no_other_draw():
    def planned(probability: float) -> tuple[list[bool], list]:
        stream = np.random.default_rng(4)
        config = AugmentConfig(codec_probability=probability)
        plans = [make_plan(drawn(WHOLE), stream, config, no_background) for _ in range(1000)]
        return [one.coded for one in plans], [(one.noise_first, one.gain, one.room_db) for one in plans]

    draws = [planned(probability) for probability in (0.0, 0.3, 1.0)]
    assert not any(draws[0][0]) and all(draws[2][0])
    assert sum(draws[1][0]) == pytest.approx(300, abs=60)
    assert draws[0][1] == draws[1][1] == draws[2][1]


def test_a_stretch_with_silence_around_it(audio):
    (wave_S,) = render(audio, plan(Part(0, 1000, 500), shape={"before": 30, "behind": 70}))
    assert len(wave_S) == 600
    assert np.abs(wave_S[30:530] - tone(440)[1000:1500]).max() < 1e-4
    assert np.abs(wave_S[:30]).max() < 1e-6 and np.abs(wave_S[530:]).max() < 1e-6


def test_a_crop_keeps_what_it_says(audio):
    (wave_S,) = render(audio, plan(WHOLE, shape={"crop_first": 4000, "voiced": 2000}))
    assert np.abs(wave_S - tone(440)[4000:6000]).max() < 1e-4


def test_what_is_kept_is_heard_again_and_again_between_its_silence(audio):
    shape = {"crop_first": 100, "voiced": 300, "repeated": 750, "before": 20, "behind": 30}
    (wave_S,) = render(audio, plan(Part(0, 50, 4000), shape=shape))
    kept = tone(440)[150:450]
    assert len(wave_S) == 800
    assert np.abs(wave_S[20:770] - np.concatenate([kept, kept, kept[:150]])).max() < 1e-4
    assert np.abs(wave_S[:20]).max() < 1e-6 and np.abs(wave_S[770:]).max() < 1e-6


def test_repeating_takes_the_example_as_it_is_at_its_rate_with_all_its_parts(audio):
    parts, background = (Part(0, 0, 5000), Part(1, 10, 900, shift=200, level_db=3.0)), Part(1, 0, 4000)
    shape = {"factor": 0.93, "crop_first": 100, "voiced": 300}
    (once_S,) = render(audio, plan(*parts, background=background, shape=shape))
    (again_S,) = render(audio, plan(*parts, background=background, shape={**shape, "repeated": 750}))
    scale = np.dot(again_S[:300], once_S) / np.dot(once_S, once_S)  # levels are of all that is heard
    assert len(again_S) == 750 and scale == pytest.approx(1, abs=0.1)
    assert np.abs(again_S - np.resize(once_S, 750) * scale).max() < 0.05 * np.abs(once_S).max()


@pytest.mark.parametrize("factor", [0.8, 1.25, 2 ** (3 / 12)])
def test_speed_moves_the_pitch(audio, factor):
    (wave_S,) = render(audio, plan(WHOLE, shape={"factor": factor, "voiced": int(RATE / factor)}))
    assert power(wave_S, 440 * factor) == pytest.approx(0.3**2 / 2, rel=0.01)
    assert power(wave_S, 440) < 0.01 * power(wave_S, 440 * factor)


def test_a_mixture_has_the_level_it_says(audio):
    (wave_S,) = render(audio, plan(WHOLE, Part(1, 0, RATE, level_db=-6.0)))
    (behind_S,) = render(audio, plan(WHOLE, background=Part(1, 0, RATE, level_db=-6.0)))
    assert np.array_equal(wave_S, behind_S)
    assert 10 * np.log10(power(wave_S, 3000) / power(wave_S, 440)) == pytest.approx(-6, abs=0.05)


def test_a_part_sounds_where_it_says(audio):
    (wave_S,) = render(audio, plan(WHOLE, Part(1, 0, 4000, shift=8000)))
    assert power(wave_S[8000:12000], 3000) > 100 * power(wave_S[:7900], 3000)
    assert power(wave_S[8000:12000], 3000) == pytest.approx(power(wave_S[8000:12000], 440), rel=0.02)


def test_noise_has_the_level_it_says(audio):
    clean_S, noisy_S = render(audio, plan(WHOLE), plan(WHOLE, noise_snr_db=12.0, noise_kind=2, noise_first=777))
    assert 10 * np.log10(power(clean_S) / power(noisy_S - clean_S)) == pytest.approx(12, abs=1.5)


def test_equalizer_and_band(audio):
    louder_S, cut_S = render(
        audio,
        plan(WHOLE, equalizer_db=np.full(EQUALIZER_POINTS, 6.0)),
        plan(Part(1, 0, RATE), band_hz=2000.0),
    )
    assert 10 * np.log10(power(louder_S, 440) / power(tone(440), 440)) == pytest.approx(6, abs=0.05)
    assert power(cut_S, 3000) < 1e-4 * power(tone(3000, amplitude=0.05), 3000)


def test_a_room_rings_after_the_sound(audio):
    dry_S, wet_S = render(
        audio,
        plan(Part(0, 0, 4000), shape={"behind": 4000}),
        plan(Part(0, 0, 4000), shape={"behind": 4000}, room_seconds=0.5, room_db=0.0),
    )
    assert power(dry_S[4100:]) < 1e-9
    early, late = power(wet_S[4000:5000]), power(wet_S[7000:8000])
    assert early > 1e-5
    # 60 dB in 0.5 s: 22.5 dB between the middles of the two stretches.
    assert 10 * np.log10(early / late) == pytest.approx(22.5, abs=3)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_an_example_does_not_depend_on_its_batch(audio, seed):
    stream = np.random.default_rng(seed)
    config = AugmentConfig(room_probability=0.5, band_probability=0.5, noise_probability=0.7)
    factor = float(stream.uniform(0.8, 1.25))
    parts = [[Part(0, 0, 5000)], [Part(1, 10, 9000), Part(0, 0, 300, shift=20)], [Part(3, 0, 1)], [Part(2, 0, 8000)]]
    draws = [drawn(*these) for these in parts]
    draws[1] = drawn(*parts[1], factor=factor, voiced=int(9000 / factor), before=7)
    draws[3] = drawn(*parts[3], repeated=12_000)
    plans = [make_plan(draw, stream, config, no_background) for draw in draws]
    together = render(audio, *plans)
    for this, wave_S in zip(plans, together, strict=True):
        (alone_S,) = render(audio, this)
        assert len(wave_S) == this.samples and np.isfinite(wave_S).all()
        # A filter given by its magnitude rings for ever, and wraps around at another place in a longer transform.
        assert np.abs(alone_S - wave_S).max() < 1e-3


def test_padding_is_silent(audio):
    config = AugmentConfig(noise_probability=1, room_probability=1, equalizer_probability=1)
    stream = np.random.default_rng(0)
    plans = [make_plan(drawn(Part(0, 0, count)), stream, config, no_background) for count in (500, 9000)]
    wave_BS = audio.render(Plans.of(plans, lambda part: part.clip))
    assert not wave_BS[0, plans[0].samples :].any()


def test_what_a_task_forbids_is_not_planned():
    everything = AugmentConfig(
        equalizer_probability=1, noise_probability=1, gain_probability=1, room_probability=1, band_probability=1,
        codec_probability=1,
    )  # fmt: skip
    seen = set()
    for task in all_tasks().values():
        made = make_plan(drawn(WHOLE, task=task.name), np.random.default_rng(1), everything, no_background)
        done = {
            "equalizer": made.equalizer_db.any(),
            "noise": np.isfinite(made.noise_snr_db),
            "gain": made.gain != 1,
            "room": made.room_seconds > 0,
            "band": made.band_hz < RATE / 2,
            "codec": made.coded,
        }
        for step, happened in done.items():
            assert happened == (task.augment[step] != FORBID), (task.name, step)
            seen.add((step, bool(happened)))
    assert len(seen) > len(done)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpora")
    write_corpus(root)
    return prepare(root, root / "prepared")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(write_language_model(tmp_path_factory.mktemp("lm")))


CONFIG = DataConfig(
    clips_per_step=6,
    group_steps=2,
    domain_weights={"sound": 1.0},
    name_recordings=True,
    questions_per_clip=2,
    augment=AugmentConfig(background_probability=0.5),
)


def taken(prepared, tokenizer, cache: Path, workers: int) -> list[tuple]:
    batches = resident_batches(
        prepared, tokenizer, CONFIG, seed=3, start_step=1, stop_step=5, cache=cache, device=CPU, workers=workers
    )
    return [(step, batch.ids, batch.tasks, batch.wave_BS, batch.tokens_RL) for step, batch in batches]


def test_the_same_batches_whatever_the_number_of_workers(prepared, tokenizer, tmp_path):
    alone, helped = (taken(prepared, tokenizer, tmp_path, workers) for workers in (0, 2))
    assert [step for step, *_ in alone] == [1, 2, 3, 4]
    for one, other in zip(alone, helped, strict=True):
        assert one[:3] == other[:3]
        assert torch.equal(one[3], other[3]) and torch.equal(one[4], other[4])


def test_clips_go_through_their_codec_and_nothing_else_is_drawn_otherwise(prepared, tokenizer, tmp_path):
    # Masks and the questions of the mean are drawn after the plan.
    still = replace(NO_AUGMENTATION, time_masks=2, frequency_masks=2)
    plain = replace(CONFIG, augment=still, tasks=("sound_tag",), questions_per_clip=1, mean_share=0.5)
    changed = replace(plain, augment=replace(still, codec_probability=1))
    kept = {"seed": 3, "start_step": 1, "stop_step": 3, "cache": tmp_path, "device": CPU, "workers": 0}
    coded, records = code(prepared, tmp_path), {record.id: record for record in prepared.records}
    for (_, one), (_, other) in zip(
        *(resident_batches(prepared, tokenizer, config, **kept) for config in (plain, changed)), strict=True
    ):
        assert one.ids == other.ids
        for name in ("sample_counts_B", "time_masks_BK2", "frequency_masks_BK2", "of_mean_R", "tokens_RL"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name
        for clip_id, count, wave_S, before_S in zip(
            one.ids, one.sample_counts_B.tolist(), other.wave_BS, one.wave_BS, strict=True
        ):
            assert np.abs(wave_S[:count].numpy() - coded.read(records[clip_id])).max() < 1e-4
            assert (wave_S - before_S).abs().max() > 1e-3


def test_of_several_manifests_all_clips_come_before_all_after_a_codec(prepared, tmp_path):
    write_corpus(tmp_path / "other", clips=5, corpus="few")
    manifests = [prepared, prepare(tmp_path / "other", tmp_path / "out")]
    audio = ResidentAudio.load(manifests, tmp_path, CPU, coded=True)
    expected = [make(one, tmp_path).samples for make in (decode, code) for one in manifests]
    assert np.array_equal(audio.samples.numpy(), np.concatenate(expected))


def test_the_same_draws_as_the_loader(prepared, tokenizer, tmp_path):
    loader = step_batches(prepared, tokenizer, CONFIG, seed=3, start_step=1, stop_step=5, workers=0)
    there = [(step, batch.ids, batch.tasks) for step, batch in loader]
    assert [here[:3] for here in taken(prepared, tokenizer, tmp_path, 0)] == there


def test_what_goes_wrong_with_a_step_is_given_back_whole(prepared, tokenizer, monkeypatch):
    """Raised in a worker, an error would reach the user as one string in a fault of ours."""
    readers = [EncodedReader(prepared)]
    few = [StepDataset(Mixture([prepared], CONFIG, 3), readers, tokenizer, rank=0, world=7)[1]]
    few += map(pickle.loads, PlanDataset(Mixture([prepared], CONFIG, 3), [prepared], tokenizer, world=7)[range(1, 2)])
    monkeypatch.setattr(drawer, "askable", lambda *_, **__: ())
    nothing = [StepDataset(Mixture([prepared], CONFIG, 3), readers, tokenizer)[1]]
    nothing += map(pickle.loads, PlanDataset(Mixture([prepared], CONFIG, 3), [prepared], tokenizer)[range(1, 2)])
    for errors, kind, problem in ((few, RecipeError, "fewer clips"), (nothing, ManifestError, "hardly any clip")):
        assert [type(error) for error in errors] == [kind, kind]
        assert errors[0].args == errors[1].args and problem in errors[0].problem and errors[0].fix


def test_training_log_mel_is_log_mel():
    counts_B = torch.tensor([1, 100, 201, 5000, 33_333, 160_000])
    wave_BS = torch.zeros(6, 160_000)
    for row_S, count in zip(wave_BS, counts_B.tolist(), strict=True):
        row_S[:count] = 0.1 * torch.randn(count, generator=torch.Generator().manual_seed(count))
    exact_BMF, exact_counts_B = log_mel(wave_BS, counts_B, mel_bins=80)
    mel_BMF, mel_counts_B = training_log_mel(wave_BS, counts_B, mel_bins=80)
    assert torch.equal(mel_counts_B, exact_counts_B)
    assert mel_BMF.shape == exact_BMF.shape
    assert (mel_BMF - exact_BMF).abs().max() < 1e-4
