"""How large an experiment is: sizes, steps, data and what judges it. The rows are the same at every scale."""

from dataclasses import dataclass, replace
from pathlib import Path

from uniwhisper.data.config import NO_AUGMENTATION, AugmentConfig, DataConfig
from uniwhisper.model.weights import packaged_default
from uniwhisper.training.recipe import LoopConfig, OptimizerConfig

EQUAL_WITHIN = 0.01
"""Largest relative difference of steps and of audio between rows that are compared."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What distinguishes one experiment from another."""

    name: str
    size: str | None
    """Whisper size of the encoder that S starts from at random; None: S is `start`, which is not trained."""
    start: str | None
    """Checkpoint that is S; None: S is trained."""
    language_model: str
    """Folder or hub id."""
    start_steps: int
    """N: optimizer steps of S."""
    steps: int
    """M: optimizer steps of what goes on from it."""
    data: DataConfig
    """Of U; the other rows change what makes them."""
    start_optimizer: OptimizerConfig
    optimizer: OptimizerConfig
    loop: LoopConfig
    suite: str
    """Shipped suite, or the path of a suite file."""
    seeds: tuple[int, ...]


MINIATURE_DATA = DataConfig(
    audio_seconds_per_step=800.0,
    questions_per_clip=2,
    domain_weights={"speech": 0.4, "sound": 0.35, "music": 0.25},
    corpus_temperature=0.6,
    max_seconds=8.0,
    group_steps=32,
    augment=AugmentConfig(
        speed_probability=0.4,
        crop_probability=0.4,
        equalizer_probability=0.5,
        noise_probability=0.4,
        room_probability=0.2,
        band_probability=0.15,
        background_probability=0.2,
    ),
)


def miniature(language_model: str) -> Scale:
    """One GPU, real recordings: 9,000 steps for a chain S -> U of one seed (docs/decisions/0023-miniature.md)."""
    return Scale(
        name="miniature",
        size="tiny",
        start=None,
        language_model=language_model,
        start_steps=3_000,
        steps=6_000,
        data=MINIATURE_DATA,
        start_optimizer=OptimizerConfig(encoder_learning_rate=1e-3, adapter_learning_rate=1e-3, warmup_steps=500),
        optimizer=OptimizerConfig(encoder_learning_rate=7e-4, adapter_learning_rate=1e-3, warmup_steps=300),
        loop=LoopConfig(
            precision="bf16",
            loss_normalisation="example",
            audio="resident",
            log_every_steps=50,
            checkpoint_every_steps=500,
        ),
        suite="mini",
        seeds=(0, 1, 2),
    )


def paper(start: str, language_model: str, *, mel_bins: int) -> Scale:
    """The paper's own ingredients: S is a published Whisper; sizes and steps are ours, it states none."""
    return Scale(
        name="paper",
        size=None,
        start=start,
        language_model=language_model,
        start_steps=0,
        steps=100_000,
        data=replace(
            MINIATURE_DATA, audio_seconds_per_step=2_000.0, max_seconds=30.0, corpus_temperature=0.5, mel_bins=mel_bins
        ),
        start_optimizer=OptimizerConfig(encoder_learning_rate=0.0, adapter_learning_rate=0.0, warmup_steps=0),
        optimizer=OptimizerConfig(encoder_learning_rate=1e-4, adapter_learning_rate=1e-3, warmup_steps=2_000),
        loop=LoopConfig(
            precision="bf16",
            loss_normalisation="example",
            log_every_steps=50,
            checkpoint_every_steps=1_000,
            micro_batches=4,
            compiled=True,
        ),
        suite="mini",
        seeds=(0,),
    )


def smoke(suite: Path, *, start_steps: int = 20, steps: int = 30, audio_seconds_per_step: float = 16.0) -> Scale:
    """Synthetic sounds on a CPU, in minutes: shows that the chain works, and nothing about the paper's claim."""
    learning = OptimizerConfig(encoder_learning_rate=5e-4, adapter_learning_rate=2e-3, warmup_steps=10)
    return Scale(
        name="smoke",
        size="tiny",
        start=None,
        language_model=str(packaged_default() / "lm"),
        start_steps=start_steps,
        steps=steps,
        data=DataConfig(
            audio_seconds_per_step=audio_seconds_per_step,
            max_seconds=6.0,
            group_steps=4,
            holdout_folds=None,
            augment=NO_AUGMENTATION,
        ),
        start_optimizer=learning,
        optimizer=learning,
        loop=LoopConfig(
            precision="float32",
            loss_normalisation="example",
            log_every_steps=5,
            checkpoint_every_steps=10,
            workers=0,
        ),
        suite=str(suite),
        seeds=(0,),
    )
