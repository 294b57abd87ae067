"""The training loop: instructions about audio in, an encoder out. Reads top to bottom.

Notable: nothing random lives here, so a run killed after any step continues exactly; the language model's weights are
hashed before and after. What one step does is in `step.py`.
"""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from uniwhisper.core.errors import RecipeError
from uniwhisper.core.identity import hash_json
from uniwhisper.core.progress import clips_counted
from uniwhisper.data.coded import code
from uniwhisper.data.decoded import decode
from uniwhisper.data.loader import StepBatches, held_out_batches, step_batches
from uniwhisper.data.manifest import Manifest
from uniwhisper.data.resident_batches import ResidentBatches, resident_batches
from uniwhisper.data.tokens import TextForm, Tokenizer
from uniwhisper.model.device_memory import device_memory_error, is_out_of_memory
from uniwhisper.training.average import WeightAverage
from uniwhisper.training.card import run_card
from uniwhisper.training.checkpoint import Progress, latest_checkpoint, load_checkpoint, save_checkpoint
from uniwhisper.training.distributed import Ranks, join_ranks, spread, whole_model
from uniwhisper.training.execution import carry_out, what_takes_less
from uniwhisper.training.learner import INSTRUCTIONS, Learner
from uniwhisper.training.optimizer import build_optimizer, rate_fraction, set_learning_rates
from uniwhisper.training.recipe import Recipe, require
from uniwhisper.training.record import LossAverage, RunRecord, SilentRecord, plot_metrics, read_metrics
from uniwhisper.training.run_folder import cost_facts, kept_model, open_run_folder, write_start
from uniwhisper.training.step import StepResult, held_out_loss, train_step


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
    learner: Learner = INSTRUCTIONS,
) -> Path:
    """Run a recipe on a manifest; returns the folder of the exported model.

    `cache` is the folder where decoded audio is kept between runs; None decodes each clip when it is drawn. `overlap`
    is what comparing with the evaluation sets gave, for `run.json`; None: they were not compared (again). `learner`
    says what is trained; other than the product's own, only experiments do.

    Raises:
        OutputError: `output` holds a run and `resume` is False.
        RecipeError: nothing to resume, a run of another recipe or manifest, or too many non-finite steps in a row.
        DeviceMemoryError: the device's memory does not suffice; what was trained until the last checkpoint is kept.
    """
    with join_ranks(device) as ranks:
        options = {"resume": resume, "device": device, "cache": cache, "console": console, "overlap": overlap}
        try:
            return _train(recipe, manifest, output, ranks, learner, **options)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            fix = what_takes_less(recipe, ranks=ranks.world, resumable=(output / "run.json").is_file())
            raise device_memory_error("this training", device, fix=fix) from error


def _train(
    recipe: Recipe,
    manifest: Manifest,
    output: Path,
    ranks: Ranks,
    learner: Learner,
    *,
    resume: bool,
    device: torch.device,
    cache: Path | None,
    console: Console,
    overlap: Mapping[str, Any] | None,
) -> Path:
    start_of_run = open_run_folder(recipe, manifest, output, resume=resume, learner=learner.describe())
    ranks.wait()  # before rank 0 writes into a folder that the others still want to find empty
    model = learner.build(recipe, device)
    require(
        recipe.data.mel_bins == model.encoder.config.mel_bins,
        "data.mel_bins",
        f"the encoder's {model.encoder.config.mel_bins}, for which frequency masks are drawn",
        recipe.data.mel_bins,
    )
    float8 = recipe.loop.precision == "float8" and device.type == "cuda"
    carry_out(model, compiled=recipe.loop.compiled, recompute=recipe.loop.recompute, float8=float8)
    called = spread(model, ranks, recipe.loop.parallel)
    optimizer = build_optimizer(model, recipe.optimizer)
    average = WeightAverage(optimizer, recipe.optimizer.ema_decay)
    facts = cost_facts(model, device)
    frozen_identity = learner.frozen_identity(model)
    checkpoint = latest_checkpoint(output / "checkpoints")
    progress = Progress(step=0, audio_seconds=0.0, train_seconds=0.0, threads=torch.get_num_threads())
    if checkpoint is not None:
        progress = load_checkpoint(checkpoint, model, optimizer, average=average)
    # Of every rank before any goes on: the first will write there.
    unscored = checkpoint is not None and not _has_held_out(output, progress.step)
    tokenizer = learner.reader(model)
    share = recipe.data.mean_share
    require(share == 0 or not isinstance(tokenizer, TextForm), "data.mean_share", "0: no audio tokens here", share)
    with ranks.first_before_others():
        if cache is not None and ranks.first:
            with clips_counted("decoding", console) as decoded:
                decode(manifest, cache, progress=decoded)
            if recipe.loop.audio == "resident" and recipe.data.augment.codec_probability > 0:
                with clips_counted("through codecs", console) as coded:
                    code(manifest, cache, progress=coded)
        batches = _batches(recipe, manifest, tokenizer, progress.step, device, cache, ranks)
    compared = {"overlap": overlap if overlap is not None else start_of_run.get("overlap")}
    if ranks.first:
        write_start(output, {**start_of_run, **compared, **facts, "left_out": batches.left_out}, frozen_identity)

    def export(folder: Path) -> None:
        with average.in_place():
            whole_weights = whole_model(model)
            if ranks.first:
                card = run_card(recipe, manifest, progress, start_of_run)
                learner.export(whole_weights, folder, recipe, card=card)

    record_of_rank = RunRecord if ranks.first else SilentRecord
    with record_of_rank(output, start_step=progress.step, steps=recipe.steps, console=console) as record:
        if checkpoint is not None:
            record.say(f"resuming after step {progress.step}")
            if progress.threads != torch.get_num_threads() and device.type == "cpu":
                record.say(
                    f"{torch.get_num_threads()} CPU threads now, {progress.threads} before: last bits will differ"
                )
        for reason, count in batches.left_out.items():
            record.say(f"{count:,} clips {reason}")

        def score_held_out(step: int) -> None:
            asked = held_out_batches(manifest, tokenizer, recipe.data, cache=cache)
            with average.in_place():
                held_out = held_out_loss(model, record.counted(asked, "held-out clips"), recipe, device)
            record.write({"step": step, "held_out_loss_by_domain": held_out})

        if unscored and _scores_held_out(recipe, progress.step):
            score_held_out(progress.step)
        losses, nonfinite, clock = LossAverage(), 0, time.monotonic()
        logged_audio, logged_seconds = progress.audio_seconds, progress.train_seconds
        for step, batch in batches:
            rates = set_learning_rates(optimizer, rate_fraction(step, recipe.steps, recipe.optimizer))
            result = train_step(called, optimizer, batch, recipe, device, ranks)
            average.update(step + 1)
            whole = result.whole
            nonfinite = 0 if result.applied else nonfinite + 1
            if not result.applied:
                _report_nonfinite(record, step, result, nonfinite, recipe.loop.max_nonfinite_steps)
            else:
                losses.add(whole.domains, result.loss_sums, whole.token_counts)

            now = time.monotonic()
            progress = Progress(
                step=step + 1,
                audio_seconds=progress.audio_seconds + whole.audio_seconds,
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
                        "loss": losses.overall(),
                        "loss_by_domain": losses.by_domain(),
                        "gradient_norm": result.gradient_norm,
                        **{f"learning_rate_{part}": rate for part, rate in rates.items()},
                        "audio_seconds": progress.audio_seconds,
                        "audio_seconds_per_second": (progress.audio_seconds - logged_audio) / elapsed,
                        "train_seconds": progress.train_seconds,
                        "examples": hash_json(whole.ids)[:16],
                    }
                )
                losses = LossAverage()
                logged_audio, logged_seconds = progress.audio_seconds, progress.train_seconds
            if recipe.loop.keep_every_steps is not None and progress.step % recipe.loop.keep_every_steps == 0:
                export(kept_model(output, progress.step))
                clock = time.monotonic()
            if progress.step % recipe.loop.checkpoint_every_steps == 0 or progress.step == recipe.steps:
                save_checkpoint(output / "checkpoints", model, optimizer, progress, average=average, write=ranks.first)
            # After the checkpoint: it takes minutes, and whoever stops it then loses no step.
            if _scores_held_out(recipe, progress.step):
                score_held_out(progress.step)
                clock = time.monotonic()

    if learner.frozen_identity(model) != frozen_identity:
        raise AssertionError("the language model is frozen, yet its weights changed")
    export(output / "model")
    if ranks.first and plot_metrics(output) is None:
        console.print("no plot of the losses: pip install 'uniwhisper\\[eval]' for matplotlib", highlight=False)
    return output / "model"


def _scores_held_out(recipe: Recipe, step: int) -> bool:
    every = recipe.loop.validate_every_steps
    return every is not None and (step % every == 0 or step == recipe.steps)


def _has_held_out(output: Path, step: int) -> bool:
    return any(line["step"] == step and "held_out_loss_by_domain" in line for line in read_metrics(output))


def _batches(
    recipe: Recipe,
    manifest: Manifest,
    tokenizer: Tokenizer | TextForm,
    start_step: int,
    device: torch.device,
    cache: Path | None,
    ranks: Ranks,
) -> StepBatches | ResidentBatches:
    share = {
        "seed": recipe.seed,
        "start_step": start_step,
        "stop_step": recipe.steps,
        "workers": recipe.loop.workers,
        "rank": ranks.rank,
        "world": ranks.world,
    }
    if recipe.loop.audio == "loader":
        pinned = device.type == "cuda"
        return step_batches(manifest, tokenizer, recipe.data, **share, cache=cache, pin_memory=pinned)
    if cache is None:
        raise RecipeError(
            "audio resident on the device needs decoded audio",
            expected="a folder for it",
            got="none",
            fix="add --cache FOLDER, or --set loop.audio=loader",
        )
    return resident_batches(manifest, tokenizer, recipe.data, **share, cache=cache, device=device)


def _report_nonfinite(record: RunRecord, step: int, result: StepResult, in_a_row: int, allowed: int) -> None:
    ids, sums = result.whole.ids, result.loss_sums
    guilty = [name for name, loss_sum in zip(ids, sums, strict=True) if not math.isfinite(loss_sum)] or ids
    record.write({"step": step + 1, "skipped": "loss or gradient not finite", "example_ids": guilty})
    record.say(f"step {step} skipped, loss or gradient not finite; examples: {', '.join(guilty[:8])}")
    if in_a_row >= allowed:
        raise RecipeError(
            f"{in_a_row} steps in a row were not finite",
            expected="finite losses and gradients",
            got=f"non-finite at step {step}; examples: {', '.join(guilty[:8])}",
            fix="look at those examples; or start anew with another -o and a lower optimizer.encoder_learning_rate",
        )
