"""Which clips a step trains on, and what is asked of them: a pure function of (seed, manifests, step).

Steps are drawn in groups. All clips of a group are drawn, sorted by length and cut into steps, and the steps are
shuffled: a step holds clips of similar length, and any step is reached in constant time. There is no state: a run
resumes by asking for the next step, and ranks and workers take their share of the same answer.

What a draw is made of is in `draws.py`, how it is drawn in `drawer.py`.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from uniwhisper.core.errors import ManifestError
from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.data.answers import code_name
from uniwhisper.data.config import DataConfig
from uniwhisper.data.drawer import Drawer, by_weight, wording
from uniwhisper.data.draws import Clip, Draw, Part
from uniwhisper.data.index import index_of
from uniwhisper.data.instructions import answers, ask, askable
from uniwhisper.data.manifest import Manifest
from uniwhisper.data.packing import by_audio, by_count, by_seconds
from uniwhisper.data.pools import split_clips
from uniwhisper.data.reshape import unchanged
from uniwhisper.data.streams import Streams

_CLIPS_KEPT = 1 << 16
"""Clips whose record and answers are kept in memory: all of a small set, little of a large one."""


class Mixture:
    """All draws of a run.

    Attributes:
        left_out: reason -> number of clips that are neither trained on nor held out, or that lose tasks.

    Raises:
        ManifestError: a clip is in two manifests, or a domain with weight has no clip.
    """

    def __init__(self, manifests: Sequence[Manifest], config: DataConfig, seed: int) -> None:
        self.config = config
        self.streams = Streams(seed, [manifest.hash for manifest in manifests])
        self._manifests = list(manifests)
        self._most = max(1, int(config.max_seconds * SAMPLE_RATE_HZ))
        _check_disjoint(manifests)
        self._indices = [index_of(manifest) for manifest in manifests]
        self._training, self._held_out, self.left_out = split_clips(manifests, self._indices, config)
        self._clips: dict[tuple[int, int], Clip] = {}
        self._drawer = Drawer(self._training, config, self.clip)
        self._recent: tuple[int, list[tuple[Draw, ...]]] | None = None

    def step(self, step: int) -> tuple[Draw, ...]:
        """The examples of a step, over all ranks, shortest first."""
        group, position = divmod(step, self.config.group_steps)
        if self._recent is None or self._recent[0] != group:
            self._recent = group, self._draw_group(group)
        return self._recent[1][position]

    def any_clip(self, stream: np.random.Generator) -> Clip:
        """A clip that is trained on, every one as likely."""
        number = int(stream.integers(sum(len(part.places_N) for part in self._training)))
        for part in self._training:
            if number < len(part.places_N):
                return self.clip(part.source, int(part.places_N[number]))
            number -= len(part.places_N)
        raise AssertionError("the number is below the number of clips")

    def held_out_draws(self) -> Iterator[Draw]:
        """One question about each held-out clip, shortest clip first: the same whatever the seed of the run."""
        fixed = Streams(0, [])
        clips = [(part.source, int(place)) for part in self._held_out for place in part.places_N]
        lengths = [self._indices[source].samples_N[place] for source, place in clips]
        for number in np.argsort(lengths, kind="stable"):
            clip = self.clip(*clips[number])
            stream = fixed.stream("hold out", int(clip.record.sha256[:8], 16))
            whole = clip.record.samples <= self._most
            found = askable(frozenset(clip.answers), whole=whole, only=self.config.tasks)
            choices = [(task, base) for task, base in found if task.name == base]
            if not choices:
                continue
            task, base = choices[by_weight(choices, stream)]
            question = ask(task, wording(task, stream), clip.answers[base])
            length = min(clip.record.samples, self._most)
            yield Draw((Part(clip, 0, length),), unchanged(length), (question,))

    def clip(self, source: int, place: int) -> Clip:
        """The clip at a place of a manifest."""
        key = source, place
        if key not in self._clips:
            manifest = self._manifests[source]
            record = manifest.records[place]
            if len(self._clips) >= _CLIPS_KEPT:
                self._clips.clear()
            found = answers(manifest, record)
            if self.config.name_recordings:
                found["recording"] = code_name(record.sha256)
            self._clips[key] = Clip(source, record, found)
        return self._clips[key]

    def _draw_group(self, group: int) -> list[tuple[Draw, ...]]:
        config = self.config

        def draw_slot(slot: int) -> Draw:
            return self._drawer.draw(self.streams.stream("draw", group, slot))

        if config.clips_per_step is not None:
            slots = range(config.clips_per_step * config.group_steps)
            steps = by_count([draw_slot(slot) for slot in slots], config.clips_per_step)
        elif config.audio_seconds_per_step is not None:
            steps = by_audio(draw_slot, config.group_steps, config.audio_seconds_per_step)
        else:
            assert config.seconds_per_step is not None, "a config has a count or a budget"
            steps = by_seconds(draw_slot, config.group_steps, config.seconds_per_step)
        order = self.streams.stream("order", group).random(len(steps)).argsort()
        return [steps[place] for place in order]


def _check_disjoint(manifests: Sequence[Manifest]) -> None:
    seen: dict[str, int] = {}
    for source, manifest in enumerate(manifests if len(manifests) > 1 else ()):
        for record in manifest.records:
            if seen.setdefault(record.id, source) != source:
                raise ManifestError(
                    record.id,
                    expected="each clip in one manifest",
                    got=f"it is in manifests {seen[record.id] + 1} and {source + 1}",
                    fix="leave one of the manifests out, or rename the corpus folder and prepare again",
                )
