"""What clips of a training run are like on average, found while it goes on, and taken out of what is heard.

Notable: the averages are of means of clips, as they were heard (altered, cut), over batches: of all at first, of about
the last hundred later, because the encoder moves. A batch is the clips of a step, of all its micro-batches and ranks,
and is taken in when it has moved the weights; a step that is skipped leaves nothing behind.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAST_DEVIATION = 1e-3
"""Of means of frames that the final normalisation gave about unit variance: below it, a dead dimension."""
REMEMBERED_BATCHES = 100


class RunningStandard(nn.Module):
    """Mean and deviation per dimension, float64; begins with 0 and 1."""

    mean_D: Tensor
    square_D: Tensor
    batches: Tensor
    _sums: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean_D", torch.zeros(width, dtype=torch.float64))
        self.register_buffer("square_D", torch.ones(width, dtype=torch.float64))
        """Mean of the squares."""
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))
        self.register_buffer("_sums", torch.zeros(2 * width + 1, dtype=torch.float64), persistent=False)

    def forward(self, x_ND: Tensor) -> Tensor:
        """Rows with the mean taken out, over the deviation; in the dtype of `x_ND`."""
        return ((x_ND.float() - self.mean_D.float()) / self.deviation_D().float()).to(x_ND.dtype)

    def deviation_D(self) -> Tensor:
        """float64; 1 where a dimension hardly varies."""
        deviation_D = (self.square_D - self.mean_D.square()).clamp(min=0).sqrt()
        return torch.where(deviation_D < LEAST_DEVIATION, 1.0, deviation_D)

    def directions(self, means_BD: Tensor, *, counted: bool) -> Tensor:
        """Means of clips' frames standardised and brought to a root mean square of 1; shape and dtype of `means_BD`.

        Args:
            counted: remember them for the standard of later steps.
        """
        if counted:
            self.count(means_BD)
        return F.rms_norm(self(means_BD), means_BD.shape[1:])

    @torch.no_grad()
    def count(self, means_BD: Tensor) -> None:
        """Remember clips of the running step by the means of their frames, `means_BD`, of any floating dtype."""
        means_BD = means_BD.double()
        clips = means_BD.new_full((1,), len(means_BD))
        self._sums += torch.cat([means_BD.sum(dim=0), means_BD.square().sum(dim=0), clips])

    @torch.no_grad()
    def end_step(self, *, applied: bool) -> None:
        """Take the clips that were counted into the averages, or with `applied` False forget them.

        On several ranks all must call it.
        """
        sums = self._sums.clone()
        self._sums.zero_()
        if not applied:
            return
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
        mean_D, square_D = (sums[:-1] / sums[-1].clamp(min=1)).chunk(2)
        heard = (sums[-1] > 0).double()  # a step may ask of no mean
        self.batches += heard.long()
        share = heard / self.batches.clamp(min=1, max=REMEMBERED_BATCHES)
        self.mean_D.lerp_(mean_D, share)
        self.square_D.lerp_(square_D, share)

    @torch.no_grad()
    def move(self, mean_D: Tensor, deviation_D: Tensor) -> None:
        """Follow an encoder whose frames were changed to (frame - `mean_D`) / `deviation_D`, both float64."""
        moved_D = (self.mean_D - mean_D) / deviation_D
        variance_D = (self.square_D - self.mean_D.square()) / deviation_D.square()
        self.mean_D.copy_(moved_D)
        self.square_D.copy_(variance_D + moved_D.square())
