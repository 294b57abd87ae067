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
from uniwhisper.model.packing import Packing, to_device


@dataclass(frozen=True)
class AnswerLosses:
    """Cross-entropy of each answer, summed over its tokens; how to average is the trainer's decision."""

    sums_R: Tensor
    """float32, nats summed over the answer's tokens and the end token."""
    token_counts_R: Tensor
    """int64, how many tokens that are."""


class UniWhisper(nn.Module):
    """Encoder and adapter, trained; language model, frozen."""

    TRAINED = ("encoder", "adapter")

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
        of_mean_R: Tensor | None = None,
    ) -> AnswerLosses:
        """Next-token cross-entropy of the answers. A clip is encoded once, however many rows of text are about it.

        All but the log-mel may lie on the CPU; if they do, a GPU is never waited for.

        Args:
            mel_BMF: log-mel of the clips, zeros where padding.
            mel_counts_B: int64, real mels of each clip.
            clip_R: int64, which clip each row of text is about.
            tokens_RL: int64, instruction, answer and end token of each row, padded on the right.
            token_counts_R: int64, real tokens of each row.
            loss_mask_RL: bool, True on answer and end tokens; False on instruction and padding.
            of_mean_R: bool, rows that hear the audio tokens of the mean of their clip's frames instead of all;
                None: none does.
        """
        frames_PD, frames = self.encoder.packed(mel_BMF, mel_counts_B)
        audio_NH, audio = self.adapter.packed(frames_PD, frames)
        if of_mean_R is not None:
            # The means follow the clips as if each were a clip of its own.
            audio_NH = torch.cat([audio_NH, self.adapter.of_means(frames_PD, frames)])
            of_mean = self.adapter.config.mean_tokens
            counts_B = torch.full_like(audio.counts_B, of_mean)
            clip_R = torch.where(of_mean_R, clip_R + len(audio.counts), clip_R)
            audio = Packing((*audio.counts, *[of_mean] * len(audio.counts)), torch.cat([audio.counts_B, counts_B]))
        device = audio_NH.device
        rows = _Rows(audio, clip_R, token_counts_R, device)
        answer_counts_R = to_device(loss_mask_RL.sum(dim=1), device)
        row_N, token_N = (to_device(index_N, device) for index_N in loss_mask_RL.nonzero(as_tuple=True))
        tokens_RL = to_device(tokens_RL, device)

        text_NH = self.language_model.embed(rows.text.pack(tokens_RL))
        heard_NH = audio_NH.index_select(0, rows.heard_N).to(text_NH.dtype)
        inputs_PH = text_NH.new_empty(rows.joined.total, text_NH.shape[1])
        inputs_PH = inputs_PH.index_copy(0, rows.audio_places_N, heard_NH).index_copy(0, rows.text_places_N, text_NH)
        hidden_PH = self.language_model.hidden_packed(inputs_PH, rows.joined)

        # Each is predicted from the place before it. Only what is asked for meets the vocabulary, the widest tensor.
        hidden_NH = hidden_PH[rows.text_starts_R[row_N] + token_N - 1]
        losses_N = self.language_model.losses(hidden_NH, tokens_RL[row_N, token_N])
        sums_R = torch.zeros(len(tokens_RL), device=device).index_add(0, row_N, losses_N)
        return AnswerLosses(sums_R=sums_R, token_counts_R=answer_counts_R)


class _Rows:
    """Where audio and text lie in the language model's input: of each row first its clip's audio, then its text."""

    def __init__(self, audio: Packing, clip_R: Tensor, token_counts_R: Tensor, device: torch.device) -> None:
        text_counts = token_counts_R.tolist()
        audio_counts = [audio.counts[clip] for clip in clip_R.tolist()]
        repeated = Packing.of(audio_counts, device)
        self.text = Packing.of(text_counts, device)
        self.joined = Packing.of([a + t for a, t in zip(audio_counts, text_counts, strict=True)], device)
        clip_R = to_device(clip_R, device)
        starts_R = self.joined.offsets_B1[:-1].long()
        self.text_starts_R = starts_R + repeated.counts_B
        """Place of each row's first text token."""
        self.audio_places_N = starts_R[repeated.clip_P] + repeated.place_P
        self.heard_N = audio.offsets_B1[clip_R].long()[repeated.clip_P] + repeated.place_P
        """The audio token at each of `audio_places_N`; those of a clip that several rows are about come again."""
        self.text_places_N = self.text_starts_R[self.text.clip_P] + self.text.place_P
