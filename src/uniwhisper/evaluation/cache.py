"""Pooled vectors on disk, one safetensors file per (encoder identity, audio content).

The key is made of what the vectors depend on, never of a name: weights, source of the code, pooling, layer, and the
bytes of the clips. A file that is cut off, altered or of another shape counts as absent, and is computed again.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from uniwhisper.core.errors import OutputError
from uniwhisper.core.files import atomic_output, check_output
from uniwhisper.core.identity import hash_bytes, hash_json

FORMAT = "uniwhisper-vectors-1"


def default_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "uniwhisper" / "vectors"


def cache_key(identity: Mapping[str, str], audio_hash: str) -> str:
    """Key of the vectors that an encoder of this identity makes of these clips."""
    return hash_json({"format": FORMAT, "encoder": dict(identity), "audio": audio_hash})


class VectorCache:
    """A folder of vector files.

    Raises:
        OutputError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        try:
            check_output(self.folder / "probe", overwrite=True)
        except OutputError as error:
            raise OutputError(
                f"cannot keep vectors in {self.folder}",
                expected="a folder that can be written",
                got=error.got,
                fix="choose another --cache",
            ) from None

    def path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"

    def load(self, key: str, *, clips: int, width: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Clip indices, int64 (n,) ascending, and vectors, float32 (n, width); n < `clips` where some clips failed.

        None: nothing is stored under `key`, or what is there is not whole.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path(key), framework="numpy") as file:
                metadata = file.metadata() or {}
                indices_N, vectors_ND = file.get_tensor("clips"), file.get_tensor("vectors")
        except (OSError, SafetensorError, ValueError):
            return None
        whole = (
            metadata.get("sha256") == _digest(indices_N, vectors_ND)
            and indices_N.dtype == np.int64
            and vectors_ND.dtype == np.float32
            and vectors_ND.shape == (len(indices_N), width)
            and bool(np.isin(indices_N, np.arange(clips)).all())
        )
        return (indices_N, vectors_ND) if whole else None

    def save(self, key: str, indices_N: np.ndarray, vectors_ND: np.ndarray, identity: Mapping[str, str]) -> None:
        """Store int64 `indices_N` and float32 `vectors_ND` (n, width) in one step; `identity` is for human readers."""
        from safetensors.numpy import save_file

        indices_N, vectors_ND = np.ascontiguousarray(indices_N), np.ascontiguousarray(vectors_ND)
        metadata = {"sha256": _digest(indices_N, vectors_ND), "identity": json.dumps(dict(identity), sort_keys=True)}
        with atomic_output(self.path(key), overwrite=True) as temporary:
            save_file({"clips": indices_N, "vectors": vectors_ND}, temporary, metadata=metadata)


def _digest(indices_N: np.ndarray, vectors_ND: np.ndarray) -> str:
    return hash_bytes([indices_N.tobytes(), vectors_ND.tobytes()])
