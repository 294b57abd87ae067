"""`uniwhisper finetune`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from uniwhisper.finetuning.run import Finetuned


def finetune(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER-OR-CSV",
            show_default=False,
            help="A folder with a folder of audio per class, or a CSV with the columns path,label and, if wanted, "
            "split (train or test).",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", show_default=False, help="Folder of the classifier.")],
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            metavar="NAME=COLUMN",
            help="What the CSV calls path, label or split: --column path=file. May be repeated.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="MODEL", show_default="the packaged one", help="Folder, OpenAI .pt file or hub id."
        ),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Train the encoder too: slower, needs more data.")] = False,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, show_default="8", help="Of --full, which it needs.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the choices made on the training part.")] = 0,
    device: Annotated[
        str, typer.Option("--device", metavar="auto|cpu|cuda", help="Where to compute; the choice is printed.")
    ] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing classifier.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Make a classifier of your own from labelled audio.

    A fifth of the files is held out, or what the column split says, and the classifier is judged on it: the folder
    gets a confusion matrix as picture and table. `uniwhisper classify` uses the folder.

    Exit status 0: all done. 1: done, some files could not be read. 2: nothing is written.
    """
    from uniwhisper.cli.output import audio_progress, note, print_json
    from uniwhisper.core.errors import UserError
    from uniwhisper.core.files import atomic_output
    from uniwhisper.finetuning.classifier import CLASSIFIER_FILE
    from uniwhisper.finetuning.labels import read_labels

    pairs = [each.partition("=") for each in columns or ()]
    if not all(ours and theirs for ours, _, theirs in pairs):
        raise typer.BadParameter("NAME=COLUMN, for example path=file", param_hint="--column")
    if epochs is not None and not full:
        raise UserError(
            "--epochs are those of training the encoder",
            expected="them with --full",
            got=f"--epochs {epochs} without it: a head on frozen features is solved, in no epochs",
            fix="leave --epochs out, or add --full",
        )
    with atomic_output(output, overwrite=overwrite, folder_with=CLASSIFIER_FILE) as temporary:
        files = read_labels(source, {ours: theirs for ours, _, theirs in pairs})
        for label, count in files.placeholders.items():
            note(
                f"warning: {count:,} files have the label {label!r}, which is taught as a class like any other; if it "
                "means that nothing is known, leave them out"
            )

        from uniwhisper.embedding.device import device_text
        from uniwhisper.finetuning.full import FullConfig
        from uniwhisper.finetuning.run import finetune as run
        from uniwhisper.finetuning.scores import confusion_picture, page
        from uniwhisper.model.device import choose_device

        note(f"device: {device_text(choose_device(device))}")
        with audio_progress("embedding") as embedding, _steps("training") as training:
            bars = {"embedding": embedding, "training": training}
            done = run(
                files,
                model=model,
                full=FullConfig(epochs=epochs or FullConfig.epochs, seed=seed) if full else None,
                seed=seed,
                device=device,
                progress=lambda stage: bars.get(stage, lambda *_: None),
            )
        temporary.mkdir()
        done.classifier.save(temporary)
        (temporary / "confusion.csv").write_text(done.scores.to_csv(), encoding="utf-8")
        (temporary / "confusion.png").write_bytes(confusion_picture(done.scores))
        (temporary / "README.md").write_text(page(done.scores, done.classifier.record["made"]), encoding="utf-8")
    if "warning" in done.classifier.record["made"]:
        note(f"warning: {done.classifier.record['made']['warning']}")
    if as_json:
        print_json({"output": str(output), "classes": done.classifier.classes, **done.classifier.record})
    else:
        _print(done, output)
    if done.failures:
        raise typer.Exit(1)


def _print(done: "Finetuned", output: Path) -> None:
    from uniwhisper.cli.output import print_facts, print_failures

    made, scores = done.classifier.record["made"], done.scores
    if done.failures:
        print_failures(done.failures)
    facts = {
        "classes": str(len(scores.classes)),
        "trained on": f"{made['trained_on']:,} clips, {made['method']}",
        "held out": f"{made['held_out']:,} clips: {scores.accuracy:.1%} right (most common class: "
        f"{scores.most_common:.1%})",
    }
    if "accuracy_frozen" in made:
        facts["frozen"] = f"{made['accuracy_frozen']:.1%} right before the encoder was trained"
    print_facts(facts | {"output": str(output)})


def _steps(label: str):
    """A bar on stderr, shown once there is something to show."""
    from contextlib import contextmanager

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from uniwhisper.cli.output import stderr_console

    @contextmanager
    def bar():
        console = stderr_console()
        columns = (TextColumn(label), BarColumn(bar_width=None), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task(label, total=None, visible=False)
            yield lambda done, total: progress.update(task, completed=done, total=total, visible=True)

    return bar()
