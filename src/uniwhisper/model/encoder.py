"""Whisper encoder: log-mel -> frames, for clips of any length up to the window.

Notable: a clip gives the same frames alone and in a batch with longer ones. The original pads every clip to 30 s and
lets it attend to the padding; here padding reaches no convolution, no attention and no mean, and a short clip costs
what it is long. At exactly 30 s both compute the same.
Architecture: Whisper (Radford et al., 2022, section 2.2): two convolutions, sinusoidal positions, pre-norm blocks.
Differs from it: nothing in the weights. Positions are never trained; they are read from a checkpoint that has them.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, pad

from uniwhisper.core.units import FRAME_MELS
from uniwhisper.model.block import PIECES, Block, compiled_pieces, joined
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
        self._pieces = PIECES
        self._joined = False
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
        """Compile the blocks, once for every number of clips and frames; costs seconds at the first call.

        The end of each block and the beginning of the next become one piece, so nobody sees a block called: not a hook
        on it either.
        """
        self._pieces, self._joined = compiled_pieces(), True
        for block in self.blocks:
            block.pieces = self._pieces

    def to_float8(self) -> None:
        """Train with float8 products in the blocks (`model.float8`), on a GPU that has them; cannot be taken back."""
        for block in self.blocks:
            block.to_float8()

    def keep_blocks_apart(self) -> None:
        """From now on call each block by itself, for who wraps or watches them; compiled ones stay so."""
        self._joined = False

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
        norm = self.final_norm if layer is None else None
        blocks = self.blocks[:layer]
        if self._joined and len(blocks) and blocks[0].recompute is None:
            return joined(self._pieces, blocks, norm, x_PD, packing)
        for block in blocks:
            x_PD = block(x_PD, packing)
        return x_PD if norm is None else norm(x_PD)

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
