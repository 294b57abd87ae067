"""docs/tasks.md, written from the registry: `uniwhisper data tasks > docs/tasks.md`."""

from collections.abc import Iterable, Sequence

from uniwhisper.data.answer_formats import format_answer
from uniwhisper.data.tasks import FORBID, KEEP, PLACEHOLDERS, RELABEL, STEPS, Task, all_tasks

_LONGEST_LABELS = 10  # more labels than this are counted, not listed
_MARKS = {KEEP: "·", RELABEL: "relabels", FORBID: "–"}
_ALL_DOMAINS = ("speech", "sound", "music")


def tasks_page() -> str:
    """The page: every task with an example, what may be answered, and what augmentation does to the answer."""
    tasks = all_tasks()
    groups: dict[str, list[Task]] = {}
    for task in tasks.values():
        groups.setdefault(_group(task), []).append(task)
    lines = [
        "# Tasks",
        "",
        "Written by `uniwhisper data tasks`; a test fails when it is out of step with `data/tasks.json`.",
        "",
        f"{len(tasks)} tasks. Each has at least five wordings, of which the table shows the first. *Made of* says "
        "which simpler answers of several clips make the answer, and how they are put together: `overlap` at once, "
        "`sequence` one after the other, `scene` at free times. The forms of answers are described in "
        "`data/answer_formats.py`.",
        "",
    ]
    for group, members in groups.items():
        lines += [f"## {group.capitalize()}", ""]
        rows = [(f"`{task.name}`", *_example(task), _answers(task), _made(task)) for task in members]
        lines += [*_table(("task", "instruction", "answer", "answers", "made of"), rows), ""]
    lines += [
        "## What augmentation does to the answer",
        "",
        f"{_MARKS[KEEP]} keeps it; `{_MARKS[RELABEL]}` changes it with the sound; {_MARKS[FORBID]} is never done.",
        "",
        *_table(
            ("task", *STEPS),
            [(f"`{task.name}`", *(_MARKS[task.augment[step]] for step in STEPS)) for task in tasks.values()],
        ),
    ]
    return "\n".join(lines) + "\n"


def _group(task: Task) -> str:
    return "any sound" if task.domains == _ALL_DOMAINS else " and ".join(task.domains)


def _example(task: Task) -> tuple[str, str]:
    named = dict(zip(PLACEHOLDERS.get(task.answer, []), task.example_candidates, strict=True))
    labels = task.example_candidates if task.answer == "either" else None
    return task.wordings[0].format(**named), f"`{format_answer(task, task.example, labels)}`"


def _answers(task: Task) -> str:
    if task.labels is not None:
        return ", ".join(task.labels) if len(task.labels) <= _LONGEST_LABELS else f"{len(task.labels)} labels"
    if task.range is not None:
        return f"{task.range[0]} to {task.range[1]} {task.unit}".rstrip()
    return task.answer.replace("_", " or ")


def _made(task: Task) -> str:
    if task.made is None:
        return ""
    low, high = task.made.clips
    clips = str(low) if low == high else f"{low} to {high}"
    return f"{' or '.join(task.made.of)}: {task.made.arranged} of {clips}" + (", or labelled" if task.labelled else "")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    cells = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(row)} |" for row in cells]
