"""HEAR: a module with the common API of the HEAR benchmark (Turian et al., 2022).

    python -m heareval.embeddings.runner uniwhisper.integrations.hear --model FOLDER

HEAR asks for timestamps at the centres of what an embedding is made of, in milliseconds. Log-mel columns are centred on
multiples of 10 ms and the encoder's convolutions are symmetric, so frame k is centred on exactly 20 k.
"""

import torch
from torch import Tensor, nn

from uniwhisper.core.units import FRAMES_PER_SECOND, SAMPLE_RATE_HZ, exact_div
from uniwhisper.embedding.waves import encode_waves
from uniwhisper.model.encoder import WhisperEncoder
from uniwhisper.model.pooling import masked_mean
from uniwhisper.model.weights import load_encoder

HOP_MS = exact_div(1000, FRAMES_PER_SECOND)


class HearModel(nn.Module):
    """What HEAR calls the model: the encoder and the three numbers its tools read."""

    def __init__(self, encoder: WhisperEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.sample_rate = SAMPLE_RATE_HZ
        self.scene_embedding_size = encoder.config.width
        self.timestamp_embedding_size = encoder.config.width


def load_model(model_file_path: str = "") -> HearModel:
    """The model of a checkpoint that `Embedder.from_pretrained` takes; the empty string is the packaged one."""
    return HearModel(load_encoder(model_file_path or None).encoder)


def get_scene_embeddings(audio: Tensor, model: HearModel) -> Tensor:
    """One vector per sound.

    Args:
        audio: (n, S) float32 in [-1, 1] at 16 kHz; all sounds are S samples long.
        model: from `load_model`.

    Returns:
        (n, scene_embedding_size) float32.
    """
    with torch.inference_mode():
        return masked_mean(*encode_waves(model.encoder, audio))


def get_timestamp_embeddings(audio: Tensor, model: HearModel) -> tuple[Tensor, Tensor]:
    """Frames of each sound and where they are centred.

    Args:
        audio: as in `get_scene_embeddings`.
        model: from `load_model`.

    Returns:
        (n, T, timestamp_embedding_size) float32, and (n, T) float32: milliseconds from the start of the sound.
    """
    with torch.inference_mode():
        frames_BTD, _ = encode_waves(model.encoder, audio)
    # Integers of this size are exact in float32; a product of 0.02 s would not be.
    times_T = HOP_MS * torch.arange(frames_BTD.shape[1], device=frames_BTD.device)
    return frames_BTD, times_T.float().expand(len(frames_BTD), -1)
