"""Draws and batches are a function of (seed, manifests, step): not of ranks, workers, or where a run began."""

import io
import shlex
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import SHARED_DATA
from shared_manifest import declared_manifest
from toy_corpora import MUSIC, SPEECH, Letters, clip, write_corpus, write_tar, write_three_corpora
from uniwhisper.core.errors import ManifestError, RecipeError
from uniwhisper.core.identity import content_fold
from uniwhisper.data.answers import note_name, note_number
from uniwhisper.data.batch import Batch
from uniwhisper.data.config import NO_AUGMENTATION, DataConfig
from uniwhisper.data.decoded import EncodedReader
from uniwhisper.data.instructions import answers
from uniwhisper.data.loader import StepDataset, held_out_batches, step_batches
from uniwhisper.data.manifest import Manifest
from uniwhisper.data.mixture import Mixture
from uniwhisper.data.mixture_report import mixture_report
from uniwhisper.data.overlap import find_overlap
from uniwhisper.data.packing import cost_seconds
from uniwhisper.data.prepare import prepare
from uniwhisper.data.tasks import all_tasks
from uniwhisper.recipes import load_recipe
from uniwhisper.recipes.mini import mini
from uniwhisper.training.overrides import override

CONFIG = DataConfig(clips_per_step=6, max_seconds=0.8, group_steps=4, holdout_folds=8)
CONFIGS = [
    CONFIG,
    replace(CONFIG, questions_per_clip=3),
    replace(CONFIG, clips_per_step=None, seconds_per_step=30.0, questions_per_clip=2),
]


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
    """Each clip of a batch with its rows of text, without padding."""
    result = []
    assert batch.clip_R.tolist() == sorted(batch.clip_R.tolist())
    assert set(batch.clip_R.tolist()) == set(range(len(batch)))
    for index in range(len(batch)):
        samples = int(batch.sample_counts_B[index])
        assert not batch.wave_BS[index, samples:].any()
        masks = [
            [tuple(pair) for pair in ranges[index].tolist() if pair[0] != pair[1]]
            for ranges in (batch.time_masks_BK2, batch.frequency_masks_BK2)
        ]
        texts = []
        for row in (batch.clip_R == index).nonzero()[:, 0].tolist():
            tokens = int(batch.token_counts_R[row])
            assert not batch.loss_mask_RL[row, tokens:].any()
            text = tuple(batch.tokens_RL[row, :tokens].tolist()), tuple(batch.loss_mask_RL[row, :tokens].tolist())
            texts.append((batch.ids[row], batch.domains[row], batch.tasks[row], text))
        result.append((batch.wave_BS[index, :samples].numpy().tobytes(), str(masks), tuple(texts)))
    return result


@settings(max_examples=25, deadline=None)
@given(step=st.integers(0, 10**9), world=st.integers(1, 6), seed=st.integers(0, 2**63), config=st.sampled_from(CONFIGS))
def test_ranks_share_the_step_without_gap_or_repeat(manifest, step, world, seed, config):
    """Interleaving the shares of any number of ranks gives the batch of a single one, sound and tokens included."""
    batch = dataset(manifest, config, seed)[step]
    if len(batch.sample_counts_B) < world:  # under a budget of seconds; the error is what every rank gets
        for rank in range(world):
            refused = dataset(manifest, config, seed, rank=rank, world=world)[step]
            assert isinstance(refused, RecipeError) and "fewer clips than there are ranks" in str(refused)
        return
    whole = rows(batch)
    shares = [rows(dataset(manifest, config, seed, rank=rank, world=world)[step]) for rank in range(world)]
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
    counts = Counter(draw.domain for step in range(60) for draw in mixture.step(step))
    for domain, share in (("speech", 0.5), ("sound", 0.3), ("music", 0.2)):
        spread = (3000 * share * (1 - share)) ** 0.5
        assert abs(counts[domain] - 3000 * share) < 4 * spread
    only = Mixture([manifest], replace(CONFIG, domain_weights={"music": 1.0, "sound": 0.0}), 0)
    assert {draw.domain for draw in only.step(0)} == {"music"}


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
    big_draws = sum(draw.id.startswith("big/") for step in range(20) for draw in mixture.step(step))
    assert abs(big_draws - 2000 * share) < 4 * (2000 * share * (1 - share)) ** 0.5


def test_tasks_are_drawn_by_weight_and_every_wording_is_used(manifest):
    config = replace(CONFIG, domain_weights={"speech": 1.0}, clips_per_step=50, max_seconds=2)
    mixture = Mixture([manifest], config, 0)
    draws = [draw for step in range(60) for draw in mixture.step(step)]
    weights = {name: all_tasks()[name].weight for name in ("transcription", "speaker_sex")}
    share = weights["transcription"] / sum(weights.values())
    asked = sum(draw.questions[0].task == "transcription" for draw in draws)
    assert abs(asked - 3000 * share) < 4 * (3000 * share * (1 - share)) ** 0.5
    wordings = {q.instruction for draw in draws for q in draw.questions if q.task == "transcription"}
    assert wordings == set(all_tasks()["transcription"].wordings)


def truth(draw, question) -> set[str]:
    """Every right answer to a question, worked out from labels and places alone, without the code that asks."""
    task, shape = question.task, draw.shape
    heard = [part.clip.answers for part in draw.parts]
    if len(draw.parts) == 1 and task in heard[0]:
        return {question.answer} if task == "note" else {str(heard[0][task])}
    for base in ("instrument", "sound_tag", "caption"):
        labels = [answers.get(base) for answers in heard]
        if None in labels or len(set(labels)) < len(labels):
            continue
        if task.endswith("_pair") and task.startswith(base):
            return {"; ".join(sorted(labels))}
        if task == "count" and base != "caption":
            return {str(len(labels))}
        if task == "sequence" and base != "caption":
            return {"; ".join(labels)}
        if task == "order" and all(label in question.instruction for label in labels):
            return {labels[0]}
        if task == "event_detection" and base != "caption":
            return {"; ".join(f"{start:.2f}-{end:.2f} {label}" for start, end, label in spans(draw, labels))}
    notes = [answers.get("note") for answers in heard]
    if task == "note_transcription":
        moved = [note_name(note_number(name) + shape.semitones) for name in notes]
        return {"; ".join(f"{start:.2f}-{end:.2f} {name}" for start, end, name in spans(draw, moved))}
    if task == "higher_note":
        return {"first" if note_number(notes[0]) > note_number(notes[1]) else "second"}
    return set()


def spans(draw, labels) -> list[tuple[float, float, str]]:
    """When each part of a draw is heard, in seconds to the nearest frame."""
    found = []
    for part, label in zip(draw.parts, labels, strict=True):
        start, end = (
            (sample / draw.shape.factor + draw.shape.before) / 16_000
            for sample in (part.shift, part.shift + part.length)
        )
        first, last = (np.floor(time * 50 + 0.5) for time in (start, end))
        found.append((first / 50, max(last, first + 1) / 50, label))
    return sorted(found)


MADE = ("sound_tag_pair", "caption_pair", "instrument_pair", "presence", "order", "sequence", "count",
        "event_detection", "note_transcription", "higher_note")  # fmt: skip


def test_what_is_put_together_is_answered_truly(manifest):
    """Every question about several clips, checked against the labels of the clips and where they lie."""
    config = replace(CONFIG, domain_weights={"sound": 1.0, "music": 1.0}, clips_per_step=40, questions_per_clip=3)
    mixture = Mixture([manifest], replace(config, max_seconds=3), 0)
    named = {str(answer) for record in manifest.records for answer in answers(manifest, record).values()}
    seen, presence = Counter(), Counter()
    for draw in (draw for step in range(40) for draw in mixture.step(step)):
        assert len({part.clip.record.id for part in draw.parts}) == len(draw.parts)
        assert len({part.clip.record.domain for part in draw.parts}) == 1
        assert len({question.task for question in draw.questions}) == len(draw.questions)
        for question in draw.questions:
            seen[question.task] += 1
            if question.task == "presence":
                words = f" {question.instruction} ".translate(str.maketrans("?.:,", "    "))
                (asked,) = [label for label in named if f" {label} " in words]
                heard = {str(answer) for part in draw.parts for answer in part.clip.answers.values()}
                assert question.answer == ("yes" if asked in heard else "no")
                presence[draw.domain, question.answer] += 1
            else:
                assert truth(draw, question) == {question.answer}, (draw.id, question)
    assert set(MADE) <= seen.keys()
    # Half the questions are about something absent. (Not in music here: it has two instruments, both in the mixture.)
    no, all_asked = presence["sound", "no"], presence["sound", "no"] + presence["sound", "yes"]
    assert abs(no - all_asked / 2) < 4 * (all_asked / 4) ** 0.5


@pytest.mark.parametrize("max_seconds", [0.4, 1.0, 3.0])
def test_clips_lie_as_their_arrangement_says(manifest, max_seconds):
    config = replace(CONFIG, max_seconds=max_seconds, clips_per_step=40, augment=NO_AUGMENTATION)
    mixture = Mixture([manifest], config, 0)
    most = int(max_seconds * 16_000)
    seen = Counter()
    for draw in (draw for step in range(30) for draw in mixture.step(step)):
        spans = [(part.shift, part.shift + part.length) for part in draw.parts]
        assert max(end for _, end in spans) == draw.samples <= most
        assert spans == sorted(spans, key=lambda span: span[0])
        for part in draw.parts:
            assert part.first >= 0 and part.first + part.length <= part.clip.record.samples and part.length >= 1
        made = all_tasks()[draw.questions[0].task].made
        if made is None or len(draw.parts) == 1:
            continue
        seen[made.arranged] += 1
        if made.arranged == "sequence":
            gaps = [start - end for (_, end), (start, _) in pairwise(spans)]
            assert min(gaps) >= 0 and max(gaps) <= 8_000
        if made.arranged == "overlap":
            assert max(spans, key=lambda span: span[1] - span[0]) == (0, draw.samples)
    assert set(seen) == {"overlap", "sequence", "scene"}


def test_the_sound_of_a_draw_is_its_parts_in_their_places(manifest):
    """Rendered without augmentation, each part is found where the draw says, at the level it says."""
    config = replace(CONFIG, max_seconds=3, clips_per_step=30, augment=replace(NO_AUGMENTATION, mix_db_range=(2, 2)))
    mixture, reader = Mixture([manifest], config, 0), EncodedReader(manifest)
    batch = StepDataset(mixture, [reader], Letters())[0]
    checked = 0
    for index, draw in enumerate(mixture.step(0)):
        wave = np.zeros(draw.samples)
        for place, part in enumerate(draw.parts):
            sound = reader.read(part.clip.record)[part.first : part.first + part.length].astype(np.float64)
            if place == 0:
                first = (sound**2).mean()
            else:
                sound *= np.sqrt(first / (sound**2).mean()) * 10 ** (2 / 20)
                checked += 1
            wave[part.shift : part.shift + part.length] += sound
        wave /= max(1.0, np.abs(wave).max()) if len(draw.parts) > 1 else 1
        assert np.allclose(batch.wave_BS[index, : draw.samples].numpy(), wave, atol=1e-5)
    assert checked > 5


@pytest.mark.parametrize("asked", [1, 2, 4])
def test_several_questions_about_a_clip_are_different_ones(manifest, asked):
    config = replace(CONFIG, clips_per_step=30, max_seconds=2, questions_per_clip=asked)
    draws = [draw for step in range(10) for draw in Mixture([manifest], config, 0).step(step)]
    assert max(len(draw.questions) for draw in draws) == min(asked, 3)
    talks = [draw for draw in draws if draw.domain == "speech"]
    assert all(len(draw.questions) == min(asked, 2) for draw in talks), "both things it can answer are asked"
    batch = dataset(manifest, config)[0]
    assert len(batch.ids) == sum(len(draw.questions) for draw in draws[: len(batch)])


@pytest.mark.parametrize("seconds", [20.0, 60.0, 300.0])
def test_steps_stay_within_their_budget_and_use_most_of_it(manifest, seconds):
    config = replace(CONFIG, clips_per_step=None, seconds_per_step=seconds, group_steps=8, questions_per_clip=2)
    mixture = Mixture([manifest], config, 0)
    costs = [cost_seconds(mixture.step(step)) for step in range(32)]
    assert max(costs) <= seconds
    assert sum(costs) > 0.8 * len(costs) * seconds
    for step in range(8):
        draws = mixture.step(step)
        rows = sum(len(draw.questions) for draw in draws)
        widest = max(len(f"{q.instruction}{q.answer}".encode()) for draw in draws for q in draw.questions)
        by_hand = len(draws) * max(draw.samples for draw in draws) / 16_000 + rows * widest / 4 * 0.08
        assert cost_seconds(draws) == pytest.approx(by_hand)
    again = Mixture([manifest], config, 0)
    assert [draw.id for draw in again.step(21)] == [draw.id for draw in mixture.step(21)]


def test_a_step_too_small_for_its_ranks_is_refused(manifest):
    config = replace(CONFIG, clips_per_step=None, seconds_per_step=2.0)
    refused = dataset(manifest, config, rank=0, world=64)[0]
    assert isinstance(refused, RecipeError) and "seconds_per_step" in refused.fix


def test_corpus_weights_multiply_a_corpus_s_share(tmp_path):
    for name in ("a", "b", "c"):
        members = [m for n in range(4) for m in clip(f"{name}{n}", {"text": "a", "sex": "f"}, 0.1, 300 + n)]
        write_corpus(tmp_path / "in" / name, SPEECH, members)
    manifest = prepare(tmp_path / "in", tmp_path / "out")
    weights = {"a": 3.0, "c": 0.0}
    config = DataConfig(
        clips_per_step=100, domain_weights={"speech": 1.0}, corpus_weights=weights, holdout_folds=None
    )  # fmt: skip
    mixture = Mixture([manifest], config, 0)
    drawn = Counter(draw.id[0] for step in range(20) for draw in mixture.step(step))
    assert drawn.keys() == {"a", "b"}
    assert abs(drawn["a"] - 1500) < 4 * (2000 * 0.75 * 0.25) ** 0.5


def test_steps_hold_clips_of_similar_length(manifest):
    """Padding of grouped steps against that of the same clips one draw after the other."""
    config = replace(CONFIG, clips_per_step=8, group_steps=16)
    mixture = Mixture([manifest], config, 0)
    lengths = np.array([[draw.samples for draw in mixture.step(step)] for step in range(16)])

    def waste(lengths: np.ndarray) -> float:
        return 1 - lengths.sum() / (lengths.max(axis=1, keepdims=True) * lengths.shape[1]).sum()

    shuffled = np.random.default_rng(0).permutation(lengths.ravel()).reshape(lengths.shape)
    assert waste(lengths) < 0.25 * waste(shuffled)
    assert list(lengths[:, 0]) != sorted(lengths[:, 0]), "steps of a group run from short to long"


def test_the_share_asked_of_the_mean_is_kept_and_none_of_it_has_an_order(manifest):
    share = 0.4
    asked = dataset(manifest, replace(CONFIG, mean_share=share, questions_per_clip=2))
    batches = [asked[step] for step in range(40)]
    flags: dict[bool, list[bool]] = {True: [], False: []}
    for batch in batches:
        for task, flag in zip(batch.tasks, batch.of_mean_R.tolist(), strict=True):
            flags[all_tasks()[task].answer in ("events", "notes", "sequence", "either")].append(flag)
        halves = batch.split(2)
        assert torch.cat([half.of_mean_R for half in halves]).tolist() == batch.of_mean_R.tolist()
    assert flags[True] and not any(flags[True])
    chosen = [
        flag
        for batch in batches
        for task, flag in zip(batch.tasks, batch.of_mean_R.tolist(), strict=True)
        if not all_tasks()[task].ordered
    ]
    spread = (share * (1 - share) / len(chosen)) ** 0.5
    assert abs(np.mean(chosen) - share) < 5 * spread
    plain, same = dataset(manifest)[3], dataset(manifest, replace(CONFIG, mean_share=share))[3]
    assert plain.of_mean_R is None
    assert torch.equal(plain.wave_BS, same.wave_BS), "the flags are drawn last, so they change no sound"


def test_held_out_clips_are_never_trained_on(manifest):
    mixture = Mixture([manifest], CONFIG, 0)
    held = {draw.id for draw in mixture.held_out_draws()}
    expected = {record.id for record in manifest.records if content_fold(record.sha256, 8) == 0}
    assert held == expected != set()
    drawn = {record_id for step in range(120) for draw in mixture.step(step) for record_id in draw.id.split(" + ")}
    assert not drawn & held
    assert drawn == {record.id for record in manifest.records} - held
    assert not list(Mixture([manifest], replace(CONFIG, holdout_folds=None), 0).held_out_draws())


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
    asked = Counter((draw.id, draw.questions[0].task) for step in range(10) for draw in mixture.step(step))
    assert asked.keys() == {("c/long", "speaker_sex"), ("c/short", "transcription"), ("c/short", "speaker_sex")}
    assert mixture.left_out == {"longer than 0.8 s, not asked for transcription": 1}
    batch = dataset(manifest, config)[0]
    assert int(batch.sample_counts_B.max()) <= 16_000 * (0.8 + 2 * config.augment.silence_max_seconds)


def test_a_domain_without_clips_is_an_error(tmp_path):
    write_corpus(tmp_path / "in" / "c", MUSIC, clip("a", {"label": "flute", "note": "A4"}, 0.1))
    manifest = prepare(tmp_path / "in", tmp_path / "out")
    config = replace(CONFIG, holdout_folds=None, domain_weights={"speech": 0.5, "sound": 0.3, "music": 0.2})
    with pytest.raises(ManifestError, match="no clip of domain") as caught:
        Mixture([manifest], config, 0)
    words = shlex.split(caught.value.fix.partition("leave it out: ")[2])
    assert words[0] == "--set"  # what it says to type leaves those out that have no clip
    typed = replace(config, domain_weights=override(mini(), words[1:]).data.domain_weights)
    assert typed.domain_weights == {"music": 0.2} and len(Mixture([manifest], typed, 0).step(0)) > 0
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


@pytest.mark.parametrize("config", CONFIGS[:2])
def test_splitting_keeps_every_example_and_trims_padding(manifest, config):
    batch = dataset(manifest, config)[3]
    for parts in (1, 2, 4, 6, 99):
        pieces = batch.split(parts)
        assert len(pieces) == min(parts, 6)
        assert [row for piece in pieces for row in rows(piece)] == rows(batch)
        assert max(map(len, pieces)) - min(map(len, pieces)) <= 1
        assert all(piece.wave_BS.shape[1] == int(piece.sample_counts_B.max()) for piece in pieces)
        assert all(piece.tokens_RL.shape[1] == int(piece.token_counts_R.max()) for piece in pieces)
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
    found = find_overlap(manifest, [write_tar(tmp_path / "eval.tar", members)]).overlaps
    assert {(match.key, match.training_id, match.by) for match in found} == {
        ("one", copied.id, "file"),
        ("two", rewrapped.id, "sound"),
    }


def test_the_report_of_a_mixture_counts_what_its_steps_hold(manifest):
    config = replace(CONFIG, clips_per_step=7, questions_per_clip=2)
    report = mixture_report(Mixture([manifest], config, 3), 5)
    steps = [Mixture([manifest], config, 3).step(step) for step in range(5)]
    audio = np.array([[draw.samples for draw in draws] for draws in steps])
    assert report["audio_padding"] == pytest.approx(1 - audio.sum() / (7 * audio.max(axis=1)).sum())
    asked = [question.task for draws in steps for draw in draws for question in draw.questions]
    assert report["questions_per_step"] == len(asked) / 5
    assert report["tasks"] == pytest.approx({name: count / len(asked) for name, count in Counter(asked).items()})
    texts = [[len(q.instruction + q.answer) for draw in draws for q in draw.questions] for draws in steps]
    # An audio token lasts 80 ms, a text token is four bytes and counts as one (docs/decisions/0014).
    real = audio.sum() / 16_000 + 0.08 / 4 * sum(map(sum, texts))
    filled = (7 * audio.max(axis=1)).sum() / 16_000 + 0.08 / 4 * sum(map(sum, texts))
    assert report["padding"] == pytest.approx(1 - real / filled)
    assert sum(report["corpora"].values()) == pytest.approx(1)


@pytest.mark.shared_audio
def test_the_mini_recipe_asks_at_least_twelve_tasks_with_little_padding(shared_set):
    """On the shared training sets, lengths as declared, changes of length by augmentation included."""
    data = load_recipe("mini").data
    names = sorted(path.name.removesuffix(".tar.gz") for path in (SHARED_DATA / "training").glob("*.tar.gz"))
    folders = {shared_set("training", name).parent for name in names or ["sound_effects"]}
    report = mixture_report(Mixture([declared_manifest(folders.pop())], data, 0), data.group_steps)
    assert len(report["tasks"]) >= 12
    assert {"event_detection", "count", "order", "sequence", "note_transcription", "higher_note"} <= set(
        report["tasks"]
    )
    assert report["audio_padding"] < 0.05
