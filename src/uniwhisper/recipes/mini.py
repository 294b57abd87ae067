"""`mini`: a tiny-size encoder from random weights on 27 hours of public audio, through a small language model.

The language model is expected in `runs/lm` (`uniwhisper pretrain-lm`). Audio lives on the GPU, so `--cache` is needed.
Half of an H200, five minutes. The packaged model goes on from a start on speech, hears less of it and some clips after
a codec, some repeated, is asked less and trains for longer: row U-lengths of `uniwhisper reproduce miniature`.
"""

from uniwhisper.data.config import AugmentConfig, DataConfig
from uniwhisper.training.recipe import LoopConfig, ModelConfig, OptimizerConfig, Recipe


def mini() -> Recipe:
    """What each choice is worth is in docs/log.md."""
    return Recipe(
        name="mini",
        seed=0,
        steps=2_400,
        model=ModelConfig(
            start=None,
            encoder_size="tiny",
            language_model="runs/lm",
            adapter_mean_tokens=8,
            adapter_unit_means=True,
        ),
        data=DataConfig(
            domain_weights={"speech": 0.35, "sound": 0.45, "music": 0.2},
            corpus_temperature=0.6,
            clips_per_step=256,
            questions_per_clip=4,
            mean_share=0.9,
            max_seconds=8.0,
            group_steps=64,
            name_recordings=True,
            augment=AugmentConfig(
                speed_probability=0.2,
                crop_probability=0.6,
                crop_keep_range=(0.35, 1.0),
                silence_max_seconds=2.0,
                equalizer_probability=0.4,
                equalizer_max_db=8.0,
                noise_probability=0.4,
                room_probability=0.2,
                band_probability=0.1,
            ),
        ),
        optimizer=OptimizerConfig(encoder_learning_rate=1e-3, adapter_learning_rate=1e-3, warmup_steps=300),
        loop=LoopConfig(
            precision="bf16",
            loss_normalisation="example",
            audio="resident",
            log_every_steps=100,
            checkpoint_every_steps=500,
            validate_every_steps=500,
            workers=7,
        ),
    )
