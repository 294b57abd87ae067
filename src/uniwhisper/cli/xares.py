"""`uniwhisper evaluate --protocol xares`: a suite as X-ARES 0.1.3 would judge it."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uniwhisper.evaluation.suites import Suite

RUNS = 5


def evaluate_xares(
    model: str,
    suite: "Suite",
    asked: str,
    data: Path,
    output: Path,
    *,
    cache: Path | None,
    tokenizer: Path | None,
    language_model: Path | None,
    device: str,
    seed: int,
    overwrite: bool,
    as_json: bool,
    bars,
) -> None:
    """Write and print the result.

    Args:
        asked: the options that choose `suite`, for the command that the result names.
        bars: the context that shows progress.
        model, data, output, cache, tokenizer, language_model, device, seed, overwrite, as_json: as typed.
    """
    from uniwhisper.cli.output import end_with_skipped, print_json
    from uniwhisper.core.errors import UserError
    from uniwhisper.core.files import atomic_output, check_output
    from uniwhisper.core.units import HOP_SECONDS
    from uniwhisper.embedding.embedder import Embedder
    from uniwhisper.evaluation.cache import default_cache
    from uniwhisper.evaluation.encoders import open_encoder, require_identity
    from uniwhisper.evaluation.kept import Kept
    from uniwhisper.evaluation.xares.kinds import Judged
    from uniwhisper.evaluation.xares.language import open_tokenizer
    from uniwhisper.evaluation.xares.pooling import PaddedWhisper, TimedEncode
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
    command = f"uniwhisper evaluate --protocol xares --model {shlex.quote(judged.source)} {asked} --data DIR" + (
        f" --seed {seed}" if seed else ""
    )
    for option, folder in (("--tokenizer", tokenizer), ("--language-model", language_model)):
        if folder is not None:
            # What was used is named by its hash in the protocol; a path of this machine would mean nothing elsewhere.
            command += f" {option} {shlex.quote(folder.resolve().name)}"
    brought = Judged(
        PaddedWhisper(judged.encoder.encoder),
        TimedEncode(PaddedWhisper(judged.encoder.encoder, trimmed=True), HOP_SECONDS),
        tokenizer and open_tokenizer(tokenizer),
        language_model and _speech_model(language_model),
    )
    with bars as on_progress:
        result = evaluate(
            brought,
            {
                "label": judged.label,
                "source": judged.source,
                "width": judged.encoder.width,
                "identity": identity | {"pooling": "mean of all frames, padding included"},
                "wrapped": "chunks of 10 s padded to 30 s; for events in time without the frames over that padding",
                "hop_seconds": HOP_SECONDS,
            },
            suite,
            data,
            seeds=range(seed, seed + RUNS),
            kept=Kept((cache or default_cache()) / "tasks"),
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
    end_with_skipped(result)


def _speech_model(folder: Path):
    from uniwhisper.evaluation.xares.language import SpeechModel
    from uniwhisper.model.language_model import FrozenLanguageModel

    frozen = FrozenLanguageModel.load(folder)
    return SpeechModel(frozen.causal_lm, frozen.tokenizer, folder.resolve().name, frozen.identity())


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
    protocol = result["protocol"]
    print(f"protocol xares {protocol['version']}, reproduces xares 0.1.3; not to be mixed with the protocol clean")
    for name in protocol.keys() & {"tokenizer", "language_model"}:
        print(f"{name.replace('_', ' ')}: {protocol[name]}")
    for name, reason in result["not_run"].items():
        print(f"not run: {name}: {reason}")
    print(path)
