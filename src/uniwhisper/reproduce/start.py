"""Where S is taken: one of the models that its run kept, chosen on speech that is held out of the training sets.

The choice is by the mean, over the development suite's speech tasks, of kNN and the linear probe: the latest model that
is not shown to be below the highest, by the paired bootstrap over speakers and clips. Training ends early only where
there is evidence that it should. The held-out loss of S's own objective is written beside it and decides nothing: it
rises as soon as the decoder knows its transcripts by heart, while the encoder's vectors still get better. Evaluation
sets are never asked.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from uniwhisper.core.errors import RecipeError
from uniwhisper.data.manifest import Manifest
from uniwhisper.evaluation.bootstrap import interval
from uniwhisper.evaluation.cache import VectorCache
from uniwhisper.evaluation.clips import TaskClips, find_clips, present
from uniwhisper.evaluation.encoders import open_encoder
from uniwhisper.evaluation.pooling import FRAME_POOLINGS
from uniwhisper.evaluation.runner import check_folds, of_clips
from uniwhisper.evaluation.scoring import score_task
from uniwhisper.evaluation.suites import Suite, SuiteError, load_suite
from uniwhisper.evaluation.trained_on import require_unheard
from uniwhisper.evaluation.vectors import Vectors
from uniwhisper.reproduce.scale import Scale
from uniwhisper.reproduce.state import read_row
from uniwhisper.training.record import read_metrics
from uniwhisper.training.run_folder import kept_model

DOMAIN = "speech"
MEASURES = ("knn", "linear")
"""One without training and one with; both cheap."""
POOLING = FRAME_POOLINGS[0]


def require_development(scale: Scale, folder: Path | None, manifest: Manifest) -> None:
    """Check that the development suite asks about what training holds out, and that its data is there.

    Args:
        folder: holds the suite's tasks.

    Raises:
        RecipeError: no folder; or other folds than those held out.
        SuiteError: data is missing, or is trained on in other files.
    """
    suite = load_suite(scale.development)
    if folder is None:
        raise RecipeError(
            "the training sets are not in a folder here",
            expected=f"the folder with the tasks of suite {suite.name}, which chooses S and is asked by the gate",
            got="none",
            fix="--development DIR",
        )
    folds = scale.data.holdout_folds
    for task in suite.tasks:
        got = (task.folds.by, len(task.folds.names), task.folds.scored)
        if got != ("content", folds, ("0",)):
            raise RecipeError(
                f"task {task.name} of suite {suite.name} scores what is trained on",
                expected=f"content fold 0 of {folds}, which training holds out",
                got=f"fold {', '.join(task.folds.scored)} of {len(task.folds.names)} by {task.folds.by}",
                fix="use a development suite cut like the shipped one, dev",
            )
    require_unheard(suite.tasks, manifest.counts)  # a corpus all of whose clips were left out is described all the same
    for task in suite.tasks:
        if (found := present(task, folder)).startswith("missing"):
            raise SuiteError(
                f"task {task.name} of suite {suite.name} {found}",
                expected=f"WebDataset tars in {folder / task.folder}",
                got="none",
                fix=f"{task.download or 'unpack it there'}, then prepare again; or --development DIR",
            )
        find_clips(task, folder)


def choose_start(
    run: Path, steps: Sequence[int], suite: Suite, data: Path, *, cache: VectorCache, device: torch.device
) -> dict[str, Any]:
    """The step at which S is taken, and all that was looked at, as a JSON object.

    Args:
        run: S's run folder, with a model kept at each of `steps`.
        suite, data: the development suite and the folder of its tasks.

    Raises:
        SuiteError: data is missing.
        RecipeError: the suite has no speech task of clips.
    """
    tasks = [task for task in suite.tasks if task.domain == DOMAIN and task.kind == "clip"]
    if not tasks:
        raise RecipeError(
            f"suite {suite.name} cannot choose S", expected="a task of clips in the domain speech", got="none",
            fix="use another development suite",
        )  # fmt: skip
    found = [find_clips(task, data) for task in tasks]
    losses = {
        line["step"]: line["held_out_loss_by_domain"].get(DOMAIN)
        for line in read_metrics(run)
        if "held_out_loss_by_domain" in line
    }
    candidates, draws = [], []
    for step in steps:
        judged = {each.task.name: _judged(kept_model(run, step), each, cache, device) for each in found}
        scores = {task: {measure: score for measure, (score, _) in one.items()} for task, one in judged.items()}
        mean = float(np.mean([score for by_measure in scores.values() for score in by_measure.values()]))
        candidates.append({"step": step, "mean": mean, "scores": scores, "held_out_loss": losses.get(step)})
        draws.append(np.mean([drawn for one in judged.values() for _, drawn in one.values()], axis=0))
    highest = draws[max(range(len(candidates)), key=lambda place: candidates[place]["mean"])]
    for one, drawn in zip(candidates, draws, strict=True):
        one["minus_highest"] = list(interval(drawn - highest))
    return {
        "step": max(one["step"] for one in candidates if one["minus_highest"][1] >= 0),
        "suite": {"name": suite.name, "hash": suite.hash},
        "data": {each.task.name: each.hash for each in found},
        "measures": list(MEASURES),
        "candidates": candidates,
    }


def _judged(
    model: Path, found: TaskClips, cache: VectorCache, device: torch.device
) -> dict[str, tuple[float, np.ndarray]]:
    """By measure the score of a task and its resampled scores, whose draws are the same for every model."""
    vectors = Vectors(open_encoder(str(model), device=device.type).encoder, cache)
    pooled = vectors.of(found)
    check_folds(found, pooled)
    given = score_task(
        vectors={POOLING: pooled.vectors[POOLING]}, **of_clips(found, pooled), measures=MEASURES, seed=0, device=device
    )
    return {measure: (given.scores[POOLING][measure]["score"], given.draws[POOLING][measure]) for measure in MEASURES}


def read_choices(folders: Sequence[tuple[int, Path]], steps: int) -> list[dict[str, Any]]:
    """What `choose_start` gave for each seed, with its `seed` and the `steps` of the whole run.

    Args:
        folders: (seed, folder of S).
        steps: of S's run.

    Raises:
        OutputError: what is written about a seed is damaged.
    """
    states = [(seed, read_row(folder)) for seed, folder in folders]
    return [{"seed": seed, "steps": steps} | state["chosen"]["choice"] for seed, state in states if "chosen" in state]


def markdown(choices: Sequence[dict[str, Any]]) -> list[str]:
    """The curve of each seed, line by line; nothing where S was not trained.

    Args:
        choices: of `read_choices`.
    """
    if not choices:
        return []
    suite, run = choices[0]["suite"]["name"], choices[0]["steps"]
    lines = [
        "",
        "## Where S is taken",
        "",
        f"S's run takes {run:,} steps and keeps {len(choices[0]['candidates'])} models. They are judged by the "
        f"mean of kNN and linear probe over the speech tasks of suite `{suite}`, held out of the training sets; the "
        "evaluation sets are not asked. S is the latest whose interval, minus the highest, reaches 0; where none is "
        "given, the highest. The loss is that of S's own objective on held-out speech, in nats a token, and "
        "decides nothing. Whatever starts from S starts from that model; rows that count their steps with S's count "
        "the steps after which it was taken.",
        "",
        "| seed | step | mean | minus the highest | kNN | linear | held-out loss | |",
        "|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for choice in choices:
        for one in choice["candidates"]:
            knn, linear = (np.mean([scores[measure] for scores in one["scores"].values()]) for measure in MEASURES)
            loss = "–" if one["held_out_loss"] is None else f"{one['held_out_loss']:.3f}"
            level = "[{:+.3f}, {:+.3f}]".format(*one["minus_highest"]) if "minus_highest" in one else "–"
            taken = "**S**" if one["step"] == choice["step"] else ""
            lines.append(
                f"| {choice['seed']} | {one['step']:,} | {one['mean']:.3f} | {level} | {knn:.3f} | {linear:.3f} | "
                f"{loss} | {taken} |"
            )
    return lines
