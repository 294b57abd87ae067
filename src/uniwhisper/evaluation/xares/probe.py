"""The trained probe of X-ARES 0.1.3: LayerNorm, then one linear layer, for a fixed number of epochs.

X-ARES calls it MLP; there is no hidden layer. Adam, no weight decay, a learning rate that falls by epoch from 1e-3
along a cosine that never reaches its end (1e-4), mean loss per batch, no standardisation, no augmentation. After each
epoch the probe is scored on the choosing rows, and the best epoch (the earliest of equals) answers the scored rows. In
nine of the 22 tasks these are the same rows, so the score is optimistic; that is the protocol.
Source: X-ARES 0.1.3, `xares/models/simple.py` and `xares/trainer.py`.

All runs of a task (folds x seeds) are trained at once: their weights are stacked along a first dimension R. The
normalisation has no weights of its own but scale and shift, so the vectors are normalised once.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEARNING_RATE = 1e-3
LAST_LEARNING_RATE = 1e-4
INIT_SEED = 42
ADAM_BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-8

Score = Callable[[np.ndarray, np.ndarray], float]
"""Takes logits (Q, C) and targets (Q,) or (Q, C); higher is better."""


@dataclass(frozen=True)
class ProbeRun:
    """One probe: rows of the task's vectors, int64."""

    orders: Sequence[np.ndarray]
    """For each epoch the training rows in the order in which they are shown."""
    choosing: np.ndarray
    """Rows on which the best epoch is chosen."""
    scored: np.ndarray


@dataclass(frozen=True)
class ProbeAnswer:
    logits: np.ndarray
    """(Q, C) float32, of the scored rows at the chosen epoch."""
    epoch: int
    """The chosen epoch, from 0."""
    chosen_by: tuple[float, ...]
    """Score on the choosing rows after each epoch."""


def learning_rate(epoch: int, epochs: int) -> float:
    """Rate throughout `epoch` (from 0) of `epochs`."""
    if epochs == 1:
        return LEARNING_RATE
    return LEARNING_RATE + (LAST_LEARNING_RATE - LEARNING_RATE) / 2 * (1 - math.cos(math.pi * epoch / epochs))


def initial_weights(folds: int, width: int, classes: int, *, epochs: int) -> list[tuple[Tensor, Tensor]]:
    """Weight (C, D) and bias (C,) of each fold's head: PyTorch's default for a linear layer, from seed 42.

    X-ARES seeds once per task, so its folds' heads depend on what is drawn in between: each pass over a loader takes
    one number for its workers' seeds, and a fold makes two passes per epoch (training, choosing) and one for scoring.
    """
    layers = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(INIT_SEED)
        for _ in range(folds):
            layers.append(nn.Linear(width, classes))
            for _ in range(2 * epochs + 1):
                torch.empty((), dtype=torch.int64).random_()
    return [(layer.weight.detach(), layer.bias.detach()) for layer in layers]


def train_probes(
    vectors_ND: np.ndarray,
    targets: np.ndarray,
    runs: Sequence[ProbeRun],
    *,
    weights: Sequence[tuple[Tensor, Tensor]],
    batch_clips: int,
    score: Score,
    device: torch.device | str = "cpu",
) -> list[ProbeAnswer]:
    """Train all runs together and answer the scored rows of each.

    Args:
        vectors_ND: float32, not standardised.
        targets: int classes (N,), trained by cross-entropy; or float 0/1 (N, C), trained by binary cross-entropy.
        runs: with the same number of epochs.
        weights: weight (C, D) and bias (C,), float32, that each run starts from.
        batch_clips: clips per batch; the last of an epoch is smaller.
        score: judges the choosing rows.
        device: where to train.
    """
    width, classes = vectors_ND.shape[1], len(weights[0][1])
    normal_ND = F.layer_norm(torch.from_numpy(np.asarray(vectors_ND, dtype=np.float32)).to(device), (width,))
    targets_N = torch.from_numpy(np.ascontiguousarray(targets)).to(device)
    probes = _Probes(len(runs), width, classes, weights, device)
    epochs = len(runs[0].orders)
    assert all(len(run.orders) == epochs for run in runs), "runs of one number of epochs"
    best: list[ProbeAnswer | None] = [None] * len(runs)
    history: list[list[float]] = [[] for _ in runs]
    for epoch in range(epochs):
        rate = learning_rate(epoch, epochs)
        for rows_RB, real_RB in _batches([run.orders[epoch] for run in runs], batch_clips, device):
            probes.step(normal_ND[rows_RB], targets_N[rows_RB], real_RB, rate)
        for number, run in enumerate(runs):
            choosing_QC = probes.logits(number, normal_ND[torch.from_numpy(run.choosing)])
            history[number].append(score(choosing_QC, targets[run.choosing]))
            if len(history[number]) == 1 or history[number][-1] > max(history[number][:-1]):
                same = run.scored is run.choosing
                logits_QC = choosing_QC if same else probes.logits(number, normal_ND[torch.from_numpy(run.scored)])
                best[number] = ProbeAnswer(logits_QC, epoch, ())
    return [
        ProbeAnswer(answer.logits, answer.epoch, tuple(scores)) for answer, scores in zip(best, history, strict=True)
    ]


class _Probes:
    """R probes and their Adam, stacked. A run without a batch in a step stays as it is, its moments too."""

    def __init__(self, runs: int, width: int, classes: int, weights, device: torch.device | str) -> None:
        self.parameters = [
            torch.ones(runs, 1, width, device=device),
            torch.zeros(runs, 1, width, device=device),
            torch.stack([weight.T for weight, _ in weights]).to(device),
            torch.stack([bias[None] for _, bias in weights]).to(device),
        ]
        assert self.parameters[2].shape == (runs, width, classes), "one weight per run"
        for parameter in self.parameters:
            parameter.requires_grad_()
        self.first = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.second = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.steps_R11 = torch.zeros(runs, 1, 1, device=device)

    def step(self, normal_RBD: Tensor, targets_RB: Tensor, real_RB: Tensor, rate: float) -> None:
        """One step of Adam (Kingma and Ba 2015, algorithm 1) for each run that has real rows."""
        scale, shift, weight, bias = self.parameters
        logits_RBC = torch.baddbmm(bias, normal_RBD * scale + shift, weight)
        if targets_RB.is_floating_point():
            losses_RB = F.binary_cross_entropy_with_logits(logits_RBC, targets_RB, reduction="none").mean(dim=2)
        else:
            losses_RB = F.cross_entropy(logits_RBC.transpose(1, 2), targets_RB, reduction="none")
        counts_R = real_RB.sum(dim=1)
        loss = ((losses_RB * real_RB).sum(dim=1) / counts_R.clamp(min=1)).sum()
        gradients = torch.autograd.grad(loss, self.parameters)
        active_R11 = (counts_R > 0).float()[:, None, None]
        self.steps_R11 += active_R11
        decay_first, decay_second = ADAM_BETAS
        correct_first = 1 - decay_first**self.steps_R11
        correct_second = (1 - decay_second**self.steps_R11).sqrt()
        with torch.no_grad():
            for parameter, gradient, first, second in zip(
                self.parameters, gradients, self.first, self.second, strict=True
            ):
                first.lerp_(gradient, (1 - decay_first) * active_R11)
                second.lerp_(gradient.square(), (1 - decay_second) * active_R11)
                change = first / correct_first / (second.sqrt() / correct_second + ADAM_EPSILON)
                parameter -= rate * active_R11 * change

    @torch.no_grad()
    def logits(self, run: int, normal_QD: Tensor) -> np.ndarray:
        scale, shift, weight, bias = (parameter[run] for parameter in self.parameters)
        return torch.addmm(bias, normal_QD * scale + shift, weight).cpu().numpy()


def _batches(orders: Sequence[np.ndarray], batch_clips: int, device: torch.device | str):
    """Yield int64 rows (R, B) and bool real rows (R, B) until every order is through."""
    steps = -(-max(map(len, orders)) // batch_clips)
    rows_RN = np.zeros((len(orders), steps * batch_clips), dtype=np.int64)
    real_RN = np.zeros(rows_RN.shape, dtype=bool)
    for number, order in enumerate(orders):
        rows_RN[number, : len(order)] = order
        real_RN[number, : len(order)] = True
    rows, real = torch.from_numpy(rows_RN).to(device), torch.from_numpy(real_RN).to(device)
    for start in range(0, rows.shape[1], batch_clips):
        yield rows[:, start : start + batch_clips], real[:, start : start + batch_clips]
