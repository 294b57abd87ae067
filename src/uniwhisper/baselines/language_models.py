"""UniWhisper with another language model than its own: random instead of pretrained, trained instead of frozen.

The product cannot thaw its language model; these classes exist for the experiment that asks what freezing costs.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uniwhisper.baselines.encoder_folder import start_encoder, write_encoder_folder
from uniwhisper.data.tokens import Tokenizer
from uniwhisper.model.language_model import FrozenLanguageModel
from uniwhisper.model.uniwhisper import UniWhisper
from uniwhisper.training.build import build_adapter, language_model_source
from uniwhisper.training.calibration import standard_folded
from uniwhisper.training.recipe import Recipe

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class TrainedLanguageModel(FrozenLanguageModel):
    """The same language model with weights that train."""

    def __init__(self, causal_lm: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
        super().__init__(causal_lm, tokenizer)
        self.causal_lm.requires_grad_(True)

    def train(self, mode: bool = True) -> Self:
        """As any module."""
        nn.Module.train(self, mode)
        return self

    def losses(self, hidden_NH: Tensor, targets_N: Tensor) -> Tensor:
        """As the frozen one's, with a gradient for the projection: nats (N,) of `targets_N` after `hidden_NH`."""
        return F.cross_entropy(self.logits(hidden_NH).float(), targets_N, reduction="none")


class ThawedUniWhisper(UniWhisper):
    """Encoder, adapter and language model, all trained."""

    TRAINED = ("encoder", "adapter", "language_model")


@dataclass(frozen=True)
class LanguageModelLearner:
    """One corner of pretrained or random, frozen or trained; the corner pretrained and frozen is the product's own."""

    pretrained: bool
    trained: bool

    def describe(self) -> dict[str, Any]:
        """As `Learner`."""
        return {"name": "language model", "pretrained": self.pretrained, "trained": self.trained}

    def build(self, recipe: Recipe, device: torch.device) -> UniWhisper:
        """As `Learner`. A frozen model is kept in the precision of the steps, a trained one in float32."""
        kind = TrainedLanguageModel if self.trained else FrozenLanguageModel
        half = recipe.loop.half_on(device.type) and not self.trained
        dtype = torch.bfloat16 if half else torch.float32
        language_model = kind.load(language_model_source(recipe.model), dtype=dtype)
        if not self.pretrained:
            language_model = kind(randomised(language_model.causal_lm, recipe.seed).to(dtype), language_model.tokenizer)
        encoder = start_encoder(recipe)
        adapter = build_adapter(recipe.model, recipe.model.start, encoder.config.width, language_model, recipe.seed)
        joined = ThawedUniWhisper if self.trained else UniWhisper
        return joined(encoder, adapter, language_model).to(device).train()

    def reader(self, model: Any) -> Tokenizer:
        """As `Learner`."""
        return model.language_model.tokenizer

    def frozen_identity(self, model: Any) -> str:
        """As `Learner`."""
        return "nothing" if self.trained else model.language_model.identity()

    def export(self, model: Any, folder: "Path", recipe: Recipe, *, card: str) -> None:  # noqa: ARG002
        """As `Learner`: the encoder, which is what is judged; what the adapter standardises by goes into it."""
        with standard_folded(model.encoder, model.adapter.standard):
            write_encoder_folder(model.encoder, folder, card=card)


def randomised(causal_lm: "PreTrainedModel", seed: int) -> "PreTrainedModel":
    """A model of the same shape with weights as before any training; draws nothing from the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        return type(causal_lm)(causal_lm.config)
