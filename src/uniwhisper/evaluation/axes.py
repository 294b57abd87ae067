"""Principal axes of a training fold: coordinates in which a probe with a hidden layer learns in a tenth of the steps.

    x' = s x V / sqrt(e + 1)          e, V: eigenvalues and eigenvectors of X'X / N of the standardised reference

so that strong directions (encoders have a few, with e in the hundreds) do not hold up the weak ones; a direction of
less than one feature's variance is not blown up. s makes the mean square of an entry 1. Only the reference
of each fold decides the map.
"""

from dataclasses import dataclass

import numpy as np
import torch

SHRINK = 1.0
"""Added to each variance, in units of one standardised feature's."""
KEPT = 0.9999
"""Share of the variance whose directions are kept, the strongest first (docs/decisions/0030-clean-3.md)."""


@dataclass(frozen=True, eq=False)
class Axes:
    map_DK: torch.Tensor
    """float32."""

    @classmethod
    def fit(cls, reference_ND: np.ndarray, device: torch.device | str = "cpu") -> "Axes":
        """`reference_ND`: float32, standardised on itself."""
        reference = torch.from_numpy(reference_ND).to(device)
        values_D, vectors_DD = torch.linalg.eigh(reference.T @ reference / len(reference))
        if values_D[-1] <= 0:  # all clips alike: there is nothing to turn
            return cls(torch.eye(len(values_D), device=device))
        there_D = values_D.clamp(min=0).cumsum(0) > (1 - KEPT) * values_D.sum()
        values_K = values_D[there_D]
        scale = (values_K / (values_K + SHRINK)).mean().rsqrt()
        return cls(vectors_DD[:, there_D] * (scale / (values_K + SHRINK).sqrt()))

    def __call__(self, vectors_ND: np.ndarray) -> np.ndarray:
        """Float32 (N, K)."""
        return (torch.from_numpy(vectors_ND).to(self.map_DK.device) @ self.map_DK).cpu().numpy()
