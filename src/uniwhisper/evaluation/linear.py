"""The linear probe, solved: logistic regression with an L2 penalty on the weights, on all clips at once.

    W, b = argmin  mean_n loss(x_n W + b, y_n) + penalty / 2 |W|^2

loss: cross entropy, or binary cross entropy summed over classes where a clip has several. The objective is strictly
convex in W: there is one answer, and no learning rate, epochs or seed to choose. L-BFGS (Nocedal & Wright 2006,
algorithm 7.4) for all folds side by side, preconditioned by the inverse of

    curvature X'X / N + penalty I                    curvature: mean of p (1 - p) over clips and classes

Every round costs one look at all clips. A fold whose step does not lower its objective tries half of it in the next
round, while the others go on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from uniwhisper.evaluation.probe import Stack

MEMORY = 10
TOLERANCE = 1e-4
"""Largest entry of the gradient at which a fold is solved, as scikit-learn's `LogisticRegression` has it."""
ROUNDS = 300
_SUFFICIENT = 1e-4
_ROUNDING = 1e-6
"""Relative rise of the float32 objective that is no rise."""


@dataclass(frozen=True, eq=False)
class Solution:
    weights_FCD: Tensor
    bias_FC1: Tensor
    solved: list[bool]
    """Per fold whether the tolerance was reached within `ROUNDS`."""
    rounds: int
    queries: list[Tensor]

    def logits(self) -> list[np.ndarray]:
        """Float32 (Q, C) of each fold's queries."""
        return [
            torch.addmm(bias_C1[:, 0], queries_QD, weights_CD.T).cpu().numpy()
            for queries_QD, weights_CD, bias_C1 in zip(self.queries, self.weights_FCD, self.bias_FC1, strict=True)
        ]


class LinearProbe:
    """Solves a stack of folds for one penalty after the other, each from the answer to the last."""

    def __init__(self, stack: Stack, classes: int) -> None:
        inputs_FND, targets = stack.reference_FND, stack.targets_FN
        folds, clips, width = inputs_FND.shape
        # Classes before clips: with few classes a matrix product of this layout takes half the time.
        self._inputs_FND, self._inputs_FDN = inputs_FND, inputs_FND.transpose(1, 2).contiguous()
        counts_F1 = torch.tensor(stack.counts, device=inputs_FND.device)[:, None]
        real_FN = torch.arange(clips, device=inputs_FND.device) < counts_F1
        self._share_F1N = (real_FN / counts_F1)[:, None]
        self._several = targets.ndim == 3
        targets_FNC = targets if self._several else F.one_hot(targets, classes)
        self._targets_FCN = targets_FNC.transpose(1, 2).to(inputs_FND).contiguous()
        self._moments_FDD = (self._inputs_FDN * self._share_F1N) @ inputs_FND
        self._queries = [queries_QD[:n] for queries_QD, n in zip(stack.queries_FQD, stack.query_counts, strict=True)]
        # The bias is the last column: one matrix to step in.
        self._point_FCE = inputs_FND.new_zeros(folds, classes, width + 1)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these folds only, by their places."""
        rows = list(rows)
        self._queries = [self._queries[row] for row in rows]
        for name in ("_inputs_FND", "_inputs_FDN", "_targets_FCN", "_share_F1N", "_moments_FDD", "_point_FCE"):
            setattr(self, name, getattr(self, name)[rows])

    def solve(self, penalties: Sequence[float], *, tolerance: float = TOLERANCE) -> Solution:
        """The answer to one penalty > 0 per fold, by steps from the last answer (from zero at first).

        Args:
            tolerance: largest entry of the gradient at which a fold is solved.
        """
        penalty_F11 = self._point_FCE.new_tensor(penalties)[:, None, None]
        point = self._point_FCE
        value_F, gradient, curvature_F = self._look(point, penalty_F11)
        inverse_FDD, curvature_F11 = self._preconditioner(curvature_F[:, None, None], penalty_F11)
        steps, changes, inverses = [], [], []
        size_F = torch.ones_like(value_F)
        direction = _times(inverse_FDD, curvature_F11, -gradient)
        solved_F = gradient.abs().amax(dim=(1, 2)) <= tolerance
        rounds = 0
        while rounds < ROUNDS and not bool(solved_F.all()):
            rounds += 1
            trial = point + size_F[:, None, None] * direction
            trial_value_F, trial_gradient, _ = self._look(trial, penalty_F11)
            wanted_F = value_F + _SUFFICIENT * size_F * _dot(gradient, direction) + _ROUNDING * value_F.abs()
            lower_F = (trial_value_F <= wanted_F) & ~solved_F
            step, change = trial - point, trial_gradient - gradient
            product_F = _dot(step, change)
            useful_F = lower_F & (product_F > 1e-10 * _dot(change, change))
            # A pair of factor 0 takes no part: folds keep their own histories in one list.
            steps.append(step)
            changes.append(change)
            inverses.append(torch.where(useful_F, 1 / product_F.where(useful_F, torch.ones_like(product_F)), 0.0))
            del steps[:-MEMORY], changes[:-MEMORY], inverses[:-MEMORY]
            moved_F11 = lower_F[:, None, None]
            point, gradient = torch.where(moved_F11, trial, point), torch.where(moved_F11, trial_gradient, gradient)
            value_F = torch.where(lower_F, trial_value_F, value_F)
            solved_F = solved_F | (gradient.abs().amax(dim=(1, 2)) <= tolerance)
            size_F = torch.where(lower_F, 1.0, size_F / 2)
            turned = self._turned(gradient, steps, changes, inverses, inverse_FDD, curvature_F11)
            direction = torch.where(moved_F11, turned, direction)
        self._point_FCE = point
        return Solution(point[:, :, :-1], point[:, :, -1:], solved_F.tolist(), rounds, self._queries)

    def _look(self, point_FCE: Tensor, penalty_F11: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Objective (F,), its gradient (F, C, D + 1), and the mean of p (1 - p) (F,)."""
        weights_FCD, bias_FC1 = point_FCE[:, :, :-1], point_FCE[:, :, -1:]
        logits_FCN = torch.baddbmm(bias_FC1, weights_FCD, self._inputs_FDN)
        if self._several:
            losses_FCN = F.binary_cross_entropy_with_logits(logits_FCN, self._targets_FCN, reduction="none")
            chances_FCN = logits_FCN.sigmoid()
        else:
            logs_FCN = logits_FCN.log_softmax(dim=1)
            losses_FCN, chances_FCN = -logs_FCN * self._targets_FCN, logs_FCN.exp()
        value_F = _dot(losses_FCN, self._share_F1N) + penalty_F11[:, 0, 0] / 2 * _dot(weights_FCD, weights_FCD)
        errors_FCN = (chances_FCN - self._targets_FCN) * self._share_F1N
        gradient_FCD = torch.baddbmm(penalty_F11 * weights_FCD, errors_FCN, self._inputs_FND)
        gradient_FCE = torch.cat([gradient_FCD, errors_FCN.sum(dim=2, keepdim=True)], dim=2)
        curvature_F = _dot(chances_FCN * (1 - chances_FCN), self._share_F1N) / chances_FCN.shape[1]
        return value_F, gradient_FCE, curvature_F

    def _preconditioner(self, curvature_F11: Tensor, penalty_F11: Tensor) -> tuple[Tensor, Tensor]:
        curvature_F11 = curvature_F11.clamp(min=1e-4)
        identity_DD = torch.eye(self._moments_FDD.shape[1], device=self._moments_FDD.device)
        matrix_FDD = curvature_F11 * self._moments_FDD + penalty_F11 * identity_DD
        return torch.cholesky_inverse(torch.linalg.cholesky(matrix_FDD)), curvature_F11

    @staticmethod
    def _turned(
        gradient: Tensor,
        steps: list[Tensor],
        changes: list[Tensor],
        inverses: list[Tensor],
        inverse_FDD: Tensor,
        curvature_F11: Tensor,
    ) -> Tensor:
        """The two-loop recursion."""
        turned, shares = -gradient, []
        for step, change, inverse_F in zip(steps[::-1], changes[::-1], inverses[::-1], strict=True):
            share_F11 = (inverse_F * _dot(step, turned))[:, None, None]
            turned = turned - share_F11 * change
            shares.append(share_F11)
        turned = _times(inverse_FDD, curvature_F11, turned)
        for step, change, inverse_F, share_F11 in zip(steps, changes, inverses, shares[::-1], strict=True):
            back_F11 = (inverse_F * _dot(change, turned))[:, None, None]
            turned = turned + (share_F11 - back_F11) * step
        return turned


def _times(inverse_FDD: Tensor, curvature_F11: Tensor, gradient_FCE: Tensor) -> Tensor:
    return torch.cat([gradient_FCE[:, :, :-1] @ inverse_FDD, gradient_FCE[:, :, -1:] / curvature_F11], dim=2)


def _dot(left: Tensor, right: Tensor) -> Tensor:
    """(F,) sum of the products of each fold."""
    return (left * right).sum(dim=(1, 2))
