"""Linear and one-hidden-layer probes, many trained at once.

    linear  logits = x W + b
    mlp     logits = gelu(x W1 + b1) W2 + b2            512 hidden units

on standardised features, by AdamW (Loshchilov & Hutter 2019; weights decay, biases do not) at a constant learning rate.
Every fold and seed is a *problem*; problems of one setting are stacked, so that a step is a few `torch.bmm`. An epoch
is as many steps as the largest training set needs to see each clip once; a smaller one begins its next shuffling
earlier. Problems never touch each other: each has its own weights, order and standardisation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

HIDDEN = 512
BATCH_CLIPS = 128


@dataclass(frozen=True)
class Setting:
    learning_rate: float
    weight_decay: float


@dataclass(frozen=True)
class Problem:
    fold: int
    """Index into the stack."""
    seed: int
    """Of the initial weights and of the order of clips."""


@dataclass(frozen=True, eq=False)
class Stack:
    """Training sets and questions of several folds, zero-padded to one size."""

    reference_FND: Tensor
    targets_FN: Tensor
    """int64 classes (F, N), or float32 (F, N, C) of 0 and 1 where a clip has several."""
    counts: list[int]
    """Real clips of each training set."""
    queries_FQD: Tensor
    query_counts: list[int]

    @classmethod
    def of(
        cls, folds: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], device: torch.device | str = "cpu"
    ) -> "Stack":
        """`folds`: (reference float32 (N, D) standardised, targets, queries float32 (Q, D)) each; N >= 1."""
        reference, targets, queries = (
            [torch.from_numpy(np.ascontiguousarray(part)).to(device) for part in parts]
            for parts in zip(*folds, strict=True)
        )
        return cls(
            pad_sequence(reference, batch_first=True),
            pad_sequence(targets, batch_first=True),
            [len(part) for part in reference],
            pad_sequence(queries, batch_first=True),
            [len(part) for part in queries],
        )

    @property
    def steps_per_epoch(self) -> int:
        return -(-max(self.counts) // BATCH_CLIPS)


def train(
    stack: Stack,
    problems: Sequence[Problem],
    setting: Setting,
    *,
    classes: int,
    hidden: int,
    checkpoints: Sequence[int],
) -> list[list[np.ndarray]]:
    """Logits for each problem's queries after each number of epochs: `[checkpoint][problem]` (Q, C) float32.

    Args:
        hidden: width of the hidden layer; 0: none.
        checkpoints: epochs, ascending.
    """
    device = stack.reference_FND.device
    layers = initial_layers(problems, stack.reference_FND.shape[2], classes, hidden, device)
    optimizer = torch.optim.AdamW(
        [
            {"params": layers[0::2], "weight_decay": setting.weight_decay},
            {"params": layers[1::2], "weight_decay": 0.0},
        ],
        lr=setting.learning_rate,
        fused=True,
    )
    steps = stack.steps_per_epoch
    batches_SPB = _orders(problems, stack.counts, steps * checkpoints[-1]).to(device)
    folds_P1 = torch.tensor([problem.fold for problem in problems], device=device)[:, None]
    answers = []
    for step, indices_PB in enumerate(batches_SPB, start=1):
        with torch.enable_grad():
            logits_PBC = layer_logits(layers, stack.reference_FND[folds_P1, indices_PB])
            loss = _loss(logits_PBC, stack.targets_FN[folds_P1, indices_PB])
        for layer, gradient in zip(layers, torch.autograd.grad(loss, layers), strict=True):
            layer.grad = gradient
        optimizer.step()
        if step % steps == 0 and step // steps in checkpoints:
            answers.append([_ask(layers, stack, row, problem.fold) for row, problem in enumerate(problems)])
    return answers


@torch.no_grad()
def _ask(layers: list[Tensor], stack: Stack, row: int, fold: int) -> np.ndarray:
    """Logits (Q, C) of one problem; one at a time, because questions can outnumber a batch by thousands."""
    queries_1QD = stack.queries_FQD[fold : fold + 1, : stack.query_counts[fold]]
    return layer_logits([layer[row : row + 1] for layer in layers], queries_1QD)[0].cpu().numpy()


def initial_layers(
    problems: Sequence[Problem], width: int, classes: int, hidden: int, device: torch.device
) -> list[Tensor]:
    """Weights and biases, layer by layer: uniform within 1/sqrt(inputs), PyTorch's default for `Linear`.

    Drawn on the CPU, so that a seed means the same on every device.
    """
    sizes = [(width, hidden), (hidden, classes)] if hidden else [(width, classes)]
    generators = [torch.Generator().manual_seed(problem.seed) for problem in problems]
    layers = []
    for inputs, outputs in sizes:
        for shape in ((inputs, outputs), (1, outputs)):
            draws = [(torch.rand(shape, generator=generator) * 2 - 1) / inputs**0.5 for generator in generators]
            layers.append(torch.stack(draws).to(device).requires_grad_())
    return layers


def layer_logits(layers: list[Tensor], features_PBD: Tensor) -> Tensor:
    """Logits (P, B, C) of features.

    Args:
        layers: float32, from `initial_layers`.
        features_PBD: float32, standardised; their own for every problem.
    """
    first = torch.baddbmm(layers[1], features_PBD, layers[0])
    return first if len(layers) == 2 else torch.baddbmm(layers[3], F.gelu(first), layers[2])


def _loss(logits_PBC: Tensor, targets: Tensor) -> Tensor:
    """Sum over problems of each one's mean, so that no problem's step depends on how many others there are."""
    if targets.ndim == 2:
        losses_PB = F.cross_entropy(logits_PBC.transpose(1, 2), targets, reduction="none")
    else:
        losses_PB = F.binary_cross_entropy_with_logits(logits_PBC, targets, reduction="none").sum(dim=2)
    return losses_PB.mean(dim=1).sum()


def _orders(problems: Sequence[Problem], counts: Sequence[int], steps: int) -> Tensor:
    """(steps, P, batch) int64: each problem's clips, shuffled anew whenever all have been seen."""
    needed = steps * BATCH_CLIPS
    orders = []
    for problem in problems:
        count = counts[problem.fold]
        generator = np.random.default_rng([problem.seed, count])
        passes = -(-needed // count)
        orders.append(np.concatenate([generator.permutation(count) for _ in range(passes)])[:needed])
    return torch.from_numpy(np.stack(orders).reshape(len(problems), steps, BATCH_CLIPS)).transpose(0, 1)
