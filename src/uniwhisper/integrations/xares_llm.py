"""XARES-LLM (Interspeech 2026 Audio Encoder Capability Challenge): the encoder class.

    python -m xares_llm.run uniwhisper.integrations.xares_llm.UniWhisperEncoder all all

`--model_args '{"source": "FOLDER"}'` names another checkpoint.
"""

import torch
from torch import Tensor, nn

from uniwhisper.embedding import waves
from uniwhisper.model import weights


class UniWhisperEncoder(nn.Module):
    """Waves and their mask to frames and theirs."""

    def __init__(self, source: str | None = None) -> None:
        super().__init__()
        self.encoder = weights.load_encoder(source).encoder
        self.output_dim = self.encoder.config.width

    def forward(self, audio: Tensor, audio_attention_mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Frames, one every 20 ms, and which of them are real.

        Args:
            audio: (B, S) floating point at 16 kHz.
            audio_attention_mask: (B, S), 1 on real samples, 0 on padding to their right. None: all are real.

        Returns:
            (B, T, output_dim) float32, zeros in the padding; (B, T) int64, 1 on real frames, or None if there was no
            mask.
        """
        counts_B = None if audio_attention_mask is None else audio_attention_mask.long().sum(dim=1)
        frames_BTD, frame_counts_B = waves.encode_waves(self.encoder, audio, counts_B)
        if audio_attention_mask is None:
            return frames_BTD, None
        position_T = torch.arange(frames_BTD.shape[1], device=frames_BTD.device)
        return frames_BTD, (position_T < frame_counts_B[:, None]).long()
