"""`uniwhisper classify`."""

from pathlib import Path
from typing import Annotated, TextIO

import typer


def classify(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="FILES-OR-FOLDERS", show_default=False, help="Audio files, or folders to search."),
    ],
    classifier: Annotated[
        Path, typer.Option("--classifier", metavar="DIR", show_default=False, help="Folder that finetune wrote.")
    ],
    top: Annotated[int, typer.Option("--top", min=1, help="Classes to show of each file.")] = 1,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="CSV to write: path, label, and each class's probability."),
    ] = None,
    device: Annotated[
        str, typer.Option("--device", metavar="auto|cpu|cuda", help="Where to compute; the choice is printed.")
    ] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say which class each file belongs to, and how sure that is.

    Exit status 0: all done. 1: some files failed, the rest is there. 2: no file could be classified.
    """
    from uniwhisper.audio.find import audio_paths_and_missing
    from uniwhisper.cli.output import (
        audio_progress,
        check_ending,
        note,
        note_repeats,
        one_line,
        print_failures,
        print_json,
    )
    from uniwhisper.core.files import atomic_output, check_apart, check_output

    if output is not None:
        check_ending(output, ".csv", "any program that takes tables reads it")
        check_output(output, overwrite=overwrite)
    repeats: list[str] = []
    files = audio_paths_and_missing(sources, repeats.append)
    note_repeats(repeats, "classified")
    if output is not None:
        check_apart(output, files)

    from uniwhisper.embedding.decode import Inputs
    from uniwhisper.embedding.device import device_text
    from uniwhisper.embedding.workers import worker_count
    from uniwhisper.finetuning.classifier import Classifier

    loaded = Classifier.load(classifier, device=device)
    note(f"device: {device_text(loaded.embedder.device)}")
    count = worker_count(files, loaded.embedder.device.type)
    with Inputs(files, skip=True, workers=count) as inputs, audio_progress("classifying") as progress:
        done = loaded.classify_inputs(inputs, progress=progress)
        failures = list(inputs.failures)
    # Before anything is printed: `| head` closes the pipe, and the table would be lost with it.
    if output is not None and done.names:
        with (
            atomic_output(output, overwrite=overwrite) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            _write_row(file, ["path", "label", *done.classes])
            for name, label, row in zip(done.names, done.labels, done.probabilities, strict=True):
                _write_row(file, [name, label, *(f"{value:.6f}" for value in row)])
    if failures:
        print_failures(failures)
    best_NC = (-done.probabilities).argsort(axis=1, kind="stable")[:, :top]
    if as_json:
        rows = [
            {"path": name, "label": done.classes[best[0]], "top": {done.classes[c]: float(row[c]) for c in best}}
            for name, row, best in zip(done.names, done.probabilities, best_NC, strict=True)
        ]
        failed = [{"path": failure.name, "reason": failure.reason} for failure in failures]
        print_json({"classifier": str(classifier), "files": rows, "failed": failed})
    else:
        for name, row, best in zip(done.names, done.probabilities, best_NC, strict=True):
            print("\t".join(map(one_line, [name, *(f"{done.classes[c]} {row[c]:.2f}" for c in best)])))
    if failures:
        raise typer.Exit(1 if done.names else 2)


def _write_row(file: TextIO, cells: list[str]) -> None:
    import csv

    # A carriage return alone is left without quotes, and is the end of a row to whoever reads it.
    quoting = csv.QUOTE_ALL if any("\r" in cell for cell in cells) else csv.QUOTE_MINIMAL
    csv.writer(file, lineterminator="\n", quoting=quoting).writerow(cells)
