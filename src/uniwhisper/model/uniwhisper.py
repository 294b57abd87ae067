"""The three parts joined: mel -> frames -> audio tokens -> loss of the answer. The file to open first.

    sequence   [ audio tokens | instruction | answer | end ]
    loss                                      ^^^^^^^^^^^^^ next-token cross-entropy, here only

Paper: UniWhisper (arXiv 2602.21772), abstract: heterogeneous tasks as one instruction-and-answer format, standard
next-token training, no task-specific heads or losses.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uniwhisper.model.adapter import Adapter
from uniwhisper.model.encoder import WhisperEncoder
from uniwhisper.model.language_model import FrozenLanguageModel


@dataclass(frozen=True)
class AnswerLosses:
    """Cross-entropy of each answer, summed over its tokens; how to average is the trainer's decision."""

    sums_R: Tensor
    """float32, nats summed over the answer's tokens and the end token."""
    token_counts_R: Tensor
    """int64, how many tokens that are."""


class UniWhisper(nn.Module):
    """Encoder and adapter, trained; language model, frozen."""

    def __init__(self, encoder: WhisperEncoder, adapter: Adapter, language_model: FrozenLanguageModel) -> None:
        super().__init__()
        assert adapter.config.frame_width == encoder.config.width, "the adapter reads the encoder's frames"
        assert adapter.config.token_width == language_model.width, "the adapter writes the language model's tokens"
        self.encoder = encoder
        self.adapter = adapter
        self.language_model = language_model

    def forward(
        self,
        mel_BMF: Tensor,
        mel_counts_B: Tensor,
        clip_R: Tensor,
        tokens_RL: Tensor,
        token_counts_R: Tensor,
        loss_mask_RL: Tensor,
    ) -> AnswerLosses:
        """Next-token cross-entropy of the answers. A clip is encoded once, however many rows of text are about it.

        Args:
            mel_BMF: log-mel of the clips, zeros where padding.
            mel_counts_B: int64, real mels of each clip.
            clip_R: int64, which clip each row of text is about.
            tokens_RL: int64, instruction, answer and end token of each row, padded on the right.
            token_counts_R: int64, real tokens of each row.
            loss_mask_RL: bool, True on answer and end tokens; False on instruction and padding.
        """
        audio_BAH, audio_counts_B = self.audio_tokens(mel_BMF, mel_counts_B)
        text_RLH = self.language_model.embed(tokens_RL)
        audio_RAH, audio_counts_R = audio_BAH[clip_R].to(text_RLH.dtype), audio_counts_B[clip_R]
        inputs_RLH = join_right_padded(audio_RAH, audio_counts_R, text_RLH, token_counts_R)
        hidden_RLH = self.language_model.hidden(inputs_RLH)

        # Text token j of row r stands at position audio_counts[r] + j and is predicted from the position before it.
        # Logits are made for those positions only: the vocabulary is the widest tensor of the step.
        row_N, token_N = loss_mask_RL.nonzero(as_tuple=True)
        hidden_NH = hidden_RLH[row_N, audio_counts_R[row_N] + token_N - 1]
        logits_NV = self.language_model.logits(hidden_NH).float()
        losses_N = F.cross_entropy(logits_NV, tokens_RL[row_N, token_N], reduction="none")
        sums_R = torch.zeros(len(tokens_RL), device=losses_N.device).index_add(0, row_N, losses_N)
        return AnswerLosses(sums_R=sums_R, token_counts_R=loss_mask_RL.sum(dim=1))

    def audio_tokens(self, mel_BMF: Tensor, mel_counts_B: Tensor) -> tuple[Tensor, Tensor]:
        """Audio tokens of clips: audio_BAH, right-padded, and audio_counts_B int64.

        Args:
            mel_BMF: log-mel float32, zeros where padding.
            mel_counts_B: int64, real frames of each clip.
        """
        return self.adapter(*self.encoder(mel_BMF, mel_counts_B))


def join_right_padded(first_BAH: Tensor, first_counts_B: Tensor, second_BLH: Tensor, second_counts_B: Tensor) -> Tensor:
    """Append two right-padded sequences clip by clip, leaving no padding between them.

    Args:
        first_BAH: rows of which the first `first_counts_B` (int64) are real.
        second_BLH: rows of which the first `second_counts_B` (int64) are real; same dtype and width.

    Returns:
        (B, longest sum of both counts, H): first rows, second rows, then zeros.
    """
    both_BPH = torch.cat([first_BAH, second_BLH], dim=1)
    totals_B = first_counts_B + second_counts_B
    length = int(totals_B.max())
    position_L = torch.arange(length, device=both_BPH.device)
    in_first_BL = position_L < first_counts_B[:, None]
    real_BL = position_L < totals_B[:, None]
    source_BL = torch.where(in_first_BL, position_L, position_L + (first_BAH.shape[1] - first_counts_B[:, None]))
    row_start_B1 = torch.arange(len(both_BPH), device=both_BPH.device)[:, None] * both_BPH.shape[1]
    rows_BLH = both_BPH.flatten(0, 1)[row_start_B1 + source_BL.masked_fill(~real_BL, 0)]
    return rows_BLH * real_BL[..., None]
