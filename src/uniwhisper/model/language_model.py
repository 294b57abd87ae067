"""The frozen causal language model that reads audio tokens and writes the answer.

Frozen by construction, not by discipline: its parameters never require a gradient, `train()` leaves it in evaluation
mode, and it can say the hash of its weights so that a run proves at its end that nothing moved. Gradients flow
*through* it to the adapter and the encoder.

The only file, beside the language model's own pretraining, that imports transformers; embedding never imports it.
"""

import math
from collections.abc import Container, Iterator
from contextlib import contextmanager
from functools import lru_cache
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from uniwhisper.core.errors import MissingExtraError, WeightsError
from uniwhisper.core.identity import hash_tensors
from uniwhisper.model.answer_loss import projected_cross_entropy
from uniwhisper.model.attention import attend
from uniwhisper.model.float8 import to_float8
from uniwhisper.model.packing import Packing
from uniwhisper.model.weights import packaged_default

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase
    from transformers.utils import ModelOutput


def _is_folder_name(source: str | Path) -> bool:
    """Whether this can only be meant as a folder of this machine.

    `runs/lm`, which the shipped recipes name, has the form of a hub id too: where it has not been made yet, the hub
    would be asked twelve times, for half a minute, for what a stranger may have put there.
    """
    text = str(source)
    return isinstance(source, Path) or text.startswith(("runs/", "/", ".", "~")) or text.count("/") > 1


def place_of(source: str | Path) -> str | Path:
    """The packaged language model's folder for "default"; any other source, a folder or hub id, as it is."""
    return packaged_default() / "lm" if source == "default" else source


def _no_language_model(source: str | Path, got: str) -> WeightsError:
    return WeightsError(
        f"no language model at {source}",
        expected="a local folder with config.json, *.safetensors and a tokenizer, or a reachable hub id",
        got=got,
        fix=f"train a small one: uniwhisper pretrain-lm texts/ -o {source if _is_folder_name(source) else 'runs/lm'}; "
        "or download one on a machine with network; and pass its folder: --set model.language_model=FOLDER, or --lm "
        "FOLDER to `uniwhisper reproduce`. A small one lies in the package: default in the place of FOLDER",
    )


class FrozenLanguageModel(nn.Module):
    """A causal language model of transformers with its tokenizer, frozen."""

    def __init__(self, causal_lm: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
        super().__init__()
        if tokenizer.eos_token_id is None:
            raise WeightsError(
                "the language model's tokenizer",
                expected="an end-of-text token (eos_token), which ends every answer",
                got="a tokenizer without one",
                fix="set eos_token in its tokenizer_config.json",
            )
        self.causal_lm = causal_lm.requires_grad_(False)
        self.tokenizer = tokenizer
        self._packing_now = _PackingNow()
        self.eval()

    @classmethod
    def load(cls, source: str | Path, *, dtype: torch.dtype = torch.float32) -> Self:
        """Load a folder, a hub id such as `Qwen/Qwen3-0.6B`, or "default"; safetensors only, no code from the hub.

        Raises:
            WeightsError: it cannot be found, read, or is no causal language model.
        """
        try:
            from transformers import AutoModelForCausalLM, AutoTokenizer
            from transformers.utils import logging
        except ImportError:
            raise MissingExtraError.of("transformers", "train", "the language model") from None
        logging.disable_progress_bar()
        source = place_of(source)
        if _is_folder_name(source) and not Path(source).is_dir():
            raise _no_language_model(source, "no such folder")
        try:
            tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
            causal_lm = AutoModelForCausalLM.from_pretrained(
                source, dtype=dtype, use_safetensors=True, trust_remote_code=False
            )
        except (OSError, ValueError, KeyError) as error:
            raise _no_language_model(source, str(error).strip().splitlines()[0][:200]) from None
        return cls(causal_lm, tokenizer)

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002
        """Stay in evaluation mode, whatever the module this one belongs to is set to."""
        return super().train(False)

    @property
    def width(self) -> int:
        """Width H of token embeddings."""
        return self.causal_lm.get_input_embeddings().weight.shape[1]

    def identity(self) -> str:
        """SHA-256 of the weights as float32, so that a half-precision copy of the same weights has the same one."""
        return hash_tensors(self.causal_lm.state_dict(), as_float32=True)

    def embed(self, tokens_BL: Tensor) -> Tensor:
        """Embeddings (B, L, H) of text tokens `tokens_BL` (int64)."""
        return self.causal_lm.get_input_embeddings()(tokens_BL)

    def hidden(self, inputs_BLH: Tensor) -> Tensor:
        """Final hidden states (B, L, H) over embeddings `inputs_BLH`, causal, positions counted from each row's start.

        Rows are padded on the right only: a causal model never looks there, so no mask is needed and a row's real
        positions do not depend on its neighbours.
        """
        # cuDNN plans its attention anew for every length it has not met, which costs more than the whole step.
        with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]):
            return self.causal_lm.get_decoder()(inputs_embeds=inputs_BLH, use_cache=False).last_hidden_state

    def hidden_packed(self, inputs_PH: Tensor, packing: Packing) -> Tensor:
        """`hidden` without padding: clips one behind the other in `inputs_PH`, as `packing` says -> (P, H)."""
        decoder = self.causal_lm.get_decoder()
        self._packing_now.packing = packing
        with _packed_attention(decoder):
            return decoder(
                inputs_embeds=inputs_PH[None].clone(),  # no view, so that the first layer compiles as the others do
                position_ids=packing.place_P[None],
                use_cache=False,
                packing_now=self._packing_now,
            ).last_hidden_state[0]

    def logits(self, hidden_NH: Tensor) -> Tensor:
        """Next-token logits (N, V) of selected hidden states `hidden_NH`."""
        return self.causal_lm.get_output_embeddings()(hidden_NH)

    def losses(self, hidden_NH: Tensor, targets_N: Tensor) -> Tensor:
        """Nats (N,) float32 of the tokens `targets_N` (int64) after hidden states `hidden_NH`."""
        return projected_cross_entropy(hidden_NH, self.causal_lm.get_output_embeddings().weight, targets_N)

    def to_float8(self) -> None:
        """Multiply by float8 copies of the decoder's weights, made anew at each call; cannot be taken back."""
        to_float8(self.causal_lm.get_decoder().layers)

    def compile(self, *_: object, **__: object) -> None:
        """Compile the decoder's layers for any number of tokens; costs seconds at the first step."""
        from transformers import AttentionInterface

        # Not a decorator: it imports the compiler, which costs seconds where nothing is compiled.
        AttentionInterface.register(_registered(), torch.compiler.disable(_attend_packed))
        for layer in self.causal_lm.get_decoder().layers:
            layer.compile(dynamic=True)

    @torch.inference_mode()
    def greedy(self, prefix_1LH: Tensor, *, most: int) -> Iterator[int]:
        """The likeliest text tokens after `prefix_1LH` (embeddings of one sequence), one by one.

        The keys and values of what was read are kept, so each token costs one position. Ends before the end token, or
        after `most` tokens.
        """
        read = self.causal_lm(inputs_embeds=prefix_1LH, use_cache=True)
        for _ in range(most):
            token = int(read.logits[0, -1].argmax())
            if token == self.tokenizer.eos_token_id:
                return
            yield token
            next_11 = torch.tensor([[token]], device=prefix_1LH.device)
            read = read_further(self.causal_lm, next_11, kept_of(read))


def _name_of_kept(names: Container[str]) -> str:
    """transformers calls the kept keys and values `cache` since 5.24; the old name only warns, until it is gone."""
    return "cache" if "cache" in names else "past_key_values"


def kept_of(read: "ModelOutput") -> "Cache":
    """The keys and values of what `read`, an output of a causal language model with `use_cache`, has read."""
    return getattr(read, _name_of_kept(read.keys()))


def read_further(causal_lm: "PreTrainedModel", tokens_RL: Tensor, kept: "Cache") -> "ModelOutput":
    """The output for text tokens `tokens_RL` (int64) behind what is `kept`, which grows by them."""
    name = _name_of_kept(signature(causal_lm.forward).parameters)
    return causal_lm(input_ids=tokens_RL, use_cache=True, **{name: kept})


class _PackingNow:
    """What the attention of the running forward is packed like. One object per model: the compiler looks at who it is,
    not at what it holds, so another batch does not compile anew."""

    packing: Packing


@contextmanager
def _packed_attention(decoder: "PreTrainedModel") -> Iterator[None]:
    """Attention that stays within each clip, by transformers' own way to bring one's own attention."""
    before = decoder.config._attn_implementation
    decoder.set_attn_implementation(_registered())
    try:
        yield
    finally:
        decoder.set_attn_implementation(before)


@lru_cache
def _registered() -> str:
    from transformers import AttentionInterface

    AttentionInterface.register("uniwhisper_packed", _attend_packed)
    return "uniwhisper_packed"


def _attend_packed(
    module: nn.Module,  # noqa: ARG001
    query_1JPK: Tensor,
    key_1GPK: Tensor,
    value_1GPK: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001
    *,
    packing_now: _PackingNow,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: object,
) -> tuple[Tensor, None]:
    assert not dropout, "the language model is in evaluation mode"
    query_PJK, key_PGK, value_PGK = (x_1JPK[0].transpose(0, 1) for x_1JPK in (query_1JPK, key_1GPK, value_1GPK))
    # The kernels scale by the width of a head, as nearly every model does.
    if scaling is not None and not math.isclose(factor := scaling * query_PJK.shape[2] ** 0.5, 1):
        query_PJK = query_PJK * factor
    mixed_PJK = attend(query_PJK, key_PGK, value_PGK, packing_now.packing, causal=True)
    return mixed_PJK[None], None
