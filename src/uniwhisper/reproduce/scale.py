"""How large an experiment is: sizes, steps, data and what judges it. The rows are the same at every scale."""

from dataclasses import dataclass, replace
from pathlib import Path

from uniwhisper.data.config import NO_AUGMENTATION, DataConfig
from uniwhisper.model.weights import packaged_default
from uniwhisper.recipes.mini import mini
from uniwhisper.reproduce.smoke_data import DEVELOPMENT_NAME, SMOKE_FOLDS
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
    """N: optimizer steps of S's run; of rows that count with S, those after which S was taken (`start.py`)."""
    start_candidates: int
    """Models that S's run keeps, evenly over its N steps: one of them is S."""
    mean_tokens: int
    """Audio tokens of the mean of a clip's frames, where the language model reads them."""
    steps: int
    """M: optimizer steps of what goes on from it."""
    data: DataConfig
    """Of U; the other rows change what makes them."""
    start_optimizer: OptimizerConfig
    """Of rows that start from random weights."""
    optimizer: OptimizerConfig
    """Of rows that go on from another."""
    loop: LoopConfig
    suite: str
    """Shipped suite, or the path of a suite file."""
    development: str
    """Suite cut from the training sets, as `suite`: it chooses S and is what the gate asks."""
    gate_steps: int | None
    """Optimizer steps of each of the gate's two runs (`gate.py`); None: no gate."""
    gate_within: float
    """How far U may lie below U with a trained language model in those."""
    content_tasks: tuple[str, ...]
    """Tasks of the suites about what is said, on which S must be above log-mel statistics."""
    asked_clips: int
    """Held-out clips of each task that U is asked about."""
    conditions: tuple[str, ...] | None
    """Alterations that U is examined under, as `uniwhisper examine robustness` names them; None: its own set."""
    examined_clips: int | None
    """Clips of a task that are altered; None: all."""
    seeds: tuple[int, ...]

    @property
    def keep_every_steps(self) -> int:
        """Steps between the models that S's run keeps."""
        return self.start_steps // self.start_candidates


SIZES = {"tiny": 1.0, "base": 2 / 3}
"""Size -> factor on the encoder's learning rates. Whisper's own peak rates: 1.5e-3 for tiny, 1e-3 for base (Radford et
al., 2022, table 17)."""
START_STEPS = 2_000
START_CANDIDATES = 4
LOG_EVERY_STEPS = 50
CONTENT_TASKS = ("fsdd", "speech_commands_v2_testset", "speechocean_asr", "wake_words", "three_words")
"""Digits, commands and recognised text of the suite `mini`, words of `dev`."""

MINIATURE_DATA = replace(mini().data, clips_per_step=None, audio_seconds_per_step=600.0)
"""What the recipe `mini` hears, in steps of equally much audio."""


def miniature(language_model: str, size: str = "tiny", start_steps: int = START_STEPS) -> Scale:
    """One GPU, real recordings: 4,000 steps for a chain S -> U of one seed (docs/decisions/0023-miniature.md).

    Args:
        size: a key of `SIZES`.
        start_steps: as in `Scale`.
    """
    factor = SIZES[size]
    return Scale(
        name=f"miniature {size}",
        size=size,
        start=None,
        language_model=language_model,
        start_steps=start_steps,
        start_candidates=START_CANDIDATES,
        mean_tokens=mini().model.adapter_mean_tokens,
        steps=2_000,
        data=MINIATURE_DATA,
        start_optimizer=OptimizerConfig(
            encoder_learning_rate=1e-3 * factor, adapter_learning_rate=1e-3, warmup_steps=200
        ),
        optimizer=OptimizerConfig(encoder_learning_rate=2e-4 * factor, adapter_learning_rate=1e-3, warmup_steps=200),
        loop=LoopConfig(
            precision="bf16",
            loss_normalisation="example",
            audio="resident",
            log_every_steps=LOG_EVERY_STEPS,
            checkpoint_every_steps=250,
        ),
        suite="mini",
        development="dev",
        gate_steps=300,
        gate_within=0.02,
        content_tasks=CONTENT_TASKS,
        asked_clips=100,
        conditions=None,
        examined_clips=200,
        seeds=(0, 1, 2),
    )


def paper(start: str, language_model: str, *, mel_bins: int) -> Scale:
    """The paper's own ingredients: S is a published Whisper; sizes and steps are ours, it states none.

    No gate: the development suite is cut from this project's training sets, and the language model is the paper's.
    """
    return Scale(
        name="paper",
        size=None,
        start=start,
        language_model=language_model,
        start_steps=0,
        start_candidates=1,
        mean_tokens=mini().model.adapter_mean_tokens,
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
        development="dev",
        gate_steps=None,
        gate_within=0.02,
        content_tasks=CONTENT_TASKS,
        asked_clips=100,
        conditions=None,
        examined_clips=500,
        seeds=(0,),
    )


def smoke(suite: Path, *, start_steps: int = 12, steps: int = 16, audio_seconds_per_step: float = 12.0) -> Scale:
    """Synthetic sounds on a CPU, in minutes: shows that the chain works, and nothing about the paper's claim.

    Args:
        suite: what `write_smoke_data` gave; the development suite lies beside it.
    """
    learning = OptimizerConfig(encoder_learning_rate=5e-4, adapter_learning_rate=2e-3, warmup_steps=10)
    return Scale(
        name="smoke",
        size="tiny",
        start=None,
        language_model=str(packaged_default() / "lm"),
        start_steps=start_steps,
        start_candidates=2,
        mean_tokens=2,
        steps=steps,
        data=DataConfig(
            audio_seconds_per_step=audio_seconds_per_step,
            questions_per_clip=2,
            mean_share=0.5,
            name_recordings=True,
            max_seconds=6.0,
            group_steps=4,
            holdout_folds=SMOKE_FOLDS,
            augment=NO_AUGMENTATION,
        ),
        start_optimizer=learning,
        optimizer=learning,
        loop=LoopConfig(
            precision="float32",
            loss_normalisation="example",
            log_every_steps=2,
            checkpoint_every_steps=10,
            workers=0,
        ),
        suite=str(suite),
        development=str(suite.with_name(DEVELOPMENT_NAME)),
        gate_steps=4,
        gate_within=1.0,  # what so few steps give says nothing
        content_tasks=("new_speech",),
        asked_clips=6,
        conditions=("decoded", "noise:10", "length:2"),
        examined_clips=6,
        seeds=(0,),
    )
