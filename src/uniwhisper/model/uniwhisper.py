"""The three parts joined: mel -> frames -> audio tokens -> loss of the answer. The file to open first.

    sequence   [ audio tokens | instruction | answer | end ]
    loss                                      ^^^^^^^^^^^^^ next-token cross-entropy, here only

Paper: UniWhisper (arXiv 2602.21772), abstract: heterogeneous tasks as one instruction-and-answer format, standard
next-token training, no task-specific heads or losses.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from uniwhisper.model.adapter import Adapter
from uniwhisper.model.encoder import WhisperEncoder
from uniwhisper.model.language_model import FrozenLanguageModel
from uniwhisper.model.packing import Packing


@dataclass(frozen=True)
class AnswerLosses:
    """Cross-entropy of each clip's answer, summed over its tokens; how to average is the trainer's decision."""

    sums_B: Tensor
    """float32, nats summed over the answer's tokens and the end token."""
    token_counts_B: Tensor
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
        tokens_BL: Tensor,
        token_counts_B: Tensor,
        loss_mask_BL: Tensor,
    ) -> AnswerLosses:
        """Next-token cross-entropy of the answers.

        Args:
            mel_BMF: log-mel of the clips, zeros where padding.
            mel_counts_B: int64, real mels of each clip.
            tokens_BL: int64, instruction, answer and end token of each clip, padded on the right.
            token_counts_B: int64, real tokens of each clip.
            loss_mask_BL: bool, True on answer and end tokens; False on instruction and padding.
        """
        frames_PD, frames = self.encoder.packed(mel_BMF, mel_counts_B)
        audio_NH, audio = self.adapter.packed(frames_PD, frames)
        text_counts = token_counts_B.tolist()
        joined = Packing.of([a + t for a, t in zip(audio.counts, text_counts, strict=True)], audio_NH.device)
        starts_B = joined.offsets_B1[:-1].long()

        # Text token j of clip b stands at place audio_counts[b] + j of its clip.
        text = Packing.of(text_counts, audio_NH.device)
        text_NH = self.language_model.embed(text.pack(tokens_BL))
        audio_rows_N = starts_B[audio.clip_P] + audio.place_P
        text_rows_N = (starts_B + audio.counts_B)[text.clip_P] + text.place_P
        inputs_PH = text_NH.new_empty(joined.total, text_NH.shape[1])
        inputs_PH = inputs_PH.index_copy(0, audio_rows_N, audio_NH.to(text_NH.dtype)).index_copy(
            0, text_rows_N, text_NH
        )
        hidden_PH = self.language_model.hidden_packed(inputs_PH, joined)

        # Each is predicted from the place before it. Only what is asked for meets the vocabulary, the widest tensor.
        clip_N, token_N = loss_mask_BL.nonzero(as_tuple=True)
        hidden_NH = hidden_PH[(starts_B + audio.counts_B)[clip_N] + token_N - 1]
        losses_N = self.language_model.losses(hidden_NH, tokens_BL[clip_N, token_N])
        sums_B = torch.zeros(len(tokens_BL), device=losses_N.device).index_add(0, clip_N, losses_N)
        return AnswerLosses(sums_B=sums_B, token_counts_B=loss_mask_BL.sum(dim=1))
