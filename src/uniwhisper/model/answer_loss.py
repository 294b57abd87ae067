"""Cross-entropy against a vocabulary through a frozen projection, without keeping the logits.

The gradient of a token's loss with respect to its hidden state is known as soon as its logits are; taking it there, a
few rows at a time, the widest tensor of a training step (N tokens × V words) never exists, and backward is one
multiplication. Same products as the plain way: one to the vocabulary, one back; none for the frozen weights.
"""

from typing import Any

import torch
from torch import Tensor

ROWS_AT_ONCE = 1024  # times 151,936 words in float32: 0.6 GB


def projected_cross_entropy(hidden_NH: Tensor, weight_VH: Tensor, targets_N: Tensor) -> Tensor:
    """Nats of each target (N,) float32, differentiable in `hidden_NH` only.

    Args:
        hidden_NH: hidden states, floating.
        weight_VH: frozen output embeddings; must not require a gradient.
        targets_N: int64, the token that each row is to predict.
    """
    assert not weight_VH.requires_grad, "the projection is frozen"
    return _ProjectedCrossEntropy.apply(hidden_NH, weight_VH, targets_N)


class _ProjectedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_NH: Tensor, weight_VH: Tensor, targets_N: Tensor) -> Tensor:
        wanted = ctx.needs_input_grad[0]
        losses, gradients = [hidden_NH.new_empty(0, dtype=torch.float32)], [torch.empty_like(hidden_NH[:0])]
        for rows_NH, rows_N in zip(hidden_NH.split(ROWS_AT_ONCE), targets_N.split(ROWS_AT_ONCE), strict=True):
            logits_NV = (rows_NH.to(weight_VH.dtype) @ weight_VH.T).float()
            log_sum_N1 = logits_NV.logsumexp(dim=1, keepdim=True)
            losses.append((log_sum_N1 - logits_NV.gather(1, rows_N[:, None])).squeeze(1))
            if wanted:
                gradient_NV = logits_NV.sub_(log_sum_N1).exp_()
                gradient_NV.scatter_add_(1, rows_N[:, None], -torch.ones_like(log_sum_N1))
                gradients.append((gradient_NV.to(weight_VH.dtype) @ weight_VH).to(hidden_NH.dtype))
        ctx.save_for_backward(torch.cat(gradients))
        return torch.cat(losses)

    @staticmethod
    def backward(ctx: Any, outward_N: Tensor) -> tuple[Tensor, None, None]:
        (gradient_NH,) = ctx.saved_tensors
        return gradient_NH * outward_N[:, None].to(gradient_NH.dtype), None, None
