"""sentence-transformers: `SentenceTransformer(folder, trust_remote_code=True).encode([{"audio": …}])`.

Since its version 6, sentence-transformers imports a class from outside itself only with that flag, also where the class
comes from an installed package, as here: the folder carries no code. `load(folder)` needs no flag. Its built-in Whisper
path pads every clip to 30 s and averages the padding; this module does neither.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import InputModule
from sentence_transformers.util import load_dir_path
from torch import Tensor

from uniwhisper.audio.load import AudioSource, read
from uniwhisper.core.errors import AudioError
from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.embedding.waves import encode_waves, pad_waves
from uniwhisper.integrations.hub import HubEncoder
from uniwhisper.model.encoder import WhisperEncoder
from uniwhisper.model.pooling import masked_mean
from uniwhisper.model.weights import load_encoder


def load(source: str | Path | None = None, **arguments: Any) -> SentenceTransformer:
    """A `SentenceTransformer` of any checkpoint that `Embedder.from_pretrained` takes; `arguments` are its own."""
    return SentenceTransformer(
        modules=[AudioVectors(load_encoder(source).encoder)], similarity_fn_name="cosine", **arguments
    )


class AudioVectors(InputModule):
    """Audio to one vector per clip: the only module of the model."""

    def __init__(self, encoder: WhisperEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    @property
    def modalities(self) -> list[str]:
        return ["audio"]

    def get_embedding_dimension(self) -> int:
        return self.encoder.config.width

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **_: Any) -> dict[str, Any]:
        """Decode paths, arrays at 16 kHz, `{"array", "sampling_rate"}` or `{"audio": any of these}`.

        Raises:
            AudioError: an input is bad or of no accepted type.
        """
        if prompt:
            raise AudioError(
                "this model takes no prompt", expected="audio alone", got=repr(prompt), fix="leave the prompt out"
            )
        waves = [torch.from_numpy(read(_source(item))) for item in inputs]
        wave_BS, sample_counts_B = pad_waves(waves)
        return {"wave_BS": wave_BS, "sample_counts_B": sample_counts_B}

    def forward(self, features: dict[str, Tensor | Any], **_: Any) -> dict[str, Tensor | Any]:
        """Add `sentence_embedding` (B, D), `token_embeddings` (B, T, D) and `attention_mask` (B, T) to `features`."""
        frames_BTD, counts_B = encode_waves(self.encoder, features["wave_BS"], features["sample_counts_B"])
        real_BT = torch.arange(frames_BTD.shape[1], device=frames_BTD.device) < counts_B[:, None]
        return features | {
            "sentence_embedding": masked_mean(frames_BTD, counts_B),
            "token_embeddings": frames_BTD,
            "attention_mask": real_BT.long(),
        }

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        """Write the model folder that `load` reads."""
        HubEncoder(self.encoder, source=output_path).save_pretrained(output_path)

    @classmethod
    def load(
        cls,
        model_name_or_path: str,
        subfolder: str = "",
        token: bool | str | None = None,
        cache_folder: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        **_: Any,
    ) -> Self:
        """From a folder, or a repository of the hub."""
        folder = load_dir_path(
            model_name_or_path=model_name_or_path,
            subfolder=subfolder,
            token=token,
            cache_folder=cache_folder,
            revision=revision,
            local_files_only=local_files_only,
        )
        return cls(load_encoder(folder).encoder)


def _source(item: Any) -> AudioSource:
    """What of sentence-transformers' inputs our reader takes."""
    if isinstance(item, dict) and "audio" in item:
        return _source(item["audio"])
    if isinstance(item, dict) and "array" in item:
        return mono(item["array"]), item["sampling_rate"]
    if isinstance(item, np.ndarray | Tensor):
        return mono(item), SAMPLE_RATE_HZ
    return item


def mono(samples: np.ndarray | Tensor) -> np.ndarray:
    """`samples` as (S,) or (S, channels): these packages put channels first where there are several."""
    samples = np.asarray(samples)
    return samples.T if samples.ndim == 2 and samples.shape[0] < samples.shape[1] else samples
