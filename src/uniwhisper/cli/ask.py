"""`uniwhisper ask`, `uniwhisper transcribe` and `uniwhisper tag`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import numpy as np

    from uniwhisper.asking.answerer import Answerer, Score

Clip = Annotated[Path, typer.Argument(metavar="CLIP", show_default=False, help="An audio file.")]
Model = Annotated[
    str | None,
    typer.Option("--model", metavar="FOLDER", show_default="the packaged one", help="Folder of a trained model."),
]
Device = Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda", help="Where to compute.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object at the end instead of streaming.")]


def ask(
    clip: Clip,
    question: Annotated[str, typer.Argument(metavar="QUESTION", show_default=False, help="What to ask about it.")],
    score: Annotated[
        list[str] | None,
        typer.Option(
            "--score",
            metavar="ANSWER",
            show_default=False,
            help="Rank this answer among others; may be repeated.",
        ),
    ] = None,
    most_tokens: Annotated[int, typer.Option(min=1, help="Text tokens after which an answer is cut.")] = 200,
    model: Model = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Ask a trained model about a recording; the answer appears as it is made.

    The questions it was trained on are in docs/tasks.md. A recording longer than 30 s is answered window by window.

    Needs the extra `train`.
    """
    _run(clip, question, score, most_tokens, model, device, as_json)


def transcribe(
    clip: Clip,
    most_tokens: Annotated[int, typer.Option(min=1, help="Text tokens after which a window's text is cut.")] = 200,
    model: Model = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Write down what is said: `ask` with the instruction filled in.

    Needs the extra `train`.
    """
    _run(clip, _instruction("transcription"), None, most_tokens, model, device, as_json)


def tag(
    clip: Clip,
    score: Annotated[
        list[str] | None,
        typer.Option("--score", metavar="TAG", show_default=False, help="Rank this tag among others; may be repeated."),
    ] = None,
    model: Model = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Name the kind of sound: `ask` with the instruction filled in.

    Needs the extra `train`.
    """
    _run(clip, _instruction("sound_tag"), score, 60, model, device, as_json)


def _instruction(task: str) -> str:
    from uniwhisper.data.tasks import all_tasks

    return all_tasks()[task].wordings[0]


def _run(
    clip: Path, question: str, answers: list[str] | None, most: int, model: str | None, device: str, as_json: bool
) -> None:
    from uniwhisper.asking.answerer import Answerer
    from uniwhisper.audio.load import read_windows
    from uniwhisper.cli.output import print_json
    from uniwhisper.core.errors import AnswerError
    from uniwhisper.core.units import WINDOW_SECONDS
    from uniwhisper.model.device import choose_device
    from uniwhisper.model.trained import load_trained

    if not question.strip():
        raise AnswerError(
            "no question", expected="words", got=repr(question), fix='for example "What kind of sound is this?"'
        )
    windows = enumerate(read_windows(clip))
    first = next(windows)  # a file that is no audio is told before the model is loaded
    answerer = Answerer(load_trained(model), choose_device(device))
    found: list[dict[str, Any]] = []
    for number, wave_S in _chain(first, windows):
        start = number * WINDOW_SECONDS
        found.append({"start_seconds": start, **_answer(answerer, wave_S, question, answers, most, as_json, start)})
    if as_json:
        print_json({"clip": str(clip), "question": question, "windows": found})


def _answer(
    answerer: "Answerer",
    wave_S: "np.ndarray",
    question: str,
    answers: list[str] | None,
    most: int,
    quiet: bool,
    start: int,
) -> dict[str, Any]:
    """What the JSON says of one window; printed as it comes unless `quiet`."""
    from uniwhisper.cli.output import duration, note

    if start and not quiet:
        typer.echo(f"[{duration(start)}]")
    if answers:
        scores = answerer.score(wave_S, question, answers)
        if not quiet:
            _print_scores(scores)
        return {"scores": [{"answer": s.answer, "log_likelihood": s.log_likelihood, "share": s.share} for s in scores]}
    pieces = []
    saying = answerer.ask(wave_S, question, most_tokens=most)
    for piece in saying:
        pieces.append(piece)
        if not quiet:
            typer.echo(piece, nl=False)
    if not quiet:
        typer.echo()
    if saying.cut:
        note(f"the answer to the window at {duration(start)} is cut off after {most} text tokens")
    elif not "".join(pieces).strip():
        note(f"the model answers the window at {duration(start)} with nothing; --score ANSWER ranks given answers")
    return {"answer": "".join(pieces), "cut": saying.cut}


def _print_scores(scores: "list[Score]") -> None:
    width = max(len(score.answer) for score in scores)
    for score in scores:
        typer.echo(f"{score.answer:<{width}}  {score.share:6.1%}  {score.log_likelihood:9.2f} nats")


def _chain(first: tuple[int, Any], rest: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    yield first
    yield from rest
