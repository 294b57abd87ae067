"""Asking a trained model: a stream of text for a question, or given answers ranked by likelihood.

Notable: the prefix is the one of training, `[audio tokens | instruction \\n]`; an answer is decoded greedily with the
language model's cache, and scored by the loss that training lowers, which reads audio and instruction once for all.
A model whose mean makes several audio tokens hears those alone, unless the answer follows the order of the sound: so
nearly all its questions were asked (docs/decisions/0037).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from uniwhisper.core.errors import AnswerError
from uniwhisper.core.units import WINDOW_SAMPLES
from uniwhisper.data.tasks import follows_order
from uniwhisper.data.tokens import ANSWER_SEPARATOR, build
from uniwhisper.features.logmel import log_mel
from uniwhisper.model.language_model import kept_of, read_further
from uniwhisper.model.uniwhisper import UniWhisper

_ROWS_AT_ONCE = 64
_UNFINISHED = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True)
class Score:
    """How likely the model finds one of the given answers."""

    answer: str
    log_likelihood: float
    """Nats of the whole answer and its end, negative."""
    share: float
    """Likelihood over the sum of those of all given answers, from 0 to 1."""


class Saying:
    """An answer while it is decoded: to be read once, piece by piece."""

    def __init__(self, tokens: Iterator[int], decode: Callable[[list[int]], str], most_tokens: int) -> None:
        self._tokens, self._decode, self._most = tokens, decode, most_tokens
        self.cut = False
        """Known when all pieces are read: the model had more to say than `most_tokens`."""

    def __iter__(self) -> Iterator[str]:
        read: list[int] = []
        said = ""
        for token in self._tokens:
            if len(read) == self._most:
                self.cut = True
                return
            read.append(token)
            text = self._decode(read)
            # A token may end inside a character; it is told with the next.
            if not text.endswith(_UNFINISHED):
                yield text[len(said) :]
                said = text


class Answerer:
    """Answers questions about clips of at most one window (30 s)."""

    def __init__(self, model: UniWhisper, device: torch.device) -> None:
        self._model, self._device = model.to(device).eval(), device
        self._tokenizer = model.language_model.tokenizer

    def ask(self, wave_S: np.ndarray, instruction: str, *, most_tokens: int = 200) -> Saying:
        """Pieces of the answer, as they are decoded, and at the end whether it was cut.

        Args:
            wave_S: (S,) float32, mono, 16 kHz, 1 <= S <= one window.
            instruction: the question; for those the model was trained on, see `docs/tasks.md`.
            most_tokens: text tokens after which the answer is cut.
        """
        # One token more than is told: it is the end, or says that there would be more.
        tokens = self._model.language_model.greedy(self._prefix(wave_S, instruction), most=most_tokens + 1)
        return Saying(tokens, self._tokenizer.decode, most_tokens)

    @torch.inference_mode()
    def score(self, wave_S: np.ndarray, instruction: str, answers: Sequence[str]) -> list[Score]:
        """The given answers, the likeliest first: zero-shot classification.

        Args:
            wave_S, instruction: as in `ask`.

        Raises:
            AnswerError: fewer than one answer, one that is empty, or one given twice.
        """
        if not answers or len(set(answers)) != len(answers) or not all(answer.strip() for answer in answers):
            raise AnswerError(
                "answers to choose from",
                expected="at least one, none empty, each once",
                got=repr(list(answers)),
                fix='for example: --score "a dog barking" --score rain',
            )
        prefix_1LH = self._prefix(wave_S, instruction)
        nats: list[float] = []
        for first in range(0, len(answers), _ROWS_AT_ONCE):
            nats += self._nats(prefix_1LH, instruction, answers[first : first + _ROWS_AT_ONCE]).tolist()
        log_likelihoods = -torch.tensor(nats, dtype=torch.float64)
        shares = torch.softmax(log_likelihoods, dim=0).tolist()
        scores = (Score(*row) for row in zip(answers, log_likelihoods.tolist(), shares, strict=True))
        return sorted(scores, key=lambda score: -score.log_likelihood)

    def _nats(self, prefix_1LH: Tensor, instruction: str, answers: Sequence[str]) -> Tensor:
        """Nats (R,) of each answer with its end. Audio and instruction are read once, then every answer behind them."""
        built = [build(self._tokenizer, instruction, answer) for answer in answers]
        rows = [[token for token, asked in zip(one.ids, one.loss_mask, strict=True) if asked] for one in built]
        longest = max(map(len, rows))
        tokens_RL = torch.tensor([row + row[-1:] * (longest - len(row)) for row in rows], device=self._device)
        causal_lm = self._model.language_model.causal_lm
        read = causal_lm(inputs_embeds=prefix_1LH, use_cache=True, logits_to_keep=1)
        logits_RLV = read.logits.expand(len(rows), 1, -1)
        if longest > 1:
            kept = kept_of(read)
            kept.batch_repeat_interleave(len(rows))
            further = read_further(causal_lm, tokens_RL[:, :-1], kept)
            logits_RLV = torch.cat([logits_RLV, further.logits], dim=1)
        nats_RL = F.cross_entropy(logits_RLV.float().transpose(1, 2), tokens_RL, reduction="none")
        counts_R1 = torch.tensor([[len(row)] for row in rows], device=self._device)
        return nats_RL.where(torch.arange(longest, device=self._device) < counts_R1, 0).sum(dim=1)

    @torch.inference_mode()
    def _prefix(self, wave_S: np.ndarray, instruction: str) -> Tensor:
        """Embeddings (1, L, H) of the audio and the instruction."""
        audio_AH = self._heard(wave_S, instruction)
        ids = self._tokenizer.encode(instruction + ANSWER_SEPARATOR, add_special_tokens=False)
        text_1LH = self._model.language_model.embed(torch.tensor([ids], dtype=torch.int64, device=self._device))
        return torch.cat([audio_AH[None].to(text_1LH.dtype), text_1LH], dim=1)

    def _heard(self, wave_S: np.ndarray, instruction: str) -> Tensor:
        """Audio tokens (A, H) that this question is asked of."""
        frames_PD, frames = self._model.encoder.packed(*self._mel(wave_S))
        if self._model.adapter.config.mean_tokens > 1 and not follows_order(instruction):
            return self._model.adapter.of_means(frames_PD, frames)
        return self._model.adapter.packed(frames_PD, frames)[0]

    def _mel(self, wave_S: np.ndarray) -> tuple[Tensor, Tensor]:
        assert wave_S.ndim == 1 and 1 <= len(wave_S) <= WINDOW_SAMPLES, f"a window, not {wave_S.shape}"
        wave_1S = torch.from_numpy(wave_S)[None].to(self._device)
        counts_1 = torch.tensor([len(wave_S)], device=self._device)
        return log_mel(wave_1S, counts_1, mel_bins=self._model.encoder.config.mel_bins)
