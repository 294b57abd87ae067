"""Which clips a step trains on, and what is asked of them: a pure function of (seed, manifests, step).

Steps are drawn in groups. All clips of a group are drawn, sorted by length and cut into steps, and the steps are
shuffled: a step holds clips of similar length, and any step is reached in constant time. There is no state: a run
resumes by asking for the next step, and ranks and workers take their share of the same answer.

A draw: domain by weight -> corpus by clips ** temperature -> clip uniform -> task by weight -> wording uniform; for
tasks about mixtures a second clip of the domain with another answer.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from uniwhisper.core.errors import ManifestError
from uniwhisper.core.identity import content_fold
from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.data.answer_formats import Value
from uniwhisper.data.answers import recording_name
from uniwhisper.data.config import DataConfig
from uniwhisper.data.instructions import Question, answers, ask, ask_pair, askable
from uniwhisper.data.manifest import Manifest, Record
from uniwhisper.data.streams import Streams
from uniwhisper.data.tasks import Task

_PARTNER_TRIES = 8
# Uniform numbers that one slot may use: domain, corpus, clip, task, wording, candidate, and for each try to find a
# partner, and to find a false candidate, two (corpus, clip).
_UNIFORMS = 6 + 2 * 2 * _PARTNER_TRIES


@dataclass(frozen=True, slots=True)
class Clip:
    """A record of one of the manifests, with what it can answer."""

    source: int
    """Which manifest."""
    record: Record
    answers: dict[str, Value]
    choices: tuple[tuple[Task, str], ...]
    """(task, task whose answers it is made of): what may be asked."""
    chances: tuple[float, ...]
    """Cumulative probability of each choice."""


@dataclass(frozen=True, slots=True)
class Draw:
    """One example, before any sound is read."""

    clip: Clip
    partner: Clip | None
    """Second clip of a mixture."""
    question: Question

    @property
    def id(self) -> str:
        """Record id, or both ids joined by ` + `."""
        return self.clip.record.id + (f" + {self.partner.record.id}" if self.partner else "")


class Pool:
    """Clips of one domain to draw from: a corpus by clips ** temperature, then a clip uniformly."""

    def __init__(self, clips: Sequence[Clip], temperature: float) -> None:
        by_corpus: dict[str, list[Clip]] = defaultdict(list)
        for clip in clips:
            by_corpus[clip.record.corpus].append(clip)
        self._corpora = [by_corpus[name] for name in sorted(by_corpus)]
        self._chances = _cumulative([len(clips) ** temperature for clips in self._corpora])

    def pick(self, corpus: float, clip: float) -> Clip:
        """The clip that two numbers in [0, 1) point at."""
        clips = self._corpora[_pick(self._chances, corpus)]
        return clips[int(clip * len(clips))]


class Mixture:
    """All draws of a run.

    Attributes:
        training, held_out: clips that are drawn from, and clips kept for validation.
        left_out: reason -> number of clips that are in neither, or that lose tasks.

    Raises:
        ManifestError: a clip is in two manifests, or a domain with weight has no clip.
    """

    def __init__(self, manifests: Sequence[Manifest], config: DataConfig, seed: int) -> None:
        self.config = config
        self.streams = Streams(seed, [manifest.hash for manifest in manifests])
        self.training: list[Clip] = []
        self.held_out: list[Clip] = []
        self.left_out: Counter[str] = Counter()
        _check_disjoint(manifests)
        for source, manifest in enumerate(manifests):
            for record in manifest.records:
                self._place(source, manifest, record)
        domains = [name for name, weight in sorted(config.domain_weights.items()) if weight > 0]
        pools = {name: [clip for clip in self.training if clip.record.domain == name] for name in domains}
        for name in domains:
            if not pools[name]:
                raise ManifestError(
                    f"no clip of domain {name!r} to train on",
                    expected=f"clips of each domain with weight: {domains}",
                    got=f"{ {domain: len(clips) for domain, clips in pools.items()} }",
                    fix=f"add a corpus of that domain, or leave {name!r} out of `domain_weights`",
                )
        self._pools = [Pool(pools[name], config.corpus_temperature) for name in domains]
        self._domain_chances = _cumulative([config.domain_weights[name] for name in domains])
        bases = {base for clip in self.training for task, base in clip.choices if base != task.name}
        self._partners = {
            (name, base): Pool([clip for clip in pools[name] if base in clip.answers], config.corpus_temperature)
            for name in domains
            for base in sorted(bases)
            if any(base in clip.answers for clip in pools[name])
        }
        self._recent: tuple[int, list[tuple[Draw, ...]]] | None = None

    def step(self, step: int) -> tuple[Draw, ...]:
        """The examples of a step, over all ranks, shortest first."""
        group, position = divmod(step, self.config.group_steps)
        if self._recent is None or self._recent[0] != group:
            self._recent = group, self._draw_group(group)
        return self._recent[1][position]

    def held_out_draws(self) -> list[Draw]:
        """One question about each held-out clip, shortest clip first: the same whatever the seed of the run."""
        draws = []
        fixed = Streams(0, [])
        for clip in sorted(self.held_out, key=lambda clip: (clip.record.samples, clip.record.id)):
            uniforms = fixed.stream("hold out", int(clip.record.sha256[:8], 16)).random(2)
            alone = [(task, base) for task, base in clip.choices if base == task.name]
            task, base = alone[_pick(_cumulative([task.weight for task, _ in alone]), uniforms[0])]
            draws.append(Draw(clip, None, ask(task, int(uniforms[1] * len(task.wordings)), clip.answers[base])))
        return draws

    def _place(self, source: int, manifest: Manifest, record: Record) -> None:
        config = self.config
        found = answers(manifest, record)
        if config.name_recordings:
            found["recording"] = recording_name(record.sha256)
        whole = record.samples <= config.max_seconds * SAMPLE_RATE_HZ
        choices = tuple(askable(found, whole=whole))
        asked = {task.name for task, _ in choices}
        for task, _ in askable(found, whole=True):
            if task.name not in asked:
                self.left_out[f"longer than {config.max_seconds:g} s, not asked for {task.name}"] += 1
        if not choices:
            self.left_out["nothing can be asked"] += 1
            return
        clip = Clip(source, record, found, choices, tuple(_cumulative([task.weight for task, _ in choices])))
        kept_back = config.holdout_folds is not None and content_fold(record.sha256, config.holdout_folds) == 0
        (self.held_out if kept_back else self.training).append(clip)

    def _draw_group(self, group: int) -> list[tuple[Draw, ...]]:
        size, steps = self.config.clips_per_step, self.config.group_steps
        uniforms = self.streams.stream("draw", group).random((steps * size, _UNIFORMS))
        draws = [self._draw(row) for row in uniforms]
        draws.sort(key=self._length)
        order = self.streams.stream("order", group).random(steps).argsort()
        return [tuple(draws[size * place : size * (place + 1)]) for place in order]

    def _draw(self, uniforms: np.ndarray) -> Draw:
        domain = _pick(self._domain_chances, uniforms[0])
        clip = self._pools[domain].pick(uniforms[1], uniforms[2])
        task, base = clip.choices[_pick(clip.chances, uniforms[3])]
        partner_pairs, false_pairs = np.split(uniforms[6:].reshape(-1, 2), 2)
        if base != task.name:
            own = clip.answers[base]
            partner = self._other(clip, base, {own}, partner_pairs)
            if partner is not None:
                candidate = own if uniforms[5] < 0.25 else partner.answers[base]
                if uniforms[5] >= 0.5:
                    absent = self._other(clip, base, {own, partner.answers[base]}, false_pairs)
                    candidate = absent.answers[base] if absent is not None else candidate
                wording = int(uniforms[4] * len(task.wordings))
                question = ask_pair(task, wording, own, partner.answers[base], candidate=candidate)
                return Draw(clip, partner, question)
            # Nothing differs in this domain: ask about the clip alone.
            task = next(task for task, name in clip.choices if name == base == task.name)
        wording = int(uniforms[4] * len(task.wordings))
        return Draw(clip, None, ask(task, wording, clip.answers[base]))

    def _other(self, clip: Clip, base: str, taken: set[str], pairs: np.ndarray) -> Clip | None:
        """A clip of the same domain whose answer is not among `taken`; None after some tries."""
        pool = self._partners[clip.record.domain, base]
        tries = (pool.pick(corpus, index) for corpus, index in pairs)
        return next((other for other in tries if other.answers[base] not in taken), None)

    def _length(self, draw: Draw) -> int:
        """Samples before augmentation."""
        longest = max(clip.record.samples for clip in (draw.clip, draw.partner) if clip is not None)
        return min(longest, int(self.config.max_seconds * SAMPLE_RATE_HZ))


def _cumulative(weights: Sequence[float]) -> list[float]:
    total = np.cumsum(np.asarray(weights, dtype=np.float64))
    return list(total / total[-1])


def _pick(chances: Sequence[float], uniform: float) -> int:
    """Index of the interval that a number in [0, 1) falls in."""
    return int(np.searchsorted(chances, uniform, side="right"))


def _check_disjoint(manifests: Sequence[Manifest]) -> None:
    seen: dict[str, int] = {}
    for source, manifest in enumerate(manifests):
        for record in manifest.records:
            if seen.setdefault(record.id, source) != source:
                raise ManifestError(
                    record.id,
                    expected="each clip in one manifest",
                    got=f"it is in manifests {seen[record.id] + 1} and {source + 1}",
                    fix="leave one of the manifests out, or rename the corpus folder and prepare again",
                )
