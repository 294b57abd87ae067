"""Streaming: regrouping blocks, and resampling them to the encoder's rate with soxr."""

from collections.abc import Iterable, Iterator

import numpy as np
import soxr

from uniwhisper.core.units import SAMPLE_RATE_HZ


def resample(
    blocks: Iterable[np.ndarray], sample_rate_hz: int, wanted_hz: int = SAMPLE_RATE_HZ
) -> Iterator[np.ndarray]:
    """Mono blocks (S,) float32 at `sample_rate_hz` -> non-empty mono blocks at `wanted_hz`; at that rate unchanged.

    Any signal of at least one sample gives at least one sample. Resampler: soxr, quality HQ (linear phase, its delay
    is compensated).
    """
    if sample_rate_hz == wanted_hz:
        yield from blocks
        return
    stream = soxr.ResampleStream(sample_rate_hz, wanted_hz, 1, dtype="float32", quality="HQ")
    total, count, produced = 0.0, 0, False
    for block_S in blocks:
        total, count = total + float(block_S.sum(dtype=np.float64)), count + len(block_S)
        resampled_S = stream.resample_chunk(block_S)
        if len(resampled_S):
            produced = True
            yield resampled_S
    resampled_S = stream.resample_chunk(np.zeros(0, np.float32), last=True)
    if len(resampled_S):
        yield resampled_S
    elif count and not produced:
        # Shorter than one sample at the new rate. Its mean is all that is left of it.
        yield np.array([total / count], np.float32)


def regroup(blocks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The same values in blocks of exactly `size` along the first dimension, the last one shorter but not empty."""
    assert size >= 1, f"blocks of {size} samples"
    pending: list[np.ndarray] = []
    have = 0
    for block in blocks:
        start = 0
        while start < len(block):
            part = block[start : start + size - have]
            pending.append(part)
            have, start = have + len(part), start + len(part)
            if have == size:
                yield np.concatenate(pending)
                pending, have = [], 0
    if have:
        # Of the last block only its end may be meant: as a view it would keep the whole block in memory.
        whole = len(pending) == 1 and len(pending[0]) == len(block)
        yield pending[0] if whole else np.concatenate(pending)
