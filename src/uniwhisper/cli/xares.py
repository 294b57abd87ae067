"""`uniwhisper evaluate --protocol xares`: a suite as X-ARES 0.1.3 would judge it."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from uniwhisper.evaluation.suites import Suite

RUNS = 5


def evaluate_xares(
    model: str,
    suite: "Suite",
    data: Path,
    output: Path,
    *,
    device: str,
    seed: int,
    overwrite: bool,
    as_json: bool,
    bars,
) -> None:
    """Write and print the result; `bars` is the context that shows progress."""
    from uniwhisper.cli.output import note, print_json
    from uniwhisper.core.errors import UserError
    from uniwhisper.core.files import atomic_output, check_output
    from uniwhisper.embedding.embedder import Embedder
    from uniwhisper.evaluation.encoders import open_encoder, require_identity
    from uniwhisper.evaluation.xares.pooling import PaddedWhisper
    from uniwhisper.evaluation.xares.run import evaluate
    from uniwhisper.model.device import choose_device

    judged = open_encoder(model, device=device)
    if not isinstance(judged.encoder, Embedder):
        raise UserError(
            f"{model} cannot be judged by the protocol xares from here",
            expected="a Whisper-shaped encoder, which takes waves without their lengths as in X-ARES's example",
            got=type(judged.encoder).__name__,
            fix="call uniwhisper.evaluation.xares.run.evaluate with a function from padded waves to frames",
        )
    identity = require_identity(judged.encoder)
    path = output / f"{suite.name}-xares-{judged.label}-{identity['weights'][:12]}.json"
    check_output(path, overwrite=overwrite)
    command = (
        f"uniwhisper evaluate --protocol xares --model {shlex.quote(judged.source)} "
        f"--suite {shlex.quote(suite.name)} --data DIR" + (f" --seed {seed}" if seed else "")
    )
    with bars as on_progress:
        result = evaluate(
            PaddedWhisper(judged.encoder.encoder),
            {
                "label": judged.label,
                "source": judged.source,
                "width": judged.encoder.width,
                "identity": identity | {"pooling": "mean of all frames, padding included"},
                "wrapped": "chunks of 10 s padded to 30 s",
            },
            suite,
            data,
            seeds=range(seed, seed + RUNS),
            command=command,
            device=choose_device(device),
            on_progress=on_progress,
        )
    with atomic_output(path, overwrite=overwrite) as temporary:
        text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    if as_json:
        print_json(result | {"path": str(path)})
    else:
        _print(result, path)
    skipped = [skip for task in result["tasks"] for skip in task["clips"]["skipped"]]
    for skip in skipped:
        note(f"skipped: {skip['id']}: {skip['reason']}")
    if skipped:
        raise typer.Exit(1)


def _print(result: dict[str, Any], path: Path) -> None:
    import sys

    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table("task", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("probe", f"{RUNS} runs", "kNN-X", "weight", "clips"):
        table.add_column(column, justify="right")
    for task in result["tasks"]:
        seeds = task["probe"]["seeds"]
        table.add_row(
            task["name"],
            f"{task['probe']['score']:.3f}",
            f"{min(seeds):.3f} to {max(seeds):.3f}",
            "" if task["knn"] is None else f"{task['knn']['score']:.3f}",
            f"{task['weight']:,}",
            f"{task['clips']['used']:,}",
        )
    cells = ["" if average is None else f"{average['score']:.3f}" for average in result["averages"].values()]
    table.add_row("weighted average", cells[0], "", cells[1], "", "")
    Console(highlight=False, width=None if sys.stdout.isatty() else 120).print(table)
    print("protocol xares 1, reproduces xares 0.1.3; not to be mixed with the protocol clean")
    if result["not_run"]:
        print(f"not run: {', '.join(result['not_run'])}")
    print(path)
