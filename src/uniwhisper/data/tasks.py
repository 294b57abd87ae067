"""The registry of tasks: what can be asked of a clip. The table itself is `tasks.json`; there is no class per task."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

KEEP, RELABEL, FORBID = "keep", "relabel", "forbid"
MIN_WORDINGS = 5
# Steps of augmentation, in the order they are applied; each task says of each what it does to the answer.
STEPS = ("mix", "speed", "crop", "silence", "equalizer", "noise", "gain", "mask")


@dataclass(frozen=True, slots=True)
class Task:
    """One row of the table."""

    name: str
    answer: str
    """text: free; label: one of a corpus's labels; note: a pitch name; pair: two labels; yes_no."""
    weight: float
    """Relative probability of being asked, among the tasks a clip can answer."""
    wordings: tuple[str, ...]
    """Instructions. `{candidate}` stands for the label that a yes/no question asks about."""
    augment: Mapping[str, str]
    """Step -> keep, relabel or forbid: what the step does to the answer."""
    mixes: tuple[str, ...]
    """Empty for a question about one clip; otherwise the tasks whose answers for two mixed clips make this one's."""

    def __post_init__(self) -> None:
        assert self.answer in {"text", "label", "note", "pair", "yes_no"}, f"{self.name}: answer {self.answer!r}"
        assert self.weight > 0, f"{self.name}: weight {self.weight}"
        assert len(set(self.wordings)) >= MIN_WORDINGS, f"{self.name}: {len(set(self.wordings))} wordings"
        assert tuple(self.augment) == STEPS, f"{self.name}: the steps must be {STEPS}, in this order"
        assert set(self.augment.values()) <= {KEEP, RELABEL, FORBID}, f"{self.name}: {self.augment}"
        asks = ["{candidate}" in wording for wording in self.wordings]
        assert all(asks) if self.answer == "yes_no" else not any(asks), f"{self.name}: {{candidate}} in wordings"


@lru_cache(maxsize=1)
def all_tasks() -> Mapping[str, Task]:
    """Every task by name, in the order of the table."""
    rows = json.loads(files("uniwhisper.data").joinpath("tasks.json").read_text(encoding="utf-8"))["tasks"]
    tasks = {
        name: Task(
            name=name,
            answer=row["answer"],
            weight=row["weight"],
            wordings=tuple(row["wordings"]),
            augment=row["augment"],
            mixes=tuple(row.get("mixes", ())),
        )
        for name, row in rows.items()
    }
    for task in tasks.values():
        assert all(base in tasks and not tasks[base].mixes for base in task.mixes), f"{task.name}: mixes {task.mixes}"
    return tasks


def simple_tasks() -> Mapping[str, Task]:
    """Tasks about one clip: those that a corpus can have answers for."""
    return {name: task for name, task in all_tasks().items() if not task.mixes}
