"""What other projects call the parts of a Whisper encoder, and how they write down its shape."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from uniwhisper.core.errors import WeightsError
from uniwhisper.model.config import EncoderConfig


@dataclass(frozen=True)
class Naming:
    """Names of a format, by ours; see `WhisperEncoder`."""

    prefixes: tuple[str, ...]
    """What may stand before every name of an encoder tensor; the first that fits is taken."""
    stem: Mapping[str, str]
    """Names outside the blocks."""
    blocks: str
    """Name of the list of blocks."""
    parts: Mapping[str, str]
    """Names inside a block."""

    def translate(self, name: str) -> str:
        """The format's name, without prefix, of our tensor `name`."""
        if name in self.stem:
            return self.stem[name]
        module, _, kind = name.rpartition(".")
        if not module.startswith("blocks."):
            return f"{self.stem[module]}.{kind}"
        _, index, part = module.split(".", 2)
        return f"{self.blocks}.{index}.{self.parts[part]}.{kind}"


HUGGING_FACE = Naming(
    prefixes=("model.encoder.", "encoder.", ""),
    stem={
        "conv1": "conv1",
        "conv2": "conv2",
        "positions_TD": "embed_positions.weight",
        "final_norm": "layer_norm",
    },
    blocks="layers",
    parts={
        "attention_norm": "self_attn_layer_norm",
        "attention.query": "self_attn.q_proj",
        "attention.key": "self_attn.k_proj",
        "attention.value": "self_attn.v_proj",
        "attention.out": "self_attn.out_proj",
        "mlp_norm": "final_layer_norm",
        "mlp.0": "fc1",
        "mlp.2": "fc2",
    },
)

OPENAI = Naming(
    prefixes=("encoder.",),
    stem={
        "conv1": "conv1",
        "conv2": "conv2",
        "positions_TD": "positional_embedding",
        "final_norm": "ln_post",
    },
    blocks="blocks",
    parts={
        "attention_norm": "attn_ln",
        "attention.query": "attn.query",
        "attention.key": "attn.key",
        "attention.value": "attn.value",
        "attention.out": "attn.out",
        "mlp_norm": "mlp_ln",
        "mlp.0": "mlp.0",
        "mlp.2": "mlp.2",
    },
)


def hugging_face_config(config: Mapping[str, Any], *, name: str) -> EncoderConfig:
    """Read a transformers `config.json`; `name` stands for it in errors.

    Raises:
        WeightsError: not Whisper, or a variant that computes something else.
    """
    kind = config.get("model_type")
    if kind != "whisper":
        raise WeightsError(
            f"{name} describes another architecture",
            expected='"model_type": "whisper"',
            got=f'"model_type": {kind!r}',
            fix="name a Whisper checkpoint such as openai/whisper-base",
        )
    read = _Reader(config, name)
    encoder = EncoderConfig(
        mel_bins=read.required("num_mel_bins"),
        width=read.required("d_model"),
        heads=read.required("encoder_attention_heads"),
        layers=read.required("encoder_layers"),
        max_frames=read.required("max_source_positions"),
    )
    read.fixed("encoder_ffn_dim", 4 * encoder.width)
    read.fixed("activation_function", "gelu")
    read.fixed("scale_embedding", False)
    return encoder


def openai_config(dims: Any, *, name: str) -> EncoderConfig:
    """Read the `dims` of an OpenAI checkpoint; `name` stands for it in errors.

    Raises:
        WeightsError: a field is missing or makes no encoder.
    """
    read = _Reader(dims if isinstance(dims, Mapping) else {}, name)
    return EncoderConfig(
        mel_bins=read.required("n_mels"),
        width=read.required("n_audio_state"),
        heads=read.required("n_audio_head"),
        layers=read.required("n_audio_layer"),
        max_frames=read.required("n_audio_ctx"),
    )


@dataclass(frozen=True)
class _Reader:
    fields: Mapping[str, Any]
    name: str

    def required(self, field: str) -> Any:
        if field not in self.fields:
            raise self._unfit(f"a field {field!r}", f"only {sorted(self.fields)}"[:300])
        return self.fields[field]

    def fixed(self, field: str, value: Any) -> None:
        if self.fields.get(field, value) != value:
            raise self._unfit(f"{field} = {value!r}", repr(self.fields[field]))

    def _unfit(self, expected: str, got: str) -> WeightsError:
        fix = "name a Whisper checkpoint such as openai/whisper-base"
        return WeightsError(f"{self.name} does not describe a Whisper encoder", expected=expected, got=got, fix=fix)
