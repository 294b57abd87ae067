"""`uniwhisper data text-overlap`: does a language model read what is evaluated on?"""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

_SHOWN = 40


def text_overlap(
    texts: Annotated[Path, typer.Argument(metavar="TEXTS", help="Text file, or folder with .txt files, at any depth.")],
    evaluation: Annotated[Path, typer.Argument(metavar="EVAL", help="Folder of evaluation sets (tars, at any depth).")],
    fields: Annotated[
        list[str] | None,
        typer.Option(
            "--field",
            show_default="text, transcript, transcription, sentence, caption, txt",
            help="Field of a clip's labels with what is said; may be repeated.",
        ),
    ] = None,
    least_words: Annotated[int, typer.Option(min=1, help="Shorter texts are not looked for.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:
    """Find what is said in evaluation sets, word for word, in texts that a language model is to read.

    Case, punctuation and line breaks make no difference. Exit status 0: nothing is found. 1: something is. 2: it could
    not be told.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from uniwhisper.cli.output import print_json, task_progress
    from uniwhisper.core.errors import ManifestError
    from uniwhisper.data.overlap import evaluation_archives
    from uniwhisper.data.text_overlap import FIELDS, find_text_overlap

    files = sorted(texts.rglob("*.txt")) if texts.is_dir() else [texts] * texts.exists()
    if not files:
        got = "none" if texts.is_dir() else "no such file or folder"
        fix = "name what `uniwhisper pretrain-lm` is given"
        raise ManifestError(f"no text in {texts}", expected="a .txt file, or a folder with some", got=got, fix=fix)
    with task_progress() as progress:
        report = find_text_overlap(
            files,
            evaluation_archives(evaluation),
            root=texts if texts.is_dir() else texts.parent,
            fields=fields or FIELDS,
            least_words=least_words,
            progress=partial(progress, "texts"),
        )
    if as_json:
        print_json(report.to_json())
    else:
        console = Console(highlight=False)
        if report.found:
            table = Table("file", "evaluation clips", "text", box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
            for one in report.found[:_SHOWN]:
                more = f" and {len(one.clips) - 1:,} more" if len(one.clips) > 1 else ""
                table.add_row(Text(one.file), Text(one.clips[0] + more), Text(one.text))
            console.print(table)
            if len(report.found) > _SHOWN:
                console.print(f"… and {len(report.found) - _SHOWN:,} more: --json lists all")
        console.print(
            f"{len({one.text for one in report.found}):,} of {report.texts:,} evaluation texts are in {len(files):,} "
            f"files ({report.words_read:,} words); {report.too_short:,} of fewer than {least_words} words are not "
            "looked for."
        )
    if report.found:
        raise typer.Exit(1)
