"""A moving average of the trained weights: what is exported, kept and scored where a recipe asks for it.

Training itself does not see it. Buffers are not averaged: those of `model.standard` are averages over the run already.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """Exponential moving average of what an optimizer trains, in the dtype and on the device of each weight.

    Sharded weights have sharded averages, so that every rank must call every method.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, decay: float | None) -> None:
        """Begin with the weights as they are.

        Args:
            decay: share of the average that a step keeps; None: there is no average, and every method does nothing.
        """
        groups = [] if decay is None else optimizer.param_groups
        self._decay = decay
        self._weights: dict[str, nn.Parameter] = {
            name: weight for group in groups for name, weight in zip(group["names"], group["params"], strict=True)
        }
        self.means: dict[str, Tensor] = {name: weight.detach().clone() for name, weight in self._weights.items()}
        """By the optimizer's names of the weights; empty without a decay."""

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Take in the weights after optimizer step number `steps` (from 1).

        A step keeps `min(decay, (1 + steps) / (10 + steps))` of the average, so that a short run is not ruled by the
        weights it began with; as TensorFlow's `ExponentialMovingAverage` with `num_updates`.
        """
        if self._decay is None:
            return
        kept = min(self._decay, (1 + steps) / (10 + steps))
        get_ema_multi_avg_fn(kept)(list(self.means.values()), list(self._weights.values()), steps)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While the block runs, the model's weights are the averages."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, weight in self._weights.items():
            trained = weight.detach().clone()
            weight.copy_(self.means[name])
            self.means[name].copy_(trained)
