"""A training run as one frozen value.

A recipe is a Python function that returns a `Recipe`; variants derive from it with `dataclasses.replace`, small changes
come from the command line (`--set optimizer.warmup_steps=100`). Building a recipe touches no seed, thread, disk or GPU.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from uniwhisper.core.errors import RecipeError
from uniwhisper.core.identity import hash_json
from uniwhisper.core.units import WINDOW_SECONDS
from uniwhisper.data.config import DataConfig
from uniwhisper.model.config import Recompute

WITHOUT_EFFECT_ON_RESULT = {
    "log_every_steps",
    "checkpoint_every_steps",
    "validate_every_steps",
    "keep_every_steps",
    "workers",
    "parallel",
    "compiled",
    "recompute",
}
"""Fields of the loop that a resumed run may change: none decides more than the last bits."""


def require(condition: bool, field: str, expected: str, got: Any) -> None:
    """Raise a `RecipeError` about `field` unless `condition` holds."""
    if not condition:
        raise RecipeError(
            f"recipe field {field}",
            expected=expected,
            got=repr(got),
            fix=f"change it in the recipe or with --set {field}=…",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """What is trained, and what it starts from."""

    start: str | None
    """Checkpoint the encoder starts from: a folder, an OpenAI `.pt`, a hub id, or `default` for the packaged model.
    From a UniWhisper folder the adapter too, if it was trained with the same language model. None: random weights of
    `encoder_size`."""
    encoder_size: str | None
    """Whisper size of a random encoder; None when `start` is given."""
    language_model: str | None
    """Folder or hub id of the causal language model; default: the packaged one; None: the one beside `start`."""
    adapter_stack: int = 4
    """Frames joined into one audio token."""
    adapter_hidden_width: int = 1024
    """Width between the adapter's two linear layers."""
    adapter_mean_tokens: int | None = None
    """Audio tokens of the mean of a clip's frames, which `data.mean_share` of the questions are asked of; None: as many
    as in `start`'s adapter where that is taken, else one."""
    adapter_unit_means: bool | None = None
    """Whether that mean is heard as a direction, standardised over what was trained on, so that vectors are made for
    cosine; None: as in `start`'s adapter where that is taken, else not."""

    def __post_init__(self) -> None:
        require(
            (self.start is None) != (self.encoder_size is None),
            "model.start",
            "either model.start or model.encoder_size, the other None",
            (self.start, self.encoder_size),
        )
        require(
            self.language_model is not None or self.start is not None,
            "model.language_model",
            "a folder or hub id of a causal language model",
            None,
        )
        require(self.adapter_stack >= 1, "model.adapter_stack", "an integer >= 1", self.adapter_stack)
        require(
            self.adapter_hidden_width >= 1, "model.adapter_hidden_width", "an integer >= 1", self.adapter_hidden_width
        )
        require(
            self.adapter_mean_tokens is None or self.adapter_mean_tokens >= 1,
            "model.adapter_mean_tokens",
            "an integer >= 1, or None",
            self.adapter_mean_tokens,
        )
        require(
            self.adapter_unit_means is None or isinstance(self.adapter_unit_means, bool),
            "model.adapter_unit_means",
            "True, False or None",
            self.adapter_unit_means,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig:
    """AdamW with linear warm-up and cosine decay. The language model is frozen and has no learning rate."""

    encoder_learning_rate: float
    """Peak learning rate of the encoder, reached after `warmup_steps`."""
    adapter_learning_rate: float
    """Peak learning rate of the adapter."""
    warmup_steps: int
    """Optimizer steps (not micro-batches) of linear warm-up."""
    final_fraction: float = 0.02
    """Learning rate at the last step as a fraction of the peak."""
    weight_decay: float = 0.05
    """Decoupled weight decay of matrices and kernels; biases and LayerNorm have none."""
    beta1: float = 0.9
    beta2: float = 0.98
    gradient_clip_norm: float = 1.0
    """Gradients of a step are scaled down to this global L2 norm."""
    ema_decay: float | None = None
    """Share that a step keeps of a moving average of the trained weights, which is then what is exported, kept and
    scored on held-out clips; None: the weights themselves."""

    def __post_init__(self) -> None:
        for name in ("encoder_learning_rate", "adapter_learning_rate", "weight_decay"):
            require(getattr(self, name) >= 0, f"optimizer.{name}", "a number >= 0", getattr(self, name))
        require(self.warmup_steps >= 0, "optimizer.warmup_steps", "an integer >= 0", self.warmup_steps)
        for name in ("beta1", "beta2"):
            require(0 <= getattr(self, name) < 1, f"optimizer.{name}", "from 0 to below 1", getattr(self, name))
        require(0 <= self.final_fraction <= 1, "optimizer.final_fraction", "within 0…1", self.final_fraction)
        require(self.gradient_clip_norm > 0, "optimizer.gradient_clip_norm", "a number > 0", self.gradient_clip_norm)
        require(
            self.ema_decay is None or 0 <= self.ema_decay < 1,
            "optimizer.ema_decay",
            "from 0 to below 1, or None",
            self.ema_decay,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopConfig:
    """How the steps are run and recorded."""

    precision: Literal["bf16", "float8", "float32"]
    """bf16: autocast on a GPU (weights and optimizer stay float32). float8: the same, and the layers of encoder and
    language model multiply in 8-bit floats, but for the weights' gradients; for wide encoders, compiled, on a GPU of
    compute capability 8.9 or later. On a CPU everything is float32 either way."""
    loss_normalisation: Literal["example", "token"]
    """What every share of the global batch's loss is divided by: `example` averages each answer's tokens first, so a
    one-word label weighs as much as a transcript; `token` divides the sum by all answer tokens."""
    audio: Literal["loader", "resident"] = "loader"
    """loader: workers decode and alter each clip. resident: the whole training set lies on the device (two bytes a
    sample), where examples are made of it; needs a cache folder and is many times faster on a GPU."""
    micro_batches: int = 1
    """Parts a step's batch is cut into to fit memory; the result is the same up to rounding, so that a resumed run may
    change them."""
    log_every_steps: int = 20
    """Optimizer steps that a line of the metrics covers."""
    checkpoint_every_steps: int = 1000
    """A multiple of `log_every_steps`: a resumed run then logs the very averages of an uninterrupted one."""
    validate_every_steps: int | None = None
    """Optimizer steps between losses on held-out clips; None: never."""
    keep_every_steps: int | None = None
    """Optimizer steps between models that are kept in `models/` of the run, for choosing among them; a multiple of
    `log_every_steps`, so that the metrics say what each had heard. None: only the last is exported, as `model`."""
    max_nonfinite_steps: int = 5
    """Steps in a row with a non-finite loss or gradient (each skipped) that stop the run."""
    parallel: Literal["replicate", "shard"] = "replicate"
    """Of several ranks: each holds all weights (DDP), or a part of encoder, adapter and optimizer (FSDP2). Alone,
    without effect."""
    workers: int | None = None
    """Loader processes; 0: load in the training process; None: one per CPU core beyond the first, at most 12."""
    compiled: bool = False
    """Compile encoder and language model: minutes at the start, then faster steps. For long runs on a GPU; needs a C++
    compiler, which is looked for before anything is written."""
    recompute: Recompute | None = None
    """Activations of the encoder that are computed again in the backward pass instead of kept: `mlp`, all that follows
    each block's attention; `layers`, all but each block's input, at a third more arithmetic. None keeps all: for when
    memory suffices."""

    def __post_init__(self) -> None:
        choices = {
            "precision": ("bf16", "float8", "float32"),
            "loss_normalisation": ("example", "token"),
            "audio": ("loader", "resident"),
            "parallel": ("replicate", "shard"),
            "compiled": (True, False),
            "recompute": (None, "mlp", "layers"),
        }
        for name, allowed in choices.items():
            require(getattr(self, name) in allowed, f"loop.{name}", " or ".join(map(str, allowed)), getattr(self, name))
        for name in ("micro_batches", "log_every_steps", "checkpoint_every_steps", "max_nonfinite_steps"):
            require(getattr(self, name) >= 1, f"loop.{name}", "an integer >= 1", getattr(self, name))
        require(
            self.checkpoint_every_steps % self.log_every_steps == 0,
            "loop.checkpoint_every_steps",
            f"a multiple of loop.log_every_steps ({self.log_every_steps})",
            self.checkpoint_every_steps,
        )
        kept = self.keep_every_steps
        require(
            kept is None or (kept >= 1 and kept % self.log_every_steps == 0),
            "loop.keep_every_steps",
            f"None or a multiple of loop.log_every_steps ({self.log_every_steps})",
            kept,
        )
        for name in ("validate_every_steps", "workers"):
            value = getattr(self, name)
            smallest = 1 if name == "validate_every_steps" else 0
            require(value is None or value >= smallest, f"loop.{name}", f"None or an integer >= {smallest}", value)

    def half_on(self, device_type: str) -> bool:
        """Whether steps on such a device (`cuda`, `cpu`) run under autocast to bfloat16."""
        return self.precision != "float32" and device_type == "cuda"


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """One training run."""

    name: str
    seed: int
    """Seeds the data order, every augmentation and the random weights."""
    steps: int
    """Optimizer steps."""
    model: ModelConfig
    data: DataConfig
    optimizer: OptimizerConfig
    loop: LoopConfig

    def __post_init__(self) -> None:
        require(self.steps >= 1, "steps", "an integer >= 1", self.steps)
        require(self.seed >= 0, "seed", "an integer >= 0", self.seed)
        require(
            not self.model.adapter_unit_means or self.data.mean_share > 0,
            "model.adapter_unit_means",
            "questions that are asked of a mean: data.mean_share above 0",
            f"data.mean_share {self.data.mean_share}",
        )
        require(
            self.loop.audio == "loader" or self.data.max_seconds < WINDOW_SECONDS,
            "data.max_seconds",
            f"below one window ({WINDOW_SECONDS}) where loop.audio is resident",
            self.data.max_seconds,
        )

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def identity(self) -> str:
        """Hash of what decides the result: not how often it is logged or saved, nor by what means it is computed."""
        value = self.to_json()
        # A run that was begun before there were such fields goes on.
        if self.model.adapter_unit_means is None:
            del value["model"]["adapter_unit_means"]
        if self.optimizer.ema_decay is None:
            del value["optimizer"]["ema_decay"]
        if self.data.augment.repeat_probability == 0:
            del value["data"]["augment"]["repeat_probability"], value["data"]["augment"]["repeat_max_seconds"]
        value["loop"] = {name: part for name, part in value["loop"].items() if name not in WITHOUT_EFFECT_ON_RESULT}
        value["loop"]["micro_batches"] = 1  # no field less: a run that was begun while they counted goes on
        return hash_json(value)
