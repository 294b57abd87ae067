"""A few stacked probes at a time through all their steps, and several such slices side by side.

Problems never touch each other, so on a CPU a slice of them may go through all its steps before the next begins, and
each core takes slices of its own instead of all sharing every small product. On other devices a stack is one slice.

The gradient is written out, into memory that is taken once. With h = x W1 + b1, a = gelu(h), y = a W2 + b2 and d the
gradient of the loss by y:

    dW2 = a'd      db2 = sum d      e = (d W2') gelu'(h)      dW1 = x'e      db1 = sum e
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from uniwhisper.data.parallel import in_threads

SLICE = 2
"""Problems; from 1 to 20 took about the same time."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""Of outputs (P, B, C) and the targets (P, B, …) of their clips: the sum over problems of each one's mean."""


@dataclass(frozen=True, eq=False)
class State:
    """Of problems in training; weights and biases layer by layer, float32 (P, …), never with an autograd graph."""

    layers: list[Tensor]
    averages: list[Tensor]
    firsts: list[Tensor]
    """Moments of AdamW, and `seconds`."""
    seconds: list[Tensor]

    @classmethod
    def of(cls, layers: list[Tensor]) -> "State":
        """Before the first step; `layers`: float32, from `probe.initial_layers`, changed in place from here on."""
        zeros = [[torch.zeros_like(layer) for layer in layers] for _ in range(2)]
        return cls(layers, [layer.clone() for layer in layers], *zeros)

    def rows(self, rows: slice | list[int]) -> "State":
        """Of some problems: what is done to a slice of them is done to them, a list of them is a copy."""
        parts = (self.layers, self.averages, self.firsts, self.seconds)
        return State(*([layer[rows] for layer in part] for part in parts))


def slices_of(problems: int, device: torch.device) -> list[slice]:
    """`SLICE` at a time on a CPU; elsewhere all at once."""
    size = SLICE if device.type == "cpu" else max(problems, 1)
    return [slice(start, min(start + size, problems)) for start in range(0, problems, size)]


@dataclass(frozen=True, eq=False)
class Slice:
    """Problems and the steps that they are to go on by."""

    state: State
    """Changed in place."""
    inputs_ND: Tensor
    targets_N: Tensor
    """int64 (N,), or float32 (N, C) of 0 and 1."""
    rows_SPB: Tensor
    """int64, of `inputs_ND`: each step's batches."""
    done: int
    """Steps that were taken before."""
    shares: list[float]
    """After each step, of the newest weights in the average."""
    learning_rate: float
    weight_decay: float
    loss: Loss | None
    """None: (binary) cross entropy."""

    @torch.no_grad()
    def run(self) -> None:
        """Take all steps."""
        layers, averages = self.state.layers, self.state.averages
        _, problems, batch = self.rows_SPB.shape
        inputs_PBD = self.inputs_ND.new_empty(problems, batch, self.inputs_ND.shape[1])
        hidden = [inputs_PBD.new_empty(problems, batch, layers[0].shape[2]) for _ in range(3 if len(layers) > 2 else 0)]
        gradients = [torch.empty_like(layer) for layer in layers]
        counts = [layers[0].new_tensor(float(self.done)) for _ in layers]
        for rows_PB, share in zip(self.rows_SPB, self.shares, strict=True):
            rows = rows_PB.flatten()
            torch.index_select(self.inputs_ND, 0, rows, out=inputs_PBD.view(len(rows), -1))
            targets = self.targets_N[rows].view(problems, batch, *self.targets_N.shape[1:])
            self._differentiate(inputs_PBD, targets, hidden, gradients)
            for kind, decay in ((0, self.weight_decay), (1, 0.0)):
                adamw(
                    *(part[kind::2] for part in (layers, gradients, self.state.firsts, self.state.seconds)),
                    [], counts[kind::2], fused=True, lr=self.learning_rate, weight_decay=decay,
                    beta1=0.9, beta2=0.999, eps=1e-8, amsgrad=False, maximize=False,
                )  # fmt: skip
            for average, layer in zip(averages, layers, strict=True):
                average.lerp_(layer, share)

    def _differentiate(
        self, inputs_PBD: Tensor, targets: Tensor, hidden: list[Tensor], gradients: list[Tensor]
    ) -> None:
        """Fill `gradients`.

        Args:
            hidden: room for three (P, B, H); empty without a hidden layer.
        """
        layers = self.state.layers
        if not hidden:
            errors_PBC = self._errors(torch.baddbmm(layers[1], inputs_PBD, layers[0]), targets)
            _product(inputs_PBD, errors_PBC, gradients)
            return
        before_PBH, after_PBH, errors_PBH = hidden
        torch.baddbmm(layers[1], inputs_PBD, layers[0], out=before_PBH)
        torch.ops.aten.gelu.out(before_PBH, out=after_PBH)
        errors_PBC = self._errors(torch.baddbmm(layers[3], after_PBH, layers[2]), targets)
        _product(after_PBH, errors_PBC, gradients[2:])
        torch.bmm(errors_PBC, layers[2].transpose(1, 2), out=errors_PBH)
        torch.ops.aten.gelu_backward.grad_input(errors_PBH, before_PBH, grad_input=errors_PBH)
        _product(inputs_PBD, errors_PBH, gradients[:2])

    def _errors(self, logits_PBC: Tensor, targets: Tensor) -> Tensor:
        """Gradient of the loss by the logits, (P, B, C)."""
        if self.loss is not None:
            with torch.enable_grad():
                return torch.autograd.grad(self.loss(logits_PBC.requires_grad_(), targets), logits_PBC)[0]
        if targets.ndim == 3:
            return (logits_PBC.sigmoid() - targets).div_(logits_PBC.shape[1])
        chances_PBC, places_PB1 = logits_PBC.softmax(dim=2), targets[:, :, None]
        return chances_PBC.scatter_add_(2, places_PB1, -torch.ones_like(places_PB1, dtype=chances_PBC.dtype)).div_(
            logits_PBC.shape[1]
        )


def _product(inputs_PBD: Tensor, errors_PBC: Tensor, gradients: list[Tensor]) -> None:
    """Gradients of one layer, weights (P, D, C) and bias (P, 1, C), from the errors of what it gave."""
    torch.bmm(inputs_PBD.transpose(1, 2), errors_PBC, out=gradients[0])
    torch.sum(errors_PBC, 1, keepdim=True, out=gradients[1])


def run_all(slices: Sequence[Slice]) -> None:
    """On a CPU on as many threads as torch may use, which the slices' products share; elsewhere one after the other."""
    threads = torch.get_num_threads()
    on_cpu = all(each.inputs_ND.device.type == "cpu" for each in slices)
    workers = min(threads, len(slices)) if on_cpu else 1
    if workers <= 1:
        for each in slices:
            each.run()
        return

    def alone(each: Slice) -> None:
        torch.set_num_threads(threads // workers)  # of this thread, and of threads that do not know theirs yet
        each.run()

    try:
        for _ in in_threads(alone, slices, workers):
            pass
    finally:
        torch.set_num_threads(threads)
