"""Scores of a retrieval task: sounds mapped to frozen vectors of texts, settings chosen inside the training fold."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from uniwhisper.evaluation import bootstrap
from uniwhisper.evaluation.axes import Axes
from uniwhisper.evaluation.clips import TaskClips
from uniwhisper.evaluation.folds import Fold, Standardiser, inner_split, make_folds
from uniwhisper.evaluation.kept import ScoredTask
from uniwhisper.evaluation.ladder import DOUBLINGS, Choice, Rank, climb, first_rung
from uniwhisper.evaluation.probe import BATCH_CLIPS, HIDDEN, Problem, Setting, Stack, Trainer
from uniwhisper.evaluation.retrieval.captions import Pairs, captions_of
from uniwhisper.evaluation.retrieval.ranks import DIRECTIONS, METRICS, Ranks, of_clips, ranks, score_of_clips
from uniwhisper.evaluation.retrieval.texts import Fit, TextSide
from uniwhisper.evaluation.scoring import PROBE_MEASURES, bootstrap_seed, remarks, rows_of, summary
from uniwhisper.evaluation.selection import INNER_SEED, INNER_SHARE, SEEDS
from uniwhisper.evaluation.vectors import ClipVectors


@dataclass(frozen=True)
class RetrievalSetting:
    setting: Setting
    temperature: float

    def chosen(self, epochs: int) -> dict[str, float]:
        return asdict(self.setting) | {"temperature": self.temperature, "epochs": epochs}


GRID = (
    RetrievalSetting(Setting(3e-3, 0.0, along_axes=True), 0.07),
    RetrievalSetting(Setting(3e-3, 0.0, along_axes=True), 0.03),
    RetrievalSetting(Setting(3e-3, 3.0, along_axes=True), 0.07),
    RetrievalSetting(Setting(3e-3, 0.0), 0.07),
)
RUNGS = 4
LEAST_STEPS = 512
"""Of the ladder's last rung."""
HIDDEN_UNITS = {"linear": 0, "mlp": HIDDEN}
PROTOCOL = {
    "model": "a clip's vector to the vectors of texts by one linear layer, or one hidden layer as of clips; "
    "texts stay as they are; cosine",
    "loss": "cross entropy of cosines / temperature, clip to caption and back",
    "optimiser": f"AdamW, constant learning rate, batches of {BATCH_CLIPS} captions",
    "grid": [asdict(each.setting) | {"temperature": each.temperature} for each in GRID],
    "epochs": {"ladder": [2**rung for rung in range(RUNGS)], "least_steps": LEAST_STEPS, "doublings": DOUBLINGS},
    "chosen_by": "the task's own score on whole groups of the training fold, never scored",
    "score": "recall at 1, mean of both directions; the gallery is the scored fold",
    "seeds": SEEDS,
}


@dataclass(frozen=True, eq=False)
class _Side:
    """What is learned from and what is asked, once standardised and once along the axes, and the vectors of texts."""

    stacks: dict[bool, Stack]
    learned: Pairs
    asked: Pairs
    texts_MK: np.ndarray

    @classmethod
    def of(
        cls, vectors_ND: np.ndarray, pairs: Pairs, fit: Fit, learning: np.ndarray, asking: np.ndarray, device: Any
    ) -> "_Side":
        learned = pairs.among(learning)
        standardise = Standardiser.fit(vectors_ND[learning])
        inputs, queries = standardise(vectors_ND[learning]), standardise(vectors_ND[asking])
        axes = Axes.fit(inputs, device)
        places = np.arange(len(learned.clip_P))
        stacks = {
            along: Stack.of([(given[learned.clip_P], places, asked)], device)
            for along, given, asked in ((False, inputs, queries), (True, axes(inputs), axes(queries)))
        }
        return cls(stacks, learned, pairs.among(asking), fit(learned.text_P))

    def trainer(self, measure: str, setting: RetrievalSetting, seeds: Sequence[int]) -> Trainer:
        stack = self.stacks[setting.setting.along_axes]
        device = stack.reference_FND.device
        loss = partial(
            contrast,
            clip_P=torch.from_numpy(self.learned.clip_P).to(device),
            text_P=torch.from_numpy(self.learned.text_P).to(device),
            texts_MK=torch.from_numpy(self.texts_MK).to(device),
            temperature=setting.temperature,
        )
        return Trainer(
            stack,
            [Problem(0, seed) for seed in seeds],
            setting.setting,
            classes=self.texts_MK.shape[1],
            hidden=HIDDEN_UNITS[measure],
            loss=loss,
            averaging=None,
        )

    def ranks(self, audio_QK: np.ndarray) -> Ranks:
        return ranks(audio_QK, self.texts_MK, self.asked)


def contrast(
    audio_SBK: Tensor, pairs_SB: Tensor, *, clip_P: Tensor, text_P: Tensor, texts_MK: Tensor, temperature: float
) -> Tensor:
    """Symmetric InfoNCE (van den Oord et al. 2018; Radford et al. 2021): the sum over seeds of each one's mean.

    A caption of the same clip or of the same words is right as well: it is no negative.

    Args:
        audio_SBK: float32 outputs, of any length.
        pairs_SB: int64, which pair each is of.
        clip_P, text_P: of all pairs.
        texts_MK: float32 vectors of texts, of unit length.
    """
    clips_SB, texts_SB = clip_P[pairs_SB], text_P[pairs_SB]
    cosine_SBB = F.normalize(audio_SBK, dim=-1) @ texts_MK[texts_SB].transpose(1, 2)
    right_SBB = (clips_SB[:, :, None] == clips_SB[:, None]) | (texts_SB[:, :, None] == texts_SB[:, None])
    also_SBB = right_SBB & ~torch.eye(right_SBB.shape[1], dtype=torch.bool, device=right_SBB.device)
    logits_SBB = (cosine_SBB / temperature).masked_fill(also_SBB, -torch.inf)
    own_SB = logits_SBB.diagonal(dim1=1, dim2=2)
    losses_SB = (logits_SBB.logsumexp(dim=1) + logits_SBB.logsumexp(dim=2)) / 2 - own_SB
    return losses_SB.mean(dim=1).sum()


def score_retrieval(
    found: TaskClips,
    pooled: ClipVectors,
    texts: TextSide,
    *,
    seed: int,
    device: torch.device | str,
    result: dict[str, Any],
) -> ScoredTask:
    """Scores of both probes by every pooling; `result` is the task's entry without them, and is filled.

    Raises:
        SuiteError: a clip's captions cannot be read.
        UserError: nothing can be known of the texts.
    """
    clips = [found.clips[index] for index in pooled.indices]
    pairs = Pairs.of([captions_of(found.task, clip) for clip in clips])
    fit = texts.of(pairs.texts, device)
    folds = make_folds([clip.fold for clip in clips], found.task.folds.scored, found.task.folds.reference)
    split_by = [found.task.split_of(clip.id, clip.group) for clip in clips]
    scored = np.concatenate([fold.scored for fold in folds])
    groups = [clips[clip].group for clip in scored]
    draw_seed = bootstrap_seed(seed, found.task.name)
    draw = partial(
        bootstrap.score_draws,
        weights_RQ=bootstrap.clip_weights(groups, seed=draw_seed),
        folds=[clips[clip].fold for clip in scored],
        seed=draw_seed,
    )
    asked = pairs.among(scored)
    draws: dict[str, dict[str, np.ndarray]] = {}
    arrays = {
        "id": np.array([clips[clip].id for clip in scored]),
        "fold": np.array([clips[clip].fold for clip in scored]),
        "group": np.array(groups),
        "caption": np.array([pairs.texts[text] for text in asked.text_P]),
        "caption_clip": asked.clip_P,
    }
    for pooling, vectors_ND in pooled.vectors.items():
        result["scores"][pooling], draws[pooling] = {}, {}
        given = [_answer(vectors_ND, pairs, fit, fold, split_by, seed, device) for fold in folds]
        for measure in PROBE_MEASURES:
            ranks_SP = {
                direction: np.concatenate([each[measure][1][direction] for each in given], axis=1)
                for direction in DIRECTIONS
            }
            choices = [each[measure][0] for each in given]
            values = of_clips(ranks_SP, asked.clip_P)
            values_SQ = score_of_clips(values)
            each_FS = [values_SQ[:, rows].mean(axis=1).tolist() for rows in rows_of(folds)]
            draws[pooling][measure] = draw(values_SQ)
            result["scores"][pooling][measure] = summary(
                folds, each_FS, draws[pooling][measure], [asdict(choice) for choice in choices]
            ) | {"directions": _directions(values, folds, draw)}
            arrays |= {f"{pooling}/{measure}_{direction}": ranks_SP[direction] for direction in DIRECTIONS}
            result["notes"] += [f"{measure} on {pooling}, {remark}" for remark in remarks(folds, choices)]
    result["clips"]["scored"] = len(scored)
    # The same answer to every question is right once in each direction.
    result["most_common"] = float(np.mean([1 / len(fold.scored) for fold in folds]))
    return ScoredTask(result, arrays, draws)


def _answer(
    vectors_ND: np.ndarray,
    pairs: Pairs,
    fit: Fit,
    fold: Fold,
    split_by: Sequence[str],
    seed: int,
    device: torch.device | str,
) -> dict[str, tuple[Choice, Ranks]]:
    """By measure: what was chosen, and the ranks of the scored pairs, int32 (seeds, P)."""
    groups = [split_by[clip] for clip in fold.reference]
    labels = np.zeros(len(fold.reference), dtype=np.int64)
    fitting, choosing = (
        fold.reference[part] for part in inner_split(labels, groups, share=INNER_SHARE, seed=INNER_SEED)
    )
    inner = _Side.of(vectors_ND, pairs, fit, fitting, choosing, device) if len(choosing) else None
    outer = _Side.of(vectors_ND, pairs, fit, fold.reference, fold.scored, device)
    answers = {}
    for measure in PROBE_MEASURES:
        choice, setting = _choose(measure, inner, outer)
        trainer = outer.trainer(measure, setting, range(seed, seed + SEEDS))
        trainer.train(int(choice.chosen["epochs"]))
        each = [outer.ranks(audio_QK) for audio_QK in trainer.ask()]
        answers[measure] = choice, {direction: np.stack([one[direction] for one in each]) for direction in DIRECTIONS}
    return answers


def _choose(measure: str, inner: _Side | None, outer: _Side) -> tuple[Choice, RetrievalSetting]:
    """Settings of the highest score on held-out groups; among equals that of the higher mean average precision."""
    unit = first_rung(LEAST_STEPS, (inner or outer).stacks[False].steps_per_epoch, RUNGS)
    if inner is None:
        return Choice(GRID[0].chosen(unit * 2 ** (RUNGS - 2)), {"epochs": [], "inner": []}, 0, False), GRID[0]

    def rank(_: int, audio_QK: np.ndarray) -> Rank:
        of_pairs = {direction: each[None] for direction, each in inner.ranks(audio_QK).items()}
        values = of_clips(of_pairs, inner.asked.clip_P)
        precision = np.mean([values[direction]["map_at_10"].mean() for direction in DIRECTIONS])
        return float(score_of_clips(values).mean()), float(precision)

    trainers = [inner.trainer(measure, setting, [INNER_SEED]) for setting in GRID]
    clips = int(inner.asked.clip_P[-1]) + 1
    (climbed,) = climb(trainers, [clips], rank, unit=unit, rungs=RUNGS)
    setting = GRID[climbed.trainer]
    return climbed.choice(setting.chosen(climbed.epochs), unit), setting


def _directions(values: dict[str, dict[str, np.ndarray]], folds: Sequence[Fold], draw: Any) -> dict[str, Any]:
    """Each metric of each direction with its interval, as JSON."""
    found: dict[str, Any] = {}
    for direction in DIRECTIONS:
        found[direction] = {}
        for metric in METRICS:
            values_SQ = values[direction][metric]
            low, high = bootstrap.interval(draw(values_SQ))
            score = np.mean([values_SQ[:, rows].mean() for rows in rows_of(folds)])
            found[direction][metric] = {"score": float(score), "low": low, "high": high}
    return found
