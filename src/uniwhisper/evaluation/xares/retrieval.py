"""Retrieval as in X-ARES 0.1.3's Clotho task: clips and captions into one space, recall at 1.

    audio   pooled vector -> LayerNorm -> linear -> GELU -> linear -> a
    text    tokens -> embedding table, from scratch -> linear -> GELU -> linear, per token -> mean over tokens -> t
    loss    symmetric InfoNCE on exp(temperature) a t', not normalised, + mean|a| / |A| + mean|t| / |T|

No pretrained text model: the table is drawn new, only the tokenizer is BERT's. The tokenizer is not ours to ship, so
token ids are the caller's. Clotho's split named validation is scored and its split named evaluation chooses the epoch.
Source: `xares/models/retrival.py`, `tasks/clotho_task.py`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uniwhisper.evaluation.xares.metrics import CAPTIONS, recall_at_1
from uniwhisper.evaluation.xares.probe import INIT_SEED, LEARNING_RATE, learning_rate

WIDTH = 1024
START_TEMPERATURE = 0.07
BATCH_PAIRS = 128
EPOCHS = 20
SHARD_CLIPS = 500
"""Clips that X-ARES stores in one shard of this task."""


@dataclass(frozen=True)
class CaptionedClips:
    vectors: np.ndarray
    """(N, D) float32, one per clip."""
    captions: Sequence[Sequence[int]]
    """Token ids of each caption, without padding; those of clip i are 5 i to 5 i + 4."""


@dataclass(frozen=True)
class RetrievalAnswer:
    score: float
    epoch: int
    """From 0."""
    chosen_by: tuple[float, ...]


class TwoTowers(nn.Module):
    """The trained part: everything."""

    def __init__(self, width: int, vocabulary: int, hidden_width: int = WIDTH) -> None:
        super().__init__()
        self.normal = nn.LayerNorm(width)
        self.audio = _tower(width, hidden_width)
        self.table = nn.Embedding(vocabulary, hidden_width)
        self.text = _tower(hidden_width, hidden_width)
        self.temperature = nn.Parameter(torch.tensor(math.log(1 / START_TEMPERATURE)))

    def embed_audio(self, vectors_BD: Tensor) -> Tensor:
        """(B, H) of pooled `vectors_BD`."""
        return self.audio(self.normal(vectors_BD))

    def embed_text(self, tokens_BL: Tensor, counts_B: Tensor) -> Tensor:
        """(B, H) of token ids `tokens_BL`, of which the first `counts_B` (int64) are real."""
        real_BL1 = (torch.arange(tokens_BL.shape[1], device=tokens_BL.device) < counts_B[:, None])[..., None]
        return (self.text(self.table(tokens_BL)) * real_BL1).sum(dim=1) / counts_B[:, None]

    def loss(self, audio_BH: Tensor, text_BH: Tensor) -> Tensor:
        """The loss above, of pairs: row i of `audio_BH` belongs to row i of `text_BH`."""
        similarity_BB = self.temperature.exp() * audio_BH @ text_BH.T
        pairs_B = torch.arange(len(audio_BH), device=audio_BH.device)
        contrast = (F.cross_entropy(similarity_BB, pairs_B) + F.cross_entropy(similarity_BB.T, pairs_B)) / 2
        return contrast + sum(side.abs().mean() / side.square().sum().sqrt() for side in (audio_BH, text_BH))


def train_retrieval(
    training: CaptionedClips,
    choosing: CaptionedClips,
    scored: CaptionedClips,
    *,
    orders: Sequence[np.ndarray],
    vocabulary: int,
    batch_pairs: int = BATCH_PAIRS,
    hidden_width: int = WIDTH,
    device: torch.device | str = "cpu",
) -> RetrievalAnswer:
    """Train both towers and score them.

    Args:
        training: clips to learn from; every caption is a pair.
        choosing: clips that choose the epoch.
        scored: clips of the score: all are the gallery.
        orders: for each epoch int64 pairs (`order.epoch_orders` with 5 captions) in their order.
        vocabulary: token ids are below this; BERT's has 30,522.
        batch_pairs: pairs per batch.
        hidden_width: of both towers.
        device: where to train.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(INIT_SEED)
        towers = TwoTowers(training.vectors.shape[1], vocabulary, hidden_width)
    towers.to(device)
    optimiser = torch.optim.Adam(towers.parameters(), lr=LEARNING_RATE)
    history: list[float] = []
    score, best = 0.0, 0
    for epoch, order in enumerate(orders):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(epoch, len(orders))
        for start in range(0, len(order), batch_pairs):
            pairs = order[start : start + batch_pairs]
            vectors_BD = torch.from_numpy(training.vectors[pairs // CAPTIONS]).to(device)
            text_BH = towers.embed_text(*_padded_tokens([training.captions[pair] for pair in pairs], device))
            loss = towers.loss(towers.embed_audio(vectors_BD), text_BH)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        history.append(retrieval_score(towers, choosing, batch_pairs=batch_pairs, device=device))
        if epoch == 0 or history[-1] > max(history[:-1]):
            best, score = epoch, retrieval_score(towers, scored, batch_pairs=batch_pairs, device=device)
    return RetrievalAnswer(score, best, tuple(history))


@torch.no_grad()
def retrieval_score(
    towers: TwoTowers, clips: CaptionedClips, *, batch_pairs: int = BATCH_PAIRS, device: torch.device | str = "cpu"
) -> float:
    """Recall at 1, both directions, over all of `clips`."""
    audio_NH = towers.embed_audio(torch.from_numpy(clips.vectors).to(device)).cpu().numpy()
    texts = [
        towers.embed_text(*_padded_tokens(clips.captions[start : start + batch_pairs], device)).cpu().numpy()
        for start in range(0, len(clips.captions), batch_pairs)
    ]
    return recall_at_1(audio_NH, np.concatenate(texts))


def _padded_tokens(captions: Sequence[Sequence[int]], device: torch.device | str) -> tuple[Tensor, Tensor]:
    counts_B = torch.tensor([len(tokens) for tokens in captions])
    assert counts_B.min() > 0, "a caption has tokens"
    tokens_BL = torch.zeros(len(captions), int(counts_B.max()), dtype=torch.int64)
    for row_L, tokens in zip(tokens_BL, captions, strict=True):
        row_L[: len(tokens)] = torch.tensor(tokens)
    return tokens_BL.to(device), counts_B.to(device)


def _tower(width: int, hidden_width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden_width), nn.GELU(), nn.Linear(hidden_width, hidden_width))
