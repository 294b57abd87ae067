"""Recipes as values: loading, overriding, refusing."""

import dataclasses

import pytest

from uniwhisper.core.errors import RecipeError
from uniwhisper.recipes import load_recipe, shipped_recipes
from uniwhisper.training.overrides import override
from uniwhisper.training.recipe import LoopConfig, Recipe


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_builds_and_is_named_after_itself(name):
    recipe = load_recipe(name)
    assert isinstance(recipe, Recipe) and recipe.name == name


def test_recipe_from_a_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from dataclasses import replace\n"
        "from uniwhisper.recipes.mini import mini\n"
        "def short():\n    return replace(mini(), name='short', steps=7)\n"
        "def wrong():\n    return 3\n"
    )
    assert load_recipe(f"{path}:short").steps == 7
    with pytest.raises(RecipeError, match="got: int"):
        load_recipe(f"{path}:wrong")
    with pytest.raises(RecipeError, match="no such function"):
        load_recipe(f"{path}:absent")
    with pytest.raises(RecipeError, match="no recipe file"):
        load_recipe(f"{tmp_path / 'nowhere.py'}:short")
    with pytest.raises(RecipeError, match="uniwhisper train mini"):
        load_recipe("mimi")
    with pytest.raises(RecipeError, match=r"mine\.py:FUNCTION"):
        load_recipe(str(path))


def test_overrides_reach_every_depth_and_keep_types():
    recipe = override(
        load_recipe("mini"),
        [
            "steps=12",
            "optimizer.encoder_learning_rate=1e-4",
            "optimizer.weight_decay=0",
            "loop.loss_normalisation=token",
            "loop.workers=None",
            "model.language_model=some/folder",
            'data.domain_weights={"speech": 1.0}',
        ],
    )
    assert recipe.steps == 12
    assert recipe.optimizer.encoder_learning_rate == 1e-4
    assert isinstance(recipe.optimizer.weight_decay, float)
    assert recipe.loop.loss_normalisation == "token" and recipe.loop.workers is None
    assert recipe.model.language_model == "some/folder"
    assert recipe.data.domain_weights == {"speech": 1.0}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("stepz=3", "did you mean steps"),
        ("warmup_steps=3", r"did you mean optimizer\.warmup_steps"),
        ("optimizer.warmup=3", "unknown recipe field"),
        ("steps", "no '='"),
        ("steps=ten", "got: 'ten'"),
        ("steps=1.5", "expected: int"),
        ("steps=0", "an integer >= 1"),
        ("steps=true", "got: 'true'"),
        ("loop.precision=fp8", "bf16"),
        ("optimizer=3", "one of its fields"),
        ("steps.more=3", "has no fields"),
    ],
)
def test_a_wrong_override_is_refused_with_advice(assignment, message):
    with pytest.raises(RecipeError, match=message):
        override(load_recipe("mini"), [assignment])


def test_advice_on_a_misspelt_field_is_not_hidden_by_all_the_others():
    with pytest.raises(RecipeError) as raised:
        override(load_recipe("mini"), ["optimiser.warmup_steps=3"])
    message = str(raised.value)
    assert "did you mean optimizer.warmup_steps?" in message
    assert "optimizer.…" in message
    assert "gradient_clip_norm" not in message
    with pytest.raises(RecipeError, match=r"for compile, one of precision, .*compiled"):
        override(load_recipe("mini"), ["loop.compile=true"])


def test_whole_windows_are_for_the_loader():
    """The log-mel of resident audio reflects nothing at 30 s: refused before a run begins, not in the middle of it."""
    assert override(load_recipe("mini"), ["data.max_seconds=29.99", "loop.audio=resident"])
    assert override(load_recipe("mini"), ["loop.audio=loader", "data.max_seconds=30"])
    with pytest.raises(RecipeError, match="below one window"):
        override(load_recipe("mini"), ["data.max_seconds=30", "loop.audio=resident"])


def test_identity_ignores_how_often_a_run_is_logged_but_not_what_it_computes():
    recipe = load_recipe("mini")
    logged = override(recipe, ["loop.log_every_steps=1", "loop.checkpoint_every_steps=2", "loop.workers=0"])
    assert logged.identity() == recipe.identity() == override(recipe, ["loop.micro_batches=3"]).identity()
    for change in ("seed=1", "steps=9", "optimizer.beta2=0.9", "loop.precision=float32", "data.max_seconds=5"):
        assert override(recipe, [change]).identity() != recipe.identity(), change


def test_recipes_are_values():
    recipe = load_recipe("mini")
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.steps = 3
    with pytest.raises(RecipeError, match="micro_batches"):
        LoopConfig(precision="bf16", loss_normalisation="token", micro_batches=0)
