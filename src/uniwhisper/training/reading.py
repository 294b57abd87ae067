"""Reading exercises for the small language model: a stretched, noisy text, a question about it, the answer.

Audio tokens will stand where the text stands here: some twelve a second, so a word lasts several of them, with gaps
between, and none of them is exactly a text token. A language model that has only read novels has no way to say what
stands before the question; after these exercises it can copy a sentence out of its prefix, name what it names, and say
in which order and from when to when things are heard. All of it is text: no transcript of a training clip and no sound
is ever read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

_MOST_PREFIX = 96
_MOST_BRIEF = 8
_IGNORED = -100  # as transformers' losses expect


@dataclass(frozen=True)
class ReadingMaterial:
    """What exercises are made of, as text-token ids."""

    prose: np.ndarray
    """int64, one long text: sentences to copy, and words to distract."""
    copy_instructions: tuple[np.ndarray, ...]
    """Instructions that ask for the text itself."""
    questions: tuple[tuple[tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...]], ...], ...]
    """Of each kind of question: (instruction, answer, what the prefix says), the instruction's closing separator
    included. A kind is drawn as often as the root of how many it has: else captions,
    of which there are most, would leave age groups unread."""
    layouts: tuple[tuple[np.ndarray, np.ndarray, tuple[tuple[np.ndarray | None, int], ...]], ...]
    """(instruction, answer, (what stands there or None for a gap, positions it fills) …)."""
    end: int
    vocabulary: int

    def batch(self, rows: int, length: int, seed: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Exercises as (tokens_BL, labels_BL, prefix_counts_B), int64; labels are -100 outside answer and end."""
        generator = np.random.default_rng(seed)
        tokens_BL = np.full((rows, length), self.end, dtype=np.int64)
        labels_BL = np.full((rows, length), _IGNORED, dtype=np.int64)
        prefix_counts_B = np.zeros(rows, dtype=np.int64)
        for row in range(rows):
            prefix, instruction, answer = self._exercise(generator)
            answer = np.append(answer, self.end)
            room = length - len(instruction) - len(answer)
            if room < 1:
                continue
            prefix = prefix[: min(room, _MOST_PREFIX)]
            whole = np.concatenate([prefix, instruction, answer])
            tokens_BL[row, : len(whole)] = whole
            labels_BL[row, len(whole) - len(answer) : len(whole)] = answer
            prefix_counts_B[row] = len(prefix)
        return tokens_BL, labels_BL, prefix_counts_B

    def _exercise(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        kind = generator.random()
        if self.layouts and kind < 0.2:
            instruction, answer, layout = self.layouts[generator.integers(len(self.layouts))]
            return self._lay_out(layout, generator), instruction, answer
        if self.questions and kind < 0.7:
            asked = self.questions[generator.choice(len(self.questions), p=self._shares)]
            instruction, answer, says = asked[generator.integers(len(asked))]
            prefix = (self._mention if kind < 0.4 else self._brief)(says, generator)
            return prefix, instruction, answer
        count = int(generator.integers(1, 24))
        if kind < 0.8:
            # Any tokens at all, for the languages and spellings that the prose does not have.
            sentence = generator.integers(self.vocabulary, size=min(count, 12))
        else:
            first = int(generator.integers(max(1, len(self.prose) - count)))
            sentence = self.prose[first : first + count]
        instruction = self.copy_instructions[generator.integers(len(self.copy_instructions))]
        return self._stretch(sentence, generator), instruction, sentence

    def _stretch(self, sentence: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Each token several times, with gaps: as many as fit into the prefix."""
        gap = self._gap(sentence, generator)
        longest = max(1, min(5, _MOST_PREFIX // (len(sentence) + 1)))
        repeats = generator.integers(1, longest + 1, size=len(sentence))
        gaps = (generator.random(len(sentence)) < 0.3) * generator.integers(1, longest + 1, size=len(sentence))
        pieces = [part for token, times, pause in zip(sentence, repeats, gaps, strict=True)
                  for part in (np.full(pause, gap), np.full(times, token))]  # fmt: skip
        return np.concatenate(pieces)

    def _gap(self, heard: np.ndarray, generator: np.random.Generator) -> int:
        """A token for where nothing is heard, other than all that is."""
        gap = int(generator.integers(self.vocabulary))
        return gap if gap not in heard else self._gap(heard, generator)

    def _lay_out(self, layout: tuple[tuple[np.ndarray | None, int], ...], generator: np.random.Generator) -> np.ndarray:
        """Exactly as many positions for each label as the answer says, whatever number of tokens it has."""
        heard = [label for label, _ in layout if label is not None]
        gap = np.array([self._gap(np.concatenate(heard), generator)])
        return np.concatenate([np.resize(gap if label is None else label, positions) for label, positions in layout])

    @cached_property
    def _shares(self) -> np.ndarray:
        roots = np.sqrt([len(asked) for asked in self.questions])
        return roots / roots.sum()

    def _brief(self, says: tuple[np.ndarray, ...], generator: np.random.Generator) -> np.ndarray:
        """What the prefix has to say in as few positions as the mean of a clip makes; what does not fit is left out."""
        said = np.concatenate([says[index] for index in generator.permutation(len(says))])
        positions = int(generator.integers(1, _MOST_BRIEF + 1))
        repeated = np.repeat(said, max(1, positions // len(said)))[:positions]
        return np.append(repeated, np.full(positions - len(repeated), self._gap(said, generator)))

    def _mention(self, says: tuple[np.ndarray, ...], generator: np.random.Generator) -> np.ndarray:
        """What the prefix has to say, in random order and several times, among words of the prose."""
        mentions = [says[index] for index in generator.permutation(len(says))]
        times = int(generator.integers(1, 5))
        share = generator.random() * 0.6
        pieces = []
        for _ in range(times):
            for mention in mentions:
                if generator.random() < share:
                    first = int(generator.integers(max(1, len(self.prose) - 8)))
                    pieces.append(self.prose[first : first + int(generator.integers(1, 8))])
                pieces.append(np.repeat(mention, int(generator.integers(1, 4))))
        return np.concatenate(pieces)
