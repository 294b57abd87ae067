"""`uniwhisper answers`: judge what a trained model answers about held-out clips."""

from pathlib import Path
from typing import Annotated, Any

import typer


def answers(
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="Folder of `uniwhisper data prepare`.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Scores, every answer, and a page.")],
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="FOLDER", show_default="the packaged one", help="Folder of a trained model."),
    ] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option("--task", metavar="TASK", help="Only this task of docs/tasks.md; may be repeated."),
    ] = None,
    folds: Annotated[
        int, typer.Option("--folds", min=1, help="Content folds, the first is asked: 20 as recipes hold out; 1: all.")
    ] = 20,
    most_clips: Annotated[int, typer.Option("--clips", min=0, help="Most clips of a task; 0: all.")] = 200,
    most_options: Annotated[
        int, typer.Option("--options", min=0, help="Also rank the answers of tasks with at most so many.")
    ] = 100,
    most_tokens: Annotated[int, typer.Option(min=1, help="Text tokens after which an answer is cut.")] = 120,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the choice of clips and of the bootstrap.")] = 0,
    device: Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda", help="Where to compute.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier folder of answers.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Ask a trained model about clips that were held out of its training, and score what it says.

    Word and character error rates of transcripts, accuracy of labels, F1 of tags; beside each the score of the most
    common answer. The first wording of each task is asked.

    Needs the extras `train` and `eval`.
    """
    import shlex

    from uniwhisper.asking.answerer import Answerer
    from uniwhisper.cli.output import note, print_json, task_progress
    from uniwhisper.core.files import check_output
    from uniwhisper.data.manifest import Manifest
    from uniwhisper.evaluation.answers.files import RESULT_NAME, write_answers
    from uniwhisper.evaluation.answers.run import AnswersConfig, judge_answers
    from uniwhisper.evaluation.answers.source import describe_model
    from uniwhisper.model.device import choose_device
    from uniwhisper.model.trained import load_trained

    check_output(output, overwrite=overwrite, folder_with=RESULT_NAME)
    manifest = Manifest.read(data)
    place = choose_device(device)
    note(f"device: {place}")
    trained = load_trained(model)
    described = describe_model(model, trained)
    config = AnswersConfig(
        tasks=tuple(tasks) if tasks else None,
        folds=folds,
        most_clips=most_clips or None,
        most_options=most_options,
        most_tokens=most_tokens,
        seed=seed,
    )
    named = "".join(f" --task {shlex.quote(task)}" for task in tasks or ())
    # Without -o and the folder's path: they change nothing.
    command = (
        f"uniwhisper answers --model {shlex.quote(described['name'])} --data {shlex.quote(data.name)}{named} "
        f"--folds {folds} --clips {most_clips} --options {most_options} --most-tokens {most_tokens} --seed {seed}"
    )
    with task_progress() as on_progress:
        judged = judge_answers(
            Answerer(trained, place),
            manifest,
            config,
            model=described,
            command=command,
            on_progress=on_progress,
        )
    path = write_answers(output, judged, overwrite=overwrite)
    if as_json:
        print_json(judged.result | {"path": str(path)})
    else:
        _print(judged.result, path)


def _print(result: dict[str, Any], path: Path) -> None:
    import sys

    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from uniwhisper.evaluation.answers.page import COLUMNS, LEGEND, facts, rows

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(COLUMNS):
        table.add_column(column, justify="left" if number < 2 else "right", no_wrap=number < 2)
    for row in rows(result):
        table.add_row(*row)
    console.print(table)
    for line in [*facts(result), LEGEND]:
        console.print(line)
    print(path)
