"""The captions of clips, and the pairs that they make."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from uniwhisper.evaluation.clips import Clip
from uniwhisper.evaluation.rules import EVERY_FIELD
from uniwhisper.evaluation.suites import SuiteError, Task


def captions_of(task: Task, clip: Clip) -> list[str]:
    """The values of all fields of a clip's JSON, or of the one that the label rule names, a text or a list of texts.

    Raises:
        SuiteError: there is none, or one is no text.
    """
    field = task.label.field
    found = list(clip.fields.values()) if field == EVERY_FIELD else clip.fields[field]
    captions = found if isinstance(found, list) else [found]
    if not captions or not all(isinstance(caption, str) and caption.strip() for caption in captions):
        raise SuiteError(
            f"task {task.name}: clip {clip.id} has a caption that is no text",
            expected="captions and nothing else in its JSON"
            if field == EVERY_FIELD
            else f"a text, or a list of texts, in the field {field!r}",
            got=repr(found)[:200],
            fix="mend the clip's JSON, or the suite's label rule",
        )
    return captions


@dataclass(frozen=True, eq=False)
class Pairs:
    """Every caption with its clip, clip by clip."""

    texts: list[str]
    """Different ones, sorted."""
    clip_P: np.ndarray
    """int64, ascending, no clip left out."""
    text_P: np.ndarray
    """int64 into `texts`."""

    @classmethod
    def of(cls, captions: Sequence[Sequence[str]]) -> "Pairs":
        """`captions`: of each clip, at least one."""
        texts = sorted({text for each in captions for text in each})
        place_of = {text: place for place, text in enumerate(texts)}
        return cls(
            texts,
            np.repeat(np.arange(len(captions)), [len(each) for each in captions]),
            np.array([place_of[text] for each in captions for text in each], dtype=np.int64),
        )

    def among(self, clips: np.ndarray) -> "Pairs":
        """Those of some clips (int64, different), which are numbered from 0 in this order; `texts` stays whole."""
        starts = np.searchsorted(self.clip_P, clips)
        counts = np.searchsorted(self.clip_P, clips, side="right") - starts
        rows = np.concatenate([np.arange(start, start + count) for start, count in zip(starts, counts, strict=True)])
        return Pairs(self.texts, np.repeat(np.arange(len(clips)), counts), self.text_P[rows])
