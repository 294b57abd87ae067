"""Pooled vectors on disk: one folder per encoder identity, in it files of some hundred clips, each written at once.

A vector's key is what it depends on, never a name: weights, source of the code, layer and pooling code of the encoder,
versions of what decodes and resamples, and the content of the clip. Not the version of torch, which can change last
digits: scores are made anew with another (`kept.py`), and results name it. So tasks that share audio embed it once, and
an interrupted run goes on where the last file ended. A file that is cut off or altered counts as absent, and its clips
are computed again.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uniwhisper.core.errors import OutputError
from uniwhisper.core.files import atomic_output, check_output
from uniwhisper.core.identity import hash_bytes, hash_json

FORMAT = "uniwhisper-vectors-2"
_META = ("frames", "seconds")


def default_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "uniwhisper" / "vectors"


@dataclass(frozen=True, eq=False)
class StoredClip:
    vectors: dict[str, np.ndarray]
    """Per pooling (width,) float32."""
    frames: int
    seconds: float


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

    def folder_of(self, identity: Mapping[str, str]) -> Path:
        """`identity`: all that decides a vector but the clip."""
        return self.folder / hash_json({"format": FORMAT, "encoder": dict(identity)})[:32]

    def load(self, identity: Mapping[str, str], poolings: Sequence[str]) -> dict[str, StoredClip]:
        """Every clip stored for this encoder, by its content, if it has all `poolings`. Empty where there is none."""
        stored: dict[str, StoredClip] = {}
        for file in sorted(self.folder_of(identity).glob("*.safetensors")):
            stored |= _read(file, poolings)
        return stored

    def save(self, identity: Mapping[str, str], contents: Sequence[str], clips: Sequence[StoredClip]) -> None:
        """Add a file; `contents`: SHA-256 of each clip's sound, in hexadecimal. Nothing to add: no file."""
        from safetensors.numpy import save_file

        if not contents:
            return
        arrays = {
            "contents": np.frombuffer(bytes.fromhex("".join(contents)), dtype=np.uint8).reshape(len(contents), 32),
            "frames": np.array([clip.frames for clip in clips], dtype=np.int64),
            "seconds": np.array([clip.seconds for clip in clips], dtype=np.float64),
        }
        for pooling in clips[0].vectors:
            arrays[pooling] = np.stack([clip.vectors[pooling] for clip in clips])
        # `identity` is for human readers; the folder's name is the key.
        metadata = {"sha256": _digest(arrays), "identity": json.dumps(dict(identity), sort_keys=True)}
        name = hash_bytes([content.encode() for content in contents])[:32]
        with atomic_output(self.folder_of(identity) / f"{name}.safetensors", overwrite=True) as temporary:
            save_file(arrays, temporary, metadata=metadata)


def _read(file: Path, poolings: Sequence[str]) -> dict[str, StoredClip]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as opened:
            metadata = opened.metadata() or {}
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError, ValueError):
        return {}
    if metadata.get("sha256") != _digest(arrays) or set(arrays) != {"contents", *_META, *poolings}:
        return {}
    clips = len(arrays["contents"])
    return {
        arrays["contents"][row].tobytes().hex(): StoredClip(
            {pooling: arrays[pooling][row] for pooling in poolings},
            int(arrays["frames"][row]),
            float(arrays["seconds"][row]),
        )
        for row in range(clips)
    }


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    return hash_bytes(part for name in sorted(arrays) for part in (name.encode(), arrays[name].tobytes()))
