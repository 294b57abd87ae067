"""Parameter groups and the learning-rate schedule. What the model says is trained; nothing else may appear."""

import math

import torch

from uniwhisper.model.uniwhisper import UniWhisper
from uniwhisper.training.recipe import OptimizerConfig


def build_optimizer(model: UniWhisper, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW over the parts the model trains, matrices with weight decay and vectors without.

    Decoupled weight decay: Loshchilov & Hutter 2019 (arXiv 1711.05101).
    """
    groups = []
    for part in model.TRAINED:
        # Whatever stands where the adapter does in other experiments learns as fast as it.
        peak = config.encoder_learning_rate if part == "encoder" else config.adapter_learning_rate
        named = [(f"{part}.{name}", p) for name, p in getattr(model, part).named_parameters() if p.requires_grad]
        for decays in (True, False):
            chosen = [(name, p) for name, p in named if (p.ndim >= 2) == decays]
            groups.append(
                {
                    "params": [p for _, p in chosen],
                    "names": [name for name, _ in chosen],
                    "weight_decay": config.weight_decay if decays else 0.0,
                    "part": part,
                    "peak": peak,
                    "lr": 0.0,
                }
            )
    on_gpu = next(model.encoder.parameters()).is_cuda
    return torch.optim.AdamW(groups, betas=(config.beta1, config.beta2), eps=1e-8, fused=on_gpu)


def rate_fraction(step: int, steps: int, config: OptimizerConfig) -> float:
    """Fraction of the peak learning rate at optimizer step `step` (0-based) of `steps`: warm-up, then cosine.

    Cosine decay: Loshchilov & Hutter 2017 (arXiv 1608.03983), eq. 5, without restarts.
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    return config.final_fraction + (1 - config.final_fraction) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def set_learning_rates(optimizer: torch.optim.Optimizer, fraction: float) -> dict[str, float]:
    """Set every group to `fraction` of its peak; returns the rate of each part for the log."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * fraction
    return {group["part"]: group["lr"] for group in optimizer.param_groups}
