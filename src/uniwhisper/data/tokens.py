"""Instruction and answer as token ids, with a loss mask that is known by construction, never found by searching."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from uniwhisper.data.instructions import Question

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


@runtime_checkable
class TextForm(Protocol):
    """How the questions about a clip become rows of text, where these are not an instruction and an answer."""

    def rows(self, questions: Sequence[Question]) -> list[tuple[str, TextTokens]]:
        """(task, tokens) of each row, at least one; a row may stand for several questions."""
        ...


def text_rows(
    reader: Tokenizer | TextForm, questions: Sequence[Question]
) -> tuple[tuple[str, ...], tuple[TextTokens, ...]]:
    """Task and tokens of each row of text; a tokenizer makes one row of each question: instruction, answer, end."""
    if isinstance(reader, TextForm):
        rows = reader.rows(questions)
    else:
        rows = [(question.task, build(reader, question.instruction, question.answer)) for question in questions]
    assert rows, f"no row of text for {[question.task for question in questions]}"
    tasks, texts = zip(*rows, strict=True)
    return tasks, texts


def build(tokenizer: Tokenizer, instruction: str, answer: str) -> TextTokens:
    """Token ids of one example. The two parts are encoded apart, so no token straddles the border between them."""
    asked = tokenizer.encode(instruction + ANSWER_SEPARATOR, add_special_tokens=False)
    answered = [*tokenizer.encode(answer, add_special_tokens=False), tokenizer.eos_token_id]
    return TextTokens([*asked, *answered], [False] * len(asked) + [True] * len(answered))
