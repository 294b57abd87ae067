"""transformers' Whisper with random weights, and its weights under the names other projects give them."""

import re
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from uniwhisper.model.config import EncoderConfig

SMALL = EncoderConfig(mel_bins=80, width=32, heads=4, layers=2)


def scramble(module: nn.Module, seed: int) -> None:
    """Move every weight, biases and positions too, so that none of them is at a value that hides a mistake."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor += 0.03 * torch.randn(tensor.shape, generator=generator)


def reference(config: EncoderConfig, seed: int = 0) -> nn.Module:
    """A transformers WhisperModel with this encoder and the smallest of decoders."""
    from transformers import WhisperConfig, WhisperModel

    whisper = WhisperConfig(
        num_mel_bins=config.mel_bins,
        d_model=config.width,
        encoder_attention_heads=config.heads,
        encoder_layers=config.layers,
        encoder_ffn_dim=4 * config.width,
        max_source_positions=config.max_frames,
        decoder_layers=1,
        decoder_attention_heads=config.heads,
        decoder_ffn_dim=8,
        vocab_size=16,
        max_target_positions=8,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=3,
    )
    torch.manual_seed(seed)
    model = WhisperModel(whisper).eval()
    scramble(model, seed)
    return model


def write_hugging_face(model: nn.Module, folder: Path, prefix: str, dtype: torch.dtype = torch.float32) -> Path:
    """The encoder alone with `prefix` before its names, beside its config.json."""
    folder.mkdir(parents=True)
    model.config.save_pretrained(folder)
    state = {f"{prefix}{name}": tensor.to(dtype) for name, tensor in model.encoder.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    return folder


def openai_checkpoint(model: nn.Module, dtype: torch.dtype = torch.float32) -> dict:
    """What OpenAI's files hold: dims of both halves, and a state dictionary with their names."""
    renames = (
        (r"^layers\.", "blocks."),
        (r"embed_positions\.weight", "positional_embedding"),
        (r"self_attn_layer_norm", "attn_ln"),
        (r"self_attn\.q_proj", "attn.query"),
        (r"self_attn\.k_proj", "attn.key"),
        (r"self_attn\.v_proj", "attn.value"),
        (r"self_attn\.out_proj", "attn.out"),
        (r"fc1", "mlp.0"),
        (r"fc2", "mlp.2"),
        (r"final_layer_norm", "mlp_ln"),
        (r"^layer_norm", "ln_post"),
    )

    def openai_name(name: str) -> str:
        for pattern, replacement in renames:
            name = re.sub(pattern, replacement, name)
        return f"encoder.{name}"

    config = model.config
    state: dict[str, Tensor] = {openai_name(name): x.to(dtype) for name, x in model.encoder.state_dict().items()}
    dims = {
        "n_mels": config.num_mel_bins,
        "n_audio_ctx": config.max_source_positions,
        "n_audio_state": config.d_model,
        "n_audio_head": config.encoder_attention_heads,
        "n_audio_layer": config.encoder_layers,
        "n_vocab": 16,
        "n_text_ctx": 8,
        "n_text_state": config.d_model,
        "n_text_head": config.decoder_attention_heads,
        "n_text_layer": 1,
    }
    return {"dims": dims, "model_state_dict": state | {"decoder.ln.weight": torch.ones(config.d_model)}}
