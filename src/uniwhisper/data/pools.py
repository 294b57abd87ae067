"""Clips to draw from: a corpus by weight and clips ** temperature, then one of its clips uniformly."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.data.config import DataConfig
from uniwhisper.data.index import ClipIndex
from uniwhisper.data.manifest import Manifest
from uniwhisper.data.tasks import FORBID, simple_tasks


@dataclass(frozen=True)
class Members:
    """Clips of one corpus of one manifest."""

    source: int
    """Which manifest."""
    corpus: str
    domain: str
    tasks: frozenset[str]
    """Tasks that the corpus can have answers for."""
    places_N: np.ndarray
    """int32 (int64 beyond two billion clips): places in the manifest."""


class Pool:
    """Some corpora to draw from."""

    def __init__(self, members: Iterable[Members], config: DataConfig) -> None:
        weighed = [(part, config.corpus_weights.get(part.corpus, 1.0)) for part in members if len(part.places_N)]
        self._members = [part for part, weight in weighed if weight > 0]
        self._chances = cumulative(
            [weight * len(part.places_N) ** config.corpus_temperature for part, weight in weighed if weight > 0]
        )

    def __bool__(self) -> bool:
        return bool(self._members)

    def pick(self, stream: np.random.Generator) -> tuple[int, int]:
        """(manifest, place in it) of a clip."""
        part = self._members[pick(self._chances, stream.random())]
        return part.source, int(part.places_N[int(stream.random() * len(part.places_N))])


def split_clips(
    manifests: Sequence[Manifest], indices: Sequence[ClipIndex], config: DataConfig
) -> tuple[list[Members], list[Members], Counter[str]]:
    """Clips to train on, clips held out, and reason -> number of clips that are in neither, or that lose a task."""
    training, held_out, left_out = [], [], Counter()
    most = config.max_seconds * SAMPLE_RATE_HZ
    for source, (manifest, index) in enumerate(zip(manifests, indices, strict=True)):
        for corpus, places in index.corpora.items():
            description = manifest.corpora[corpus]
            tasks = frozenset(description.tasks)
            whole_N = index.samples_N[places.start : places.stop] <= most
            not_cropped = sorted(name for name in tasks if simple_tasks()[name].augment["crop"] == FORBID)
            longer = int((~whole_N).sum())
            for name in not_cropped if longer else ():
                left_out[f"longer than {config.max_seconds:g} s, not asked for {name}"] += longer
            usable_N = whole_N
            if len(not_cropped) < len(tasks):
                usable_N = np.ones_like(whole_N)
            elif longer:
                left_out["nothing can be asked"] += longer
            kept_N = np.zeros_like(whole_N)
            if config.holdout_folds is not None:
                kept_N = index.fold_keys_N[places.start : places.stop] % np.uint32(config.holdout_folds) == 0
            for chosen_N, parts in ((usable_N & ~kept_N, training), (usable_N & kept_N, held_out)):
                places_N = np.flatnonzero(chosen_N) + places.start
                dtype = np.int32 if places.stop < 2**31 else np.int64
                parts.append(Members(source, corpus, description.domain, tasks, places_N.astype(dtype)))
    return training, held_out, left_out


def cumulative(weights: Sequence[float]) -> list[float]:
    """Cumulative probabilities of weights."""
    total = list(accumulate(weights))
    return [part / total[-1] for part in total]


def pick(chances: Sequence[float], uniform: float) -> int:
    """Index of the interval that a number in [0, 1) falls in."""
    return bisect_right(chances, uniform)
