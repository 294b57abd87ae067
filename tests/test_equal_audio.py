"""Steps of equal audio, a share of the clips and chosen tasks: what lets rows of an experiment be compared."""

from dataclasses import replace

import pytest

from toy_corpora import write_three_corpora
from uniwhisper.core.errors import RecipeError
from uniwhisper.data.config import DataConfig
from uniwhisper.data.manifest import Manifest
from uniwhisper.data.mixture import Mixture
from uniwhisper.data.prepare import prepare

STEPS = 40


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Manifest:
    folder = tmp_path_factory.mktemp("corpora")
    return prepare(write_three_corpora(folder / "in"), folder / "prepared")


def config(**changes) -> DataConfig:
    return DataConfig(audio_seconds_per_step=10.0, group_steps=4, holdout_folds=None, **changes)


@pytest.mark.parametrize("domains", [{"speech": 1.0}, {"speech": 1.0, "sound": 2.0, "music": 1.0}])
def test_other_clips_give_as_much_audio_in_as_many_steps(manifest, domains):
    steps = [Mixture([manifest], config(domain_weights=domains), 0).step(step) for step in range(STEPS)]
    heard = sum(draw.samples for step in steps for draw in step) / 16_000
    assert heard == pytest.approx(10.0 * STEPS, rel=0.01)
    for first in range(0, STEPS, 4):
        sizes = [len(step) for step in steps[first : first + 4]]
        assert max(sizes) - min(sizes) <= 1
        group = sum(draw.samples for step in steps[first : first + 4] for draw in step) / 16_000
        longest = max(draw.samples for step in steps[first : first + 4] for draw in step) / 16_000
        assert abs(group - 40.0) <= longest


def test_a_step_is_never_empty(manifest):
    mixture = Mixture([manifest], replace(config(), audio_seconds_per_step=0.01), 0)
    assert all(len(mixture.step(step)) == 1 for step in range(8))


def drawn(manifest: Manifest, share: float, **changes) -> set[str]:
    mixture = Mixture([manifest], config(training_share=share, **changes), 0)
    return {part.clip.record.id for step in range(80) for draw in mixture.step(step) for part in draw.parts}


def test_a_smaller_share_lies_within_a_larger_one(manifest):
    all_clips, half, quarter = (drawn(manifest, share) for share in (1.0, 0.5, 0.25))
    assert quarter < half < all_clips
    assert len(all_clips) == len(manifest.records)
    assert 0.3 < len(half) / len(all_clips) < 0.7
    # What is held out is the same for every share.
    held_out = [Mixture([manifest], replace(config(training_share=share), holdout_folds=4), 0) for share in (1.0, 0.5)]
    first, second = ([draw.id for draw in mixture.held_out_draws()] for mixture in held_out)
    assert first == second != []


def test_only_the_chosen_tasks_are_asked(manifest):
    mixture = Mixture([manifest], config(tasks=("sound_tag", "transcription"), questions_per_clip=3,
                                         domain_weights={"speech": 1.0, "sound": 1.0}), 0)  # fmt: skip
    asked = {question.task for step in range(20) for draw in mixture.step(step) for question in draw.questions}
    assert asked == {"sound_tag", "transcription"}


@pytest.mark.parametrize(
    "changes", [{"training_share": 0.0}, {"tasks": ("no task",)}, {"tasks": ()}, {"clips_per_step": 4}]
)
def test_what_makes_no_sense_is_refused(changes):
    with pytest.raises(RecipeError):
        config(**changes)
