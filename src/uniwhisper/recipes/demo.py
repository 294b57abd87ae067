"""`demo`: a minute of training on synthetic sounds, on a CPU, from the packaged model.

The encoder learns ten times more slowly than in pretraining: 90 small steps at half of its rate made vectors worse on
one of two processors. The adapter learns faster, since the language model has never been asked for these labels.
"""

from uniwhisper.data.config import NO_AUGMENTATION, DataConfig
from uniwhisper.training.recipe import LoopConfig, ModelConfig, OptimizerConfig, Recipe


def demo() -> Recipe:
    """The recipe that `uniwhisper demo` trains."""
    return Recipe(
        name="demo",
        seed=0,
        steps=90,
        model=ModelConfig(start="default", encoder_size=None, language_model=None),
        data=DataConfig(
            domain_weights={"sound": 1.0},
            clips_per_step=12,
            max_seconds=4.0,
            holdout_folds=None,
            # The formulas vary every sound already, and a crop could take away one of three beeps.
            augment=NO_AUGMENTATION,
        ),
        optimizer=OptimizerConfig(encoder_learning_rate=1e-4, adapter_learning_rate=3e-3, warmup_steps=15),
        loop=LoopConfig(
            precision="float32",
            loss_normalisation="example",
            log_every_steps=5,
            checkpoint_every_steps=90,
            workers=0,
        ),
    )
