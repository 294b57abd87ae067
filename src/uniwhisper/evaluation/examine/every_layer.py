"""All layers of an encoder from one pass, as one encoder whose frames are the layers' frames side by side.

Notable: to what pools, keeps and caches vectors it is an encoder like any other, only wider. The mean of what lies
side by side is the means side by side, so each layer's vector is cut out afterwards (`EveryLayer.split`), and is what
that layer alone would give.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from uniwhisper.core.identity import hash_file
from uniwhisper.embedding.batches import default_batch_seconds
from uniwhisper.embedding.decode import Inputs
from uniwhisper.embedding.device import full_float32
from uniwhisper.embedding.embedder import Embedder
from uniwhisper.embedding.table import FrameBlock
from uniwhisper.evaluation.adapters.pooling import ClipPooler, FramePooler
from uniwhisper.evaluation.encoders import EncoderError, JudgedEncoder
from uniwhisper.model.encoder import WhisperEncoder

FINAL = "final"
"""What the encoder gives when nobody asks for a layer: the output that `uniwhisper evaluate` judges."""
_PROBE_SECONDS = 1.0


@dataclass(frozen=True, eq=False)
class EveryLayer:
    """All layers of an encoder."""

    encoder: Any
    """Gives frames (T, sum of `widths`), and has an identity of its own."""
    names: tuple[str, ...]
    """From the input to the output; `final` stands last."""
    widths: tuple[int, ...]
    """Numbers per frame of each layer."""

    def split(self, vectors_ND: np.ndarray) -> dict[str, np.ndarray]:
        """Each layer's part of `vectors_ND`, float (N, sum of `widths`): its columns, contiguous, same dtype."""
        assert vectors_ND.shape[1] == sum(self.widths), f"{vectors_ND.shape[1]} numbers for widths {self.widths}"
        parts = np.split(vectors_ND, np.cumsum(self.widths)[:-1], axis=1)
        return {name: np.ascontiguousarray(part) for name, part in zip(self.names, parts, strict=True)}


def every_layer(judged: JudgedEncoder) -> EveryLayer:
    """All layers of an encoder that gives them: ours, those of transformers, an adapter with `every_layer`.

    Layers are named as `uniwhisper embed --layer` counts them: `0` before the first block, `k` after the k-th, `final`
    after the last normalisation. An encoder whose last block and output are the same has no number for it.

    Raises:
        EncoderError: it gives one vector per clip, or nobody has said where its layers are.
    """
    encoder = judged.encoder
    if isinstance(encoder, Embedder):
        return _ours(encoder)
    function = getattr(encoder, "function", None)
    if isinstance(encoder, FramePooler) and hasattr(function, "every_layer"):
        return _of_function(encoder, function)
    kind = type(function if isinstance(encoder, ClipPooler) else encoder).__name__
    raise EncoderError(
        f"{judged.source} gives no layers",
        expected="a Whisper-shaped encoder; of transformers Whisper, wav2vec 2.0, HuBERT, WavLM, data2vec-audio, AST; "
        "or an adapter with frames and a method `every_layer(wave_BS)`",
        got=f"{kind}, of which only the output is known",
        fix="add `every_layer` to your adapter (docs/encoders.md); `examine robustness` needs no layers",
    )


class _SideBySide(nn.Module):
    """A `WhisperEncoder` whose frames are those of all its layers, from one pass."""

    def __init__(self, encoder: WhisperEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.config = replace(encoder.config, width=encoder.config.width * (encoder.config.layers + 2))

    def forward(self, mel_BMF: Tensor, mel_counts_B: Tensor, *, layer: int | None = None) -> tuple[Tensor, Tensor]:
        """As `WhisperEncoder.forward`; there is nothing to choose."""
        assert layer is None, "all layers, or one"
        x_PD, packing = self.encoder.packed(mel_BMF, mel_counts_B, layer=0)
        layers = [x_PD]
        for block in self.encoder.blocks:
            x_PD = block(x_PD, packing)
            layers.append(x_PD)
        layers.append(self.encoder.final_norm(x_PD))
        return packing.unpack(torch.cat(layers, dim=1)), packing.counts_B


class _Ours:
    """An `Embedder` of all layers, in batches as much smaller as its frames are wider."""

    def __init__(self, embedder: Embedder) -> None:
        assert embedder.layer is None and embedder.precision == "float32", "the encoder as it is judged"
        wide: Any = _SideBySide(embedder.encoder)
        self._embedder = Embedder.from_encoder(wide, identity=embedder.identity["weights"], source=embedder.source)
        layers = embedder.encoder.config.layers + 2
        self._batch_seconds = default_batch_seconds(embedder.device, embedder.width) / layers
        self.width = self._embedder.width
        self.identity = _identity(embedder.identity, [*map(str, range(layers - 1)), FINAL])

    def frame_blocks(self, inputs: Inputs) -> Iterator[FrameBlock]:
        return self._embedder.frame_blocks(inputs, batch_seconds=self._batch_seconds)


def _ours(embedder: Embedder) -> EveryLayer:
    config = embedder.encoder.config
    names = (*map(str, range(config.layers + 1)), FINAL)
    return EveryLayer(_Ours(embedder), names, (config.width,) * len(names))


class _Function:
    """An adapter's function, giving all its layers."""

    def __init__(self, function: Any, names: tuple[str, ...], width: int) -> None:
        for name in ("sample_rate_hz", "hop_seconds", "window_seconds", "shortest_seconds", "batch_clips", "device"):
            if hasattr(function, name):
                setattr(self, name, getattr(function, name))
        self.width = width
        self._function, self._names = function, names

    def __call__(self, wave_BS: Tensor) -> Tensor:
        layers = self._function.every_layer(wave_BS)
        if tuple(layers) != self._names:
            raise ValueError(f"layers {', '.join(layers)} instead of {', '.join(self._names)}")
        return torch.cat([frames_BTD.float() for frames_BTD in layers.values()], dim=2)


def _of_function(pooler: FramePooler, function: Any) -> EveryLayer:
    samples = round(function.sample_rate_hz * max(_PROBE_SECONDS, getattr(function, "shortest_seconds", 0)))
    wave_BS = 0.1 * torch.randn(1, samples, generator=torch.Generator().manual_seed(0))
    try:
        with torch.inference_mode(), full_float32(pooler.device):
            layers = function.every_layer(wave_BS)
        widths = {name: frames_BTD.shape[2] for name, frames_BTD in layers.items()}
    except Exception as error:
        raise _unusable(f"{type(error).__name__}: {str(error).strip()[:300]}") from error
    bad = [name for name in widths if not isinstance(name, str) or not re.fullmatch(r"[\w.+-]+", name)]
    if bad or len(widths) < 2:
        raise _unusable(f"a name like {bad[0]!r}" if bad else f"{len(widths)} layer(s)")
    names = tuple(widths)
    identity = _identity(pooler.identity, names)
    wide = FramePooler(_Function(function, names, sum(widths.values())), identity=identity)
    return EveryLayer(wide, names, tuple(widths.values()))


def _unusable(got: str) -> EncoderError:
    return EncoderError(
        "the adapter's `every_layer` cannot be used",
        expected="a dict of two or more layers: name (letters, digits, . + - _) -> frames (B, T, D) of waves (B, S)",
        got=got,
        fix="mend `every_layer`; docs/encoders.md shows one",
    )


def _identity(identity: dict[str, str], names: Any) -> dict[str, str]:
    code = f"{identity['code']}+{hash_file(Path(__file__))[:12]}"
    return identity | {"code": code, "layer": f"all: {' '.join(names)}"}
