"""Random numbers as a pure function of (seed, manifests, purpose, step, slot): no state, nothing to save or resume.

Philox is a counter-based generator (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011): the key says
which experiment, the counter's upper words say which draw of it, and the lowest word counts within the draw. Streams
are disjoint by construction, and any of them is reached in constant time.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

PURPOSES = ("draw", "order", "augment", "hold out")


class Streams:
    """All random streams of one experiment.

    Args:
        seed: the recipe's.
        content_hashes: hashes of the manifests.
    """

    def __init__(self, seed: int, content_hashes: Sequence[str]) -> None:
        text = f"{seed}|{'|'.join(content_hashes)}"
        self._key = np.frombuffer(hashlib.sha256(text.encode()).digest()[:16], dtype="<u8").astype(np.uint64)

    def stream(self, purpose: str, step: int, slot: int = 0) -> np.random.Generator:
        """The stream for one purpose at one step (or group of steps) and one slot of it."""
        counter = np.array([0, slot, step, PURPOSES.index(purpose)], dtype=np.uint64)
        return np.random.Generator(np.random.Philox(key=self._key, counter=counter))
