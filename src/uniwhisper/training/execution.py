"""How a step's arithmetic is carried out: compiled or not, activations kept or computed again, products of 8 bits.

The first two change nothing beyond the last bits, so a run may be resumed with another choice. Training and
`benchmarks/gpu_training.py` come through here, so what is measured is what a user gets.
"""

import torch
from torch import nn

from uniwhisper.core.errors import RecipeError
from uniwhisper.model.config import Recompute
from uniwhisper.model.encoder import WhisperEncoder
from uniwhisper.model.float8 import require_float8
from uniwhisper.model.language_model import FrozenLanguageModel
from uniwhisper.training.recipe import Recipe


def carry_out(model: nn.Module, *, compiled: bool, recompute: Recompute | None, float8: bool = False) -> None:
    """Set `model` up in place, before `spread`.

    Args:
        model: what a learner built, on its device; its encoder and, where there is one, its language model are meant.
        compiled: compile both, for any number of clips and text tokens. Happens at the first step.
        recompute: activations of the encoder that the backward pass computes again; None keeps all.
        float8: multiply in 8-bit floats in the layers of both; cannot be taken back.

    Raises:
        RecipeError: `compiled`, and nothing can be compiled on this machine; or `float8`, and its GPU cannot.
    """
    parts = [part for part in model.children() if isinstance(part, WhisperEncoder | FrozenLanguageModel)]
    device = next(model.parameters()).device
    if compiled:
        require_compiler(device)
        if device.type == "cuda":
            from uniwhisper.training.whole_rows import install  # imports the compiler, which takes seconds

            install()
    if float8:
        require_float8(device)
    for part in parts:
        if float8:
            part.to_float8()
        if isinstance(part, WhisperEncoder):
            part.recompute(recompute)
        if compiled:
            part.compile()


def what_takes_less(recipe: Recipe, *, ranks: int, resumable: bool) -> str:
    """What to type where a run does not fit into a device's memory: changes of the recipe that keep its result."""
    loop = recipe.loop
    ways = [f"--set loop.micro_batches={2 * loop.micro_batches} (a step in more parts)"]
    if loop.recompute != "layers":
        ways.append("--set loop.recompute=layers (a third more arithmetic)")
    if ranks > 1 and loop.parallel == "replicate":
        ways.append("--set loop.parallel=shard")
    again = "type the same with --resume and" if resumable else "type the same with"
    return f"free the device of other programs, or {again} {', '.join(ways)}: the result stays the same"


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
