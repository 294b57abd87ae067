"""How a step's arithmetic is carried out: compiled or not, activations kept or computed again.

Neither changes what a step computes beyond the last bits, so a run may be resumed with another choice. Training and
`benchmarks/gpu_training.py` come through here, so what is measured is what a user gets.
"""

import torch
from torch import nn

from uniwhisper.core.errors import RecipeError
from uniwhisper.model.config import Recompute
from uniwhisper.model.encoder import WhisperEncoder
from uniwhisper.model.language_model import FrozenLanguageModel


def carry_out(model: nn.Module, *, compiled: bool, recompute: Recompute | None) -> None:
    """Set `model` up in place, before `spread`.

    Args:
        model: what a learner built, on its device; its encoder and, where there is one, its language model are meant.
        compiled: compile both, for any number of clips and text tokens. Happens at the first step.
        recompute: activations of the encoder that the backward pass computes again; None keeps all.

    Raises:
        RecipeError: `compiled`, and nothing can be compiled on this machine.
    """
    parts = [part for part in model.children() if isinstance(part, WhisperEncoder | FrozenLanguageModel)]
    if compiled:
        require_compiler(next(model.parameters()).device)
    for part in parts:
        if isinstance(part, WhisperEncoder):
            part.recompute(recompute)
        if compiled:
            part.compile()


def require_compiler(device: torch.device) -> None:
    """Compile one sum, so that a missing compiler is one error at the start and not a traceback at the first step.

    Raises:
        RecipeError: that fails, for whatever reason.
    """
    try:
        torch.compile(_sum)(torch.ones(2, device=device))
    except Exception as error:  # of whichever compiler the device needs
        raise RecipeError(
            f"loop.compiled: nothing can be compiled for {device.type}",
            expected="what torch.compile needs: a C++ compiler, and for a GPU Triton and Python's headers",
            got=f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}",
            fix="install them (Debian: g++ python3-dev), or --set loop.compiled=false",
        ) from error


def _sum(x: torch.Tensor) -> torch.Tensor:
    return x + 1
