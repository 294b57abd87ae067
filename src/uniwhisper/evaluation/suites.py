"""Suites as data: which folders, labels and folds a judgement uses.

A suite is a JSON file, shipped (`suites/*.json`) or the user's own, with its label lists in `labels/*.txt` beside it.
It is parsed strictly, and its identity is the hash of its content with the lists it uses.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from uniwhisper.core.errors import UserError
from uniwhisper.core.identity import hash_json
from uniwhisper.evaluation.rules import (
    AudioRule,
    FoldRule,
    GroupRule,
    LabelRule,
    Mixtures,
    parse_audio,
    parse_folds,
    parse_group,
    parse_label,
)
from uniwhisper.evaluation.strict import Taker, is_count, is_flag, is_list, is_name, is_number, is_text, is_texts

SHIPPED = Path(__file__).parent / "suites"
METRICS = {
    "clip": ("accuracy",),
    "multilabel": ("mAP",),
    "asr": ("wer_inv",),
    "frame": ("segment_f1_macro", "segment_f1_micro"),
    "retrieval": ("recall_at_1",),
}
"""Metrics of each kind of task; all from 0 to 1, higher is better."""
_MOST_NAMED = 3
"""Tasks of a part of a suite that its name lists."""


class SuiteError(UserError):
    """A suite file, or the data it asks for, does not hold what it should."""


@dataclass(frozen=True, kw_only=True)
class XaresSettings:
    """What X-ARES 0.1.3 does with a task: read by the protocol `xares` only."""

    weight: int
    batch: int
    epochs: int
    crop_seconds: float | None
    encode_batch: int
    knn: bool
    splits: dict[str, str]
    """`train`, `valid`, `test`: name of a fold. Empty where every fold is validated and tested in turn."""


@dataclass(frozen=True, kw_only=True)
class Task:
    name: str
    description: str
    domain: str
    kind: str
    """A key of `METRICS`."""
    folder: str
    download: str | None
    """Where the data come from: an address or a name."""
    label: LabelRule
    group: GroupRule | None
    inner: str
    """How clips that choose a probe's settings are set aside: whole groups ("group"), or "clip" by clip."""
    folds: FoldRule
    audio: AudioRule
    metric: str
    metric_arguments: dict[str, float]
    variant_of: str | None
    """Another task of the suite that this one shows from another side; reported, in no average."""
    in_domain_corpora: tuple[str, ...]
    """Training corpora that share corpus and labels with this task. Any: averaged apart from the headline."""
    recordings_also_in: tuple[str, ...]
    """Training corpora with this task's recordings in other files, of which holding out by content knows nothing: a
    model trained on one of them has heard what is scored."""
    expected_clips: int | None
    """Clips of the complete set; None: not known beforehand."""
    expected_classes: int | None
    xares: XaresSettings | None

    def split_of(self, clip_id: str, group: str) -> str:
        """What a clip must not share with one on the other side of an inner split."""
        return group if self.inner == "group" else clip_id

    @property
    def synthetic(self) -> bool:
        return isinstance(self.audio, Mixtures)


@dataclass(frozen=True, kw_only=True)
class Suite:
    name: str
    description: str
    tasks: tuple[Task, ...]
    hash: str

    @property
    def domains(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(task.domain for task in self.tasks))


def shipped_suites() -> list[str]:
    return sorted(path.stem for path in SHIPPED.glob("*.json"))


def load_suite(name_or_path: str | Path) -> Suite:
    """Suite by shipped name, or from the user's own JSON file.

    Raises:
        SuiteError: there is no such suite, or the file is not a suite.
    """
    text = str(name_or_path)
    path = SHIPPED / f"{text}.json" if text in shipped_suites() else Path(text)
    if not path.is_file():
        raise SuiteError(
            f"no suite {text!r}",
            expected=f"one of {', '.join(shipped_suites())}, or the path of a suite file",
            got="neither a shipped suite nor a file",
            fix="uniwhisper evaluate --list shows the shipped suites",
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return _suite(content, _label_lists(path.parent / "labels"))
    except (UnicodeDecodeError, ValueError) as error:
        raise SuiteError(
            f"{path.name} is not a suite",
            expected=f"a file like {SHIPPED.name}/mini.json of this package",
            got=f"no JSON: {error}" if isinstance(error, json.JSONDecodeError) else str(error),
            fix="mend the file, or use a shipped suite",
        ) from None


def part_of(suite: Suite, names: Sequence[str]) -> Suite:
    """The suite with only the tasks `names`; its name and hash say so, for its averages are not the whole suite's.

    No names: the whole suite.

    Raises:
        SuiteError: there is no such task.
    """
    if not names:
        return suite
    missing = [name for name in names if name not in {task.name for task in suite.tasks}]
    if missing:
        raise SuiteError(
            f"suite {suite.name} has no task {missing[0]!r}",
            expected=f"one of {', '.join(task.name for task in suite.tasks)}",
            got=", ".join(missing),
            fix="uniwhisper evaluate --list shows the tasks",
        )
    tasks = tuple(task for task in suite.tasks if task.name in names)
    digest = part_hash(suite.hash, [task.name for task in tasks])
    # In a file name, so no longer than it has to be.
    part = "-".join(task.name for task in tasks) if len(tasks) <= _MOST_NAMED else f"{len(tasks)}-tasks-{digest[:6]}"
    description = f"{suite.description} Here {len(tasks)} of its {len(suite.tasks)} tasks."
    return replace(suite, name=f"{suite.name}-{part}", description=description, tasks=tasks, hash=digest)


def part_hash(whole: str, names: Sequence[str]) -> str:
    """Hash of the part with the tasks `names` (in the suite's order) of the suite whose hash is `whole`."""
    return hash_json([whole, list(names)])


def _label_lists(folder: Path) -> dict[str, tuple[str, ...]]:
    """One class per line, in the order of their indices."""
    lists = {path.stem: tuple(path.read_text(encoding="utf-8").splitlines()) for path in sorted(folder.glob("*.txt"))}
    for name, classes in lists.items():
        if len(set(classes)) != len(classes) or not all(classes):
            raise ValueError(f"labels/{name}.txt must hold different classes, one a line")
    return lists


def _suite(content: Any, lists: Mapping[str, tuple[str, ...]]) -> Suite:
    take = Taker(content, "the suite")
    if (take("format"), take("format_version")) != ("uniwhisper-suite", 2):
        raise ValueError("format is not uniwhisper-suite, version 2")
    tasks = tuple(_task(task, lists) for task in take("tasks", is_list))
    used = {task.name: task.label.classes for task in tasks if task.label.classes}
    suite = Suite(
        name=take("name", is_name),
        description=take("description", is_text),
        tasks=tasks,
        hash=hash_json([content, used]),
    )
    take.finish()
    names = [task.name for task in suite.tasks]
    if not names or len(set(names)) != len(names):
        raise ValueError("tasks must be there and have different names")
    for task in suite.tasks:
        if task.variant_of is not None and task.variant_of not in set(names) - {task.name}:
            raise ValueError(f"task {task.name}: variant_of names no other task of the suite")
    return suite


def _task(content: Any, lists: Mapping[str, tuple[str, ...]]) -> Task:
    take = Taker(content, f"task {content.get('name') if isinstance(content, dict) else content!r}")
    expected = Taker(take("expected", default={}), "expected")
    kind = take("kind", lambda kind: kind in METRICS, default="clip")
    group = take("group", default=None)
    task = Task(
        name=take("name", is_name),
        description=take("description", is_text),
        domain=take("domain", is_name),
        kind=kind,
        folder=take("folder", lambda folder: not Path(folder).is_absolute() and ".." not in Path(folder).parts),
        download=take("download", is_text, default=None),
        label=parse_label(take("label"), lists),
        group=None if group is None else parse_group(group),
        inner=take("inner", lambda inner: inner in ("group", "clip"), default="group"),
        folds=parse_folds(take("folds")),
        audio=parse_audio(take("audio", default=None)),
        metric=take("metric", lambda metric: metric in METRICS[kind]),
        metric_arguments=take("metric_arguments", _are_numbers, default={}),
        variant_of=take("variant_of", is_text, default=None),
        in_domain_corpora=tuple(take("in_domain_corpora", is_texts, default=[])),
        recordings_also_in=tuple(take("recordings_also_in", is_texts, default=[])),
        expected_clips=expected("clips", is_count, default=None),
        expected_classes=expected("classes", is_count, default=None),
        xares=_xares(take("xares", default=None)),
    )
    expected.finish()
    take.finish()
    if kind == "frame" and not task.metric_arguments.get("segment_seconds", 0) > 0:
        raise ValueError(f"task {task.name}: events in time are scored by segments: metric_arguments.segment_seconds")
    if (kind == "multilabel") != (task.label.separator is not None):
        raise ValueError(f"task {task.name}: several classes per clip come with a separator, and the other way round")
    return task


def _are_numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(map(is_number, value.values()))


def _xares(content: Any) -> XaresSettings | None:
    if content is None:
        return None
    take = Taker(content, "xares")
    settings = XaresSettings(
        weight=take("weight", is_count),
        batch=take("batch", is_count, default=32),
        epochs=take("epochs", is_count, default=10),
        crop_seconds=take("crop_seconds", is_number, default=None),
        encode_batch=take("encode_batch", is_count, default=16),
        knn=take("knn", is_flag),
        splits=take("splits", lambda splits: all(map(is_text, splits.values())), default={}),
    )
    take.finish()
    return settings
