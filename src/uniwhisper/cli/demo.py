"""`uniwhisper demo`."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    audio: Annotated[
        Path | None,
        typer.Option("--audio", metavar="FOLDER", show_default="synthetic sounds", help="Your own recordings."),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where the page goes.")] = Path(
        "runs/demo"
    ),
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="MODEL", show_default="the packaged one", help="Model folder to start from."),
    ] = None,
) -> None:
    """Show the whole path on synthetic sounds, or what lies near what in a folder of yours.

    Without --audio: synthesise, prepare, train briefly, embed, judge, report; about two minutes on two cores.
    With --audio: embed the folder; each file's nearest neighbours and a map. Nothing is trained.

    Exit status 0: all done. 1: some of your files failed; the page names them. 2: no page was written.
    """
    from uniwhisper.cli.output import audio_progress, note, stderr_console

    if audio is None:
        from dataclasses import replace

        from uniwhisper.demo.run import run_demo
        from uniwhisper.recipes.demo import demo as recipe_of_demo

        recipe = recipe_of_demo()
        if model is not None:
            recipe = replace(recipe, model=replace(recipe.model, start=model))
        typer.echo(run_demo(output, recipe, say=note, console=stderr_console()))
        return
    from uniwhisper.demo.folder import run_folder

    with audio_progress("embedding") as progress:
        path, failures = run_folder(audio, output, model=model, say=note, progress=progress)
    typer.echo(path)
    if failures:
        note(f"{failures} files could not be read; the page says why")
        raise typer.Exit(1)
