"""s3prl (SUPERB): an upstream whose every layer is given out, for the learned weighted sum of the downstream tasks.

    from uniwhisper.integrations.s3prl import UpstreamExpert
    expert = UpstreamExpert(ckpt="FOLDER")      # None: the packaged model

In an s3prl checkout, a folder `s3prl/upstream/uniwhisper/` with a hubconf.py that returns this class registers it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from uniwhisper.core.units import FRAME_SAMPLES
from uniwhisper.embedding.waves import encode_waves, pad_waves, windows_of
from uniwhisper.model.attention import Packing
from uniwhisper.model.encoder import WhisperEncoder
from uniwhisper.model.weights import load_encoder


class UpstreamExpert(nn.Module):
    """Waves of unequal length to the output of the stem and of every block."""

    def __init__(self, ckpt: str | None = None, model_config: str | None = None, **_: Any) -> None:  # noqa: ARG002
        super().__init__()
        self.encoder = load_encoder(ckpt).encoder

    def get_downsample_rates(self, key: str) -> int:  # noqa: ARG002 (one rate for every key)
        """Samples per frame."""
        return FRAME_SAMPLES

    def forward(self, wavs: Sequence[Tensor]) -> dict[str, Any]:
        """Hidden states of all layers, differentiable.

        Args:
            wavs: clips (S,), floating point at 16 kHz.

        Returns:
            `hidden_states`: a list of layers + 1 tensors (B, T, D), zeros in the padding: the stem's output, then each
            block's; `last_hidden_state`: the encoder's normal output; `frame_counts`: (B,) int64.
        """
        wave_BS, sample_counts_B = pad_waves([wave_S.float() for wave_S in wavs])
        with _recorded_blocks(self.encoder) as recorded:
            final_BTD, frame_counts_B = encode_waves(self.encoder, wave_BS, sample_counts_B)
        window_clips = [window.clip for window in windows_of(sample_counts_B.tolist())]
        layers = [_joined(calls, window_clips) for calls in recorded]
        return {"hidden_states": layers, "last_hidden_state": final_BTD, "frame_counts": frame_counts_B}


@contextmanager
def _recorded_blocks(encoder: WhisperEncoder) -> Iterator[list[list[list[Tensor]]]]:
    """Per layer and per call of the encoder the frames (T, D) of each window, as the blocks see and leave them."""
    recorded: list[list[list[Tensor]]] = [[] for _ in range(encoder.config.layers + 1)]

    def keep(layer: int, x_PD: Tensor, packing: Packing) -> None:
        recorded[layer].append(list(x_PD.split(packing.counts)))

    hooks = [encoder.blocks[0].register_forward_pre_hook(lambda _, inputs: keep(0, *inputs))]
    for layer, block in enumerate(encoder.blocks, 1):
        hooks.append(block.register_forward_hook(lambda _, inputs, output, layer=layer: keep(layer, output, inputs[1])))
    try:
        yield recorded
    finally:
        for hook in hooks:
            hook.remove()


def _joined(calls: list[list[Tensor]], window_clips: list[int]) -> Tensor:
    """(B, T, D): the windows of all calls, joined clip by clip."""
    clips: list[list[Tensor]] = [[] for _ in range(window_clips[-1] + 1)]
    for clip, frames_TD in zip(window_clips, chain.from_iterable(calls), strict=True):
        clips[clip].append(frames_TD)
    return pad_sequence([torch.cat(parts) for parts in clips], batch_first=True)
