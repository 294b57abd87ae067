"""What Whisper's decoder reads and writes: its own sequence about speech, or instructions behind its start token.

    own           <start> <language> <transcribe> text <end>      loss on all but the first
    instructions  <start> instruction \\n answer <end>              loss on answer and end

Sequence: Whisper (Radford et al., 2022, figure 1), without timestamps. The text tokens are those of the language model
that the rows are compared through; the special ones are numbered behind them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from uniwhisper.data.instructions import Question
from uniwhisper.data.tokens import TextTokens, Tokenizer, build

OWN_TASKS = ("transcription", "language")


@dataclass(frozen=True)
class WhisperVocabulary:
    """Text tokens and special ones."""

    text_tokens: int
    """Entries of the tokenizer."""
    languages: tuple[str, ...]
    """As answers name them."""

    @property
    def start(self) -> int:
        return self.text_tokens

    @property
    def transcribe(self) -> int:
        return self.text_tokens + 1

    def language(self, name: str) -> int:
        """Token of a language."""
        assert name in self.languages, f"a language of {self.languages}, not {name}"
        return self.text_tokens + 2 + self.languages.index(name)

    @property
    def size(self) -> int:
        return self.text_tokens + 2 + len(self.languages)


@dataclass(frozen=True)
class OwnSequence:
    """One row a clip: its language and what is said, whichever of the two is known."""

    tokenizer: Tokenizer
    vocabulary: WhisperVocabulary

    def rows(self, questions: Sequence[Question]) -> list[tuple[str, TextTokens]]:
        """As `TextForm`; questions about `OWN_TASKS` only."""
        answers = {question.task: question.answer for question in questions}
        assert answers.keys() <= set(OWN_TASKS), f"Whisper's own sequence has no place for {sorted(answers)}"
        ids = [self.vocabulary.start]
        if "language" in answers:
            ids.append(self.vocabulary.language(answers["language"]))
        if "transcription" in answers:
            text = self.tokenizer.encode(answers["transcription"], add_special_tokens=False)
            ids += [self.vocabulary.transcribe, *text, self.tokenizer.eos_token_id]
        return [("transcription" if "transcription" in answers else "language", _all_but_first(ids))]


@dataclass(frozen=True)
class StartedInstructions:
    """Instruction, answer and end of each question, behind the start token."""

    tokenizer: Tokenizer
    vocabulary: WhisperVocabulary

    def rows(self, questions: Sequence[Question]) -> list[tuple[str, TextTokens]]:
        """As `TextForm`."""
        rows = []
        for question in questions:
            text = build(self.tokenizer, question.instruction, question.answer)
            started = TextTokens([self.vocabulary.start, *text.ids], [False, *text.loss_mask])
            rows.append((question.task, started))
        return rows


def _all_but_first(ids: list[int]) -> TextTokens:
    return TextTokens(ids, [False] + [True] * (len(ids) - 1))
