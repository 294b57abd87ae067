"""A task's clips as X-ARES meets them: split by split, in the order of the archives; what does not decode is named."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from uniwhisper.audio.load import read
from uniwhisper.core.errors import AudioError
from uniwhisper.evaluation.clips import Clip, TaskClips
from uniwhisper.evaluation.suites import SuiteError, Task, XaresSettings
from uniwhisper.evaluation.synthetic import Recorded
from uniwhisper.evaluation.xares.pooling import first_crop


@dataclass(eq=False)
class StoredClips:
    """Clips of one task, decoded while they are read. No batch of an encoder holds clips of two splits."""

    found: TaskClips
    on_progress: Callable[[int, int], None] = lambda *_: None
    """Called with clips done and in total."""
    used: dict[str, list[Clip]] = field(default_factory=dict)
    """Per split the clips that were decoded, in their order; complete when the split was read."""
    skipped: list[dict[str, str]] = field(default_factory=list)
    """`id` and `reason` of the others."""

    def __post_init__(self) -> None:
        clips = sorted(self.found.clips, key=_place)
        self.splits = {
            name: [clip for clip in clips if clip.fold == name] for name in dict.fromkeys(clip.fold for clip in clips)
        }

    @property
    def task(self) -> Task:
        return self.found.task

    @property
    def settings(self) -> XaresSettings:
        assert self.task.xares is not None, "only tasks of X-ARES are run"
        return self.task.xares

    def waves(self, split: str) -> Iterator[np.ndarray]:
        """Cropped waves (S,) float32 of a split, to be read to the end, once.

        Raises:
            SuiteError: none of its clips can be decoded.
        """
        used = self.used[split] = []
        for clip in self.splits[split]:
            self.on_progress(sum(map(len, self.used.values())) + len(self.skipped), len(self.found.clips))
            try:
                wave_S = read(clip.source.audio(), name=clip.id)
            except AudioError as error:
                self.skipped.append({"id": clip.id, "reason": error.one_line})
                continue
            used.append(clip)
            yield first_crop(wave_S, self.settings.crop_seconds)
        if not used:
            raise SuiteError(
                f"task {self.task.name}: no clip of {split} could be decoded",
                expected="clips in every split",
                got=f"0 of {len(self.splits[split])} clips; first failure: {self.skipped[-1]['reason']}",
                fix="mend the clips that fail, or unpack the set again",
            )

    def still_fails(self, skipped: list[dict[str, Any]]) -> bool:
        """Whether each of `skipped`, noted by an earlier run, still cannot be decoded."""
        ids = {skip["id"] for skip in skipped}
        for clip in self.found.clips:
            if clip.id in ids:
                try:
                    read(clip.source.audio(), name=clip.id)
                except AudioError:
                    continue
                return False
        return True


def _place(clip: Clip) -> tuple[str, int]:
    source = clip.source
    return (source.archive.name, source.offset) if isinstance(source, Recorded) else ("", 0)
