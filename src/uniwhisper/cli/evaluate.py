"""`uniwhisper evaluate`: judge an encoder on a suite."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from uniwhisper.evaluation.suites import Suite


def evaluate(
    model: Annotated[
        str,
        typer.Option(
            "--model",
            help="default, a model folder, a hub id, a .pt file, log-mel (the floor), random:SIZE[:SEED], "
            "whisper-padded:MODEL, whisper-trimmed:MODEL, dasheng:FILE.pt, or FILE.py[:CLASS] (see docs/encoders.md).",
        ),
    ] = "default",
    suite: Annotated[str, typer.Option("--suite", help="A shipped suite (mini, dev) or a suite file.")] = "mini",
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Folder that holds the tasks' folders.")
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the result.")] = Path("results"),
    device: Annotated[
        str, typer.Option("--device", metavar="auto|cpu|cuda", help="Where to embed; the choice is printed.")
    ] = "auto",
    cache: Annotated[
        Path | None, typer.Option("--cache", metavar="DIR", help="Where vectors are kept; else the user cache.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the probes' inner splits and the bootstrap.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing result.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    list_tasks: Annotated[bool, typer.Option("--list", help="Show suites, tasks and what is present; stop.")] = False,
) -> None:
    """Judge frozen features by kNN and a linear probe.

    Exit status: 0 all done; 1 some clips could not be used, the result names them; 2 nothing was written.
    """
    import shlex
    from importlib.util import find_spec

    from uniwhisper.cli.output import note, print_json
    from uniwhisper.core.errors import MissingExtraError, UserError
    from uniwhisper.evaluation.suites import load_suite

    if list_tasks:
        _list(data, as_json=as_json)
        return
    chosen = load_suite(suite)
    if data is None:
        raise UserError(
            "where is the audio?",
            expected="--data DIR, the folder that holds the tasks' folders",
            got="no --data",
            fix="uniwhisper evaluate --list shows which folders the tasks want",
        )
    if find_spec("sklearn") is None:
        raise MissingExtraError.of("scikit-learn", "eval", "evaluation")

    from uniwhisper.evaluation.cache import VectorCache, default_cache
    from uniwhisper.evaluation.check import checked
    from uniwhisper.evaluation.encoders import open_encoder
    from uniwhisper.evaluation.results import check_result, result_path, write_result
    from uniwhisper.evaluation.runner import evaluate as run

    judged = open_encoder(model, device=device)
    if (place := getattr(judged.encoder, "device", None)) is not None:
        note(f"device: {place}")
    path = result_path(output, chosen, judged)
    check_result(path, overwrite=overwrite)
    # Folders are named by the reader's own choice: a path of this machine would reproduce nothing elsewhere.
    suite_name = chosen.name if suite == chosen.name else Path(suite).name
    command = f"uniwhisper evaluate --model {shlex.quote(judged.source)} --suite {shlex.quote(suite_name)} --data DIR"
    if seed:
        command += f" --seed {seed}"
    vectors = VectorCache(cache or default_cache())
    with _progress() as on_progress:
        check = checked(
            judged.encoder,
            vectors.folder,
            on_progress=lambda _, done, total: on_progress("the encoder itself", done, total),
        )
        judgement = run(
            judged,
            chosen,
            data,
            cache=vectors,
            seed=seed,
            command=command,
            check=check,
            on_progress=on_progress,
        )
    write_result(path, judgement, overwrite=overwrite)
    result = judgement.result
    if as_json:
        print_json(result | {"path": str(path)})
    else:
        _print(result, path)
    skipped = [skip for task in result["tasks"] for skip in task["clips"]["skipped"]]
    for skip in skipped:
        note(f"skipped: {skip['id']}: {skip['reason']}")
    if skipped:
        raise typer.Exit(1)


def _progress():
    """A bar per task on stderr, only on a terminal."""
    from contextlib import contextmanager

    from rich.progress import MofNCompleteColumn, Progress

    from uniwhisper.cli.output import stderr_console

    @contextmanager
    def bars():
        console = stderr_console()
        columns = (*Progress.get_default_columns(), MofNCompleteColumn())
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            rows: dict[str, Any] = {}

            def report(task: str, done: int, total: int) -> None:
                if task not in rows:
                    rows[task] = progress.add_task(task, total=total)
                progress.update(rows[task], completed=done)

            yield report

    return bars()


def _print(result: dict[str, Any], path: Path) -> None:
    import sys

    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    measures = {"knn": "kNN", "knn_standardised": "kNN standardised", "probe": "probe"}
    table = Table("task", box=SIMPLE_HEAD, pad_edge=False)
    for column in (*measures.values(), "most common class", "clips"):
        table.add_column(column, justify="right")
    for task in result["tasks"]:
        cells = [_with_interval(task["scores"][measure]) for measure in measures]
        table.add_row(task["name"], *cells, f"{task['most_common']:.3f}", f"{task['clips']['scored']:,}")
    table.add_row("mean of domains", *[_with_interval(result["headline"][measure]) for measure in measures], "", "")
    # In a file or pipe nothing is gained by folding the columns at 80 characters.
    Console(highlight=False, width=None if sys.stdout.isatty() else 120).print(table)
    protocol, seconds = result["protocol"], result["seconds"]
    print(
        f"protocol {protocol['name']} {protocol['version']}; {seconds['total']} s, {seconds['vectors']} s for vectors"
    )
    for task in result["tasks"]:
        for remark in task["notes"]:
            print(f"{task['name']}: {remark}")
    print(path)


def _with_interval(score: dict[str, Any]) -> str:
    return f"{score['score']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"


def _list(data: Path | None, *, as_json: bool) -> None:
    from uniwhisper.cli.output import print_json
    from uniwhisper.evaluation.clips import present
    from uniwhisper.evaluation.suites import load_suite, shipped_suites

    suites = [load_suite(name) for name in shipped_suites()]
    if as_json:
        print_json([_suite_json(suite, data) for suite in suites])
        return
    for suite in suites:
        print(f"{suite.name}: {suite.description}")
        for task in suite.tasks:
            size = f"{task.expected_clips:,} clips" if task.expected_clips else "size by its rule"
            folds = f"{len(task.folds.scored)} scored of {len(task.folds.names)} folds"
            where = present(task, data) if data else f"wants DIR/{task.folder}"
            print(f"  {task.name:<16} {task.domain:<12} {size:<17} {folds:<22} {where}")


def _suite_json(suite: "Suite", data: Path | None) -> dict[str, Any]:
    from uniwhisper.evaluation.clips import present

    tasks = [
        {
            "name": task.name,
            "description": task.description,
            "domain": task.domain,
            "folder": task.folder,
            "clips": task.expected_clips,
            "classes": task.expected_classes,
            "folds": list(task.folds.names),
            "scored_folds": list(task.folds.scored),
            "data": present(task, data) if data else None,
        }
        for task in suite.tasks
    ]
    return {"name": suite.name, "description": suite.description, "hash": suite.hash, "tasks": tasks}
