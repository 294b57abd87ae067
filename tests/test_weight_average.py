"""The moving average of the trained weights: what it is, and that nothing but what is exported and scored sees it."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from small import prepared_corpus, write_encoder, write_language_model
from test_training import figures, run, short_recipe
from uniwhisper.core.errors import RecipeError
from uniwhisper.model.weights import load_encoder
from uniwhisper.training.average import WeightAverage
from uniwhisper.training.overrides import override
from uniwhisper.training.recipe import OptimizerConfig, Recipe
from uniwhisper.training.record import read_metrics

CHANGES = ["steps=6", "loop.keep_every_steps=3", "model.adapter_unit_means=false"]
AVERAGED = [*CHANGES, "optimizer.ema_decay=0.6"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    return prepared_corpus(tmp_path_factory.mktemp("corpora"))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Recipe:
    root = tmp_path_factory.mktemp("models")
    write_encoder(root / "start")
    return short_recipe(write_language_model(root))


def one_weight(value: float) -> tuple[torch.nn.Parameter, torch.optim.Optimizer]:
    weight = torch.nn.Parameter(torch.tensor([value]))
    return weight, torch.optim.SGD([{"params": [weight], "names": ["encoder.w"]}])


def test_a_step_keeps_what_the_formula_says():
    weight, optimizer = one_weight(1.0)
    average = WeightAverage(optimizer, 0.25)
    expected = 1.0
    # 2/11 and 3/12 while the run is short, then the decay.
    for step, (value, kept) in enumerate([(5.0, 2 / 11), (-3.0, 1 / 4), (2.0, 1 / 4), (8.0, 1 / 4)], start=1):
        with torch.no_grad():
            weight.fill_(value)
        average.update(step)
        expected = kept * expected + (1 - kept) * value
        assert float(average.means["encoder.w"]) == pytest.approx(expected, rel=1e-6)
        assert weight.item() == value
    with average.in_place():
        assert weight.item() == pytest.approx(expected, rel=1e-6)
    assert weight.item() == 8.0


def test_weights_are_back_in_place_after_an_error():
    weight, optimizer = one_weight(1.0)
    average = WeightAverage(optimizer, 0.5)
    with torch.no_grad():
        weight.fill_(4.0)
    with pytest.raises(KeyboardInterrupt), average.in_place():
        assert weight.item() == 1.0
        raise KeyboardInterrupt
    assert (weight.item(), float(average.means["encoder.w"])) == (4.0, 1.0)


def stored(run_folder: Path, step: int, part: str) -> dict[str, torch.Tensor]:
    return load_file(run_folder / f"checkpoints/step-{step:08d}/{part}.safetensors")


def test_training_does_not_see_it_and_what_is_exported_and_scored_is_it(recipe, prepared, tmp_path, monkeypatch):
    counted = []
    update = WeightAverage.update
    monkeypatch.setattr(WeightAverage, "update", lambda self, steps: counted.append(steps) or update(self, steps))
    scored = ["loop.validate_every_steps=6"]
    run(override(recipe, [*CHANGES, *scored]), prepared, tmp_path / "plain")
    model = run(override(recipe, [*AVERAGED, *scored]), prepared, tmp_path / "averaged")

    assert counted == 2 * [1, 2, 3, 4, 5, 6]
    assert figures(tmp_path / "averaged") == figures(tmp_path / "plain")
    plain, trained = (stored(tmp_path / name, 6, "encoder") for name in ("plain", "averaged"))
    assert all(torch.equal(tensor, trained[name]) for name, tensor in plain.items())
    losses = [read_metrics(tmp_path / name)[-1]["held_out_loss_by_domain"] for name in ("plain", "averaged")]
    assert losses[0] != losses[1]

    means = stored(tmp_path / "averaged", 6, "average")
    exported = load_encoder(model).encoder.state_dict()
    averaged = [name for name in exported if f"encoder.{name}" in means]
    assert any(not torch.equal(means[f"encoder.{name}"], plain[name]) for name in averaged)
    for name in averaged:
        assert torch.equal(exported[name].float(), means[f"encoder.{name}"].half().float())
    kept = [load_encoder(tmp_path / "averaged/models" / f"step-{step:08d}").identity for step in (3, 6)]
    assert kept[0] != kept[1] == load_encoder(model).identity


def test_it_goes_on_exactly_where_a_run_stopped(recipe, prepared, tmp_path):
    changed = override(recipe, [*AVERAGED, "loop.checkpoint_every_steps=3"])
    run(changed, prepared, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "stopped")
    shutil.rmtree(tmp_path / "stopped/checkpoints/step-00000006")
    run(changed, prepared, tmp_path / "stopped", resume=True)
    whole, resumed = (stored(tmp_path / name, 6, "average") for name in ("whole", "stopped"))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())
    assert figures(tmp_path / "stopped") == figures(tmp_path / "whole")


def test_it_is_another_recipe_and_a_decay_below_one(recipe):
    assert override(recipe, ["optimizer.ema_decay=0.99"]).identity() != recipe.identity()
    with pytest.raises(RecipeError, match=r"optimizer\.ema_decay"):
        OptimizerConfig(encoder_learning_rate=1e-3, adapter_learning_rate=1e-3, warmup_steps=1, ema_decay=1.0)
