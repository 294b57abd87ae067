"""Probes with one hidden layer, many trained at once.

    logits = gelu(x W1 + b1) W2 + b2            512 hidden units; without them: x W + b

by AdamW (Loshchilov & Hutter 2019; weights decay, biases do not) at a constant learning rate; what answers is the
running average of the weights w_t (polynomial decay, Shamir & Zhang 2013, section 4), good after any number of steps:

    a_t = a_{t-1} + (g + 1) / (t + g) (w_t - a_{t-1})       of about the last 1 / (g + 1) of the steps

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

from uniwhisper.evaluation.slices import Loss, Slice, State, run_all, slices_of

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
        self._averaging, self._loss = averaging, loss
        self._stack, self._setting = stack, setting
        self._problems = list(problems)
        widths = [stack.widths[problem.fold] for problem in problems]
        self._state = State.of(initial_layers(problems, widths, classes, hidden, stack.reference_FND))
        self._steps = 0
        self._orders = [_Order(problem.seed, stack.counts[problem.fold]) for problem in problems]

    def train(self, epochs: int) -> None:
        """Train for so many epochs more."""
        train_together([(self, epochs)])

    def begin(self, epochs: int) -> list[Slice]:
        """What is to be run, in any order, for so many epochs more."""
        stack, device = self._stack, self._stack.reference_FND.device
        steps = epochs * stack.steps_per_epoch
        batches_PSB = np.stack([order.take(steps * BATCH_CLIPS).reshape(steps, -1) for order in self._orders])
        starts_P = np.array([problem.fold for problem in self._problems]) * stack.reference_FND.shape[1]
        rows_SPB = torch.from_numpy(batches_PSB + starts_P[:, None, None]).transpose(0, 1).to(device)
        shares = [self._share(number) for number in range(self._steps + 1, self._steps + steps + 1)]
        begun = [
            Slice(
                self._state.rows(rows), stack.reference_FND.flatten(0, 1), stack.targets_FN.flatten(0, 1),
                rows_SPB[:, rows], self._steps, shares, self._setting.learning_rate, self._setting.weight_decay,
                self._loss,
            )
            for rows in slices_of(len(self._problems), device)
        ]  # fmt: skip
        self._steps += steps
        return begun

    def _share(self, step: int) -> float:
        """Of the weights after that step, counted from 1, in the average."""
        return 1.0 if self._averaging is None else (self._averaging + 1) / (step + self._averaging)

    @torch.no_grad()
    def ask(self) -> list[np.ndarray]:
        """Logits (Q, C) float32 of each problem, by its averaged weights.

        One at a time: questions can outnumber a batch by thousands.
        """
        answers = []
        for row, problem in enumerate(self._problems):
            queries_1QD = self._stack.queries_FQD[[problem.fold], : self._stack.query_counts[problem.fold]]
            layers = [layer[row : row + 1] for layer in self._state.averages]
            answers.append(layer_logits(layers, queries_1QD)[0].cpu().numpy())
        return answers

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these problems only, by their places."""
        self._state = self._state.rows(list(rows))
        self._problems = [self._problems[row] for row in rows]
        self._orders = [self._orders[row] for row in rows]


def train_together(further: Sequence[tuple[Trainer, int]]) -> None:
    """Train each of these for so many epochs more: as if one after the other, and no core waits for the last of one."""
    begun = [each for trainer, epochs in further for each in trainer.begin(epochs)]
    run_all(sorted(begun, key=lambda each: -len(each.shares)))


def initial_layers(
    problems: Sequence[Problem], widths: Sequence[int], classes: int, hidden: int, like: Tensor
) -> list[Tensor]:
    """Weights and biases, layer by layer: uniform within 1/sqrt(inputs), PyTorch's default for `Linear`.

    Drawn on the CPU, so that a seed means the same on every device.

    Args:
        widths: features of each problem; zero weights fill up to the width of `like`.
        like: (..., D) features that the layers are for, on their device.
    """
    outputs = (hidden, classes) if hidden else (classes,)
    layers = []
    for inputs, outs in zip((like.shape[-1], *outputs), outputs, strict=False):
        layers += [torch.zeros(len(problems), inputs, outs), torch.zeros(len(problems), 1, outs)]
    for row, (problem, width) in enumerate(zip(problems, widths, strict=True)):
        generator = torch.Generator().manual_seed(problem.seed)
        for place, layer in enumerate(layers):
            inputs = width if place < 2 else hidden
            own = layer[row, :width] if place == 0 else layer[row]
            own.uniform_(generator=generator).mul_(2).sub_(1).div_(inputs**0.5)
    return [layer.to(like.device) for layer in layers]


def layer_logits(layers: list[Tensor], features_PBD: Tensor) -> Tensor:
    """Logits (P, B, C) of features.

    Args:
        layers: float32, from `initial_layers`.
        features_PBD: float32, standardised; their own for every problem.
    """
    first = torch.baddbmm(layers[1], features_PBD, layers[0])
    return first if len(layers) == 2 else torch.baddbmm(layers[3], F.gelu(first), layers[2])


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
