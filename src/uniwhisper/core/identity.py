"""Content identities: what a cached or reported thing was computed from.

A name ("tiny", a class name, a path) never identifies anything: two checkpoints can share it. The hash of the content
does. Every cache key and every report row uses these.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

# Layers whose source text decides an embedding. Evaluation and training may change without invalidating vectors.
EMBEDDING_LAYERS = ("core", "audio", "features", "model", "embedding")


def hash_bytes(parts: Iterable[bytes]) -> str:
    """SHA-256 of the parts, each preceded by its length, so that parts cannot run into each other."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def hash_json(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form (sorted keys, no spaces)."""
    return hash_bytes([json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()])


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as `sha256sum` prints it."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_tensors(tensors: Mapping[str, Any], *, as_float32: bool = False) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of tensors of any dtype, in the order of their names.

    `as_float32` widens each first (one at a time), so that weights have one hash whatever precision they are kept in.
    """
    import torch

    def parts() -> Iterable[bytes]:
        for name in sorted(tensors):
            tensor = tensors[name].detach().cpu().contiguous()
            tensor = tensor.float() if as_float32 else tensor
            yield f"{name}|{tensor.dtype}|{tuple(tensor.shape)}".encode()
            yield tensor.reshape(-1).view(torch.uint8).numpy().tobytes()

    return hash_bytes(parts())


@lru_cache(maxsize=1)
def code_identity() -> str:
    """Package version and hash of the source that decides an embedding, e.g. `0.1.0+3f2a…` (12 hex digits).

    Works from an installed wheel, where there is no commit to ask for.
    """
    from uniwhisper import __version__

    return f"{__version__}+{layer_identity(*EMBEDDING_LAYERS)}"


def layer_identity(*layers: str) -> str:
    """Hash (12 hex digits) of the source of some folders of the package: key of what only they decide."""
    package = Path(__file__).parent.parent
    files = sorted(path for layer in layers for path in (package / layer).rglob("*.py"))
    names_and_texts = (part for path in files for part in (str(path.relative_to(package)).encode(), path.read_bytes()))
    return hash_bytes(names_and_texts)[:12]


def content_fold(sha256: str, folds: int) -> int:
    """Fold of a clip, decided by its content alone: the same for every program that asks."""
    return int(sha256[:8], 16) % folds
