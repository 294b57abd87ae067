"""A folder that transformers' own Whisper classes load, so that nobody is locked in.

`WhisperModel` wants a decoder. The one written here has no block and a vocabulary of one token: every key of the model
is in the file, none is drawn at random, and the encoder is what the folder is for. transformers pads every clip to
30 s; on 30 s of audio its frames equal ours.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uniwhisper.core.files import atomic_output
from uniwhisper.core.units import (
    FFT_SAMPLES,
    MEL_HOP_SAMPLES,
    SAMPLE_RATE_HZ,
    WINDOW_MELS,
    WINDOW_SAMPLES,
    WINDOW_SECONDS,
)
from uniwhisper.model.checkpoint_formats import HUGGING_FACE
from uniwhisper.model.config import EncoderConfig
from uniwhisper.model.encoder import WhisperEncoder

CONFIG = "config.json"


def export_transformers(encoder: WhisperEncoder, folder: Path, *, overwrite: bool = False) -> None:
    """Write `config.json`, `preprocessor_config.json` and `model.safetensors` (float32).

    Args:
        encoder: on any device.
        folder: what to write.
        overwrite: whether a folder that holds a config.json is replaced.

    Raises:
        OutputError: `folder` exists and is not replaced, or cannot be written.
    """
    from safetensors.torch import save

    with atomic_output(Path(folder), overwrite=overwrite, folder_with=CONFIG) as temporary:
        temporary.mkdir()
        _write_json(temporary / CONFIG, whisper_config(encoder.config))
        _write_json(temporary / "preprocessor_config.json", feature_extractor_config(encoder.config))
        (temporary / "model.safetensors").write_bytes(save(whisper_tensors(encoder), {"format": "pt"}))


def whisper_tensors(encoder: WhisperEncoder) -> dict[str, Tensor]:
    """The encoder's tensors, and an empty decoder's, under the names of `WhisperModel`."""
    width = encoder.config.width
    tensors = {
        f"encoder.{HUGGING_FACE.translate(name)}": tensor.detach().to("cpu", torch.float32).contiguous()
        for name, tensor in encoder.state_dict().items()
    }
    return tensors | {
        "decoder.embed_tokens.weight": torch.zeros(1, width),
        "decoder.embed_positions.weight": torch.zeros(1, width),
        "decoder.layer_norm.weight": torch.ones(width),
        "decoder.layer_norm.bias": torch.zeros(width),
    }


def whisper_config(config: EncoderConfig) -> dict[str, Any]:
    """`config.json` of transformers' `WhisperModel`."""
    return {
        "architectures": ["WhisperModel"],
        "model_type": "whisper",
        "num_mel_bins": config.mel_bins,
        "d_model": config.width,
        "encoder_layers": config.layers,
        "encoder_attention_heads": config.heads,
        "encoder_ffn_dim": 4 * config.width,
        "max_source_positions": config.max_frames,
        "activation_function": "gelu",
        "scale_embedding": False,
        "decoder_layers": 0,
        "decoder_attention_heads": config.heads,
        "decoder_ffn_dim": 4 * config.width,
        "max_target_positions": 1,
        "vocab_size": 1,
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"), 0),
        "begin_suppress_tokens": None,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "dtype": "float32",
    }


def feature_extractor_config(config: EncoderConfig) -> dict[str, Any]:
    """`preprocessor_config.json` of transformers' `WhisperFeatureExtractor`."""
    return {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": config.mel_bins,
        "sampling_rate": SAMPLE_RATE_HZ,
        "hop_length": MEL_HOP_SAMPLES,
        "n_fft": FFT_SAMPLES,
        "chunk_length": WINDOW_SECONDS,
        "n_samples": WINDOW_SAMPLES,
        "nb_max_frames": WINDOW_MELS,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
