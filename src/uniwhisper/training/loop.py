"""The training loop: instructions about audio in, an encoder out. Reads top to bottom.

Notable: the loss of a step is normalised over its whole batch, not over micro-batches; nothing random lives here, so a
run killed after any step continues exactly; the language model's weights are hashed before and after.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from uniwhisper.core.errors import RecipeError
from uniwhisper.core.identity import hash_json
from uniwhisper.data.batch import Batch
from uniwhisper.data.loader import StepBatches, held_out_batches, step_batches
from uniwhisper.data.manifest import Manifest
from uniwhisper.data.resident_batches import ResidentBatches, resident_batches
from uniwhisper.data.tokens import Tokenizer
from uniwhisper.features.logmel import log_mel
from uniwhisper.features.masking import mask_mel
from uniwhisper.features.training_logmel import training_log_mel
from uniwhisper.model.uniwhisper import AnswerLosses, UniWhisper
from uniwhisper.training.build import build_model, export_model, language_model_source
from uniwhisper.training.card import run_card
from uniwhisper.training.checkpoint import Progress, latest_checkpoint, load_checkpoint, save_checkpoint
from uniwhisper.training.optimizer import build_optimizer, rate_fraction, set_learning_rates
from uniwhisper.training.recipe import Recipe, require
from uniwhisper.training.record import LossAverage, RunRecord, plot_metrics
from uniwhisper.training.run_folder import open_run_folder, write_start


@dataclass(frozen=True)
class StepResult:
    """What one optimizer step did."""

    loss_sums: list[float]
    """Nats summed over each example's answer tokens."""
    token_counts: list[int]
    gradient_norm: float
    """Global L2 norm before clipping."""
    applied: bool
    """False if a loss or gradient was not finite, in which case no weight moved."""


def train(
    recipe: Recipe,
    manifest: Manifest,
    output: Path,
    *,
    resume: bool,
    device: torch.device,
    cache: Path | None,
    console: Console,
    overlap: Mapping[str, Any] | None = None,
) -> Path:
    """Run a recipe on a manifest; returns the folder of the exported model.

    `cache` is the folder where decoded audio is kept between runs; None decodes each clip when it is drawn. `overlap`
    is what comparing with the evaluation sets gave, for `run.json`; None: they were not compared (again).

    Raises:
        OutputError: `output` holds a run and `resume` is False.
        RecipeError: nothing to resume, a run of another recipe or manifest, or too many non-finite steps in a row.
    """
    start_of_run = open_run_folder(recipe, manifest, output, resume=resume)
    model = build_model(recipe, device)
    require(
        recipe.data.mel_bins == model.encoder.config.mel_bins,
        "data.mel_bins",
        f"the encoder's {model.encoder.config.mel_bins}, for which frequency masks are drawn",
        recipe.data.mel_bins,
    )
    optimizer = build_optimizer(model, recipe.optimizer)
    frozen_identity = model.language_model.identity()
    checkpoint = latest_checkpoint(output / "checkpoints")
    progress = Progress(step=0, audio_seconds=0.0, train_seconds=0.0, threads=torch.get_num_threads())
    if checkpoint is not None:
        progress = load_checkpoint(checkpoint, model, optimizer)
    tokenizer = model.language_model.tokenizer
    batches = _batches(recipe, manifest, tokenizer, progress.step, device, cache)
    compared = {"overlap": overlap if overlap is not None else start_of_run.get("overlap")}
    write_start(output, {**start_of_run, **compared, "left_out": batches.left_out}, frozen_identity)
    with RunRecord(output, start_step=progress.step, steps=recipe.steps, console=console) as record:
        if checkpoint is not None:
            record.say(f"resuming after step {progress.step}")
            if progress.threads != torch.get_num_threads() and device.type == "cpu":
                record.say(
                    f"{torch.get_num_threads()} CPU threads now, {progress.threads} before: last bits will differ"
                )
        for reason, count in batches.left_out.items():
            record.say(f"{count:,} clips {reason}")
        average, nonfinite, clock = LossAverage(), 0, time.monotonic()
        logged_audio, logged_seconds = progress.audio_seconds, progress.train_seconds
        for step, batch in batches:
            rates = set_learning_rates(optimizer, rate_fraction(step, recipe.steps, recipe.optimizer))
            result = train_step(model, optimizer, batch, recipe, device)
            nonfinite = 0 if result.applied else nonfinite + 1
            if not result.applied:
                _report_nonfinite(record, step, batch, result, nonfinite, recipe.loop.max_nonfinite_steps)
            else:
                average.add(batch.domains, result.loss_sums, result.token_counts)

            now = time.monotonic()
            progress = Progress(
                step=step + 1,
                audio_seconds=progress.audio_seconds + batch.audio_seconds,
                train_seconds=progress.train_seconds + now - clock,
                threads=torch.get_num_threads(),
            )
            clock = now
            record.advance(progress.step)
            if progress.step % recipe.loop.log_every_steps == 0 or progress.step == recipe.steps:
                elapsed = max(1e-9, progress.train_seconds - logged_seconds)
                record.write(
                    {
                        "step": progress.step,
                        "loss": average.overall(),
                        "loss_by_domain": average.by_domain(),
                        "gradient_norm": result.gradient_norm,
                        "learning_rate_encoder": rates["encoder"],
                        "learning_rate_adapter": rates["adapter"],
                        "audio_seconds": progress.audio_seconds,
                        "audio_seconds_per_second": (progress.audio_seconds - logged_audio) / elapsed,
                        "train_seconds": progress.train_seconds,
                        "examples": hash_json(batch.ids)[:16],
                    }
                )
                average = LossAverage()
                logged_audio, logged_seconds = progress.audio_seconds, progress.train_seconds
            every = recipe.loop.validate_every_steps
            if every is not None and (progress.step % every == 0 or progress.step == recipe.steps):
                held_out = held_out_loss(
                    model, held_out_batches(manifest, tokenizer, recipe.data, cache=cache), recipe, device
                )
                record.write({"step": progress.step, "held_out_loss_by_domain": held_out})
                clock = time.monotonic()
            if progress.step % recipe.loop.checkpoint_every_steps == 0 or progress.step == recipe.steps:
                save_checkpoint(output / "checkpoints", model, optimizer, progress)

    if model.language_model.identity() != frozen_identity:
        raise AssertionError("the language model is frozen, yet its weights changed")
    card = run_card(recipe, manifest, progress, start_of_run)
    export_model(model, output / "model", language_model_source=language_model_source(recipe.model), card=card)
    if plot_metrics(output) is None:
        console.print("no plot of the losses: pip install 'uniwhisper\\[eval]' for matplotlib", highlight=False)
    return output / "model"


def _batches(
    recipe: Recipe, manifest: Manifest, tokenizer: Tokenizer, start_step: int, device: torch.device, cache: Path | None
) -> StepBatches | ResidentBatches:
    span = {"seed": recipe.seed, "start_step": start_step, "stop_step": recipe.steps, "workers": recipe.loop.workers}
    if recipe.loop.audio == "loader":
        pinned = device.type == "cuda"
        return step_batches(manifest, tokenizer, recipe.data, **span, cache=cache, pin_memory=pinned)
    if cache is None:
        raise RecipeError(
            "audio resident on the device needs decoded audio",
            expected="a folder for it",
            got="none",
            fix="add --cache FOLDER, or --set loop.audio=loader",
        )
    return resident_batches(manifest, tokenizer, recipe.data, **span, cache=cache, device=device)


def train_step(
    model: UniWhisper, optimizer: torch.optim.Optimizer, batch: Batch, recipe: Recipe, device: torch.device
) -> StepResult:
    """One optimizer step over the whole batch, in micro-batches; skipped when a loss or gradient is not finite."""
    by_example = recipe.loop.loss_normalisation == "example"
    answer_tokens = int(batch.loss_mask_RL.sum())
    denominator = len(batch.ids) if by_example else answer_tokens
    optimizer.zero_grad(set_to_none=True)
    sums, counts = [], []
    for part in batch.split(recipe.loop.micro_batches):
        losses = forward(model, part, recipe, device, masked=True)
        shares_R = losses.sums_R / losses.token_counts_R if by_example else losses.sums_R
        (shares_R.sum() / denominator).backward()
        sums.append(losses.sums_R.detach())
        counts.append(losses.token_counts_R)
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    norm = torch.nn.utils.clip_grad_norm_(trained, recipe.optimizer.gradient_clip_norm)
    sums_R = torch.cat(sums)
    applied = bool(torch.isfinite(norm) & torch.isfinite(sums_R).all())
    if applied:
        optimizer.step()
    return StepResult(sums_R.tolist(), torch.cat(counts).tolist(), float(norm), applied)


def forward(model: UniWhisper, batch: Batch, recipe: Recipe, device: torch.device, *, masked: bool) -> AnswerLosses:
    """Losses of a batch's answers, with SpecAugment's masks if `masked`."""
    spectrum = training_log_mel if recipe.loop.audio == "resident" else log_mel
    mel_BMF, mel_counts_B = spectrum(
        batch.wave_BS.to(device, non_blocking=True), batch.sample_counts_B, mel_bins=model.encoder.config.mel_bins
    )
    batch = batch.to(device, non_blocking=True)
    if masked:
        mel_BMF = mask_mel(mel_BMF, mel_counts_B.to(device), batch.time_masks_BK2, batch.frequency_masks_BK2)
    half = recipe.loop.precision == "bf16" and device.type == "cuda"
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
        return model(mel_BMF, mel_counts_B, batch.clip_R, batch.tokens_RL, batch.token_counts_R, batch.loss_mask_RL)


@torch.no_grad()
def held_out_loss(
    model: UniWhisper, batches: Iterator[Batch], recipe: Recipe, device: torch.device
) -> dict[str, float]:
    """Mean nats per answer token on held-out clips, by domain; no augmentation."""
    model.eval()
    average = LossAverage()
    for batch in batches:
        losses = forward(model, batch, recipe, device, masked=False)
        average.add(batch.domains, losses.sums_R.tolist(), losses.token_counts_R.tolist())
    model.train()
    return average.by_domain()


def _report_nonfinite(
    record: RunRecord, step: int, batch: Batch, result: StepResult, in_a_row: int, allowed: int
) -> None:
    finite = torch.isfinite(torch.tensor(result.loss_sums))
    guilty = [name for name, fine in zip(batch.ids, finite.tolist(), strict=True) if not fine] or batch.ids
    record.write({"step": step + 1, "skipped": "loss or gradient not finite", "example_ids": guilty})
    record.say(f"step {step} skipped, loss or gradient not finite; examples: {', '.join(guilty[:8])}")
    if in_a_row >= allowed:
        raise RecipeError(
            f"{in_a_row} steps in a row were not finite",
            expected="finite losses and gradients",
            got=f"non-finite at step {step}; examples: {', '.join(guilty[:8])}",
            fix="look at those examples; or start anew with another -o and a lower optimizer.encoder_learning_rate",
        )
