"""What the rows that can answer say about held-out clips: asked after they are judged, one column for each seed."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from uniwhisper.asking.answerer import Answerer
from uniwhisper.data.manifest import Manifest
from uniwhisper.evaluation.answers.files import PAGE_NAME, RESULT_NAME, write_answers
from uniwhisper.evaluation.answers.page import MEASURES
from uniwhisper.evaluation.answers.run import AnswersConfig, judge_answers
from uniwhisper.evaluation.answers.source import describe_model
from uniwhisper.evaluation.words import with_interval
from uniwhisper.model.trained import load_trained

ROW = "U"
FOLDER_NAME = "answers"


def answer_row(
    model: str, manifest: Manifest, folds: int, folder: Path, *, most: int, device: torch.device, name: str, seed: int
) -> list[Path]:
    """Ask a row's model and write `folder`/answers; returns the files.

    Args:
        model: a folder that training exported.
        folds: content folds of which the first was held out.
        most: clips of each task that are asked.
        name: what the result calls the model.
        seed: of the row; the clips asked are the same for all.
    """
    config = AnswersConfig(folds=folds, most_clips=most)
    command = f"uniwhisper answers --model MODEL --data DIR --folds {folds} --clips {most} -o DIR"
    trained = load_trained(model)
    described = describe_model(model, trained) | {"name": name, "training_seed": seed}
    judged = judge_answers(Answerer(trained, device), manifest, config, model=described, command=command)
    written = write_answers(folder / FOLDER_NAME, judged, overwrite=True)
    return sorted(written.parent.iterdir())


def read_answered(folders: Sequence[tuple[int, Path]], output: Path) -> list[dict[str, Any]]:
    """A JSON object for each seed that was asked: where its page lies, and its tasks.

    Args:
        folders: (seed, folder of the row).
        output: the chain's folder, which the page's path is relative to.
    """
    found = []
    for seed, folder in folders:
        path = folder / FOLDER_NAME / RESULT_NAME
        if path.is_file():
            page = path.with_name(PAGE_NAME).relative_to(output).as_posix()
            found.append({"seed": seed, "page": page, "tasks": json.loads(path.read_text(encoding="utf-8"))["tasks"]})
    return found


def rows(answered: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Columns, and one row for each task and measure."""
    columns = ["task", "measure", *[f"seed {one['seed']}" for one in answered], "most common", "unreadable", "clips"]
    found = []
    for tasks in zip(*(one["tasks"] for one in answered), strict=True):
        first = tasks[0]
        for number, measure in enumerate(first["scores"]):
            floor = first["most_common"]
            unreadable = " / ".join(str(task["unreadable"]["count"]) for task in tasks)
            found.append(
                [
                    first["task"] if number == 0 else "",
                    MEASURES[measure],
                    *[with_interval(task["scores"][measure]) for task in tasks],
                    f"{floor['scores'][measure]['score']:.3f}" if floor else "–",
                    unreadable if number == 0 else "",
                    f"{first['clips']['asked']:,}" if number == 0 else "",
                ]
            )
    return columns, found


def markdown(answered: Sequence[dict[str, Any]]) -> list[str]:
    """The table, line by line; nothing where nothing was asked."""
    if not answered:
        return []
    columns, body = rows(answered)
    pages = ", ".join(f"[seed {one['seed']}]({one['page']})" for one in answered)
    return [
        "",
        "## Answers",
        "",
        f"What {ROW} answers about clips held out of training ({pages}): decoded greedily, read by each task's parser. "
        "Intervals: 95 %, over speakers (else recordings), then clips. ↓: lower is better.",
        "",
        f"| {' | '.join(columns)} |",
        f"|---|---|{'---:|' * (len(columns) - 2)}",
        *(f"| {' | '.join(row)} |" for row in body),
    ]
