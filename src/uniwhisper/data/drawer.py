"""One draw from its own random stream: which clip, what is asked of it, and with which others.

Domain by weight -> corpus by weight and clips ** temperature -> clip uniform -> task by weight -> wording uniform. A
task about several clips then draws the others from the same domain, each with another answer, and how they lie. Further
questions are those that the same sound can answer. Last, its length and rate are changed.
"""

import json
from collections.abc import Callable, Sequence

import numpy as np

from uniwhisper.core.errors import ManifestError
from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.data.answer_formats import listable
from uniwhisper.data.config import DataConfig
from uniwhisper.data.draws import Clip, Draw, Part, arrange, window
from uniwhisper.data.instructions import Question, ask, ask_made, askable, same_arrangement
from uniwhisper.data.pools import Members, Pool, cumulative, pick
from uniwhisper.data.reshape import draw_shape
from uniwhisper.data.tasks import Task, all_tasks

_CLIP_TRIES = 100
_PARTNER_TRIES = 8


class Drawer:
    """Draws from the clips of `training`; `read_clip` gives the clip at a place of a manifest.

    Raises:
        ManifestError: a domain with weight has no clip.
    """

    def __init__(self, training: Sequence[Members], config: DataConfig, read_clip: Callable[[int, int], Clip]) -> None:
        self._config, self._read_clip = config, read_clip
        self._most = max(1, int(config.max_seconds * SAMPLE_RATE_HZ))
        self._domains = [name for name, weight in sorted(config.domain_weights.items()) if weight > 0]
        self._pools = {name: Pool([part for part in training if part.domain == name], config) for name in self._domains}
        for name, pool in self._pools.items():
            if not pool:
                there = {part.domain for part in training if len(part.places_N)}
                kept = {domain: config.domain_weights[domain] for domain in self._domains if domain in there}
                drop = f", or leave it out: --set data.domain_weights='{json.dumps(kept)}'" if kept else ""
                raise ManifestError(
                    f"no clip of domain {name!r} to train on",
                    expected=f"clips of each domain with weight: {self._domains}",
                    got=f"clips of {sorted(there) or 'none'}",
                    fix=f"add a corpus of that domain{drop}",
                )
        self._domain_chances = cumulative([config.domain_weights[name] for name in self._domains])
        bases = {base for task in all_tasks().values() if task.made for base in task.made.of}
        self._partners = {
            (name, base): Pool([part for part in training if part.domain == name and base in part.tasks], config)
            for name in self._domains
            for base in sorted(bases)
        }

    def draw(self, stream: np.random.Generator) -> Draw:
        """The next example of a stream.

        Raises:
            ManifestError: hardly any clip of a domain has something to be asked.
        """
        domain = self._domains[pick(self._domain_chances, stream.random())]
        clip, choices = self._pick_clip(domain, stream)
        task, base = choices[by_weight(choices, stream)]
        clips = self._gather(clip, task, base, stream) if task.name != base else None
        if clips is None:
            # Asked about the clip alone; also where nothing in this domain differs from it.
            choices = [choice for choice in choices if choice[0].name == choice[1]]
            task, base = (task, base) if task.name == base else choices[by_weight(choices, stream)]
            parts = (window(clip, self._most, stream),)
        else:
            assert task.made is not None, "only a task made of several clips gathers them"
            choices = [(other, base) for other in same_arrangement(task.name, base, len(clips), self._config.tasks)]
            parts = arrange(clips, task.made.arranged, self._most, stream, self._config.augment)
        asked = [task]
        while len(asked) < self._config.questions_per_clip and len(asked) < len(choices):
            rest = [choice for choice in choices if choice[0] not in asked]
            asked.append(rest[by_weight(rest, stream)][0])
        if clips is None:
            questions = [ask(task, wording(task, stream), clip.answers[task.name]) for task in asked]
        else:
            questions = [self._ask_made(task, base, parts, stream) for task in asked]
        return self._shaped(parts, questions, stream)

    def _shaped(self, parts: tuple[Part, ...], questions: list[Question], stream: np.random.Generator) -> Draw:
        tasks = all_tasks()
        samples = max(part.shift + part.length for part in parts)
        asked = [(tasks[question.task], question.value) for question in questions]
        shape, values = draw_shape(samples, asked, stream, self._config.augment)
        answered = (question.with_value(value) for question, value in zip(questions, values, strict=True))
        return Draw(parts, shape, tuple(answered))

    def _pick_clip(self, domain: str, stream: np.random.Generator) -> tuple[Clip, Sequence[tuple[Task, str]]]:
        """A clip that something can be asked about, and what: its labels may all be missing or excluded."""
        for _ in range(_CLIP_TRIES):
            clip = self._read_clip(*self._pools[domain].pick(stream))
            choices = askable(frozenset(clip.answers), whole=clip.record.samples <= self._most, only=self._config.tasks)
            if any(task.name == base for task, base in choices):
                return clip, choices
        raise ManifestError(
            f"domain {domain!r}: hardly any clip can be asked about",
            expected=f"something to ask about one of {_CLIP_TRIES} clips",
            got=f"nothing, at last about {clip.record.id}",
            fix=f"raise `max_seconds` (now {self._config.max_seconds:g}), or set that corpus to 0 in `corpus_weights`",
        )

    def _gather(self, clip: Clip, task: Task, base: str, stream: np.random.Generator) -> list[Clip] | None:
        """The clip and others of its domain, each with another answer, in random order; None if too few are found."""
        assert task.made is not None, f"{task.name} is about one clip"
        if not listable(str(clip.answers[base])):
            return None
        fewest, most = task.made.clips
        wanted = int(stream.integers(fewest, most + 1))
        clips, pool = [clip], self._partners[clip.record.domain, base]
        for _ in range(_PARTNER_TRIES * wanted):
            if len(clips) == wanted:
                break
            other = self._read_clip(*pool.pick(stream))
            label = other.answers.get(base)
            if label is not None and listable(str(label)) and label not in [known.answers[base] for known in clips]:
                clips.append(other)
        if len(clips) < fewest:
            return None
        return [clips[place] for place in stream.random(len(clips)).argsort()]

    def _ask_made(self, task: Task, base: str, parts: tuple[Part, ...], stream: np.random.Generator) -> Question:
        heard = [part.event(str(part.clip.answers[base])) for part in parts]
        absent = None
        if task.answer == "yes_no":
            present = {event.label for event in heard}
            pool = self._partners[parts[0].clip.record.domain, base]
            others = (self._read_clip(*pool.pick(stream)) for _ in range(_PARTNER_TRIES))
            labels = (str(other.answers[base]) for other in others if base in other.answers)
            absent = next((label for label in labels if label not in present), None)
        return ask_made(task, wording(task, stream), heard, absent=absent, stream=stream)


def by_weight(choices: Sequence[tuple[Task, str]], stream: np.random.Generator) -> int:
    """Index of a choice, drawn by the weight of its task."""
    return pick(cumulative([task.weight for task, _ in choices]), stream.random())


def wording(task: Task, stream: np.random.Generator) -> int:
    """Index of one of the task's wordings."""
    return int(stream.integers(len(task.wordings)))
