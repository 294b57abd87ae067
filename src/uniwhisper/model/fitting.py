"""Fitting stored tensors to the architecture, or saying what does not fit."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from uniwhisper.core.errors import WeightsError
from uniwhisper.model.checkpoint_formats import Naming
from uniwhisper.model.config import EncoderConfig
from uniwhisper.model.encoder import WhisperEncoder, sinusoids


def build_encoder(config: EncoderConfig, stored: Mapping[str, Any], naming: Naming | None, name: str) -> WhisperEncoder:
    """An encoder with the stored tensors, in float32 and eval mode.

    Args:
        config: the architecture.
        stored: tensors by name; those of other parts of a model are not read.
        naming: of the stored tensors; None means our own names.
        name: what errors call the checkpoint.

    Raises:
        WeightsError: tensors are missing, unknown, of another shape, or not finite.
    """
    with torch.device("meta"):
        encoder = WhisperEncoder(config)
    wanted = encoder.state_dict()
    prefix = _prefix(stored, naming)
    stored_name = {ours: prefix + (naming.translate(ours) if naming else ours) for ours in wanted}

    missing = [theirs for theirs in stored_name.values() if theirs not in stored]
    positions = stored_name["positions_TD"]
    if missing == [positions]:
        missing = []
    known = set(stored_name.values())
    unknown = sorted(theirs for theirs in stored if theirs.startswith(prefix) and theirs not in known)
    if missing or unknown:
        raise _unfit(name, config, f"{some(missing)} missing; {some(unknown)} unknown")

    state = {}
    for ours, theirs in stored_name.items():
        if theirs not in stored:
            state[ours] = sinusoids(config.max_frames, config.width)
            continue
        tensor = stored[theirs]
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or tensor.shape != wanted[ours].shape:
            got = f"{tensor.dtype} {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else type(tensor).__name__
            raise _unfit(name, config, f"{theirs} is {got} instead of floating {tuple(wanted[ours].shape)}")
        # A copy: the stored one may be a view of the file, which can change or vanish.
        state[ours] = tensor.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
    check_finite(state, name)
    encoder.load_state_dict(state, assign=True)
    return encoder.eval()


def _prefix(stored: Mapping[str, Any], naming: Naming | None) -> str:
    prefixes = naming.prefixes if naming else ("",)
    return next((prefix for prefix in prefixes if f"{prefix}conv1.weight" in stored), prefixes[0])


def check_finite(state: Mapping[str, Tensor], name: str) -> None:
    """Raise `WeightsError` if a tensor of `state` holds NaN or infinity; errors call it `name`."""
    bad = [tensor_name for tensor_name, tensor in state.items() if not tensor.isfinite().all()]
    if bad:
        raise WeightsError(
            f"{name} holds NaN or infinity",
            expected="finite weights",
            got=f"{some(bad)} not finite",
            fix="use a checkpoint from before the training diverged, or a wider dtype",
        )


def _unfit(name: str, config: EncoderConfig, got: str) -> WeightsError:
    return WeightsError(
        f"{name} does not fit its configuration",
        expected=f"the tensors of a Whisper encoder with {config}",
        got=got,
        fix="use the config.json that was published with these weights",
    )


def some(names: list[str]) -> str:
    """The first few names, for errors."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (", ".join(names[:3]) or "nothing") + more
