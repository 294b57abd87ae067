"""`uniwhisper examine`: where in an encoder it lies, and how it holds."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Look at an encoder layer by layer, or on altered clips. `uniwhisper evaluate` gives its score.",
)

Model = Annotated[str, typer.Option("--model", help="As for `uniwhisper evaluate`.")]
SuiteName = Annotated[str, typer.Option("--suite", help="A shipped suite (`evaluate --list`) or a suite file.")]
Tasks = Annotated[
    list[str] | None, typer.Option("--task", metavar="TASK", help="Only this task of the suite; repeatable.")
]
Data = Annotated[
    Path, typer.Option("--data", metavar="DIR", show_default=False, help="Folder that holds the tasks' folders.")
]
Output = Annotated[Path, typer.Option("-o", "--output", help="Folder for the JSON, the page and the picture.")]
Measures = Annotated[
    list[str] | None,
    typer.Option("--measure", metavar="MEASURE", help="knn, knn_standardised, linear or mlp; repeatable."),
]
Device = Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda", help="Where to embed and to train probes.")]
Cache = Annotated[
    Path | None,
    typer.Option("--cache", metavar="DIR", help="Where vectors and finished tasks are kept; else the user cache."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="First of the probes' seeds, and of the bootstrap.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing result.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]


@app.command()
def layers(
    data: Data,
    model: Model = "default",
    suite: SuiteName = "mini",
    task: Tasks = None,
    measure: Measures = None,
    output: Output = Path("results"),
    device: Device = "auto",
    cache: Cache = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Score every layer of an encoder: where in it do sounds, words and notes lie?

    The encoder runs once over the audio, whatever the number of layers. Measures: knn and linear unless chosen.

    Exit status: 0 all done; 1 some clips could not be used, the result names them; 2 nothing was written.
    """
    from uniwhisper.evaluation.examine.layers import MEASURES, examine_layers

    _examine(
        "layers", examine_layers, measure or list(MEASURES), {}, "",
        data=data, model=model, suite=suite, tasks=task, output=output, device=device, cache=cache, seed=seed,
        overwrite=overwrite, as_json=as_json,
    )  # fmt: skip


@app.command()
def robustness(
    data: Data,
    model: Model = "default",
    suite: SuiteName = "mini",
    task: Tasks = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            "--condition",
            metavar="CONDITION",
            help="decoded, noise:SNR_DB, gain:DB, codec:opus|vorbis|mp3|gsm, length:SECONDS or within:SECONDS; "
            "repeatable. Else a set of all kinds, lengths from 1 to 60 s.",
        ),
    ] = None,
    clips: Annotated[
        int, typer.Option("--clips", min=0, help="Clips of a task that are altered and asked; 0: all.")
    ] = 500,
    measure: Measures = None,
    output: Output = Path("results"),
    device: Device = "auto",
    cache: Cache = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Ask an encoder altered clips against clean ones: noise, gain, codecs, length from 1 to 60 s.

    Only the questions are altered; what kNN and probes learn from stays as recorded. Measure: knn unless chosen.

    Exit status: 0 all done; 1 some clips could not be used, the result names them; 2 nothing was written.
    """
    from uniwhisper.evaluation.examine.alter import DEFAULT, parse_condition
    from uniwhisper.evaluation.examine.robustness import MEASURES, examine_robustness

    chosen = tuple(dict.fromkeys(map(parse_condition, condition))) if condition else DEFAULT
    typed = "".join(f" --condition {each.name}" for each in chosen) if condition else ""
    _examine(
        "robustness", examine_robustness, measure or list(MEASURES),
        {"conditions": chosen, "most_clips": clips or None}, f"{typed} --clips {clips}",
        data=data, model=model, suite=suite, tasks=task, output=output, device=device, cache=cache, seed=seed,
        overwrite=overwrite, as_json=as_json,
    )  # fmt: skip


def _examine(
    kind: str,
    run: Callable[..., dict[str, Any]],
    measures: list[str],
    options: dict[str, Any],
    typed: str,
    *,
    data: Path,
    model: str,
    suite: str,
    tasks: list[str] | None,
    output: Path,
    device: str,
    cache: Path | None,
    seed: int,
    overwrite: bool,
    as_json: bool,
) -> None:
    import shlex
    from importlib.util import find_spec

    from uniwhisper.cli.output import end_with_skipped, note, print_json, task_progress
    from uniwhisper.core.errors import MissingExtraError, UserError
    from uniwhisper.core.files import check_output
    from uniwhisper.evaluation.cache import VectorCache, default_cache
    from uniwhisper.evaluation.check import checked
    from uniwhisper.evaluation.encoders import open_encoder
    from uniwhisper.evaluation.examine.output import examination_paths, write_examination
    from uniwhisper.evaluation.kept import Kept
    from uniwhisper.evaluation.scoring import MEASURES
    from uniwhisper.evaluation.suites import load_suite, part_of
    from uniwhisper.model.device import choose_device

    unknown = [measure for measure in measures if measure not in MEASURES]
    if unknown:
        raise UserError(
            f"no measure {unknown[0]!r}",
            expected=f"some of {', '.join(MEASURES)}",
            got=", ".join(unknown),
            fix="for example --measure knn --measure linear",
        )
    for package in ("sklearn", "matplotlib"):
        if find_spec(package) is None:
            raise MissingExtraError.of({"sklearn": "scikit-learn"}.get(package, package), "eval", "an examination")
    whole = load_suite(suite)
    chosen = part_of(whole, tasks or [])
    judged = open_encoder(model, device=device)
    paths = examination_paths(output, kind, chosen, judged)
    for path in paths:
        check_output(path, overwrite=overwrite)
    place = choose_device(device)
    note(f"device: {place}")
    named = suite if suite == whole.name else Path(suite).name
    command = f"uniwhisper examine {kind} --model {shlex.quote(judged.source)} --suite {shlex.quote(named)} --data DIR"
    command += "".join(f" --task {task}" for task in tasks or []) + "".join(f" --measure {each}" for each in measures)
    command += typed + (f" --seed {seed}" if seed else "")
    vectors = VectorCache(cache or default_cache())
    with task_progress() as on_progress:
        check = checked(
            judged.encoder,
            vectors.folder,
            on_progress=lambda _, done, total: on_progress("the encoder itself", done, total),
        )
        result = run(
            judged,
            chosen,
            data,
            cache=vectors,
            kept=Kept(vectors.folder / "tasks"),
            model_folder=Path(model) if Path(model).is_dir() else None,
            measures=measures,
            seed=seed,
            command=command,
            device=place,
            check=check,
            on_progress=on_progress,
            **options,
        )
    write_examination(paths, result, overwrite=overwrite)
    if as_json:
        print_json(result | {"path": str(paths[0])})
    else:
        _print(result, paths)
    end_with_skipped(result)


def _print(result: dict[str, Any], paths: tuple[Path, ...]) -> None:
    import sys

    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from uniwhisper.evaluation.examine.tables import remarks, table
    from uniwhisper.evaluation.words import MEASURE_NAMES

    # In a file or pipe nothing is gained by folding the columns.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 400)
    for measure in result["measures"]:
        header, *rows = table(result, measure)
        shown = Table(box=SIMPLE_HEAD, pad_edge=False, title=MEASURE_NAMES[measure], title_justify="left")
        for place, title in enumerate(header):
            shown.add_column(title, justify="right" if place else "left", no_wrap=place == 0)
        for row in rows:
            shown.add_row(*row)
        console.print(shown)
    for line in remarks(result):
        print(line)
    for path in paths:
        print(path)
