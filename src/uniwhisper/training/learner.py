"""What a run trains: the seam between the loop and the models that it can drive.

The loop draws batches, steps the optimizer, saves, resumes and records; a learner says which model that is about. The
product's own is `INSTRUCTIONS`; experiments that compare it with other objectives bring theirs (`baselines`).
"""

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from uniwhisper.data.tokens import TextForm, Tokenizer
from uniwhisper.training.build import build_model, export_model, language_model_source
from uniwhisper.training.calibration import standard_folded
from uniwhisper.training.recipe import Recipe


class Learner(Protocol):
    """A model to train, how questions become text for it, and what it leaves behind."""

    def describe(self) -> dict[str, Any]:
        """A JSON object that decides the result together with recipe and manifest; a run resumes only under its own."""
        ...

    def build(self, recipe: Recipe, device: torch.device) -> nn.Module:
        """The model, ready to train on `device`.

        Its `TRAINED` names the submodules that are optimised and saved, `encoder` first; calling it with what
        `UniWhisper.forward` takes gives `AnswerLosses`.
        """
        ...

    def reader(self, model: nn.Module) -> Tokenizer | TextForm:
        """How the questions about a clip become rows of text."""
        ...

    def frozen_identity(self, model: nn.Module) -> str:
        """Hash of the weights that must be the same before and after; any constant where there are none."""
        ...

    def export(self, model: nn.Module, folder: Path, recipe: Recipe, *, card: str) -> None:
        """Write a model folder that `--model` takes."""
        ...


class InstructionLearner:
    """Encoder and adapter through the frozen language model: `model.uniwhisper.UniWhisper`."""

    def describe(self) -> dict[str, Any]:
        """As `Learner`."""
        return {"name": "instructions"}

    def build(self, recipe: Recipe, device: torch.device) -> nn.Module:
        """As `Learner`."""
        return build_model(recipe, device)

    def reader(self, model: Any) -> Tokenizer:
        """As `Learner`."""
        return model.language_model.tokenizer

    def frozen_identity(self, model: Any) -> str:
        """As `Learner`."""
        return model.language_model.identity()

    def export(self, model: Any, folder: Path, recipe: Recipe, *, card: str) -> None:
        """As `Learner`; what the adapter standardises by goes into the encoder."""
        with standard_folded(model.encoder, model.adapter.standard):
            export_model(model, folder, language_model_source=language_model_source(recipe.model), card=card)


INSTRUCTIONS = InstructionLearner()
