"""Which corpora a model says it was trained on: from its `config.json`, else from the table in its model card."""

import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from uniwhisper.evaluation.encoders import FLOOR
from uniwhisper.evaluation.suites import SuiteError, Task


def trained_on(source: str, folder: Path | None) -> list[str] | None:
    """Names of corpora, sorted; [] for encoders that nothing was trained for; None where nothing is said.

    Args:
        source: as in `JudgedEncoder`.
        folder: the model's; None: not known.
    """
    if source == FLOOR or source.startswith("random:"):
        return []
    if source == "default":
        import uniwhisper

        folder = Path(uniwhisper.__file__).parent / "pretrained" / "default"
    return None if folder is None else corpora_of(folder)


def corpora_of(folder: Path) -> list[str] | None:
    """By `trained_on` in `config.json` (names), else by the tables of its card whose first column is `corpus`."""
    try:
        listed = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("trained_on")
    except (OSError, ValueError, AttributeError):
        listed = None
    if isinstance(listed, list) and all(isinstance(name, str) for name in listed):
        return sorted(listed)
    try:
        card = (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    # A run's card and a written one name the corpora in a table with this first column.
    tables = re.findall(r"^\| *corpus *\|.*\n\|[ :|-]+\n((?:\|.*(?:\n|\Z))*)", card, re.MULTILINE)
    return sorted(set(re.findall(r"^\| *`?([\w.-]+)`? *\|", "".join(tables), re.MULTILINE))) or None


def require_unheard(tasks: Sequence[Task], corpora: Collection[str] | None) -> None:
    """Refuse tasks whose scored recordings were trained on in other files, which no fold of contents holds out.

    Args:
        corpora: names of those trained on; None: not known, so nothing is refused.

    Raises:
        SuiteError: one of `corpora` is in a task's `recordings_also_in`.
    """
    for task in tasks:
        heard = [name for name in task.recordings_also_in if name in (corpora or ())]
        if heard:
            raise SuiteError(
                f"task {task.name}: its recordings were trained on",
                expected=f"training without {heard[0]}, whose recordings {task.folder} holds in other files",
                got=f"trained on {', '.join(heard)}",
                fix=f"prepare the training set without {heard[0]}, train again; or use another suite",
            )


def checked_against(task: dict[str, Any], corpora: list[str] | None) -> dict[str, Any]:
    """A task's result with `trained_on`: which of its in-domain corpora the model names (None: it says nothing).

    A model that was trained on the very set a task scores gets a note: no average of it is clean.
    """
    if corpora is None:
        return task | {"trained_on": None}
    notes = task["notes"]
    if task["folder"] in corpora:
        notes = [*notes, f"the model says it was trained on {task['folder']}, which this task scores"]
    return task | {"trained_on": [name for name in task["in_domain_corpora"] if name in corpora], "notes": notes}
