"""Ask, read, score: one result of a model on a manifest's held-out clips."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from uniwhisper.asking.answerer import Answerer
from uniwhisper.core.provenance import provenance
from uniwhisper.core.units import WINDOW_SAMPLES
from uniwhisper.data.answer_formats import format_answer
from uniwhisper.data.decoded import EncodedReader
from uniwhisper.data.held_out import HeldOutTask, held_out_tasks
from uniwhisper.data.manifest import Manifest
from uniwhisper.evaluation.answers.scores import as_json, read_answer, score_answers, score_ranked
from uniwhisper.evaluation.bootstrap import clip_weights

FORMAT, VERSION = "uniwhisper-answers", 1
Progress = Callable[[str, int, int], None]
"""(task, clips done, clips in all)."""


@dataclass(frozen=True, kw_only=True)
class AnswersConfig:
    """What is asked, and of how many clips."""

    tasks: tuple[str, ...] | None = None
    """None: all that a held-out clip can answer."""
    folds: int = 20
    """Content folds, of which the first is held out; 1: every clip is."""
    most_clips: int | None = 200
    """Of each task; None: all."""
    most_options: int = 100
    """Tasks with at most so many possible answers are also answered by ranking them; 0: none is."""
    most_tokens: int = 120
    """Text tokens after which an answer is cut."""
    seed: int = 0
    """Of the choice of clips and of the bootstrap."""


@dataclass(frozen=True)
class JudgedAnswers:
    """A result, and every answer behind it."""

    result: dict[str, Any]
    answers: list[dict[str, Any]]
    """One JSON object for each clip and task."""


def judge_answers(
    answerer: Answerer,
    manifest: Manifest,
    config: AnswersConfig,
    *,
    model: dict[str, Any],
    command: str,
    on_progress: Progress | None = None,
) -> JudgedAnswers:
    """Ask a model about held-out clips of a manifest, and score what it says.

    Args:
        answerer: what is asked.
        model: what the result says of the model.
        command: what to type to get the result again.

    Raises:
        ManifestError: nothing can be asked, or the audio is not what it was.
        MissingExtraError: jiwer is not installed.
    """
    asked = held_out_tasks(manifest, config.tasks, folds=config.folds, most=config.most_clips, seed=config.seed)
    tasks, answers = [], []
    for one in asked:
        said, cut, ranked = _ask(answerer, manifest, one, config, on_progress)
        tasks.append(_scored(one, said, cut, ranked, config.seed))
        answers += [_answer(one, place, said, cut, ranked) for place in range(len(one.clips))]
    result = {
        "format": FORMAT,
        "format_version": VERSION,
        "model": model,
        "manifest": manifest.hash,
        "config": asdict(config),
        "command": command,
        "provenance": provenance(),
        "tasks": tasks,
    }
    return JudgedAnswers(result, answers)


def _ask(
    answerer: Answerer, manifest: Manifest, asked: HeldOutTask, config: AnswersConfig, on_progress: Progress | None
) -> tuple[list[str], list[bool], list[str] | None]:
    """For each clip the answer in words, whether it was cut, and the likeliest option; None: options are not ranked."""
    reader = EncodedReader(manifest)
    rank = 1 < len(asked.options) <= config.most_options
    said, cut, ranked = [], [], []
    for clip in asked.clips:
        wave_S = reader.read(clip.record)[:WINDOW_SAMPLES]
        saying = answerer.ask(wave_S, asked.instruction, most_tokens=config.most_tokens)
        said.append("".join(saying))
        cut.append(saying.cut)
        if rank:
            ranked.append(answerer.score(wave_S, asked.instruction, asked.options)[0].answer)
        if on_progress is not None:
            on_progress(asked.task.name, len(said), len(asked.clips))
    return said, cut, ranked if rank else None


def _scored(
    asked: HeldOutTask, said: Sequence[str], cut: Sequence[bool], ranked: Sequence[str] | None, seed: int
) -> dict[str, Any]:
    weights_RQ = clip_weights([clip.group for clip in asked.clips], seed=seed)
    ids = [clip.record.id for clip in asked.clips]
    unreadable = [name for name, text in zip(ids, said, strict=True) if read_answer(asked, text) is None]
    cut_off = [name for name, was_cut in zip(ids, cut, strict=True) if was_cut]
    floor = None
    if asked.most_common is not None:
        constant = [asked.most_common] * len(asked.clips)
        floor = {"answer": asked.most_common, "scores": as_json(score_answers(asked, constant, weights_RQ))}
    likeliest = None
    if ranked is not None:
        likeliest = asdict(score_ranked(asked, ranked, weights_RQ))
    return {
        "task": asked.task.name,
        "kind": asked.task.answer,
        "instruction": asked.instruction,
        "clips": {
            "asked": len(asked.clips),
            "held_out": asked.available,
            "too_long": asked.too_long,
            "groups": len({clip.group for clip in asked.clips}),
        },
        "options": len(asked.options) or None,
        "scores": as_json(score_answers(asked, said, weights_RQ)),
        "corpora": _by_corpus(asked, said),
        "most_common": floor,
        "ranked": likeliest,
        "unreadable": {"count": len(unreadable), "clips": unreadable},
        "cut": {"count": len(cut_off), "clips": cut_off},
    }


def _by_corpus(asked: HeldOutTask, said: Sequence[str]) -> dict[str, Any]:
    """Corpus -> its clips, and measure -> score on them alone."""
    places: dict[str, list[int]] = {}
    for place, clip in enumerate(asked.clips):
        places.setdefault(clip.record.corpus, []).append(place)
    found = {}
    for corpus, inside in places.items():
        part = replace(asked, clips=tuple(asked.clips[place] for place in inside))
        measures = score_answers(part, [said[place] for place in inside], np.ones((1, len(inside))))
        found[corpus] = {"clips": len(inside), "scores": {name: one.score for name, one in measures.items()}}
    return found


def _answer(
    asked: HeldOutTask, place: int, said: Sequence[str], cut: Sequence[bool], ranked: Sequence[str] | None
) -> dict[str, Any]:
    clip = asked.clips[place]
    return {
        "clip": clip.record.id,
        "task": asked.task.name,
        "expected": format_answer(asked.task, clip.value),
        "said": said[place],
        "readable": read_answer(asked, said[place]) is not None,
        "cut": cut[place],
        "ranked": None if ranked is None else ranked[place],
    }
