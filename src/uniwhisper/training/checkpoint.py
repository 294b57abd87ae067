"""Saving and restoring the exact state of a run.

A checkpoint is a folder `checkpoints/step-00001000` with safetensors and JSON only. It appears in one rename, so a run
killed at any moment finds the newest complete one. Weights and optimizer state are kept in float32: resuming is exact.
There is no random state to keep, because every draw is a function of (seed, manifest, step, example).
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from uniwhisper.core.errors import RecipeError
from uniwhisper.core.files import atomic_output
from uniwhisper.model.uniwhisper import UniWhisper
from uniwhisper.training.average import WeightAverage
from uniwhisper.training.distributed import part_of, whole_tensor

KEPT_CHECKPOINTS = 2


@dataclass(frozen=True)
class Progress:
    """How far a run has come."""

    step: int
    """Optimizer steps done; the next one has this number."""
    audio_seconds: float
    """Seconds of audio trained on, repetitions counted."""
    train_seconds: float
    """Wall seconds spent in steps, summed over resumptions."""
    threads: int
    """CPU threads used; on a CPU the sum order, and so the last bit, depends on it."""


def save_checkpoint(
    folder: Path,
    model: UniWhisper,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    *,
    average: WeightAverage | None = None,
    write: bool = True,
) -> Path:
    """Write `folder/step-…` atomically and drop all but the newest checkpoints.

    Of several ranks all must call it, because each holds a part; only the one with `write` writes.
    """
    path = folder / f"step-{progress.step:08d}"
    parts = {name: _whole(getattr(model, name).state_dict()) for name in model.TRAINED}
    parts["optimizer"] = _optimizer_tensors(optimizer)
    if average is not None and average.means:
        parts["average"] = _whole(average.means)
    if not write:
        return path
    with atomic_output(path, overwrite=True, folder_with="progress.json") as temporary:
        temporary.mkdir()
        for part, tensors in parts.items():
            save_file(tensors, temporary / f"{part}.safetensors")
        (temporary / "progress.json").write_text(json.dumps(vars(progress), indent=1))
    for old in sorted(folder.glob("step-*"))[:-KEPT_CHECKPOINTS]:
        shutil.rmtree(old)
    return path


def latest_checkpoint(folder: Path) -> Path | None:
    """Newest complete checkpoint below `folder`; None if there is none."""
    return max(folder.glob("step-*"), default=None)


def load_checkpoint(
    path: Path, model: UniWhisper, optimizer: torch.optim.Optimizer, *, average: WeightAverage | None = None
) -> Progress:
    """Put weights, optimizer state and the average back in place.

    Raises:
        RecipeError: the folder is incomplete, or belongs to a model of another shape.
    """
    try:
        for name in model.TRAINED:
            part = getattr(model, name)
            here, stored = part.state_dict(), load_file(path / f"{name}.safetensors")
            part.load_state_dict({key: part_of(value, here[key]) for key, value in stored.items()})
        _restore_optimizer(optimizer, load_file(path / "optimizer.safetensors"))
        if average is not None and average.means:
            stored = load_file(path / "average.safetensors")
            for name, mean in average.means.items():
                mean.copy_(part_of(stored[name], mean))
        return Progress(**json.loads((path / "progress.json").read_text()))
    except (OSError, SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise RecipeError(
            f"checkpoint {path} cannot be resumed",
            expected="the complete checkpoint of a run with this recipe",
            got=str(error).splitlines()[0][:200],
            fix="remove that folder to resume from the one before, or start anew with another -o",
        ) from error


def _named_parameters(optimizer: torch.optim.Optimizer) -> list[tuple[str, torch.nn.Parameter]]:
    return [pair for group in optimizer.param_groups for pair in zip(group["names"], group["params"], strict=True)]


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in _named_parameters(optimizer):
        for key, value in optimizer.state[parameter].items():
            tensors[f"{key}/{name}"] = value
    return _whole(tensors)


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    states: dict[str, dict[str, torch.Tensor]] = {}
    for full_name, value in tensors.items():
        key, _, name = full_name.partition("/")
        states.setdefault(name, {})[key] = value
    for name, parameter in _named_parameters(optimizer):
        # A step skipped from the very start leaves a parameter without state, in which case it has none here either.
        if name in states:
            # AdamW keeps its step count on the parameter's device only when fused; a CPU tensor otherwise.
            fused = optimizer.defaults.get("fused")
            optimizer.state[parameter] = {
                key: part_of(value, parameter) if key != "step" else value.to(parameter.device) if fused else value
                for key, value in states[name].items()
            }


def _whole(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """On the CPU, each in memory of its own: safetensors refuses weights that two names share."""
    seen: set[int] = set()
    copies = {}
    for name, tensor in tensors.items():
        copy = whole_tensor(tensor.detach()).contiguous().cpu()
        copies[name] = copy.clone() if copy.data_ptr() in seen else copy
        seen.add(copy.data_ptr())
    return copies


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file in one rename."""
    with atomic_output(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
