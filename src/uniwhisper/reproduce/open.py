"""From what was typed to a chain that is ready to run."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from uniwhisper.core.errors import RecipeError
from uniwhisper.core.provenance import without_place
from uniwhisper.data.manifest import MANIFEST_NAME, Manifest
from uniwhisper.data.prepare import prepare
from uniwhisper.model.device import choose_device
from uniwhisper.model.weights import load_encoder
from uniwhisper.reproduce.chain import Chain, plan
from uniwhisper.reproduce.rows import CORE_ROWS, SMOKE_ROWS, available_rows
from uniwhisper.reproduce.scale import LOG_EVERY_STEPS, SIZES, START_CANDIDATES, START_STEPS, miniature, paper, smoke
from uniwhisper.reproduce.smoke_data import write_smoke_data

SCALES = ("smoke", "miniature", "paper")


def open_chain(
    name: str,
    output: Path | None,
    rows: Sequence[str] | None,
    seeds: Sequence[int] | None,
    *,
    data: Path,
    evaluation: Path,
    language_model: str,
    start: str | None,
    cache: Path | None,
    suite: str | None,
    size: str | None,
    start_steps: int | None,
    development: Path | None,
    despite_gate: bool,
    device: str,
    say: Callable[[str], None],
) -> tuple[Chain, list[str], list[int]]:
    """The chain, and the names of rows and the seeds to run; for smoke its sounds are made first.

    Raises:
        RecipeError: another scale, size or number of S's steps, an unknown row, or an option where it has no meaning.
        UserError: data or device cannot be used.
    """
    if name not in SCALES:
        raise RecipeError(f"no scale {name!r}", expected=", ".join(SCALES), got=name, fix="uniwhisper reproduce smoke")
    if (start is None) == (name == "paper"):
        raise RecipeError(
            "--start belongs to the scale paper",
            expected="a Whisper checkpoint for paper, and only there",
            got=f"{name} " + ("without --start" if start is None else f"with --start {start}"),
            fix="uniwhisper reproduce paper --start openai/whisper-large-v3 --lm Qwen/Qwen3-0.6B",
        )
    if size is not None and (name != "miniature" or size not in SIZES):
        raise RecipeError(
            "--size",
            expected=f"{' or '.join(SIZES)}, for miniature only",
            got=f"{size} for {name}",
            fix=f"uniwhisper reproduce miniature --size {list(SIZES)[-1]}",
        )
    each = START_CANDIDATES * LOG_EVERY_STEPS
    if start_steps is not None and (name != "miniature" or start_steps < each or start_steps % each):
        raise RecipeError(
            "--start-steps",
            expected=f"a multiple of {each}, for miniature only: {START_CANDIDATES} models are kept, evenly",
            got=f"{start_steps} for {name}",
            fix=f"uniwhisper reproduce miniature --start-steps {max(1, round(start_steps / each)) * each}",
        )
    output = Path("runs") / name if output is None else output
    cache = cache or output / "decoded"
    command = f"uniwhisper reproduce {name}"
    if name == "smoke":
        plan(smoke(output), list(rows or ()), [0])  # refuses unknown rows before anything is made
        made = write_smoke_data(output / "data")
        evaluation = made.parent / "evaluation"
        prepared = output / "prepared"
        if not (prepared / MANIFEST_NAME).is_file():
            say("preparing the synthetic corpora")
            prepare(made.parent / "training", prepared)
        data, scale = prepared, smoke(made)
    elif name == "miniature":
        scale = miniature(language_model, size or next(iter(SIZES)), start_steps or START_STEPS)
        output = output / str(scale.size)
        command += f" --size {scale.size}" + (f" --start-steps {start_steps}" if start_steps else "")
        command += f" --data {data.name} --evaluation {evaluation.name} --lm {without_place(language_model)}"
    else:
        assert start is not None, "paper has a start"
        scale = paper(start, language_model, mel_bins=load_encoder(start).encoder.config.mel_bins)
        command += f" --start {without_place(start)} --lm {without_place(language_model)}"
        command += f" --data {data.name} --evaluation {evaluation.name}"
    if suite is not None and name != "smoke":
        scale = replace(scale, suite=suite)
        command += f" --suite {Path(suite).name}"
    asked = SMOKE_ROWS if name == "smoke" else CORE_ROWS
    names = list(rows or (row for row in available_rows(scale) if row in asked))
    plan(scale, names, [0])  # refuses unknown rows before anything is read
    manifest = Manifest.read(data)
    chain = Chain(
        scale=scale,
        manifest=manifest,
        evaluation=evaluation,
        development=development or (manifest.root if isinstance(manifest.root, Path) else None),
        output=output,
        cache=cache,
        despite_gate=despite_gate,
        device=choose_device(device),
        console=Console(stderr=True),
        command=command,
    )
    return chain, names, list(seeds or scale.seeds)
