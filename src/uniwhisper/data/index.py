"""What a mixture must know of every clip, in columns: a few bytes a clip instead of a Python object.

Records are sorted by id, and ids begin with the corpus, so a corpus is a range of places.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import numpy as np

from uniwhisper.data.manifest import Manifest, Record

FOLD_DIGITS = 8
"""Leading hexadecimal digits of a clip's SHA-256 that decide its content fold (`core.identity.content_fold`)."""


@dataclass(frozen=True)
class ClipIndex:
    """Columns over all clips of a manifest, in its order."""

    samples_N: np.ndarray
    """int64, or read-only from a file: length after decoding."""
    fold_keys_N: np.ndarray
    """uint32: a clip is in content fold `key % folds`."""
    corpora: dict[str, range]
    """Places of each corpus."""


class Indexed(Protocol):
    """A manifest that brings its index."""

    @property
    def index(self) -> ClipIndex: ...


def index_of(manifest: Manifest | Indexed) -> ClipIndex:
    """The manifest's own index, else one made of its records."""
    own = getattr(manifest, "index", None)
    return own if isinstance(own, ClipIndex) else index_records(manifest.records)


def index_records(records: Iterable[Record]) -> ClipIndex:
    """Columns of records in the order of their ids."""
    rows = [(record.samples, fold_key(record.sha256), record.corpus) for record in records]
    corpora, first = {}, 0
    for name, members in groupby(rows, key=lambda row: row[2]):
        last = first + sum(1 for _ in members)
        corpora[name] = range(first, last)
        first = last
    return ClipIndex(
        samples_N=np.array([row[0] for row in rows], dtype=np.int64),
        fold_keys_N=np.array([row[1] for row in rows], dtype=np.uint32),
        corpora=corpora,
    )


def fold_key(sha256: str) -> int:
    """What `ClipIndex.fold_keys_N` holds for a clip."""
    return int(sha256[:FOLD_DIGITS], 16)
