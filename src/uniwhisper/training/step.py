"""One optimizer step over a batch, and the loss on what is held out.

Notable: the loss is normalised over the whole step, not over micro-batches or ranks: however it is cut up, the gradient
is the same up to rounding.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from uniwhisper.core.units import mel_count
from uniwhisper.data.batch import Batch
from uniwhisper.features.logmel import log_mel
from uniwhisper.features.masking import mask_mel
from uniwhisper.features.training_logmel import training_log_mel
from uniwhisper.model.standard import RunningStandard
from uniwhisper.model.uniwhisper import AnswerLosses, UniWhisper
from uniwhisper.training.distributed import ALONE, Ranks, WholeStep, let_go, plain, whole_tensor, without_exchange
from uniwhisper.training.recipe import Recipe
from uniwhisper.training.record import LossAverage


@dataclass(frozen=True)
class StepResult:
    """What one optimizer step did, over all ranks."""

    whole: WholeStep
    loss_sums: list[float]
    """Nats summed over each answer's tokens."""
    gradient_norm: float
    """Global L2 norm before clipping."""
    applied: bool
    """False if a loss or gradient was not finite, in which case no weight moved."""


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    recipe: Recipe,
    device: torch.device,
    ranks: Ranks = ALONE,
) -> StepResult:
    """One optimizer step over the whole batch, in micro-batches; skipped when a loss or gradient is not finite.

    Args:
        model: what `spread` gave.
        batch: this rank's clips of the step.
        ranks: those that share the step. The result covers all of them.
    """
    by_example = recipe.loop.loss_normalisation == "example"
    whole = ranks.whole(batch)
    denominator = len(whole.ids) if by_example else sum(whole.token_counts)
    optimizer.zero_grad(set_to_none=True)
    sums = []
    # As many on every rank: a rank with one more would wait for the others' parts of its weights.
    parts = batch.split(min(recipe.loop.micro_batches, whole.fewest_clips))
    for index, part in enumerate(parts):
        with without_exchange(model, until_last=index + 1 < len(parts)):
            losses = forward(model, part, recipe, device, masked=True)
            shares_R = losses.sums_R / losses.token_counts_R if by_example else losses.sums_R
            # Gradients are averaged over the ranks, and this is a share of a sum.
            (shares_R.sum() * (ranks.world / denominator)).backward()
        sums.append(losses.sums_R.detach())
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    norm = whole_tensor(torch.nn.utils.clip_grad_norm_(trained, recipe.optimizer.gradient_clip_norm))
    loss_sums = ranks.in_step_order(torch.cat(sums).tolist(), batch)
    applied = bool(torch.isfinite(norm)) and all(map(math.isfinite, loss_sums))
    if applied:
        optimizer.step()
    for module in plain(model).modules():
        if isinstance(module, RunningStandard):
            module.end_step(applied=applied)
    return StepResult(whole, loss_sums, float(norm), applied)


def forward(model: nn.Module, batch: Batch, recipe: Recipe, device: torch.device, *, masked: bool) -> AnswerLosses:
    """Losses of a batch's answers, with SpecAugment's masks if `masked`."""
    spectrum = training_log_mel if recipe.loop.audio == "resident" else log_mel
    wave_BS = batch.wave_BS.to(device, non_blocking=True)
    mel_BMF, _ = spectrum(wave_BS, batch.sample_counts_B, mel_bins=plain(model).encoder.config.mel_bins)
    # Counts and text stay on the CPU: where each row lies is planned there, without waiting for the device.
    mel_counts_B = mel_count(batch.sample_counts_B)
    if masked:
        masks = (mel_counts_B, batch.time_masks_BK2, batch.frequency_masks_BK2)
        mel_BMF = mask_mel(mel_BMF, *(tensor.to(device, non_blocking=True) for tensor in masks))
    half = recipe.loop.half_on(device.type)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
        rows = (batch.clip_R, batch.tokens_RL, batch.token_counts_R, batch.loss_mask_RL)
        return model(mel_BMF, mel_counts_B, *rows, *(() if batch.of_mean_R is None else (batch.of_mean_R,)))


@torch.no_grad()
def held_out_loss(
    model: UniWhisper, batches: Iterator[Batch], recipe: Recipe, device: torch.device
) -> dict[str, float]:
    """Mean nats per answer token on held-out clips, by domain; no augmentation."""
    model.eval()
    average = LossAverage()
    try:
        for batch in batches:
            losses = forward(model, batch, recipe, device, masked=False)
            average.add(batch.domains, losses.sums_R.tolist(), losses.token_counts_R.tolist())
    finally:
        model.train()
        let_go(model)
    return average.by_domain()
