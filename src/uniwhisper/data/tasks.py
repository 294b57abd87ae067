"""The registry of tasks: what can be asked of a clip. The table itself is `tasks.json`; there is no class per task.

How the answers of each kind are written and read is in `answer_formats.py`.
"""

import json
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

KEEP, RELABEL, FORBID = "keep", "relabel", "forbid"
MIN_WORDINGS = 5
# Steps of augmentation, in the order they are applied; each task says of each what it does to the answer.
#
#   mix        another sound is laid over the clip         room     the echo of a room
#   speed      played faster or slower, by any factor      band     nothing above a frequency
#   pitch      the same by whole semitones                 codec    encoded with loss, and decoded
#   crop       a part is kept                              noise    noise of some colour is added
#   repeat     said or played again and again              gain     louder or softer
#   silence    zeros before and behind                     mask     SpecAugment
#   equalizer  smooth boosts and cuts
STEPS = (
    "mix", "speed", "pitch", "crop", "repeat", "silence", "equalizer", "room", "band", "codec", "noise", "gain", "mask",
)  # fmt: skip
OVERLAP, SEQUENCE, SCENE = "overlap", "sequence", "scene"
# Names that a wording leaves open, by the kind of answer. Other kinds leave none open.
PLACEHOLDERS = {"yes_no": ["candidate"], "either": ["candidate", "other"]}
KINDS = (
    "text", "label", "labels", "sequence", "yes_no", "either", "number", "tempo", "note", "key", "events", "notes",
    "intent",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Made:
    """How a question about several clips is made from clips that each answer a simpler one."""

    of: tuple[str, ...]
    """Tasks about one clip, the preferred first. All clips of a question answer the same of them, each differently."""
    arranged: str
    """overlap: at once, the shorter ones inside the longest; sequence: one after the other; scene: at free times."""
    clips: tuple[int, int]
    """Fewest and most clips."""


@dataclass(frozen=True, slots=True)
class Task:
    """One row of the table."""

    name: str
    domains: tuple[str, ...]
    """Domains whose clips it is meant for."""
    answer: str
    """Kind of answer, one of `KINDS`; `answer_formats.py` says what each looks like."""
    weight: float
    """Relative probability of being asked, among the tasks a clip can answer."""
    wordings: tuple[str, ...]
    """Instructions. `{candidate}` (and `{other}`) stand for the labels that a closed question asks about."""
    augment: Mapping[str, str]
    """Step -> keep, relabel or forbid: what the step does to the answer."""
    example: Any
    """A value, for the documentation."""
    example_candidates: tuple[str, ...]
    """What the placeholders of the example's wording stand for."""
    labels: tuple[str, ...] | None = None
    """Every label there is, in any corpus; None: each corpus has its own."""
    range: tuple[int, int] | None = None
    """Smallest and largest number; for answers that are numbers."""
    unit: str = ""
    """Written behind a number."""
    labelled: bool = True
    """A corpus may bring the answer. False: the answer only exists for clips that were put together."""
    ordered: bool = False
    """The answer follows the order of the sound, so the mean over time cannot give it."""
    made: Made | None = None
    """How clips are put together to answer it; None: they are not."""

    def __post_init__(self) -> None:
        assert self.answer in KINDS, f"{self.name}: answer {self.answer!r}"
        assert self.weight > 0, f"{self.name}: weight {self.weight}"
        assert self.labelled or self.made is not None, f"{self.name}: nothing can answer it"
        assert len(set(self.wordings)) >= MIN_WORDINGS, f"{self.name}: {len(set(self.wordings))} wordings"
        assert tuple(self.augment) == STEPS, f"{self.name}: the steps must be {STEPS}, in this order"
        assert set(self.augment.values()) <= {KEEP, RELABEL, FORBID}, f"{self.name}: {self.augment}"
        assert (self.range is not None) == (self.answer in ("number", "tempo")), f"{self.name}: range {self.range}"
        for wording in self.wordings:
            left_open = [name for _, name, _, _ in string.Formatter().parse(wording) if name is not None]
            assert left_open == PLACEHOLDERS.get(self.answer, []), f"{self.name}: {wording!r}"


@lru_cache(maxsize=1)
def all_tasks() -> Mapping[str, Task]:
    """Every task by name, in the order of the table."""
    rows = json.loads(files("uniwhisper.data").joinpath("tasks.json").read_text(encoding="utf-8"))["tasks"]
    tasks = {name: _task(name, row) for name, row in rows.items()}
    for task in tasks.values():
        for base in task.made.of if task.made else ():
            assert tasks[base].labelled, f"{task.name}: made of {base}, which no clip has"
            assert tasks[base].augment["crop"] == KEEP, f"{task.name}: made of {base}, which a part cannot answer"
    return tasks


def follows_order(instruction: str) -> bool:
    """Whether this is a wording, filled in or not, of a task whose answer follows the order of the sound."""
    return any(pattern.fullmatch(instruction) for pattern in _ordered_wordings())


@lru_cache(maxsize=1)
def _ordered_wordings() -> tuple[re.Pattern[str], ...]:
    wordings = (wording for task in all_tasks().values() if task.ordered for wording in task.wordings)
    return tuple(re.compile(re.sub(r"\\{\w+\\}", ".+", re.escape(wording))) for wording in wordings)


def simple_tasks() -> Mapping[str, Task]:
    """Tasks that a corpus can have answers for."""
    return {name: task for name, task in all_tasks().items() if task.labelled}


def _task(name: str, row: dict[str, Any]) -> Task:
    lists = ("domains", "wordings", "labels", "range", "example_candidates")
    row = {"example_candidates": [], **row}
    row |= {key: tuple(row[key]) for key in lists if key in row}
    if "made" in row:
        row["made"] = Made(
            **{key: tuple(part) if isinstance(part, list) else part for key, part in row["made"].items()}
        )
    return Task(name=name, **row)
