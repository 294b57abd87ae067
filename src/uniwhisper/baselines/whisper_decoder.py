"""Whisper's decoder: text tokens and encoder frames -> next-token logits.

Architecture: Whisper (Radford et al., 2022, section 2.2): token embeddings tied with the output, learned positions,
pre-norm blocks of causal self-attention, cross-attention to the frames, and a GELU layer four times as wide. As many
blocks, heads and as wide as the encoder. Differs from it in one thing: frames beyond a clip's end are not attended to,
since our encoder makes none.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import linear, scaled_dot_product_attention

INIT_STD = 0.02
MAX_TEXT_TOKENS = 448
# cuDNN plans its attention anew for every length it has not met; masked, it gives NaN at some (PyTorch issue 196678).
_KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """Shape of the decoder."""

    vocabulary: int
    width: int
    heads: int
    layers: int
    max_tokens: int = MAX_TEXT_TOKENS
    """Longest row of text."""


class Attention(nn.Module):
    """Multi-head attention of text tokens, to themselves or to frames."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x_RLD: Tensor, to_RXD: Tensor, visible_R11X: Tensor | None) -> Tensor:
        """Mix `to_RXD` into each position of `x_RLD`: those where `visible_R11X` (bool) is set, with None those up to
        its own place."""
        query, key, value = (
            layer(source).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer, source in ((self.query, x_RLD), (self.key, to_RXD), (self.value, to_RXD))
        )
        with sdpa_kernel(_KERNELS):
            mixed = scaled_dot_product_attention(
                query, key, value, attn_mask=visible_R11X, is_causal=visible_R11X is None
            )
        return self.out(mixed.transpose(1, 2).flatten(2))


class DecoderBlock(nn.Module):
    """Causal self-attention, cross-attention, GELU layer; each normalised before and added."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.cross_norm = nn.LayerNorm(width)
        self.cross = Attention(width, heads)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x_RLD: Tensor, frames_RTD: Tensor, visible_R11T: Tensor) -> Tensor:
        """Transform `x_RLD` with a look at those of `frames_RTD` where `visible_R11T` (bool) is set."""
        normed_RLD = self.attention_norm(x_RLD)
        x_RLD = x_RLD + self.attention(normed_RLD, normed_RLD, None)
        x_RLD = x_RLD + self.cross(self.cross_norm(x_RLD), frames_RTD, visible_R11T)
        return x_RLD + self.mlp(self.mlp_norm(x_RLD))


class WhisperDecoder(nn.Module):
    """Randomly initialised from PyTorch's CPU generator, all weights as GPT-2's (the paper does not say)."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.positions_LD = nn.Parameter(torch.empty(config.max_tokens, config.width))
        self.blocks = nn.ModuleList(DecoderBlock(config.width, config.heads) for _ in range(config.layers))
        self.final_norm = nn.LayerNorm(config.width)
        nn.init.normal_(self.embedding.weight, std=INIT_STD)
        nn.init.normal_(self.positions_LD, std=INIT_STD / 2)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=INIT_STD)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, tokens_RL: Tensor, frames_RTD: Tensor, frame_counts_R: Tensor) -> Tensor:
        """Hidden states (R, L, D) of which `logits` predicts the next token.

        Args:
            tokens_RL: int64, padded on the right only, where no real position looks; at most `max_tokens`.
            frames_RTD: the encoder's frames for each row of text.
            frame_counts_R: int64, real frames of each row.
        """
        assert tokens_RL.shape[1] <= self.config.max_tokens, f"{tokens_RL.shape[1]} text tokens"
        place_T = torch.arange(frames_RTD.shape[1], device=frames_RTD.device)
        visible_R11T = (place_T < frame_counts_R[:, None])[:, None, None]
        x_RLD = self.embedding(tokens_RL) + self.positions_LD[: tokens_RL.shape[1]]
        for block in self.blocks:
            x_RLD = block(x_RLD, frames_RTD, visible_R11T)
        return self.final_norm(x_RLD)

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Next-token logits (…, vocabulary) of hidden states `hidden_ND` (…, D)."""
        return linear(hidden_ND, self.embedding.weight)
