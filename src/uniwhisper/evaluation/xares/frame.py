"""The frame-level tasks of X-ARES 0.1.3: the clip probe on every frame, scored by segments.

DESED: 10 classes, F1 of 1 s segments, macro, 32 clips a batch, 10 epochs. MAESTRO: 87 pitches, F1 of 0.1 s segments,
micro, positives weigh 10, one clip a batch, 50 epochs. Padding of a batch counts in the loss and in the segments.
The hop is the encoder's own: X-ARES's Whisper example says 10 ms where it gives frames of 20 ms, which misplaces every
target; with the true hop its figures for Whisper cannot be reached, and should not be.
Source: `xares/trainer.py` (prepare_frame_task_batch), `xares/metrics.py` (SegmentF1Metric).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uniwhisper.evaluation.xares.frames import padded_frames
from uniwhisper.evaluation.xares.metrics import decide, segment_f1, segments
from uniwhisper.evaluation.xares.probe import LEARNING_RATE, learning_rate
from uniwhisper.evaluation.xares.targets import fit_length


@dataclass(frozen=True, kw_only=True)
class FrameTask:
    classes: int
    segment_seconds: float
    average: str
    batch_clips: int
    epochs: int
    positive_weight: float = 1.0


@dataclass(frozen=True)
class FrameClips:
    """The clips of a split."""

    frames: Sequence[np.ndarray]
    """(T, D) float32 of each clip."""
    targets: Sequence[np.ndarray]
    """(any length, C) 0/1 of each clip, on the encoder's frames."""


@dataclass(frozen=True)
class FrameAnswer:
    score: float
    """Of the scored clips at the chosen epoch."""
    epoch: int
    """From 0."""
    chosen_by: tuple[float, ...]
    """Score of the choosing clips after each epoch."""


def frame_probe(
    task: FrameTask,
    training: FrameClips,
    choosing: FrameClips,
    scored: FrameClips,
    *,
    orders: Sequence[np.ndarray],
    hop_seconds: float,
    weights: tuple[Tensor, Tensor],
    device: torch.device | str = "cpu",
) -> FrameAnswer:
    """Train the probe and score it.

    Args:
        training: clips to learn from.
        choosing: clips that choose the epoch; the scored ones in DESED, where the same object is scored once.
        scored: clips of the score.
        orders: for each epoch int64 indices of the training clips in their order.
        hop_seconds: between the encoder's frames, as measured.
        weights: weight (C, D) and bias (C,) that the linear layer starts from.
        device: where to train.
    """
    width = weights[0].shape[1]
    linear = nn.Linear(width, task.classes)
    with torch.no_grad():
        linear.weight.copy_(weights[0])
        linear.bias.copy_(weights[1])
    probe = nn.Sequential(nn.LayerNorm(width), linear).to(device)
    optimiser = torch.optim.Adam(probe.parameters(), lr=LEARNING_RATE)
    positive_weight = torch.tensor(task.positive_weight, device=device)
    history: list[float] = []
    score, best = 0.0, 0
    for epoch, order in enumerate(orders):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(epoch, len(orders))
        for frames_BTD, targets_BTC in _batches(training, order, task, device):
            logits_BTC = probe(frames_BTD)
            loss = F.binary_cross_entropy_with_logits(logits_BTC, targets_BTC, pos_weight=positive_weight)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        history.append(frame_score(probe, task, choosing, hop_seconds=hop_seconds, device=device))
        if epoch == 0 or history[-1] > max(history[:-1]):
            best = epoch
            same = scored is choosing
            score = history[-1] if same else frame_score(probe, task, scored, hop_seconds=hop_seconds, device=device)
    return FrameAnswer(score, best, tuple(history))


@torch.no_grad()
def frame_score(
    probe: nn.Module, task: FrameTask, clips: FrameClips, *, hop_seconds: float, device: torch.device | str = "cpu"
) -> float:
    """Segment F1 of `clips`; only 0/1 segments are kept, frames stream through."""
    cut = {"hop_seconds": hop_seconds, "segment_seconds": task.segment_seconds}
    predicted, expected = [], []
    for frames_BTD, targets_BTC in _batches(clips, np.arange(len(clips.targets)), task, device):
        decided_BTC = decide(probe(frames_BTD).cpu().numpy())
        for decided_TC, targets_TC in zip(decided_BTC, targets_BTC.cpu().numpy(), strict=True):
            predicted.append(segments(decided_TC, **cut))
            expected.append(segments(targets_TC.astype(np.int8), **cut))
    return segment_f1(np.concatenate(predicted), np.concatenate(expected), average=task.average)


def _batches(
    clips: FrameClips, order: np.ndarray, task: FrameTask, device: torch.device | str
) -> Iterator[tuple[Tensor, Tensor]]:
    """Frames (B, T, D) and targets (B, T, C) of `order`, zeros where a clip is shorter than the batch's longest."""
    for start in range(0, len(order), task.batch_clips):
        batch = order[start : start + task.batch_clips].tolist()
        frames_BTD, _ = padded_frames([clips.frames[index] for index in batch])
        targets = [fit_length(clips.targets[index], frames_BTD.shape[1]) for index in batch]
        yield torch.from_numpy(frames_BTD).to(device), torch.from_numpy(np.stack(targets)).float().to(device)
