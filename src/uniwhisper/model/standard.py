"""What a frame of width D is like on average, found while training goes on, and taken out of what is heard.

Notable: the averages are of clips' means, over batches: of all at first, of about the last hundred later, because the
encoder moves. All ranks have the same ones.
"""

import torch
from torch import Tensor, nn

LEAST_DEVIATION = 1e-3
"""Of frames that the final normalisation gave about unit variance: below it, a dead dimension."""
REMEMBERED_BATCHES = 100


class RunningStandard(nn.Module):
    """Mean and deviation per dimension; begins with 0 and 1."""

    mean_D: Tensor
    square_D: Tensor
    batches: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean_D", torch.zeros(width))
        self.register_buffer("square_D", torch.ones(width))
        """Mean of the squares."""
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def forward(self, x_ND: Tensor) -> Tensor:
        """Rows with the mean taken out, over the deviation; in the dtype of `x_ND`."""
        return ((x_ND.float() - self.mean_D) / self.deviation_D()).to(x_ND.dtype)

    def deviation_D(self) -> Tensor:
        """float32; 1 where a dimension hardly varies."""
        deviation_D = (self.square_D - self.mean_D.square()).clamp(min=0).sqrt()
        return torch.where(deviation_D < LEAST_DEVIATION, 1.0, deviation_D)

    @torch.no_grad()
    def count(self, means_BD: Tensor) -> None:
        """Take the means of a batch of clips, float32, into the averages. On several ranks all must call it."""
        clips = means_BD.new_full((1,), len(means_BD))
        sums = torch.cat([means_BD.sum(dim=0), means_BD.square().sum(dim=0), clips])
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
        mean_D, square_D = (sums[:-1] / sums[-1]).chunk(2)
        self.batches += 1
        share = torch.clamp(1 / self.batches, min=1 / REMEMBERED_BATCHES)
        self.mean_D.lerp_(mean_D, share)
        self.square_D.lerp_(square_D, share)

    @torch.no_grad()
    def move(self, mean_D: Tensor, deviation_D: Tensor) -> None:
        """Follow an encoder whose frames were changed to (frame - mean) / deviation."""
        moved_D = (self.mean_D.double() - mean_D) / deviation_D
        variance_D = (self.square_D.double() - self.mean_D.double().square()) / deviation_D.square()
        self.mean_D.copy_(moved_D)
        self.square_D.copy_(variance_D + moved_D.square())
