"""Audio and text drawn together: an encoder trained as CLAP's, to compare with and to start from.

Per step: the vector of each clip and that of each text are brought to one space and unit length; each clip is to find
its own text among the step's, and each text its clip (Wu et al., 2023, "Large-scale contrastive language-audio
pretraining", section 2.1). The text is the answer alone, read by the frozen language model. Two rows of one text, or of
one clip, are not each other's wrong answers. All clips of a step must be in one micro-batch on one device.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uniwhisper.baselines.encoder_folder import start_encoder, write_encoder_folder
from uniwhisper.data.instructions import Question
from uniwhisper.data.tokens import TextForm, TextTokens, Tokenizer
from uniwhisper.model.encoder import WhisperEncoder
from uniwhisper.model.language_model import FrozenLanguageModel
from uniwhisper.model.pooling import masked_mean
from uniwhisper.model.uniwhisper import AnswerLosses
from uniwhisper.training.build import language_model_source
from uniwhisper.training.recipe import Recipe, require

TASKS = ("caption", "sound_tag", "instrument", "transcription")
"""Whose answers say what is heard."""
WIDTH = 256
FIRST_TEMPERATURE = 0.07
LARGEST_SCALE = 100.0


@dataclass(frozen=True)
class AnswersAlone:
    """The answer of each question, and the end token."""

    tokenizer: Tokenizer

    def rows(self, questions: Sequence[Question]) -> list[tuple[str, TextTokens]]:
        """As `TextForm`."""
        rows = []
        for question in questions:
            ids = [*self.tokenizer.encode(question.answer, add_special_tokens=False), self.tokenizer.eos_token_id]
            rows.append((question.task, TextTokens(ids, [True] * len(ids))))
        return rows


class Projections(nn.Module):
    """From clip vectors and text vectors to the common space, and how sharply they are told apart."""

    def __init__(self, audio_width: int, text_width: int) -> None:
        super().__init__()
        self.audio = nn.Sequential(nn.Linear(audio_width, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
        self.text = nn.Sequential(nn.Linear(text_width, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
        self.log_scale = nn.Parameter(torch.tensor(1 / FIRST_TEMPERATURE).log())


class Contrastive(nn.Module):
    """Encoder and projections, trained; the language model that reads the texts, frozen."""

    TRAINED = ("encoder", "projections")

    def __init__(self, encoder: WhisperEncoder, projections: Projections, language_model: FrozenLanguageModel) -> None:
        super().__init__()
        self.encoder = encoder
        self.projections = projections
        self.language_model = language_model

    def forward(
        self,
        mel_BMF: Tensor,
        mel_counts_B: Tensor,
        clip_R: Tensor,
        tokens_RL: Tensor,
        token_counts_R: Tensor,
        loss_mask_RL: Tensor,  # noqa: ARG002 (the whole text counts once)
    ) -> AnswerLosses:
        """Mean of both directions' cross-entropy for each row, counted as one token.

        Args:
            mel_BMF, mel_counts_B, clip_R, tokens_RL, token_counts_R, loss_mask_RL: as `UniWhisper.forward`.
        """
        frames_BTD, frame_counts_B = self.encoder(mel_BMF, mel_counts_B)
        device = frames_BTD.device
        clip_R, tokens_RL, token_counts_R = (x.to(device) for x in (clip_R, tokens_RL, token_counts_R))
        audio_RD = masked_mean(frames_BTD, frame_counts_B)[clip_R]
        with torch.no_grad():
            hidden_RLH = self.language_model.hidden(self.language_model.embed(tokens_RL))
            text_RH = masked_mean(hidden_RLH, token_counts_R)
        scale = self.projections.log_scale.exp().clamp(max=LARGEST_SCALE)
        audio_RW, text_RW = self.projections.audio(audio_RD), self.projections.text(text_RH.to(audio_RD.dtype))
        place_L = torch.arange(tokens_RL.shape[1], device=device)
        text_of_RL = tokens_RL.masked_fill(place_L >= token_counts_R[:, None], -1)
        alike_RR = (text_of_RL[:, None] == text_of_RL[None]).all(dim=2) | (clip_R[:, None] == clip_R[None])
        sums_R = both_ways(audio_RW, text_RW, alike_RR, scale)
        return AnswerLosses(sums_R=sums_R, token_counts_R=torch.ones_like(token_counts_R))


def both_ways(audio_RW: Tensor, text_RW: Tensor, alike_RR: Tensor, scale: Tensor) -> Tensor:
    """Nats (R,) float32: mean of finding the text of each audio and the audio of each text.

    Args:
        audio_RW, text_RW: one row a pair, any length.
        alike_RR: bool; such pairs of rows are not each other's wrong answers. The diagonal does not matter.
        scale: one over the temperature.
    """
    audio_RW, text_RW = (F.normalize(x_RW.float(), dim=1) for x_RW in (audio_RW, text_RW))
    logits_RR = scale.float() * audio_RW @ text_RW.T
    own_RR = torch.eye(len(logits_RR), dtype=torch.bool, device=logits_RR.device)
    logits_RR = logits_RR.masked_fill(alike_RR & ~own_RR, -torch.inf)
    return -0.5 * (logits_RR.log_softmax(dim=1).diagonal() + logits_RR.log_softmax(dim=0).diagonal())


@dataclass(frozen=True)
class ContrastiveLearner:
    """Trains `Contrastive`. Questions must be about `TASKS`."""

    def describe(self) -> dict[str, Any]:
        """As `Learner`."""
        return {"name": "contrastive"}

    def build(self, recipe: Recipe, device: torch.device) -> Contrastive:
        """As `Learner`."""
        require(
            recipe.loop.micro_batches == 1, "loop.micro_batches", "1: all of a step at once", recipe.loop.micro_batches
        )
        half = recipe.loop.half_on(device.type)
        language_model = FrozenLanguageModel.load(
            language_model_source(recipe.model), dtype=torch.bfloat16 if half else torch.float32
        )
        encoder = start_encoder(recipe)
        with torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed(recipe.seed)
            projections = Projections(encoder.config.width, language_model.width)
        return Contrastive(encoder, projections, language_model).to(device).train()

    def reader(self, model: Any) -> TextForm:
        """As `Learner`."""
        return AnswersAlone(model.language_model.tokenizer)

    def frozen_identity(self, model: Any) -> str:
        """As `Learner`."""
        return model.language_model.identity()

    def export(self, model: Any, folder: Path, recipe: Recipe, *, card: str) -> None:  # noqa: ARG002
        """As `Learner`: the encoder."""
        write_encoder_folder(model.encoder, folder, card=card)
