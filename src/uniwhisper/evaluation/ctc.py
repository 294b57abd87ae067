"""A CTC probe (Graves et al. 2006): one linear layer over characters on frozen frames, no language model.

    logits_t = W layer_norm(standardised frame_t) + b          blank first, then the alphabet

trained by Adam at a constant learning rate on the CTC loss; decoded greedily (repeats joined, blanks dropped). All
seeds train at once. Frames stay where they are (a memory-mapped file) and are read batch by batch.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from uniwhisper.evaluation.spool import Frames

BATCH_CLIPS = 32
BLANK = 0


class Alphabet:
    """Characters of the transcripts, lower case; index 0 is the blank."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.characters = sorted({character for text in texts for character in text.lower()})
        self._index = {character: place for place, character in enumerate(self.characters, start=1)}

    @property
    def size(self) -> int:
        return len(self.characters) + 1

    def encode(self, text: str) -> list[int]:
        """Characters that the alphabet does not have are left out."""
        return [self._index[character] for character in text.lower() if character in self._index]

    def decode(self, best_T: Sequence[int]) -> str:
        """Greedy path of indices to text: repeats joined, blanks dropped, spaces made single."""
        kept = [label for place, label in enumerate(best_T) if place == 0 or label != best_T[place - 1]]
        text = "".join(self.characters[label - 1] for label in kept if label != BLANK)
        return " ".join(text.split())


def train_ctc(
    frames: Frames,
    texts: Sequence[str],
    alphabet: Alphabet,
    *,
    reference: Sequence[int],
    queries: Sequence[int],
    learning_rate: float,
    checkpoints: Sequence[int],
    seeds: Sequence[int],
    device: torch.device | str = "cpu",
) -> list[list[list[str]]]:
    """Texts for each query after each number of epochs: `[checkpoint][seed][query]`.

    Args:
        reference, queries: indices of clips.
        checkpoints: epochs, ascending.
        seeds: of initial weights and order, trained side by side.
    """
    mean_D, deviation_D = (torch.from_numpy(part).to(device) for part in frames.statistics(reference))
    width = len(mean_D)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    weights_PDV, bias_P1V = (
        torch.stack([(torch.rand(shape, generator=g) * 2 - 1) / width**0.5 for g in generators])
        .to(device)
        .requires_grad_()
        for shape in ((width, alphabet.size), (1, alphabet.size))
    )
    optimizer = torch.optim.Adam([weights_PDV, bias_P1V], lr=learning_rate)
    orders = [np.random.default_rng([seed, len(reference)]) for seed in seeds]
    answers = []
    for epoch in range(1, checkpoints[-1] + 1):
        order_PN = np.stack([order.permutation(np.asarray(reference)) for order in orders])
        for start in range(0, order_PN.shape[1], BATCH_CLIPS):
            clips_PB = order_PN[:, start : start + BATCH_CLIPS]
            inputs_PTD, counts = _inputs(frames, clips_PB.ravel(), mean_D, deviation_D, len(seeds))
            targets = [alphabet.encode(texts[clip]) for clip in clips_PB.ravel()]
            with torch.enable_grad():
                logits_PTV = torch.baddbmm(bias_P1V, inputs_PTD, weights_PDV)
                loss = _ctc_loss(logits_PTV, counts, targets, clips_PB.shape)
            weights_PDV.grad, bias_P1V.grad = torch.autograd.grad(loss, (weights_PDV, bias_P1V))
            optimizer.step()
        if epoch in checkpoints:
            answers.append(_decode(frames, queries, mean_D, deviation_D, weights_PDV, bias_P1V, alphabet))
    return answers


def _inputs(
    frames: Frames, clips: np.ndarray, mean_D: Tensor, deviation_D: Tensor, problems: int
) -> tuple[Tensor, np.ndarray]:
    """(P, B x T, D) normalised frames, the clips' frames one after the other, and the counts of all clips."""
    padded_NTD, counts_N = frames.batch(clips)
    padded_NTD = torch.from_numpy(padded_NTD).to(mean_D.device)
    normal_NTD = F.layer_norm((padded_NTD - mean_D) / deviation_D, (len(mean_D),))
    return normal_NTD.reshape(problems, -1, len(mean_D)), counts_N


def _ctc_loss(logits_PTV: Tensor, counts_N: np.ndarray, targets: list[list[int]], shape: tuple[int, ...]) -> Tensor:
    """Sum over problems of the mean over their clips; a clip with fewer frames than its text needs adds nothing."""
    clips = shape[0] * shape[1]
    log_TNV = logits_PTV.reshape(clips, -1, logits_PTV.shape[2]).log_softmax(dim=2).transpose(0, 1)
    flat = torch.tensor([label for target in targets for label in target], dtype=torch.int64)
    lengths_N = torch.tensor([len(target) for target in targets], dtype=torch.int64)
    losses_N = F.ctc_loss(
        log_TNV,
        flat.to(log_TNV.device),
        torch.from_numpy(counts_N),
        lengths_N,
        blank=BLANK,
        reduction="none",
        zero_infinity=True,
    )
    return (losses_N / lengths_N.clamp(min=1).to(losses_N.device)).sum() / shape[1]


@torch.no_grad()
def _decode(
    frames: Frames,
    queries: Sequence[int],
    mean_D: Tensor,
    deviation_D: Tensor,
    weights_PDV: Tensor,
    bias_P1V: Tensor,
    alphabet: Alphabet,
) -> list[list[str]]:
    texts: list[list[str]] = [[] for _ in weights_PDV]
    for start in range(0, len(queries), BATCH_CLIPS):
        clips = np.asarray(queries[start : start + BATCH_CLIPS])
        inputs_1TD, counts_B = _inputs(frames, clips, mean_D, deviation_D, 1)
        best_PBT = (inputs_1TD @ weights_PDV + bias_P1V).argmax(dim=2).reshape(len(texts), len(clips), -1).tolist()
        for problem, best_BT in enumerate(best_PBT):
            texts[problem] += [alphabet.decode(best_T[:count]) for best_T, count in zip(best_BT, counts_B, strict=True)]
    return texts
