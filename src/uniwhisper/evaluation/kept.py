"""Scores of finished tasks, kept so that an interrupted judgement goes on where it stopped with the same numbers."""

import json
import platform
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from uniwhisper.audio.versions import wave_versions
from uniwhisper.core.files import atomic_output
from uniwhisper.core.identity import hash_bytes, hash_json, layer_identity
from uniwhisper.core.provenance import REPORTED_PACKAGES, package_versions

if TYPE_CHECKING:
    import torch

# Beside those every result names: what scores need, and no vector.
SCORING_PACKAGES = (*REPORTED_PACKAGES, "scipy", "tokenizers", "jiwer")


@dataclass(frozen=True, eq=False)
class ScoredTask:
    """A task's part of a judgement."""

    result: dict[str, Any]
    """Its entry in the result file."""
    clips: dict[str, np.ndarray]
    """Its arrays in the clips' file, without the task's name."""
    draws: dict[str, dict[str, np.ndarray]]
    """Per pooling and measure the resampled scores, float64."""


def task_key(decides: Mapping[str, Any], device: "torch.device | str") -> str:
    """Key of a task's scores: all that decides them.

    Args:
        decides: JSON; what the judgement knows, as encoder, data, protocol and seed.
        device: where scores are computed. Sums on another processor, or by another version of a package, come out a
            little different, and a probe can turn that into another answer: such a task is made again.
    """
    return hash_json(
        {
            **decides,
            "code": layer_identity("evaluation"),
            "processor": _processor(str(device)),
            "packages": package_versions(SCORING_PACKAGES) | wave_versions(),
        }
    )


def _processor(device: str) -> str:
    """Its kind, never which of several alike."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    return f"{device} {platform.machine()}"


class Kept:
    """A folder with one file per finished task, by its `task_key`."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def load(self, key: str) -> ScoredTask | None:
        """None: nothing is kept under `key`, or the file is not whole."""
        try:
            with np.load(self.folder / f"{key}.npz", allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            digest = str(arrays.pop("sha256"))
            if digest != _digest(arrays):
                return None
            result = json.loads(str(arrays.pop("result")))
        except (OSError, ValueError, KeyError, EOFError, RuntimeError, BadZipFile, zlib.error):
            return None
        draws: dict[str, dict[str, np.ndarray]] = {}
        clips = {}
        for name, values in arrays.items():
            kind, _, rest = name.partition(":")
            if kind == "draws":
                pooling, _, measure = rest.partition("/")
                draws.setdefault(pooling, {})[measure] = values
            else:
                clips[rest] = values
        return ScoredTask(result, clips, draws)

    def save(self, key: str, task: ScoredTask) -> None:
        """Raises OutputError: the folder cannot be written."""
        arrays = {f"clips:{name}": values for name, values in task.clips.items()}
        for pooling, measures in task.draws.items():
            arrays |= {f"draws:{pooling}/{measure}": values for measure, values in measures.items()}
        arrays["result"] = np.array(json.dumps(task.result))
        arrays["sha256"] = np.array(_digest(arrays))
        with (
            atomic_output(self.folder / f"{key}.npz", overwrite=True) as temporary,
            temporary.open("wb") as file,
        ):
            np.savez_compressed(file, **arrays)


def kept_or(kept: Kept | None, key: str, make: Callable[[], ScoredTask]) -> ScoredTask:
    """What is kept under `key`; else what `make` gives, which is then kept. None keeps nothing."""
    done = kept.load(key) if kept else None
    if done is None:
        done = make()
        if kept:
            kept.save(key, done)
    return done


def _digest(arrays: dict[str, np.ndarray]) -> str:
    return hash_bytes(
        part
        for name in sorted(arrays)
        for part in (f"{name}|{arrays[name].dtype}|{arrays[name].shape}".encode(), arrays[name].tobytes())
    )
