"""`demo`: a minute of training on synthetic sounds, on a CPU, from the packaged model.

A learning rate well below pretraining's: the point is to bend a trained encoder towards new labels, not to start over.
"""

from uniwhisper.data.loader import AugmentConfig, DataConfig
from uniwhisper.training.recipe import LoopConfig, ModelConfig, OptimizerConfig, Recipe


def demo() -> Recipe:
    """The recipe that `uniwhisper demo` trains."""
    return Recipe(
        name="demo",
        seed=0,
        steps=160,
        model=ModelConfig(start="default", encoder_size=None, language_model=None),
        data=DataConfig(
            domain_weights={"sound": 1.0},
            clips_per_step=12,
            max_seconds=4.0,
            holdout_folds=None,
            # A crop can take away one of three beeps, and with it the truth of the label.
            augment=AugmentConfig(crop_probability=0.0),
        ),
        optimizer=OptimizerConfig(encoder_learning_rate=3e-4, adapter_learning_rate=1e-3, warmup_steps=16),
        loop=LoopConfig(
            precision="float32",
            loss_normalisation="example",
            log_every_steps=5,
            checkpoint_every_steps=160,
            workers=0,
        ),
    )
