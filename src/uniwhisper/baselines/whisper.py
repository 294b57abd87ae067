"""Whisper as a learner: its encoder, its own decoder, and next-token loss.

With its own sequence it is the speech-only start of the experiment; with instructions it answers the same questions
through its own decoder instead of a language model's.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from uniwhisper.baselines.encoder_folder import start_encoder, write_encoder_folder
from uniwhisper.baselines.whisper_decoder import DecoderConfig, WhisperDecoder
from uniwhisper.baselines.whisper_text import OwnSequence, StartedInstructions, WhisperVocabulary
from uniwhisper.core.errors import WeightsError
from uniwhisper.data.tokens import TextForm, Tokenizer
from uniwhisper.model.encoder import WhisperEncoder
from uniwhisper.model.uniwhisper import AnswerLosses
from uniwhisper.training.recipe import Recipe

DECODER_FILE, DECODER_CONFIG = "decoder.safetensors", "decoder.json"


class Whisper(nn.Module):
    """Encoder and decoder, both trained."""

    TRAINED = ("encoder", "decoder")

    def __init__(self, encoder: WhisperEncoder, decoder: WhisperDecoder) -> None:
        super().__init__()
        assert decoder.config.width == encoder.config.width, "the decoder looks at the encoder's frames"
        self.encoder = encoder
        self.decoder = decoder

    def forward(
        self,
        mel_BMF: Tensor,
        mel_counts_B: Tensor,
        clip_R: Tensor,
        tokens_RL: Tensor,
        token_counts_R: Tensor,  # noqa: ARG002 (all of them are before the loss mask's last)
        loss_mask_RL: Tensor,
    ) -> AnswerLosses:
        """Next-token cross-entropy where the mask is set.

        Args:
            mel_BMF, mel_counts_B, clip_R, tokens_RL, token_counts_R, loss_mask_RL: as `UniWhisper.forward`; the first
                token of a row is never predicted.
        """
        frames_BTD, frame_counts_B = self.encoder(mel_BMF, mel_counts_B)
        clip_R, tokens_RL, loss_mask_RL = (x.to(frames_BTD.device) for x in (clip_R, tokens_RL, loss_mask_RL))
        hidden_RLD = self.decoder(tokens_RL, frames_BTD[clip_R], frame_counts_B[clip_R])
        row_N, token_N = loss_mask_RL.nonzero(as_tuple=True)
        logits_NV = self.decoder.logits(hidden_RLD[row_N, token_N - 1]).float()
        losses_N = F.cross_entropy(logits_NV, tokens_RL[row_N, token_N], reduction="none")
        sums_R = torch.zeros(len(tokens_RL), device=losses_N.device).index_add(0, row_N, losses_N)
        return AnswerLosses(sums_R=sums_R, token_counts_R=loss_mask_RL.sum(dim=1))


@dataclass(frozen=True)
class WhisperLearner:
    """Trains `Whisper`. The decoder starts with `recipe.model.start`'s, if it has one; else from random weights."""

    tokenizer: Tokenizer
    text_tokens: int
    """Entries of the tokenizer."""
    languages: tuple[str, ...]
    sequence: Literal["own", "instructions"]

    @property
    def vocabulary(self) -> WhisperVocabulary:
        return WhisperVocabulary(self.text_tokens, self.languages)

    def describe(self) -> dict[str, Any]:
        """As `Learner`."""
        return {"name": "whisper", "sequence": self.sequence, "languages": list(self.languages)}

    def build(self, recipe: Recipe, device: torch.device) -> Whisper:
        """As `Learner`.

        Raises:
            WeightsError: the start's decoder is damaged or of another shape.
        """
        encoder = start_encoder(recipe)
        shape = DecoderConfig(
            vocabulary=self.vocabulary.size,
            width=encoder.config.width,
            heads=encoder.config.heads,
            layers=encoder.config.layers,
        )
        with torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed(recipe.seed)
            decoder = WhisperDecoder(shape)
        if recipe.model.start is not None and (Path(recipe.model.start) / DECODER_FILE).is_file():
            _load(decoder, Path(recipe.model.start))
        return Whisper(encoder, decoder).to(device).train()

    def reader(self, model: nn.Module) -> TextForm:  # noqa: ARG002
        """As `Learner`."""
        form = OwnSequence if self.sequence == "own" else StartedInstructions
        return form(self.tokenizer, self.vocabulary)

    def frozen_identity(self, model: nn.Module) -> str:  # noqa: ARG002
        """As `Learner`: nothing is frozen."""
        return "nothing"

    def export(self, model: Any, folder: Path, recipe: Recipe, *, card: str) -> None:  # noqa: ARG002
        """As `Learner`: encoder (float16) and decoder (float32, since training may go on from it)."""

        def more(temporary: Path) -> None:
            state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.decoder.state_dict().items()}
            save_file(state, temporary / DECODER_FILE)
            (temporary / DECODER_CONFIG).write_text(json.dumps(vars(model.decoder.config), indent=2) + "\n")

        write_encoder_folder(model.encoder, folder, card=card, more=more)


def _load(decoder: WhisperDecoder, folder: Path) -> None:
    try:
        decoder.load_state_dict(load_file(folder / DECODER_FILE))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise WeightsError(
            f"the decoder of {folder} does not fit",
            expected=str(vars(decoder.config)),
            got=str(error).splitlines()[0][:200],
            fix="train it again with this language model's tokenizer and these corpora",
        ) from error
