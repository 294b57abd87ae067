"""`uniwhisper train` and `uniwhisper pretrain-lm`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from uniwhisper.data.manifest import Manifest

Device = Annotated[str, typer.Option(help="auto, cpu or cuda; the choice is printed.")]


def train(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe (mini, …) or file.py:function.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Run folder: checkpoints, metrics, the model.")],
    data: Annotated[Path, typer.Option(help="Folder written by `uniwhisper data prepare`.")] = Path("prepared"),
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change a recipe field; may be repeated.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the output folder.")] = False,
    device: Device = "auto",
    cache: Annotated[
        Path | None,
        typer.Option(help="Keep decoded audio here between runs (2 bytes a sample); else decode each draw."),
    ] = None,
    evaluation: Annotated[
        Path | None,
        typer.Option(help="Folder of evaluation sets: refuse to train on their clips, and record the comparison."),
    ] = None,
    allow_overlap: Annotated[
        bool, typer.Option("--allow-overlap", help="Train although clips are also evaluated on; run.json names them.")
    ] = False,
) -> None:
    """Train an encoder through a frozen language model."""
    from rich.console import Console

    from uniwhisper.data.indexed import open_manifest
    from uniwhisper.model.device import choose_device
    from uniwhisper.recipes import load_recipe
    from uniwhisper.training.checkpoint import latest_checkpoint
    from uniwhisper.training.loop import train as run
    from uniwhisper.training.overrides import override
    from uniwhisper.training.record import read_metrics

    resolved = override(load_recipe(recipe), assignments or [])
    manifest = open_manifest(data)
    console = Console(stderr=True)
    chosen = choose_device(device)
    console.print(f"device: {chosen}", highlight=False)
    warmup = resolved.optimizer.warmup_steps
    if warmup >= resolved.steps:
        console.print(
            f"the learning rate reaches {resolved.steps / warmup:.0%} of its peak, and that at the end: "
            f"optimizer.warmup_steps {warmup:,} of {resolved.steps:,} steps",
            highlight=False,
        )
    overlap = None
    if evaluation is not None and not resume:  # a resumed run was compared when it began
        overlap = _compare(manifest, evaluation, cache, allow_overlap=allow_overlap)
        console.print(f"{overlap['overlapping_training_clips']:,} training clips are also in {evaluation}")
    means = {"device": chosen, "cache": cache, "console": console, "overlap": overlap}
    try:
        model = run(resolved, manifest, output, resume=resume, **means)
    except KeyboardInterrupt:
        if (output / "run.json").is_file():
            saved = latest_checkpoint(output / "checkpoints")
            where = (
                f"goes on from the last checkpoint, {saved.name}"
                if saved is not None
                else "begins again: there was no checkpoint yet (loop.checkpoint_every_steps "
                f"{resolved.loop.checkpoint_every_steps})"
            )
            console.print(f"stopped; with --resume the same command {where}", highlight=False)
        raise
    typer.echo(model)
    losses = [(line["step"], line["loss"]) for line in read_metrics(output) if line.get("loss") is not None]
    if losses:
        step, loss = losses[-1]
        console.print(f"last loss {loss:.3f}, of step {step:,} of {resolved.steps:,}", highlight=False)
    console.print(
        f"try it: uniwhisper embed AUDIO -o vectors.parquet --model {model}; "
        f'uniwhisper ask AUDIO "What do you hear?" --model {model}',
        highlight=False, soft_wrap=True,
    )  # fmt: skip


def _compare(manifest: "Manifest", evaluation: Path, cache: Path | None, *, allow_overlap: bool) -> dict:
    """The overlap report for run.json; an error if something overlaps and that is not allowed."""
    from uniwhisper.cli.output import clip_progress
    from uniwhisper.data.decoded import decode
    from uniwhisper.data.overlap import evaluation_archives, find_overlap, refuse_overlap

    archives = evaluation_archives(evaluation)
    with clip_progress("comparing with the evaluation sets") as progress:
        reader = decode(manifest, cache, progress=progress) if cache is not None else None
        report = find_overlap(manifest, archives, reader=reader, progress=progress)
    if not allow_overlap:
        refuse_overlap(report)
    return report.to_json()


def pretrain_lm(
    texts: Annotated[list[Path], typer.Argument(help="Text files, or folders with .txt files, at any depth.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for model and tokenizer.")],
    data: Annotated[
        Path | None, typer.Option(help="Prepared corpus whose instructions and short answers are read too.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Seeds weights and data order.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the interrupted run of this output, from OUTPUT.unfinished.")
    ] = False,
    checkpoint_every_steps: Annotated[
        int, typer.Option("--checkpoint-every-steps", min=1, help="What a run that is stopped loses at most.")
    ] = 200,
    device: Device = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing output, or an interrupted run of it.")
    ] = False,
) -> None:
    """Pretrain a small Qwen3-architecture language model on text, for where none can be downloaded."""
    from rich.console import Console

    from uniwhisper.data.manifest import Manifest
    from uniwhisper.data.reading_text import no_reading_text, reading_text
    from uniwhisper.model.device import choose_device
    from uniwhisper.training.checkpoint import latest_checkpoint
    from uniwhisper.training.pretrain_lm import LanguageModelRecipe
    from uniwhisper.training.pretrain_lm import pretrain_lm as run
    from uniwhisper.training.pretrain_run import unfinished

    files = [file for path in texts for file in (sorted(path.rglob("*.txt")) if path.is_dir() else [path])]
    reading = no_reading_text() if data is None else reading_text(Manifest.read(data))
    console = Console(stderr=True)
    chosen = choose_device(device)
    console.print(f"device: {chosen}; {len(files)} text files, {len(reading.questions):,} questions", highlight=False)
    recipe = LanguageModelRecipe(steps=steps, seed=seed)
    means = {"device": chosen, "overwrite": overwrite, "console": console, "resume": resume}
    try:
        figures = run(files, reading, output, recipe, checkpoint_every_steps=checkpoint_every_steps, **means)
    except KeyboardInterrupt:
        saved = latest_checkpoint(unfinished(output) / "checkpoints")
        if saved is not None:
            console.print(f"stopped; with --resume the same command goes on from {saved.name}", highlight=False)
        raise
    typer.echo(f"{output}: held-out perplexity {figures['held_out_perplexity']:.1f} per token")
