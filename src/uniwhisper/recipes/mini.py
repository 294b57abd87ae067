"""`mini`: a tiny-size encoder from random weights on the shared training sets, through a small language model.

The language model is expected in `runs/lm` (`uniwhisper pretrain-lm`). One GPU, about nine minutes. First of the two
runs that made the packaged model; `mini_second` is the other.
"""

from uniwhisper.data.config import AugmentConfig, DataConfig
from uniwhisper.training.recipe import LoopConfig, ModelConfig, OptimizerConfig, Recipe


def mini() -> Recipe:
    """First run of the packaged model."""
    return Recipe(
        name="mini",
        seed=0,
        steps=4_000,
        model=ModelConfig(start=None, encoder_size="tiny", language_model="runs/lm"),
        data=DataConfig(
            domain_weights={"speech": 0.4, "sound": 0.4, "music": 0.2},
            corpus_temperature=0.6,
            clips_per_step=128,
            max_seconds=8.0,
            group_steps=32,
            holdout_folds=20,
            augment=AugmentConfig(
                speed_probability=0.5,
                speed_range=(0.85, 1.18),
                crop_probability=0.4,
                equalizer_probability=0.5,
                noise_probability=0.4,
            ),
        ),
        optimizer=OptimizerConfig(encoder_learning_rate=1e-3, adapter_learning_rate=1e-3, warmup_steps=500),
        loop=LoopConfig(
            precision="bf16",
            loss_normalisation="example",
            log_every_steps=50,
            checkpoint_every_steps=2000,
            validate_every_steps=2000,
        ),
    )
