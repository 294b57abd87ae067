"""`uniwhisper data synthesise`: speech and music with exact labels, made by programs."""

from pathlib import Path
from typing import Annotated

import typer


def synthesise(
    kind: Annotated[str, typer.Argument(show_default=False, metavar="speech|music", help="What to make.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", show_default=False, help="Folder of corpora.")
    ],
    hours: Annotated[float, typer.Option("--hours", min=0.001, help="How much.")] = 3.0,
    soundfont: Annotated[
        list[Path] | None,
        typer.Option("--soundfont", metavar="FILE", help="Of music; several play in turn. [default: TimGM6mb]"),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed gives other clips.")] = 0,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Programs at once. [default: cores]")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing corpus of that name.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make the corpus DIR/synthetic_speech or DIR/synthetic_music.

    Speech needs the programs espeak-ng and flite, music fluidsynth and the soundfont TimGM6mb, or others that are
    named; all are packages of Debian and Ubuntu. The words and notes are drawn by this project, so text, notes, key
    and tempo are exact.
    """
    from uniwhisper.cli.output import clip_progress, print_json
    from uniwhisper.core.errors import ManifestError
    from uniwhisper.data.synthetic.music import SOUNDFONT
    from uniwhisper.data.synthetic.synthesise import SPEECH, music_by
    from uniwhisper.data.synthetic.synthesise import synthesise as run

    if kind not in ("speech", "music"):
        raise ManifestError(
            f"cannot synthesise {kind!r}", expected="one of speech, music", got=repr(kind), fix="name one of them"
        )
    if kind == "speech" and soundfont:
        raise ManifestError(
            "speech is not played", expected="no --soundfont", got=str(soundfont[0]), fix="leave out --soundfont"
        )
    made = SPEECH if kind == "speech" else music_by(soundfont or [SOUNDFONT])
    with clip_progress(f"making {kind} (seconds)") as progress:
        report = run(made, output, hours=hours, seed=seed, overwrite=overwrite, workers=workers, progress=progress)
    if as_json:
        print_json(report.as_json())
    else:
        typer.echo(f"{output / report.corpus}  {report.clips:,} clips, {report.hours:.2f} hours")
