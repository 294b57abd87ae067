"""`mini_second`: goes on from `mini` with a second, lower cosine and another data order. Made the packaged model."""

from dataclasses import replace

from uniwhisper.recipes.mini import mini
from uniwhisper.training.recipe import ModelConfig, OptimizerConfig, Recipe


def mini_second() -> Recipe:
    """Second run of the packaged model: encoder, adapter and language model come from `runs/mini/model`."""
    return replace(
        mini(),
        name="mini_second",
        seed=1,
        steps=3_000,
        model=ModelConfig(start="runs/mini/model", encoder_size=None, language_model=None),
        optimizer=OptimizerConfig(encoder_learning_rate=6e-4, adapter_learning_rate=6e-4, warmup_steps=200),
    )
