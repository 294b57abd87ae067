"""One batch on its way through the device: samples there, vectors back, without waiting in between."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from uniwhisper.core.units import frame_count, mel_count
from uniwhisper.embedding.decode import Window
from uniwhisper.features.logmel import log_mel
from uniwhisper.model.encoder import WhisperEncoder


@dataclass(frozen=True, eq=False)
class Launched:
    """A batch whose results may still be computed."""

    windows: list[Window]
    frame_counts: list[int]
    """Frames of each window."""
    values: Tensor
    """On the CPU; not to be read before `done`."""
    done: torch.cuda.Event | None
    """None: done already."""

    def take(self) -> Tensor:
        """The results, waited for."""
        if self.done is not None:
            self.done.synchronize()
        return self.values


def launch(
    encoder: WhisperEncoder,
    windows: list[Window],
    reduce: Callable[[Tensor], Tensor],
    *,
    device: torch.device,
    layer: int | None,
) -> Launched:
    """Encode a batch and apply `reduce` to frames_BTD; on a GPU this returns before the work is done.

    Everything that crosses to and from a GPU lies in page-locked memory, which PyTorch keeps for the next batch.
    """
    gpu = device.type == "cuda"
    sample_counts = [len(window.samples) for window in windows]
    wave_BS = torch.zeros(len(windows), max(sample_counts), pin_memory=gpu)
    for row_S, window in zip(wave_BS.numpy(), windows, strict=True):
        row_S[: len(window.samples)] = window.samples
    sample_counts_B = torch.tensor(sample_counts, pin_memory=gpu)
    mel_BMF, _ = log_mel(
        wave_BS.to(device, non_blocking=True),
        sample_counts_B,
        mel_bins=encoder.config.mel_bins,
        # Where half precision follows, the reference's last digits are not kept anyway.
        transform=torch.float32 if gpu and torch.is_autocast_enabled(device.type) else None,
    )
    frames_BTD, _ = encoder(mel_BMF, mel_count(sample_counts_B), layer=layer)
    frame_counts = [frame_count(mel_count(count)) for count in sample_counts]
    values = reduce(frames_BTD)
    if not gpu:
        return Launched(windows, frame_counts, values.cpu(), None)
    on_cpu = torch.empty_like(values, device="cpu", pin_memory=True).copy_(values, non_blocking=True)
    done = torch.cuda.Event()
    done.record()
    return Launched(windows, frame_counts, on_cpu, done)
