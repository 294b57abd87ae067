"""Probes with one hidden layer, many trained at once.

    logits = gelu(x W1 + b1) W2 + b2            512 hidden units; without them: x W + b

by AdamW (Loshchilov & Hutter 2019; weights decay, biases do not) at a constant learning rate; what answers is the
running average of the weights w_t (polynomial decay, Shamir & Zhang 2013, section 4), good after any number of steps:

    a_t = a_{t-1} + (g + 1) / (t + g) (w_t - a_{t-1})       of about the last 1 / (g + 1) of the steps

Every fold and seed is a *problem*; problems of one setting are stacked, so that a step is a few `torch.bmm`. An epoch
is as many steps as the largest training set needs to see each clip once; a smaller one begins its next shuffling
earlier. Problems never touch each other: each has its own weights, order and standardisation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

HIDDEN = 512
BATCH_CLIPS = 128
AVERAGING = 2
"""g above."""


@dataclass(frozen=True)
class Setting:
    learning_rate: float
    weight_decay: float
    along_axes: bool = False
    """Whether features are turned to their principal axes (`axes.py`)."""


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
    widths: list[int]
    """Real features of each fold."""

    @classmethod
    def of(
        cls, folds: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], device: torch.device | str = "cpu"
    ) -> "Stack":
        """`folds`: (reference float32 (N, D), targets, queries float32 (Q, D)) each; N >= 1, D may differ."""
        widest = max(reference.shape[1] for reference, _, _ in folds)
        widths = [reference.shape[1] for reference, _, _ in folds]
        folds = [(_wider(reference, widest), targets, _wider(queries, widest)) for reference, targets, queries in folds]
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
            widths,
        )

    @property
    def steps_per_epoch(self) -> int:
        return -(-max(self.counts) // BATCH_CLIPS)


def _wider(vectors_ND: np.ndarray, width: int) -> np.ndarray:
    return np.pad(vectors_ND, ((0, 0), (0, width - vectors_ND.shape[1])))


Loss = Callable[[Tensor, Tensor], Tensor]
"""Of outputs (P, B, C) and the targets (P, B, …) of their clips: the sum over problems of each one's mean."""


class Trainer:
    """Problems of one setting, trained side by side; goes on from where it was asked last."""

    def __init__(
        self,
        stack: Stack,
        problems: Sequence[Problem],
        setting: Setting,
        *,
        classes: int,
        hidden: int,
        loss: Loss | None = None,
        averaging: int | None = AVERAGING,
    ) -> None:
        """Begin; nothing is trained yet.

        Args:
            hidden: width of the hidden layer; 0: none.
            loss: None for (binary) cross entropy of classes.
            averaging: g of the running average of the weights; None: the last weights answer.
        """
        self._averaging = averaging
        self._stack, self._setting, self._loss = stack, setting, loss or _cross_entropy
        self._problems = list(problems)
        widths = [stack.widths[problem.fold] for problem in problems]
        self._layers = initial_layers(problems, widths, classes, hidden, stack.reference_FND)
        self._averages = [layer.detach().clone() for layer in self._layers]
        self._steps = 0
        self._optimizer = _adamw(self._layers, setting)
        self._orders = [_Order(problem.seed, stack.counts[problem.fold]) for problem in problems]

    def train(self, epochs: int) -> None:
        """Train for so many epochs more."""
        stack, device = self._stack, self._stack.reference_FND.device
        steps = epochs * stack.steps_per_epoch
        batches_PSB = np.stack([order.take(steps * BATCH_CLIPS).reshape(steps, -1) for order in self._orders])
        batches_SPB = torch.from_numpy(batches_PSB).transpose(0, 1).to(device)
        folds_P1 = torch.tensor([problem.fold for problem in self._problems], device=device)[:, None]
        for indices_PB in batches_SPB:
            with torch.enable_grad():
                logits_PBC = layer_logits(self._layers, stack.reference_FND[folds_P1, indices_PB])
                loss = self._loss(logits_PBC, stack.targets_FN[folds_P1, indices_PB])
            for layer, gradient in zip(self._layers, torch.autograd.grad(loss, self._layers), strict=True):
                layer.grad = gradient
            self._optimizer.step()
            self._steps += 1
            with torch.no_grad():
                for average, layer in zip(self._averages, self._layers, strict=True):
                    average.lerp_(layer, self._share())

    def _share(self) -> float:
        """Of the newest weights in the average."""
        return 1.0 if self._averaging is None else (self._averaging + 1) / (self._steps + self._averaging)

    @torch.no_grad()
    def ask(self) -> list[np.ndarray]:
        """Logits (Q, C) float32 of each problem, by its averaged weights.

        One at a time: questions can outnumber a batch by thousands.
        """
        answers = []
        for row, problem in enumerate(self._problems):
            queries_1QD = self._stack.queries_FQD[[problem.fold], : self._stack.query_counts[problem.fold]]
            layers = [layer[row : row + 1] for layer in self._averages]
            answers.append(layer_logits(layers, queries_1QD)[0].cpu().numpy())
        return answers

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these problems only, by their places."""
        before = self._optimizer
        layers = [layer[list(rows)].detach().requires_grad_() for layer in self._layers]
        self._optimizer = _adamw(layers, self._setting)
        for old, new in zip(self._layers, layers, strict=True):
            self._optimizer.state[new] = {
                name: value[list(rows)] if value.ndim else value for name, value in before.state[old].items()
            }
        self._layers = layers
        self._averages = [average[list(rows)] for average in self._averages]
        self._problems = [self._problems[row] for row in rows]
        self._orders = [self._orders[row] for row in rows]


def _adamw(layers: list[Tensor], setting: Setting) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        [
            {"params": layers[0::2], "weight_decay": setting.weight_decay},
            {"params": layers[1::2], "weight_decay": 0.0},
        ],
        lr=setting.learning_rate,
        fused=True,
    )


def initial_layers(
    problems: Sequence[Problem], widths: Sequence[int], classes: int, hidden: int, like: Tensor
) -> list[Tensor]:
    """Weights and biases, layer by layer: uniform within 1/sqrt(inputs), PyTorch's default for `Linear`.

    Drawn on the CPU, so that a seed means the same on every device.

    Args:
        widths: features of each problem; zero weights fill up to the width of `like`.
        like: (..., D) features that the layers are for, on their device.
    """
    drawn = []
    for problem, width in zip(problems, widths, strict=True):
        generator = torch.Generator().manual_seed(problem.seed)
        sizes = [(width, hidden), (hidden, classes)] if hidden else [(width, classes)]
        drawn.append(
            [
                (torch.rand(shape, generator=generator) * 2 - 1) / inputs**0.5
                for inputs, outputs in sizes
                for shape in ((inputs, outputs), (1, outputs))
            ]
        )
    layers = [torch.zeros(len(problems), *layer[0].shape) for layer in zip(*drawn, strict=True)]
    layers[0] = torch.zeros(len(problems), like.shape[-1], drawn[0][0].shape[1])
    for row, own in enumerate(drawn):
        for layer, part in zip(layers, own, strict=True):
            layer[row, : len(part)] = part
    return [layer.to(like.device).requires_grad_() for layer in layers]


def layer_logits(layers: list[Tensor], features_PBD: Tensor) -> Tensor:
    """Logits (P, B, C) of features.

    Args:
        layers: float32, from `initial_layers`.
        features_PBD: float32, standardised; their own for every problem.
    """
    first = torch.baddbmm(layers[1], features_PBD, layers[0])
    return first if len(layers) == 2 else torch.baddbmm(layers[3], F.gelu(first), layers[2])


def _cross_entropy(logits_PBC: Tensor, targets: Tensor) -> Tensor:
    """Sum over problems of each one's mean, so that no problem's step depends on how many others there are."""
    if targets.ndim == 2:
        losses_PB = F.cross_entropy(logits_PBC.transpose(1, 2), targets, reduction="none")
    else:
        losses_PB = F.binary_cross_entropy_with_logits(logits_PBC, targets, reduction="none").sum(dim=2)
    return losses_PB.mean(dim=1).sum()


class _Order:
    """A problem's clips, shuffled anew whenever all have been seen."""

    def __init__(self, seed: int, count: int) -> None:
        self._count, self._generator = count, np.random.default_rng([seed, count])
        self._left = np.zeros(0, dtype=np.int64)

    def take(self, needed: int) -> np.ndarray:
        parts = [self._left]
        while sum(map(len, parts)) < needed:
            parts.append(self._generator.permutation(self._count))
        taken = np.concatenate(parts)
        self._left = taken[needed:]
        return taken[:needed]
