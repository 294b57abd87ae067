"""Linear and one-hidden-layer probes on frames, several seeds at once: which classes go on in a frame.

    logits_t = probe(standardised frame_t)        the layers of `probe.py`
    loss     = binary cross entropy, summed over classes, mean over frames

by AdamW at a constant learning rate. A step sees `BATCH_RUNS` runs of `RUN_FRAMES` consecutive frames: runs, because
frames lie in a file and neighbours are read together.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from uniwhisper.evaluation.probe import Problem, Setting, initial_layers, layer_logits
from uniwhisper.evaluation.spool import Frames

RUN_FRAMES = 16
BATCH_RUNS = 64
_ASKED_FRAMES = 8192


def steps_per_epoch(frames: Frames, reference: Sequence[int]) -> int:
    """Steps in which every run of the clips `reference` is seen once."""
    return -(-len(_runs(frames, reference)) // BATCH_RUNS)


def train_frames(
    frames: Frames,
    targets: Sequence[np.ndarray],
    *,
    reference: Sequence[int],
    queries: Sequence[int],
    hidden: int,
    setting: Setting,
    checkpoints: Sequence[int],
    seeds: Sequence[int],
    reduce: Callable[[int, np.ndarray], np.ndarray],
    device: torch.device | str = "cpu",
) -> list[list[list[np.ndarray]]]:
    """Reduced logits of every query after each number of epochs: `[checkpoint][seed][query]`.

    Args:
        targets: uint8 (T, C) of every clip, 0 and 1.
        reference, queries: indices of clips.
        hidden: width of the hidden layer; 0: none.
        checkpoints: epochs, ascending.
        seeds: of initial weights and order.
        reduce: what is kept of a query's logits, given the clip's index and its float32 (T, C): all frames of all
            queries need not fit into memory.
    """
    mean_D, deviation_D = (torch.from_numpy(part).to(device) for part in frames.statistics(reference))
    classes = targets[reference[0]].shape[1]
    problems = [Problem(0, seed) for seed in seeds]
    layers = initial_layers(problems, [len(mean_D)] * len(problems), classes, hidden, mean_D)
    layers = [layer.requires_grad_() for layer in layers]
    optimizer = torch.optim.AdamW(
        [
            {"params": layers[0::2], "weight_decay": setting.weight_decay},
            {"params": layers[1::2], "weight_decay": 0.0},
        ],
        lr=setting.learning_rate,
        fused=True,
    )
    runs_R2 = _runs(frames, reference)
    orders = [np.random.default_rng([seed, len(runs_R2)]) for seed in seeds]
    answers = []
    for epoch in range(1, checkpoints[-1] + 1):
        order_PR = np.stack([order.permutation(len(runs_R2)) for order in orders])
        for start in range(0, len(runs_R2), BATCH_RUNS):
            chosen_PR = order_PR[:, start : start + BATCH_RUNS]
            parts = [_batch(frames, targets, runs_R2[rows]) for rows in chosen_PR]
            inputs_PTD, targets_PTC, real_PT = (
                torch.from_numpy(np.stack(part)).to(device) for part in zip(*parts, strict=True)
            )
            with torch.enable_grad():
                logits_PTC = layer_logits(layers, (inputs_PTD - mean_D) / deviation_D)
                losses_PT = F.binary_cross_entropy_with_logits(logits_PTC, targets_PTC, reduction="none").sum(dim=2)
                loss = ((losses_PT * real_PT).sum(dim=1) / real_PT.sum(dim=1)).sum()
            for layer, gradient in zip(layers, torch.autograd.grad(loss, layers), strict=True):
                layer.grad = gradient
            optimizer.step()
        if epoch in checkpoints:
            answers.append(_ask(frames, queries, mean_D, deviation_D, layers, reduce))
    return answers


def _runs(frames: Frames, clips: Sequence[int]) -> np.ndarray:
    """(R, 2) int64: clip and first frame of every run; a clip's last run may be shorter."""
    counts = [int(frames.starts[clip + 1] - frames.starts[clip]) for clip in clips]
    return np.array(
        [(clip, at) for clip, count in zip(clips, counts, strict=True) for at in range(0, count, RUN_FRAMES)],
        dtype=np.int64,
    ).reshape(-1, 2)


def _batch(
    frames: Frames, targets: Sequence[np.ndarray], runs_R2: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames (R x run, D), targets (R x run, C) and which frames are real (R x run,), all float32."""
    width, classes = frames.frames_TD.shape[1], targets[int(runs_R2[0, 0])].shape[1]
    inputs_RTD = np.zeros((len(runs_R2), RUN_FRAMES, width), dtype=np.float32)
    targets_RTC = np.zeros((len(runs_R2), RUN_FRAMES, classes), dtype=np.float32)
    real_RT = np.zeros((len(runs_R2), RUN_FRAMES), dtype=np.float32)
    for row, (clip, at) in enumerate(runs_R2.tolist()):
        run_TD = frames.of(clip)[at : at + RUN_FRAMES]
        inputs_RTD[row, : len(run_TD)] = run_TD
        targets_RTC[row, : len(run_TD)] = targets[clip][at : at + RUN_FRAMES]
        real_RT[row, : len(run_TD)] = 1
    return inputs_RTD.reshape(-1, width), targets_RTC.reshape(-1, classes), real_RT.ravel()


@torch.no_grad()
def _ask(
    frames: Frames,
    queries: Sequence[int],
    mean_D: Tensor,
    deviation_D: Tensor,
    layers: list[Tensor],
    reduce: Callable[[int, np.ndarray], np.ndarray],
) -> list[list[np.ndarray]]:
    answers: list[list[np.ndarray]] = [[] for _ in layers[0]]
    for clip in queries:
        parts = []
        clip_TD = frames.of(clip)
        for start in range(0, len(clip_TD), _ASKED_FRAMES):
            part_TD = torch.from_numpy(np.array(clip_TD[start : start + _ASKED_FRAMES])).to(mean_D.device)
            normal_TD = (part_TD - mean_D) / deviation_D
            parts.append(layer_logits(layers, normal_TD.expand(len(answers), *normal_TD.shape)).cpu().numpy())
        logits_PTC = np.concatenate(parts, axis=1)
        for place, logits_TC in enumerate(logits_PTC):
            answers[place].append(reduce(clip, logits_TC))
    return answers
