"""The order in which X-ARES 0.1.3 shows training clips: a buffer shuffle, not a permutation.

Shards in an order drawn from the epoch's number; then a buffer of 2,000 clips (giving from 500 on); then one of 512
(giving from 100 on). While a buffer fills it takes two clips for each that it gives. In a set sorted by class whose
clips outnumber the buffers, a batch therefore sees few classes. X-ARES seeds the buffers with the time and the process
number, so no run of it can be repeated; here the seed is an argument.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

CLIP_BUFFER = (2000, 500)
PAIR_BUFFER = (512, 100)
"""(size, items before the first is given); a pair is a clip, except where a clip has several captions."""

SHARD_CLIPS = 2000
SHARD_BYTES = 3_000_000_000
_ARRAY_HEADER_BYTES = 128

Item = TypeVar("Item")


def stored_shards(frame_bytes_N: Sequence[int], *, most_clips: int = SHARD_CLIPS) -> list[np.ndarray]:
    """Clips 0 to N - 1 by the shards into which X-ARES stores their frames, int64.

    webdataset begins a new shard once one holds `most_clips` or 3 GB. The labels stored beside the frames, some
    hundred bytes a clip, are not counted.

    Args:
        frame_bytes_N: int, of each clip's frames as float32.
        most_clips: what X-ARES calls `save_encoded_per_batches`.
    """
    shards: list[list[int]] = []
    filled = SHARD_BYTES
    for clip, size in enumerate(frame_bytes_N):
        if filled >= SHARD_BYTES or len(shards[-1]) == most_clips:
            shards.append([])
            filled = 0
        shards[-1].append(clip)
        filled += int(size) + _ARRAY_HEADER_BYTES
    return [np.array(shard, dtype=np.int64) for shard in shards]


def epoch_orders(shards: Sequence[np.ndarray], *, epochs: int, seed: int, captions: int = 1) -> list[np.ndarray]:
    """For each epoch the order of all clips of the training split, int64.

    Args:
        shards: clip indices of each stored shard, in the order of storing.
        epochs: how many orders.
        seed: of the buffers; the order of shards depends on the epoch's number alone.
        captions: how many pairs each clip becomes between the two buffers; pair j of clip i is captions * i + j.
    """
    draws = random.Random(seed)
    orders = []
    for epoch in range(epochs):
        shuffled = buffer_shuffle(shards, *CLIP_BUFFER, random.Random(epoch))
        clips: Iterable[int] = (int(clip) for shard in shuffled for clip in shard)
        clips = buffer_shuffle(clips, *CLIP_BUFFER, draws)
        pairs = (captions * clip + caption for clip in clips for caption in range(captions))
        orders.append(np.fromiter(buffer_shuffle(pairs, *PAIR_BUFFER, draws), dtype=np.int64))
    return orders


def buffer_shuffle(items: Iterable[Item], size: int, start: int, draws: random.Random) -> Iterator[Item]:
    """The items in the order that a buffer of `size` gives them, filled up to `start` before the first."""
    waiting: list[Item] = []
    items = iter(items)
    for item in items:
        waiting.append(item)
        if len(waiting) < size:
            waiting.extend(second for second in [next(items, None)] if second is not None)
        if len(waiting) >= start:
            yield _take(waiting, draws)
    while waiting:
        yield _take(waiting, draws)


def _take(waiting: list[Item], draws: random.Random) -> Item:
    place = draws.randint(0, len(waiting) - 1)
    waiting[place], waiting[-1] = waiting[-1], waiting[place]
    return waiting.pop()
