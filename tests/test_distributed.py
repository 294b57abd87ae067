"""A run on two ranks is the run on one: same clips, same losses, and each resumes where the other stopped."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from small import write_corpus, write_encoder, write_language_model
from test_training import CPU, one_batch, run, short_recipe
from uniwhisper.core.errors import RecipeError
from uniwhisper.data.loader import step_batches
from uniwhisper.data.manifest import Manifest
from uniwhisper.data.prepare import prepare
from uniwhisper.model.weights import load_encoder
from uniwhisper.training.build import build_model
from uniwhisper.training.optimizer import build_optimizer
from uniwhisper.training.overrides import override
from uniwhisper.training.record import read_metrics
from uniwhisper.training.step import train_step

# Several questions a clip, and steps of as many clips as a budget holds: the ranks' shares are unequal.
STEPS = [
    "steps=50",
    "data.clips_per_step=None",
    "data.seconds_per_step=24",
    "data.questions_per_clip=2",
    "loop.checkpoint_every_steps=25",
    "loop.micro_batches=2",
]
SHORT = ["steps=4", "loop.checkpoint_every_steps=4"]
RESIDENT = ["steps=6", "loop.checkpoint_every_steps=6", "loop.audio=resident"]
DIRECTIONS = [*SHORT, "data.mean_share=0.9", "model.adapter_mean_tokens=3", "model.adapter_unit_means=true"]
SCORED = ["data.holdout_folds=3", "loop.validate_every_steps=1"]
AVERAGED = [*SHORT, *SCORED, "optimizer.ema_decay=0.6", "loop.checkpoint_every_steps=2"]
TWO_RANKS = {
    "replicas": ([], None),
    "shards": (["loop.parallel=shard"], "alone"),
    "resident": (RESIDENT, None),
    "directions": (DIRECTIONS, None),
    "directions sharded": ([*DIRECTIONS, "loop.parallel=shard"], None),
    "averages": (AVERAGED, None),
    "averages sharded": ([*AVERAGED, "loop.parallel=shard"], "averaged alone"),
    "compiled": ([*SHORT, "loop.parallel=shard", "loop.compiled=true", "loop.recompute=layers"], None),
}
"""Changes of the recipe, and the run on one rank that is gone on with; None: none. All in one start of two ranks."""
SCRIPT = """
import sys, torch
from functools import partial
from pathlib import Path
sys.path.insert(0, {tests!r})
torch.set_num_threads(1)
torch.compile = partial(torch.compile, backend="eager")  # traced, where a recipe says compiled; no code is generated
from test_training import run, short_recipe
from uniwhisper.training.overrides import override
# One group for all the runs: joining a second time in the same processes hung; why was not looked into.
join, leave = torch.distributed.init_process_group, torch.distributed.destroy_process_group
torch.distributed.init_process_group = lambda *how, **more: torch.distributed.is_initialized() or join(*how, **more)
torch.distributed.destroy_process_group = lambda: None
ground = Path({ground!r})
for name, (changes, after) in {runs!r}.items():
    recipe = override(short_recipe(ground / "lm"), changes)
    cache = ground / "cache" if "loop.audio=resident" in changes else None
    run(recipe, ground / "prepared", ground / "two" / name, resume=after is not None, cache=cache)
leave()
"""


@pytest.fixture(scope="module")
def ground(tmp_path_factory) -> Path:
    """A prepared corpus, a language model and an encoder to start from."""
    root = tmp_path_factory.mktemp("ground")
    write_corpus(root / "corpora")
    prepare(root / "corpora", root / "prepared")
    write_language_model(root)
    write_encoder(root / "start")
    return root


@pytest.fixture(scope="module")
def alone(ground) -> Path:
    """The run on one rank."""
    torch.manual_seed(0)
    run(override(short_recipe(ground / "lm"), STEPS), ground / "prepared", ground / "alone")
    return ground / "alone"


@pytest.fixture(scope="module")
def averaged(ground) -> Path:
    """The run on one rank whose weights are averaged, and scored after every step."""
    run(override(short_recipe(ground / "lm"), [*STEPS, *AVERAGED]), ground / "prepared", ground / "averaged alone")
    return ground / "averaged alone"


@pytest.fixture(scope="module")
def two(ground, alone, averaged) -> Path:
    """The runs on two ranks, by name, in processes that are started once."""
    for before, name, last in ((alone, "shards", 50), (averaged, "averages sharded", 4)):
        shutil.copytree(before, ground / "two" / name)
        shutil.rmtree(ground / "two" / name / f"checkpoints/step-{last:08d}")
    runs = {name: ([*STEPS, *changes], after) for name, (changes, after) in TWO_RANKS.items()}
    script = ground / "two.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent), ground=str(ground), runs=runs))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    return ground / "two"


def assert_same_run(folder: Path, other: Path, steps: int = 50) -> None:
    lines, others = read_metrics(folder), read_metrics(other)
    assert [line["step"] for line in lines] == list(range(1, steps + 1))
    for line, expected in zip(lines, others, strict=True):
        assert line["examples"] == expected["examples"]
        assert line["loss"] == pytest.approx(expected["loss"], rel=1e-3)
        assert line["gradient_norm"] == pytest.approx(expected["gradient_norm"], rel=1e-2)
        assert line["audio_seconds"] == pytest.approx(expected["audio_seconds"])
    trained, expected = (load_encoder(path / "model").encoder.state_dict() for path in (folder, other))
    for name, tensor in trained.items():
        assert (tensor - expected[name]).norm() <= 1e-2 * expected[name].norm() + 1e-3, name


def test_two_replicas_give_the_run_of_one_and_one_goes_on_where_two_stopped(ground, alone, two, tmp_path):
    assert_same_run(two / "replicas", alone)
    shutil.copytree(two / "replicas", tmp_path / "one")
    shutil.rmtree(tmp_path / "one/checkpoints/step-00000050")
    run(override(short_recipe(ground / "lm"), STEPS), ground / "prepared", tmp_path / "one", resume=True)
    assert_same_run(tmp_path / "one", alone)


def test_two_shards_go_on_where_one_rank_stopped_and_leave_whole_tensors(alone, two):
    assert_same_run(two / "shards", alone)


def test_audio_resident_on_every_rank_gives_the_run_of_one(ground, two, tmp_path):
    recipe = override(short_recipe(ground / "lm"), [*STEPS, *RESIDENT])
    run(recipe, ground / "prepared", tmp_path / "one", cache=ground / "cache")
    assert_same_run(two / "resident", tmp_path / "one", steps=6)


@pytest.mark.parametrize("name", ["directions", "directions sharded"])
def test_what_means_are_standardised_by_is_of_the_clips_of_all_ranks(ground, two, tmp_path, name):
    run(override(short_recipe(ground / "lm"), [*STEPS, *DIRECTIONS]), ground / "prepared", tmp_path / "one")
    assert_same_run(two / name, tmp_path / "one", steps=4)


@pytest.mark.parametrize("name", ["averages", "averages sharded"])
def test_weights_are_averaged_and_scored_as_on_one_rank_and_the_steps_do_not_see_it(two, averaged, name):
    """The shards go on where one rank stopped: after a score, with weights that were whole until then."""
    lines, expected = read_metrics(two / name), read_metrics(averaged)
    assert [line["step"] for line in lines] == [1, 1, 2, 2, 3, 3, 4, 4]
    for line, other in zip(lines, expected, strict=True):
        assert line.get("examples") == other.get("examples")
        for key in ("loss", "gradient_norm"):
            assert line.get(key, 0.0) == pytest.approx(other.get(key, 0.0), rel=1e-4)
        scores, expected_scores = (each.get("held_out_loss_by_domain", {}) for each in (line, other))
        assert scores == pytest.approx(expected_scores, rel=1e-4)
    means, alone_means = (
        load_file(folder / "checkpoints/step-00000004/average.safetensors") for folder in (two / name, averaged)
    )
    assert means.keys() == alone_means.keys()
    for weight, mean in means.items():
        assert (mean - alone_means[weight]).norm() <= 1e-3 * alone_means[weight].norm() + 1e-4, weight


def test_two_shards_compiled_and_computing_again_give_the_run_of_one(ground, two, tmp_path):
    run(override(short_recipe(ground / "lm"), [*STEPS, *SHORT]), ground / "prepared", tmp_path / "one")
    assert_same_run(two / "compiled", tmp_path / "one", steps=4)


def test_a_step_with_fewer_clips_than_ranks_is_one_error(ground):
    recipe = override(short_recipe(ground / "lm"), ["data.clips_per_step=2"])
    batches = step_batches(
        Manifest.read(ground / "prepared"), None, recipe.data, seed=0, start_step=0, stop_step=1, workers=0,
        rank=2, world=3,
    )  # fmt: skip
    with pytest.raises(RecipeError, match="fewer clips than there are ranks"):
        next(iter(batches))


def test_the_step_of_one_rank_needs_no_process_group(ground):
    recipe = short_recipe(ground / "lm")
    model = build_model(recipe, CPU)
    batch = one_batch(recipe, ground / "prepared", model)
    result = train_step(model, build_optimizer(model, recipe.optimizer), batch, recipe, CPU)
    assert not torch.distributed.is_initialized() and result.applied
    assert result.whole.ids == batch.ids and len(result.loss_sums) == len(batch.ids)
