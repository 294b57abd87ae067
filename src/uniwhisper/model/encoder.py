"""Whisper encoder: log-mel -> frames, for clips of any length up to the window.

Notable: a clip gives the same frames alone and in a batch with longer ones. The original pads every clip to 30 s and
lets it attend to the padding; here padding reaches no convolution, no attention and no mean, and a short clip costs
what it is long. At exactly 30 s both compute the same.
Architecture: Whisper (Radford et al., 2022, section 2.2): two convolutions, sinusoidal positions, pre-norm blocks.
Differs from it: nothing in the weights. Positions are never trained; they are read from a checkpoint that has them.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, pad
from torch.utils.checkpoint import checkpoint

from uniwhisper.core.units import FRAME_MELS
from uniwhisper.model.attention import attend
from uniwhisper.model.config import EncoderConfig, Recompute
from uniwhisper.model.packing import MelSlots, Packing, to_device

INIT_STD = 0.02  # of linear layers, as GPT-2 and most encoders since
STEM_GAIN = 3.0  # of the second convolution over Kaiming's scale


def sinusoids(length: int, width: int) -> Tensor:
    """Positions (T, D) float32: sines in the first half of the width, cosines in the second.

    The periods form a geometric series from 2π to 10000·2π frames (Vaswani et al., 2017, section 3.5, but with sines
    and cosines in halves instead of interleaved, as Whisper's weights expect).
    """
    half = width // 2
    # On the CPU whatever the default device is: the same bits everywhere, and none of the three seconds of imports that
    # arithmetic on the meta device costs, where `load_encoder` builds the module.
    rates_K = torch.exp(-math.log(10_000) / (half - 1) * torch.arange(half, device="cpu"))
    angles_TK = torch.arange(length, device="cpu")[:, None] * rates_K
    return torch.cat([angles_TK.sin(), angles_TK.cos()], dim=1)


class SelfAttention(nn.Module):
    """Weights of multi-head attention; `model.attention` computes it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def split(self, x_PD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value of `x_PD`, each (P, heads, width / heads)."""
        layers = (self.query, self.key, self.value)
        if x_PD.device.type == "cpu":
            parts = [layer(x_PD) for layer in layers]
        else:
            # One product as wide as three keeps a GPU busier; joining the weights costs less than 1 % of a full batch.
            bias_D = self.query.bias
            bias = torch.cat([bias_D, torch.zeros_like(bias_D), self.value.bias])
            parts = linear(x_PD, torch.cat([layer.weight for layer in layers]), bias).chunk(3, dim=1)
        query, key, value = (part.unflatten(1, (self.heads, -1)) for part in parts)
        return query, key, value


class Block(nn.Module):
    """Pre-norm transformer block: attention, then a GELU layer four times as wide.

    Two halves that see rows only, and attention between them, which sees clips: the halves are what `compile` compiles.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self._before, self._after = before_attention, _after_attention
        self.recompute: Recompute | None = None
        """None: every activation that the backward pass needs is kept."""

    def compile_halves(self) -> None:
        """Compile for any number of rows; blocks of one width share what is compiled."""
        self._before, self._after = compiled_halves()

    def forward(self, x_PD: Tensor, packing: Packing) -> Tensor:
        """Transform `x_PD` (P packed real frames, as `packing` says); same shape."""
        if self.recompute == "layers" and torch.is_grad_enabled():
            return _computed_again(self._both, x_PD, packing)
        return self._both(x_PD, packing)

    def _both(self, x_PD: Tensor, packing: Packing) -> Tensor:
        mixed_PJK = attend(*self._before(self, x_PD), packing)
        if self.recompute == "mlp" and torch.is_grad_enabled():
            return _computed_again(self._after, self, x_PD, mixed_PJK)
        return self._after(self, x_PD, mixed_PJK)


def _computed_again(function: Callable[..., Tensor], *arguments: object) -> Tensor:
    # Nothing here draws random numbers, and reading their state would wait for the GPU.
    return checkpoint(function, *arguments, use_reentrant=False, preserve_rng_state=False)


def before_attention(block: Block, x_PD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value (P, heads, width / heads) of the rows `x_PD` (P, D) that enter `block`."""
    return block.attention.split(block.attention_norm(x_PD))


def _after_attention(block: Block, x_PD: Tensor, mixed_PJK: Tensor) -> Tensor:
    x_PD = x_PD + block.attention.out(mixed_PJK.flatten(1))
    return x_PD + block.mlp(block.mlp_norm(x_PD))


@lru_cache
def compiled_halves() -> tuple[Callable, Callable]:
    """The two halves of a block, compiled when first called; the same functions for every block of every encoder."""
    return torch.compile(before_attention, dynamic=True), torch.compile(_after_attention, dynamic=True)


class WhisperEncoder(nn.Module):
    """Randomly initialised from PyTorch's CPU generator; `model.weights.load_encoder` gives trained ones."""

    positions_TD: Tensor

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv1d(config.mel_bins, config.width, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(config.width, config.width, kernel_size=3, stride=FRAME_MELS, padding=1)
        self.register_buffer("positions_TD", sinusoids(config.max_frames, config.width))
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.layers))
        self.final_norm = nn.LayerNorm(config.width)
        if self.conv1.weight.is_meta:
            return  # to be filled by `load_encoder`; arithmetic on the meta device would import PyTorch's compiler
        self.apply(_initialise)
        # With PyTorch's scale the positions drown the stem's output, and nearly all that frames vary by is where they
        # stand; this brings sound and positions to like size.
        with torch.no_grad():
            self.conv2.weight.mul_(STEM_GAIN)

    def forward(self, mel_BMF: Tensor, mel_counts_B: Tensor, *, layer: int | None = None) -> tuple[Tensor, Tensor]:
        """Frames of each clip, 20 ms apart.

        Args:
            mel_BMF: log-mel on the encoder's device; what lies beyond a clip's count, NaN included, has no effect.
            mel_counts_B: integers, real mels of each clip; 1 <= count <= F, and at most two per stored position.
            layer: None gives the last block's output after the final normalisation; 0 the convolutional stem's output
                with positions added; k the output of the k-th block, not normalised.

        Returns:
            frames_BTD: exact zeros in the padding; T = ceil(longest count / 2). float32 also under autocast.
            frame_counts_B: int64 on the encoder's device, ceil(mel_counts_B / 2).

        Raises:
            ValueError: a clip is empty, longer than F or than the window, M is another, or there is no such layer.
        """
        x_PD, packing = self.packed(mel_BMF, mel_counts_B, layer=layer)
        return packing.unpack(x_PD), packing.counts_B

    def packed(self, mel_BMF: Tensor, mel_counts_B: Tensor, *, layer: int | None = None) -> tuple[Tensor, Packing]:
        """`forward` without the padding: (frames_PD, where each clip's frames lie).

        Takes `mel_BMF` and `mel_counts_B` as `forward` does, and raises what it raises. Counts on the CPU save waiting
        for a GPU.
        """
        mels = self._check(mel_BMF, mel_counts_B, layer)
        slots = MelSlots(mels, to_device(mel_counts_B, mel_BMF.device).to(torch.int64))
        return self._through(self._stem(mel_BMF, slots), slots.frames, layer), slots.frames

    def compile(self, *_: object, **__: object) -> None:  # in place, as in nn.Module
        """Compile the blocks, once for every number of clips and frames; costs seconds at the first call."""
        for block in self.blocks:
            block.compile_halves()

    def recompute(self, what: Recompute | None) -> None:
        """Trade time for memory in training; the gradients stay the same up to rounding. None keeps everything."""
        for block in self.blocks:
            block.recompute = what

    def _stem(self, mel_BMF: Tensor, slots: MelSlots) -> Tensor:
        """Convolutions and positions: (P, D)."""
        x_QD = gelu(convolve(self.conv1, slots.spread(mel_BMF)))
        # Not zero after the first convolution, because of its bias; a clip alone is padded with zeros here too.
        x_RD = gelu(convolve(self.conv2, x_QD.masked_fill(slots.gap_Q1, 0)))
        return x_RD.index_select(0, slots.real_P) + self.positions_TD[slots.frames.place_P]

    def _through(self, x_PD: Tensor, packing: Packing, layer: int | None) -> Tensor:
        """Blocks, and without a `layer` the last normalisation: (P, D)."""
        for block in self.blocks[:layer]:
            x_PD = block(x_PD, packing)
        return self.final_norm(x_PD) if layer is None else x_PD

    def _check(self, mel_BMF: Tensor, mel_counts_B: Tensor, layer: int | None) -> list[int]:
        if mel_BMF.ndim != 3 or mel_BMF.shape[1] != self.config.mel_bins:
            raise ValueError(f"expected log-mel (B, {self.config.mel_bins}, F), got {tuple(mel_BMF.shape)}")
        if mel_counts_B.shape != mel_BMF.shape[:1] or mel_counts_B.is_floating_point() or not len(mel_counts_B):
            raise ValueError(f"expected an integer per clip, got {mel_counts_B.dtype} {tuple(mel_counts_B.shape)}")
        if layer is not None and not 0 <= layer <= self.config.layers:
            raise ValueError(f"expected a layer from 0 to {self.config.layers}, or None, got {layer}")
        counts = mel_counts_B.tolist()
        window = FRAME_MELS * self.config.max_frames
        if min(counts) < 1 or max(counts) > mel_BMF.shape[2]:
            raise ValueError(f"expected counts from 1 to {mel_BMF.shape[2]} mels, got {min(counts)} to {max(counts)}")
        if max(counts) > window:
            raise ValueError(
                f"expected at most {window} mels, got {max(counts)}: cut longer audio into windows before the encoder"
            )
        return counts


def convolve(layer: nn.Conv1d, x_FC: Tensor) -> Tensor:
    """`layer` applied along the first dimension of `x_FC` (one sequence, channels last), as one matrix product.

    cuDNN plans anew for every length it has not met, which costs more than the convolution itself when every batch has
    another length; a matrix product does not.
    """
    return linear(windows(layer, x_FC), layer.weight.flatten(1), layer.bias)


def windows(layer: nn.Conv1d, x_FC: Tensor) -> Tensor:
    """What `layer` sees at each of its places of `x_FC`: rows of C · kernel numbers, zeros beyond the ends."""
    edge, (width,), (stride,) = layer.padding[0], layer.kernel_size, layer.stride
    return pad(x_FC, (0, 0, edge, edge)).unfold(0, width, stride).flatten(1)


def _initialise(module: nn.Module) -> None:
    # Norms keep PyTorch's scale.
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=INIT_STD, a=-2 * INIT_STD, b=2 * INIT_STD)
    if isinstance(module, nn.Conv1d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    if isinstance(module, nn.Linear | nn.Conv1d) and module.bias is not None:
        nn.init.zeros_(module.bias)
