"""Draws and batches are a function of (seed, manifests, step): not of ranks, workers, or where a run began."""

import io
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toy_corpora import MUSIC, SPEECH, Letters, clip, write_corpus, write_tar, write_three_corpora
from uniwhisper.core.errors import ManifestError
from uniwhisper.core.identity import content_fold
from uniwhisper.data.batch import Batch
from uniwhisper.data.config import DataConfig
from uniwhisper.data.decoded import EncodedReader
from uniwhisper.data.loader import StepDataset, held_out_batches, step_batches
from uniwhisper.data.manifest import Manifest
from uniwhisper.data.mixture import Mixture
from uniwhisper.data.overlap import find_overlap
from uniwhisper.data.prepare import prepare

CONFIG = DataConfig(clips_per_step=6, max_seconds=0.8, group_steps=4, holdout_folds=8)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_three_corpora(folder / "in")
    prepare(folder / "in", folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def manifest(prepared) -> Manifest:
    return Manifest.read(prepared)


def dataset(manifest: Manifest, config: DataConfig = CONFIG, seed: int = 0, **share: int) -> StepDataset:
    return StepDataset(Mixture([manifest], config, seed), [EncodedReader(manifest)], Letters(), **share)


def rows(batch: Batch) -> list[tuple]:
    """Each example of a batch without its padding."""
    result = []
    for index, name in enumerate(batch.ids):
        samples, tokens = int(batch.sample_counts_B[index]), int(batch.token_counts_B[index])
        assert not batch.wave_BS[index, samples:].any()
        assert not batch.loss_mask_BL[index, tokens:].any()
        masks = [
            [tuple(pair) for pair in ranges[index].tolist() if pair[0] != pair[1]]
            for ranges in (batch.time_masks_BK2, batch.frequency_masks_BK2)
        ]
        wave = batch.wave_BS[index, :samples].numpy().tobytes()
        text = tuple(batch.tokens_BL[index, :tokens].tolist()), tuple(batch.loss_mask_BL[index, :tokens].tolist())
        result.append((name, batch.domains[index], batch.tasks[index], wave, text, str(masks)))
    return result


@settings(max_examples=25, deadline=None)
@given(step=st.integers(0, 10**9), world=st.integers(1, 6), seed=st.integers(0, 2**63))
def test_ranks_share_the_step_without_gap_or_repeat(manifest, step, world, seed):
    """Interleaving the shares of any number of ranks gives the batch of a single one, sound and tokens included."""
    whole = rows(dataset(manifest, seed=seed)[step])
    shares = [rows(dataset(manifest, seed=seed, rank=rank, world=world)[step]) for rank in range(world)]
    assert [shares[slot % world][slot // world] for slot in range(len(whole))] == whole
    assert sum(map(len, shares)) == len(whole)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_change_batches_or_their_order(manifest, prepared, workers):
    def run(count: int, start: int = 3) -> list:
        batches = step_batches(
            manifest, Letters(), CONFIG, seed=5, start_step=start, stop_step=11, workers=count, cache=prepared / "cache"
        )
        return [(step, rows(batch)) for step, batch in batches]

    alone = run(0)
    assert [step for step, _ in alone] == list(range(3, 11))
    assert run(workers) == alone
    assert run(workers, start=7) == alone[4:], "a resumed run sees other batches"


def test_seed_and_content_change_the_draws(manifest, tmp_path):
    def ids(manifest: Manifest, seed: int) -> list[str]:
        return [draw.id for step in range(4) for draw in Mixture([manifest], CONFIG, seed).step(step)]

    assert ids(manifest, 0) == ids(manifest, 0)
    assert ids(manifest, 0) != ids(manifest, 1)
    write_three_corpora(tmp_path / "in", clips=25)
    assert ids(prepare(tmp_path / "in", tmp_path / "out"), 0) != ids(manifest, 0)


def test_iterating_leaves_the_global_random_state_alone(manifest):
    """A run that draws nothing from torch's generator can be resumed without saving its state."""
    torch.manual_seed(1)
    before = torch.get_rng_state()
    list(step_batches(manifest, Letters(), CONFIG, seed=0, start_step=0, stop_step=2, workers=0))
    assert torch.equal(torch.get_rng_state(), before)


def test_domains_are_drawn_by_weight(manifest):
    config = replace(CONFIG, domain_weights={"speech": 5.0, "sound": 3.0, "music": 2.0}, clips_per_step=50)
    mixture = Mixture([manifest], config, 0)
    counts = Counter(draw.clip.record.domain for step in range(60) for draw in mixture.step(step))
    for domain, share in (("speech", 0.5), ("sound", 0.3), ("music", 0.2)):
        spread = (3000 * share * (1 - share)) ** 0.5
        assert abs(counts[domain] - 3000 * share) < 4 * spread
    only = Mixture([manifest], replace(CONFIG, domain_weights={"music": 1.0, "sound": 0.0}), 0)
    assert {draw.clip.record.domain for draw in only.step(0)} == {"music"}


@pytest.mark.parametrize(("temperature", "share"), [(0.0, 1 / 2), (0.5, 4 / 5), (1.0, 16 / 17)])
def test_corpora_are_drawn_by_clips_to_the_temperature(tmp_path, temperature, share):
    """16 clips against 1: odds of 1, 4 and 16."""
    big = [member for index in range(16) for member in clip(f"b{index}", {"text": "a", "sex": "f"}, 0.1, 300 + index)]
    write_corpus(tmp_path / "in" / "big", SPEECH, big)
    write_corpus(tmp_path / "in" / "small", SPEECH, clip("s", {"text": "b", "sex": "m"}, 0.1))
    manifest = prepare(tmp_path / "in", tmp_path / "out")
    config = DataConfig(
        clips_per_step=100, corpus_temperature=temperature, domain_weights={"speech": 1.0}, holdout_folds=None
    )
    mixture = Mixture([manifest], config, 0)
    big_draws = sum(draw.clip.record.corpus == "big" for step in range(20) for draw in mixture.step(step))
    assert abs(big_draws - 2000 * share) < 4 * (2000 * share * (1 - share)) ** 0.5


def test_tasks_are_drawn_by_weight_and_every_wording_is_used(manifest):
    from uniwhisper.data.tasks import all_tasks

    config = replace(CONFIG, domain_weights={"speech": 1.0}, clips_per_step=50, max_seconds=2)
    mixture = Mixture([manifest], config, 0)
    draws = [draw for step in range(60) for draw in mixture.step(step)]
    weights = {name: all_tasks()[name].weight for name in ("transcription", "speaker_sex")}
    share = weights["transcription"] / sum(weights.values())
    asked = sum(draw.question.task == "transcription" for draw in draws)
    assert abs(asked - 3000 * share) < 4 * (3000 * share * (1 - share)) ** 0.5
    wordings = {draw.question.instruction for draw in draws if draw.question.task == "transcription"}
    assert wordings == set(all_tasks()["transcription"].wordings)


def test_mixtures_are_answered_truly(manifest):
    """Every pair and presence question, checked against the labels of the two clips."""
    mixture = Mixture([manifest], replace(CONFIG, domain_weights={"sound": 1.0, "music": 1.0}, clips_per_step=40), 0)
    seen = Counter()
    draws = [draw for step in range(40) for draw in mixture.step(step)]
    sounds = [draw for draw in draws if draw.clip.record.domain == "sound"]
    for draw in draws:
        if draw.partner is None:
            assert draw.question.answer in draw.clip.answers.values()
            continue
        assert draw.partner.record.domain == draw.clip.record.domain
        task, answer = draw.question.task, draw.question.answer
        base = {"sound_tag_pair": "sound_tag", "caption_pair": "caption", "instrument_pair": "instrument"}.get(task)
        if base is not None:
            one, other = draw.clip.answers[base], draw.partner.answers[base]
            assert one != other
            assert answer == "; ".join(sorted([one, other]))
        else:
            base = "instrument" if draw.clip.record.domain == "music" else "caption"
            heard = {draw.clip.answers[base], draw.partner.answers[base]}
            named = {item.answers[base] for item in mixture.training if base in item.answers}
            asked = {
                label
                for label in named
                if f" {label} " in f" {draw.question.instruction} ".replace("?", " ").replace(".", " ")
            }
            assert len(asked) == 1
            assert answer == ("yes" if asked <= heard else "no")
        seen[task, answer if task == "presence" else ""] += 1
    tasks = {
        ("sound_tag_pair", ""),
        ("caption_pair", ""),
        ("instrument_pair", ""),
        ("presence", "yes"),
        ("presence", "no"),
    }
    assert seen.keys() == tasks
    # Half the questions are about something absent. (Not in music here: it has two instruments, both in the mixture.)
    answers = Counter(draw.question.answer for draw in sounds if draw.question.task == "presence")
    assert abs(answers["no"] - answers.total() / 2) < 4 * (answers.total() / 4) ** 0.5


def test_steps_hold_clips_of_similar_length(manifest):
    """Padding of grouped steps against that of the same clips one draw after the other."""
    config = replace(CONFIG, clips_per_step=8, group_steps=16)
    mixture = Mixture([manifest], config, 0)
    lengths = np.array([[mixture._length(draw) for draw in mixture.step(step)] for step in range(16)])

    def waste(lengths: np.ndarray) -> float:
        return 1 - lengths.sum() / (lengths.max(axis=1, keepdims=True) * lengths.shape[1]).sum()

    shuffled = np.random.default_rng(0).permutation(lengths.ravel()).reshape(lengths.shape)
    assert waste(lengths) < 0.25 * waste(shuffled)
    assert list(lengths[:, 0]) != sorted(lengths[:, 0]), "steps of a group run from short to long"


def test_held_out_clips_are_never_trained_on(manifest):
    mixture = Mixture([manifest], CONFIG, 0)
    held = {clip.record.id for clip in mixture.held_out}
    expected = {record.id for record in manifest.records if content_fold(record.sha256, 8) == 0}
    assert held == expected != set()
    drawn = {record_id for step in range(80) for draw in mixture.step(step) for record_id in draw.id.split(" + ")}
    assert not drawn & held
    assert drawn == {record.id for record in manifest.records} - held
    assert not Mixture([manifest], replace(CONFIG, holdout_folds=None), 0).held_out


def test_held_out_batches_are_unaltered_and_always_the_same(manifest):
    batches = list(held_out_batches(manifest, Letters(), CONFIG))
    again = list(held_out_batches(manifest, Letters(), CONFIG))
    assert [rows(batch) for batch in batches] == [rows(batch) for batch in again]
    reader = EncodedReader(manifest)
    by_id = {record.id: record for record in manifest.records}
    ids = [name for batch in batches for name in batch.ids]
    assert sorted(ids) == sorted({record.id for record in manifest.records if content_fold(record.sha256, 8) == 0})
    for batch in batches:
        assert batch.time_masks_BK2.shape[1] == batch.frequency_masks_BK2.shape[1] == 0
        for index, name in enumerate(batch.ids):
            wave = reader.read(by_id[name])[: int(0.8 * 16_000)]
            assert np.array_equal(batch.wave_BS[index, : int(batch.sample_counts_B[index])].numpy(), wave)


def test_long_clips_are_cropped_or_not_asked_for_their_words(tmp_path):
    members = [*clip("long", {"text": "a b", "sex": "f"}, 1.5), *clip("short", {"text": "c", "sex": "m"}, 0.4)]
    write_corpus(tmp_path / "in" / "c", SPEECH, members)
    manifest = prepare(tmp_path / "in", tmp_path / "out")
    config = DataConfig(clips_per_step=20, max_seconds=0.8, domain_weights={"speech": 1.0}, holdout_folds=None)
    mixture = Mixture([manifest], config, 0)
    asked = Counter((draw.clip.record.id, draw.question.task) for step in range(10) for draw in mixture.step(step))
    assert asked.keys() == {("c/long", "speaker_sex"), ("c/short", "transcription"), ("c/short", "speaker_sex")}
    assert mixture.left_out == {"longer than 0.8 s, not asked for transcription": 1}
    batch = dataset(manifest, config)[0]
    assert int(batch.sample_counts_B.max()) <= 16_000 * (0.8 + 2 * config.augment.silence_max_seconds)


def test_a_domain_without_clips_is_an_error(tmp_path):
    write_corpus(tmp_path / "in" / "c", MUSIC, clip("a", {"label": "flute", "note": "A4"}, 0.1))
    manifest = prepare(tmp_path / "in", tmp_path / "out")
    with pytest.raises(ManifestError, match="no clip of domain"):
        Mixture([manifest], CONFIG, 0)
    with pytest.raises(ManifestError, match="each clip in one manifest"):
        Mixture([manifest, manifest], CONFIG, 0)


def test_several_manifests_are_drawn_from_together(tmp_path, manifest):
    write_corpus(tmp_path / "in" / "more", MUSIC, clip("a", {"label": "harp", "note": "A4"}, 0.3))
    other = prepare(tmp_path / "in", tmp_path / "out")
    config = replace(CONFIG, corpus_temperature=0.0, holdout_folds=None, domain_weights={"music": 1.0})
    batches = step_batches([manifest, other], Letters(), config, seed=0, start_step=0, stop_step=4, workers=0)
    assert {name.partition("/")[0] for _, batch in batches for ids in batch.ids for name in ids.split(" + ")} == {
        "tunes", "more",
    }  # fmt: skip


def test_wrong_data_is_refused_before_the_first_batch_is_asked_for(manifest, tmp_path):
    """A trainer calls this before it writes anything."""
    steps = {"seed": 0, "start_step": 0, "stop_step": 1, "workers": 0}
    with pytest.raises(ManifestError, match="each clip in one manifest"):
        step_batches([manifest, manifest], Letters(), CONFIG, **steps)
    write_corpus(tmp_path / "in" / "c", MUSIC, clip("a", {"label": "flute", "note": "A4"}, 0.1))
    with pytest.raises(ManifestError, match="no clip of domain"):
        step_batches(prepare(tmp_path / "in", tmp_path / "out"), Letters(), CONFIG, **steps)


def test_what_is_left_out_is_told_and_batches_can_be_asked_for_again(manifest):
    batches = step_batches(manifest, Letters(), CONFIG, seed=0, start_step=2, stop_step=4, workers=0)
    longer = sum(record.samples > 0.8 * 16_000 for record in manifest.records if record.domain == "speech")
    assert batches.left_out["longer than 0.8 s, not asked for transcription"] == longer > 0
    assert len(batches) == 2
    once, again = ([(step, rows(batch)) for step, batch in batches] for _ in range(2))
    assert once == again and [step for step, _ in once] == [2, 3]


@pytest.mark.parametrize("pin_memory", [False, True])
def test_memory_is_pinned_only_if_the_caller_says_so(manifest, monkeypatch, pin_memory):
    """A GPU being there is no reason: the run may use the CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: not pin_memory)
    batches = step_batches(
        manifest, Letters(), CONFIG, seed=0, start_step=0, stop_step=1, workers=0, pin_memory=pin_memory
    )
    assert batches.loader.pin_memory is pin_memory


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_a_worker_is_the_error_the_user_sees(tmp_path, workers):
    """An archive that changed after `prepare`, found while training."""
    write_three_corpora(tmp_path / "in", clips=3)
    prepare(tmp_path / "in", tmp_path / "out")
    changed = tmp_path / "in" / "tunes" / "shard-000000.tar"
    changed.write_bytes(changed.read_bytes().replace(b"RIFF", b"RIFX"))
    config = replace(CONFIG, holdout_folds=None, domain_weights={"music": 1.0})
    batches = step_batches(
        Manifest.read(tmp_path / "out"), Letters(), config, seed=0, start_step=0, stop_step=3, workers=workers
    )
    with pytest.raises(ManifestError, match="changed since the manifest was written") as caught:
        list(batches)
    assert "data prepare" in caught.value.fix


def test_splitting_keeps_every_example_and_trims_padding(manifest):
    batch = dataset(manifest)[3]
    for parts in (1, 2, 4, 6, 99):
        pieces = batch.split(parts)
        assert len(pieces) == min(parts, 6)
        assert [row for piece in pieces for row in rows(piece)] == rows(batch)
        assert max(map(len, pieces)) - min(map(len, pieces)) <= 1
        assert all(piece.wave_BS.shape[1] == int(piece.sample_counts_B.max()) for piece in pieces)
        assert sum(piece.audio_seconds for piece in pieces) == pytest.approx(batch.audio_seconds)
    moved = batch.to("cpu")
    assert rows(moved) == rows(batch)


def test_overlap_finds_the_same_file_and_the_same_sound(manifest, tmp_path):
    """A copy under another name, the same samples in another container, and one that only has the same length."""
    reader = EncodedReader(manifest)
    copied, rewrapped, alike = manifest.records[3], manifest.records[30], manifest.records[60]
    flac = io.BytesIO()
    soundfile.write(flac, reader.read(rewrapped), 16_000, format="FLAC", subtype="PCM_16")
    other = io.BytesIO()
    soundfile.write(other, reader.read(alike)[::-1] * 0.5, 16_000, format="WAV", subtype="PCM_16")
    members = [
        ("one.wav", manifest.audio_bytes(copied)), ("one.json", b"{}"),
        ("two.flac", flac.getvalue()), ("two.json", b"{}"),
        ("three.wav", other.getvalue()), ("three.json", b"{}"),
    ]  # fmt: skip
    found = find_overlap(manifest, [write_tar(tmp_path / "eval.tar", members)])
    assert {(match.key, match.training_id, match.by) for match in found} == {
        ("one", copied.id, "file"),
        ("two", rewrapped.id, "sound"),
    }
