"""Instruction and answer as token ids, with a loss mask that is known by construction, never found by searching."""

from dataclasses import dataclass
from typing import Protocol

ANSWER_SEPARATOR = "\n"


class Tokenizer(Protocol):
    """What is used of a tokenizer; those of transformers fit."""

    eos_token_id: int

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class TextTokens:
    """Instruction, answer, end."""

    ids: list[int]
    loss_mask: list[bool]
    """True where the token is to be predicted: the answer and the end."""


def build(tokenizer: Tokenizer, instruction: str, answer: str) -> TextTokens:
    """Token ids of one example. The two parts are encoded apart, so no token straddles the border between them."""
    asked = tokenizer.encode(instruction + ANSWER_SEPARATOR, add_special_tokens=False)
    answered = [*tokenizer.encode(answer, add_special_tokens=False), tokenizer.eos_token_id]
    return TextTokens([*asked, *answered], [False] * len(asked) + [True] * len(answered))
