"""A head and a loss for each task on one encoder: the multi-task training that UniWhisper does without.

    one of a list of labels   linear on the clip's vector, cross-entropy
    several of a list         linear on the clip's vector, binary cross-entropy of each label, summed
    text in order             linear on frames, CTC (Graves et al., 2006) over text tokens
    a caption                 as several of a list: which text tokens occur

A row of text is here the task's number, then the numbers of its targets. Tasks about several clips, and those whose
answer holds times, have no head.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uniwhisper.baselines.encoder_folder import start_encoder, write_encoder_folder
from uniwhisper.data.answer_formats import format_answer
from uniwhisper.data.answers import note_name
from uniwhisper.data.instructions import Question, answers
from uniwhisper.data.manifest import Manifest
from uniwhisper.data.tasks import Task, all_tasks
from uniwhisper.data.tokens import TextForm, TextTokens, Tokenizer
from uniwhisper.model.encoder import WhisperEncoder
from uniwhisper.model.pooling import masked_mean
from uniwhisper.model.standard import RunningStandard
from uniwhisper.model.uniwhisper import AnswerLosses
from uniwhisper.training.calibration import standard_folded
from uniwhisper.training.recipe import Recipe

Kind = Literal["one", "several", "text"]
_KINDS: Mapping[str, Kind] = {"label": "one", "key": "one", "note": "one", "number": "one", "labels": "several"}
_MIDI_NOTES = 128


@dataclass(frozen=True)
class Head:
    """What a task's head predicts."""

    task: str
    kind: Kind
    labels: tuple[str, ...] | None
    """None: the text tokens."""


def heads_of(manifest: Manifest) -> tuple[Head, ...]:
    """A head for each task that a corpus can answer and that has one, in the order of the table of tasks."""
    found: dict[str, set[str]] = {}
    for record in manifest.records:
        for name, value in answers(manifest, record).items():
            task = all_tasks()[name]
            said = value if task.answer == "labels" and isinstance(value, tuple) else (format_answer(task, value),)
            found.setdefault(name, set()).update(map(str, said))
    made = (_head(task, found.get(task.name)) for task in all_tasks().values())
    return tuple(head for head in made if head is not None)


def _head(task: Task, said: set[str] | None) -> Head | None:
    if said is None or task.made is not None:
        return None
    if task.answer == "text":
        return Head(task.name, "text" if task.name == "transcription" else "several", None)
    if task.answer not in _KINDS:
        return None
    # Playing a clip faster moves its note to one that no clip may have.
    labels = [note_name(number) for number in range(_MIDI_NOTES)] if task.answer == "note" else sorted(said)
    return Head(task.name, _KINDS[task.answer], tuple(labels))


@dataclass(frozen=True)
class HeadTargets:
    """Questions as numbers: the head, then the targets."""

    heads: tuple[Head, ...]
    tokenizer: Tokenizer

    def rows(self, questions: Sequence[Question]) -> list[tuple[str, TextTokens]]:
        """As `TextForm`; questions about tasks with a head only."""
        number = {head.task: place for place, head in enumerate(self.heads)}
        rows = []
        for question in questions:
            head = self.heads[number[question.task]]
            if head.labels is None:
                targets = self.tokenizer.encode(question.answer, add_special_tokens=False)
            else:
                said = question.value if head.kind == "several" else (question.answer,)
                targets = [head.labels.index(str(label)) for label in said]
            row = TextTokens([number[question.task], *targets], [False] + [True] * len(targets))
            rows.append((question.task, row))
        return rows


class Heads(nn.Module):
    """A linear layer for each task, on what they all read."""

    def __init__(self, width: int, sizes: Sequence[int], *, unit_means: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, size) for size in sizes)
        self.standard = RunningStandard(width) if unit_means else None

    def read(self, frames_BTD: Tensor, frame_counts_B: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, T, D) and clips' vectors (B, D) as the layers read them.

        Args:
            frames_BTD: encoder frames.
            frame_counts_B: int64, real frames of each clip.
        """
        vectors_BD = masked_mean(frames_BTD, frame_counts_B)
        if self.standard is None:
            return frames_BTD, vectors_BD
        return self.standard(frames_BTD), self.standard.directions(vectors_BD, counted=self.training)


class MultiHead(nn.Module):
    """Encoder and heads, both trained.

    With `unit_means` the heads hear of a clip what the language model of U does: its frames standardised by what means
    of clips were like so far, and their mean as a direction.
    """

    TRAINED = ("encoder", "heads")

    def __init__(
        self, encoder: WhisperEncoder, heads: Sequence[Head], text_tokens: int, *, unit_means: bool = False
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.kinds = [head.kind for head in heads]
        # CTC's blank is the last.
        sizes = [text_tokens if h.labels is None else len(h.labels) for h in heads]
        sizes = [size + (kind == "text") for size, kind in zip(sizes, self.kinds, strict=True)]
        self.heads = Heads(encoder.config.width, sizes, unit_means=unit_means)

    def forward(
        self,
        mel_BMF: Tensor,
        mel_counts_B: Tensor,
        clip_R: Tensor,
        tokens_RL: Tensor,
        token_counts_R: Tensor,
        loss_mask_RL: Tensor,  # noqa: ARG002 (all but the first)
    ) -> AnswerLosses:
        """Each row's loss by its own head; CTC's counts as many tokens as it has, the others' as one.

        Args:
            mel_BMF, mel_counts_B, clip_R, tokens_RL, token_counts_R, loss_mask_RL: as `UniWhisper.forward`, the rows as
                `HeadTargets` makes them.
        """
        frames_BTD, frame_counts_B = self.encoder(mel_BMF, mel_counts_B)
        frames_BTD, vectors_BD = self.heads.read(frames_BTD, frame_counts_B)
        device = frames_BTD.device
        head_R, targets_RL = tokens_RL[:, 0], tokens_RL[:, 1:].to(device)
        target_counts_R = token_counts_R - 1
        sums_R = torch.zeros(len(tokens_RL), device=device)
        counts_R = torch.ones(len(tokens_RL), dtype=torch.int64)
        for number in head_R.unique().tolist():
            rows_N = (head_R == number).nonzero().squeeze(1)
            on_N = rows_N.to(device)
            clips_N, counts_N = clip_R[rows_N].to(device), target_counts_R[rows_N]
            kind, head = self.kinds[number], self.heads.layers[number]
            if kind == "text":
                logits_NTV = head(frames_BTD[clips_N]).float()
                losses_N = ctc(logits_NTV, frame_counts_B[clips_N], targets_RL[on_N], counts_N)
                counts_R[rows_N] = counts_N.clamp(min=1)
            elif kind == "one":
                losses_N = F.cross_entropy(head(vectors_BD[clips_N]).float(), targets_RL[on_N, 0], reduction="none")
            else:
                losses_N = several(head(vectors_BD[clips_N]).float(), targets_RL[on_N], counts_N.to(device))
            sums_R = sums_R.index_add(0, on_N, losses_N.float())
        return AnswerLosses(sums_R=sums_R, token_counts_R=counts_R.to(device))


def ctc(logits_NTV: Tensor, frame_counts_N: Tensor, targets_NL: Tensor, target_counts_N: Tensor) -> Tensor:
    """Nats (N,) of each text; 0 for a text that does not fit into its frames.

    Args:
        logits_NTV: float32, of text tokens and, last, the blank.
        frame_counts_N: int64, real frames.
        targets_NL: int64, padded on the right.
        target_counts_N: int64, real targets.
    """
    log_likelihoods_TNV = logits_NTV.log_softmax(dim=2).transpose(0, 1)
    blank = logits_NTV.shape[2] - 1
    counts = (frame_counts_N.cpu(), target_counts_N.cpu())
    return F.ctc_loss(
        log_likelihoods_TNV, targets_NL, *counts, blank=blank, reduction="none", zero_infinity=True
    )  # fmt: skip


def several(logits_NC: Tensor, targets_NL: Tensor, target_counts_N: Tensor) -> Tensor:
    """Nats (N,): binary cross-entropy of every label, summed.

    Args:
        logits_NC: float32.
        targets_NL: int64, the labels that are right, padded on the right.
        target_counts_N: int64, real targets.
    """
    real_NL = torch.arange(targets_NL.shape[1], device=targets_NL.device) < target_counts_N[:, None]
    right_NC = torch.zeros_like(logits_NC)
    row_M, place_M = real_NL.nonzero(as_tuple=True)
    right_NC[row_M, targets_NL[row_M, place_M]] = 1
    return F.binary_cross_entropy_with_logits(logits_NC, right_NC, reduction="none").sum(dim=1)


@dataclass(frozen=True)
class MultiHeadLearner:
    """Trains `MultiHead`. Questions must be about the heads' tasks."""

    heads: tuple[Head, ...]
    tokenizer: Tokenizer
    text_tokens: int
    """Entries of the tokenizer."""
    unit_means: bool = False

    def describe(self) -> dict[str, Any]:
        """As `Learner`."""
        heads = [[head.task, head.kind, head.labels] for head in self.heads]
        return {"name": "multi-head", "heads": heads} | ({"unit_means": True} if self.unit_means else {})

    def build(self, recipe: Recipe, device: torch.device) -> MultiHead:
        """As `Learner`."""
        encoder = start_encoder(recipe)
        with torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed(recipe.seed)
            model = MultiHead(encoder, self.heads, self.text_tokens, unit_means=self.unit_means)
        return model.to(device).train()

    def reader(self, model: nn.Module) -> TextForm:  # noqa: ARG002
        """As `Learner`."""
        return HeadTargets(self.heads, self.tokenizer)

    def frozen_identity(self, model: nn.Module) -> str:  # noqa: ARG002
        """As `Learner`: nothing is frozen."""
        return "nothing"

    def export(self, model: Any, folder: Path, recipe: Recipe, *, card: str) -> None:  # noqa: ARG002
        """As `Learner`: the encoder; what the heads standardise by goes into it."""
        with standard_folded(model.encoder, model.heads.standard):
            write_encoder_folder(model.encoder, folder, card=card)
