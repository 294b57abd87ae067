"""Speech recognition as in X-ARES 0.1.3: an adapter before a frozen causal language model.

    input   [ adapter(frame) per frame | separator | transcript | end ]
    loss                                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ next token, here only
    adapter proj(silu(gate(x)) * value(x)), hidden as wide as the language model's own

X-ARES's language model is Qwen2.5-0.5B with the separator `<|vision_end|>`; any causal model of transformers with a
tokenizer can stand there, and a score names which. The epoch is chosen by teacher-forced argmax, cut to the
reference's characters: not a decoding, as X-ARES says itself. The score decodes: greedy, at most 200 new tokens,
repetition penalty 1.1; 1 - WER of the whole set in lower case.
Not reproduced: half precision without loss scaling, in which X-ARES runs the language model on a GPU.
Source: `xares/models/asr.py`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uniwhisper.evaluation.xares.frames import padded_frames
from uniwhisper.evaluation.xares.metrics import inverse_word_error_rate
from uniwhisper.evaluation.xares.probe import INIT_SEED, LEARNING_RATE, learning_rate

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH_CLIPS = 4
EPOCHS = 10
SEPARATOR = "<|vision_end|>"
NEW_TOKENS = 200
REPETITION_PENALTY = 1.1
_NOT_SCORED = -100


@dataclass(frozen=True)
class Transcribed:
    """The clips of a split."""

    frames: Sequence[np.ndarray]
    """(T, D) float32 of each clip, padding of the encoder's batch included where the protocol has it."""
    transcripts: Sequence[str]


@dataclass(frozen=True)
class AsrAnswer:
    score: float
    """max(0, 1 - WER) of the scored clips, decoded, at the chosen epoch."""
    epoch: int
    """From 0."""
    chosen_by: tuple[float, ...]
    """The teacher-forced score after each epoch."""
    hypotheses: tuple[str, ...]


class Recogniser(nn.Module):
    """Adapter, trained, and language model, frozen."""

    def __init__(
        self, width: int, causal_lm: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", separator: str
    ) -> None:
        """The adapter's weights are drawn from PyTorch's generator; `causal_lm` stays as it is and where it is."""
        super().__init__()
        hidden, token_width = causal_lm.config.intermediate_size, causal_lm.config.hidden_size
        self.gate, self.value = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.project = nn.Linear(hidden, token_width)
        # Not a submodule: neither its mode nor its weights are this module's.
        self.__dict__["causal_lm"] = causal_lm.requires_grad_(False).eval()
        self.tokenizer, self.separator = tokenizer, separator

    def adapt(self, frames_BTD: Tensor) -> Tensor:
        """Audio tokens (B, T, H), one per frame of `frames_BTD` (float)."""
        return self.project(F.silu(self.gate(frames_BTD)) * self.value(frames_BTD))

    def forward(self, frames_BTD: Tensor, counts_B: Tensor, transcripts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Mean next-token loss over the batch's text tokens, and the logits (B, T + L, V).

        Args:
            frames_BTD: float, zeros where padding.
            counts_B: int64, real frames of each clip.
            transcripts: one per clip.
        """
        end = self.tokenizer.eos_token_id
        texts = [[*self._ids(f"{self.separator}{text}"), end] for text in transcripts]
        tokens_BL, text_counts_B = _padded(texts, end, frames_BTD.device)
        logits_BPV = self._run(frames_BTD, counts_B, tokens_BL, text_counts_B).logits
        places_L = torch.arange(tokens_BL.shape[1], device=tokens_BL.device)
        targets_BL = tokens_BL.masked_fill(places_L >= text_counts_B[:, None], _NOT_SCORED)
        # The separator is scored too: it is predicted from the last frame's place, padding or not.
        first = frames_BTD.shape[1] - 1
        scored_BLV = logits_BPV[:, first : first + tokens_BL.shape[1]].float()
        loss = F.cross_entropy(scored_BLV.transpose(1, 2), targets_BL, ignore_index=_NOT_SCORED)
        return loss, logits_BPV

    def guess(self, frames_BTD: Tensor, counts_B: Tensor, transcripts: Sequence[str]) -> list[str]:
        """Argmax after each token of the true `transcripts`, cut to as many characters.

        `frames_BTD` and `counts_B` as in `forward`.
        """
        _, logits_BPV = self(frames_BTD, counts_B, transcripts)
        guessed = self.tokenizer.batch_decode(
            logits_BPV[:, frames_BTD.shape[1] :].argmax(dim=-1), skip_special_tokens=True
        )
        return [text[: len(true)] for text, true in zip(guessed, transcripts, strict=True)]

    @torch.no_grad()
    def decode(self, frames_BTD: Tensor, counts_B: Tensor) -> list[str]:
        """Greedy transcripts; `frames_BTD` and `counts_B` as in `forward`.

        Transformers counts positions without the masked padding here, and with it in `forward`: where a batch pads,
        text stands at other positions than it was trained at. X-ARES does the same: it is part of the protocol.
        """
        tokens_BL, text_counts_B = _padded([self._ids(self.separator)] * len(frames_BTD), 0, frames_BTD.device)
        inputs_BPH, mask_BP = self._inputs(frames_BTD, counts_B, tokens_BL, text_counts_B)
        generated_BL = self.causal_lm.generate(
            inputs_embeds=inputs_BPH,
            attention_mask=mask_BP,
            do_sample=False,
            max_new_tokens=NEW_TOKENS,
            repetition_penalty=REPETITION_PENALTY,
            pad_token_id=self.tokenizer.eos_token_id,
        )
        return self.tokenizer.batch_decode(generated_BL, skip_special_tokens=True)

    def _run(self, frames_BTD: Tensor, counts_B: Tensor, tokens_BL: Tensor, text_counts_B: Tensor):
        inputs_BPH, mask_BP = self._inputs(frames_BTD, counts_B, tokens_BL, text_counts_B)
        return self.causal_lm(inputs_embeds=inputs_BPH, attention_mask=mask_BP, use_cache=False)

    def _inputs(
        self, frames_BTD: Tensor, counts_B: Tensor, tokens_BL: Tensor, text_counts_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Embeddings and mask: padding of the audio stays between audio and text, masked, as X-ARES leaves it."""
        text_BLH = self.causal_lm.get_input_embeddings()(tokens_BL)
        mask_BP = torch.cat([_real(counts_B, frames_BTD.shape[1]), _real(text_counts_B, tokens_BL.shape[1])], dim=1)
        return torch.cat([self.adapt(frames_BTD).to(text_BLH.dtype), text_BLH], dim=1), mask_BP.long()

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]


def train_asr(
    training: Transcribed,
    choosing: Transcribed,
    scored: Transcribed,
    *,
    causal_lm: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    width: int,
    orders: Sequence[np.ndarray],
    batch_clips: int = BATCH_CLIPS,
    device: torch.device | str = "cpu",
) -> AsrAnswer:
    """Train the adapter and decode the scored clips at the best epoch.

    Args:
        training: clips to learn from.
        choosing: clips that choose the epoch.
        scored: clips of the score.
        causal_lm: stays frozen.
        tokenizer: of the language model; has an end token.
        width: of the frames.
        orders: for each epoch int64 indices of the training clips in their order.
        batch_clips: clips per batch.
        device: where to train.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(INIT_SEED)
        recogniser = Recogniser(width, causal_lm.to(device), tokenizer, SEPARATOR).to(device)
    optimiser = torch.optim.Adam(recogniser.parameters(), lr=LEARNING_RATE)
    history: list[float] = []
    best, kept = 0, {}
    for epoch, order in enumerate(orders):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(epoch, len(orders))
        for frames_BTD, counts_B, transcripts in _batches(training, order, batch_clips, device):
            loss, _ = recogniser(frames_BTD, counts_B, transcripts)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        history.append(_guessed_score(recogniser, choosing, batch_clips, device))
        if epoch == 0 or history[-1] > max(history[:-1]):
            best = epoch
            kept = {name: weight.detach().clone() for name, weight in recogniser.state_dict().items()}
    recogniser.load_state_dict(kept)
    hypotheses = [
        text
        for frames_BTD, counts_B, _ in _in_order(scored, batch_clips, device)
        for text in recogniser.decode(frames_BTD, counts_B)
    ]
    return AsrAnswer(inverse_word_error_rate(scored.transcripts, hypotheses), best, tuple(history), tuple(hypotheses))


@torch.no_grad()
def _guessed_score(recogniser: Recogniser, clips: Transcribed, batch_clips: int, device: torch.device | str) -> float:
    guesses = [text for batch in _in_order(clips, batch_clips, device) for text in recogniser.guess(*batch)]
    return inverse_word_error_rate(clips.transcripts, guesses)


def _in_order(clips: Transcribed, batch_clips: int, device: torch.device | str):
    return _batches(clips, np.arange(len(clips.transcripts)), batch_clips, device)


def _batches(
    clips: Transcribed, order: np.ndarray, batch_clips: int, device: torch.device | str
) -> Iterator[tuple[Tensor, Tensor, list[str]]]:
    for start in range(0, len(order), batch_clips):
        batch = order[start : start + batch_clips].tolist()
        frames_BTD, counts_B = padded_frames([clips.frames[index] for index in batch])
        transcripts = [clips.transcripts[index] for index in batch]
        yield torch.from_numpy(frames_BTD).to(device), torch.from_numpy(counts_B).to(device), transcripts


def _padded(rows: Sequence[Sequence[int]], padding: int, device: torch.device | str) -> tuple[Tensor, Tensor]:
    counts_B = torch.tensor([len(row) for row in rows])
    tokens_BL = torch.full((len(rows), int(counts_B.max())), padding, dtype=torch.int64)
    for row_L, row in zip(tokens_BL, rows, strict=True):
        row_L[: len(row)] = torch.tensor(row)
    return tokens_BL.to(device), counts_B.to(device)


def _real(counts_B: Tensor, length: int) -> Tensor:
    return torch.arange(length, device=counts_B.device) < counts_B[:, None]
