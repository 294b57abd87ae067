"""The clips of a task: found in WebDataset tars, each with its class, fold and group, nothing left out unsaid."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uniwhisper.core.identity import content_fold, hash_json
from uniwhisper.data.archive import index_archive, read_member
from uniwhisper.evaluation.rules import FoldRule, Mixtures, Perturbation
from uniwhisper.evaluation.suites import SuiteError, Task
from uniwhisper.evaluation.synthetic import Mixed, Perturbed, Recorded, Source, draw_mixtures


@dataclass(frozen=True)
class Clip:
    id: str
    """`archive name/key`: unique within a task, also where two archives share a key."""
    label: str
    """Its class; several with the task's separator between them; for speech recognition its text."""
    fold: str
    group: str
    """The clip's own id where the task knows no groups, or the clip has none."""
    source: Source
    fields: Mapping[str, Any]
    """Everything its JSON says; a JSON list stands under `events`."""

    @property
    def content(self) -> str:
        """Identity of the sound."""
        return self.source.content


@dataclass(frozen=True)
class TaskClips:
    task: Task
    clips: list[Clip]
    """In the order of archive names, then of the archive."""
    classes: list[str]
    """In the order of the suite's list, else sorted; a clip's class index points here. Empty for speech recognition."""
    left_out: dict[str, int]
    """Clips in the archives that the task's label rule leaves out, by reason."""

    @property
    def hash(self) -> str:
        """Identity of the task's content: audio, labels, folds and groups, wherever the files lie."""
        return hash_json([[clip.id, clip.content, clip.label, clip.fold, clip.group] for clip in self.clips])

    def repeated_across_folds(self) -> list[str]:
        """Ids of clips whose very bytes also lie in another fold: their neighbour gives the answer away."""
        folds_of: dict[str, set[str]] = {}
        for clip in self.clips:
            folds_of.setdefault(clip.content, set()).add(clip.fold)
        return [clip.id for clip in self.clips if len(folds_of[clip.content]) > 1]


@dataclass(frozen=True)
class _Record:
    id: str
    key: str
    archive: Path | None
    """None: made from clips of several."""
    fields: Mapping[str, Any]
    source: Source


def find_clips(task: Task, data: Path) -> TaskClips:
    """Index the archives of `task` below the folder `data`.

    Raises:
        SuiteError: a folder, archive, fold, label or clip that the task promises is not there.
        ManifestError: an archive cannot be read.
    """
    records = _records(task, data)
    labels = [_label(task, record.id, record.fields) for record in records]
    sizes = Counter(label for label in labels if label is not None)
    kept = [
        (record, label)
        for record, label in zip(records, labels, strict=True)
        if label is not None and sizes[label] >= task.label.min_clips
    ]
    unlabelled = sum(label is None for label in labels)
    reasons = {
        f"no {task.label.field!r}": unlabelled,
        f"class of fewer than {task.label.min_clips} clips": len(records) - unlabelled - len(kept),
    }
    folds = _folds(task.folds, kept)
    clips = []
    for (record, label), fold in zip(kept, folds, strict=True):
        group = task.group(record.key, record.fields) if task.group else None
        clips.append(Clip(record.id, label, fold, record.id if group is None else group, record.source, record.fields))
    left_out = {reason: count for reason, count in reasons.items() if count}
    result = TaskClips(task, clips, _classes(task, clips), left_out)
    _check(result)
    return result


def present(task: Task, data: Path) -> str:
    """One line on whether the folder and folds of `task` lie below `data`, without reading the archives."""
    try:
        archives = _archives(task, data)
    except SuiteError as error:
        return f"missing: {error.got}"
    return f"present: {len(archives)} archive{'s' if len(archives) != 1 else ''}"


def _records(task: Task, data: Path) -> list[_Record]:
    records = []
    for archive in _archives(task, data):
        for found in index_archive(archive, list_field="events"):
            # As `sha256sum` prints it, because that is what manifests and recipes take content folds from.
            audio_hash = hashlib.sha256(read_member(archive, found.offset, found.size)).hexdigest()
            source = Recorded(audio_hash, archive, found.offset, found.size)
            records.append(_Record(f"{archive.stem}/{found.key}", found.key, archive, found.fields, source))
    match task.audio:
        case Perturbation() as rule:
            return [_Record(r.id, r.key, r.archive, r.fields, Perturbed(r.source, rule)) for r in records]
        case Mixtures() as rule:
            return _mixtures(task, records, rule)
    return records


def _mixtures(task: Task, records: list[_Record], rule: Mixtures) -> list[_Record]:
    speakers: dict[str, list[Recorded]] = defaultdict(list)
    for record in records:
        if (speaker := record.fields.get(rule.speaker)) is not None:
            speakers[str(speaker)].append(record.source)
    try:
        drawn = draw_mixtures(speakers, rule)
    except ValueError as error:
        raise SuiteError(
            f"task {task.name}: mixtures cannot be made",
            expected=f"clips with the field {rule.speaker!r} of enough speakers",
            got=str(error),
            fix="unpack the set again, all of it",
        ) from None
    return [_Record(key, key, None, fields, Mixed(sources, rule.seconds)) for key, fields, sources in drawn]


def _archives(task: Task, data: Path) -> list[Path]:
    folder = Path(data) / task.folder
    archives = sorted(folder.glob("*.tar"))
    rule = task.folds
    if rule.by == "archive":
        archives = [archive for archive in archives if _archive_fold(rule, archive) in rule.names]
    if not archives:
        raise SuiteError(
            f"task {task.name}: no data",
            expected=f"WebDataset tars in {folder}",
            got="an empty folder" if folder.is_dir() else "no such folder",
            fix="point --data at the folder that holds the task folders (uniwhisper evaluate --list --data DIR)",
        )
    missing = [name for name in rule.names if name not in {_archive_fold(rule, archive) for archive in archives}]
    if rule.by == "archive" and missing:
        raise SuiteError(
            f"task {task.name}: folds are missing",
            expected=f"an archive for each of {', '.join(rule.names)} in {folder}",
            got=f"none for {', '.join(missing)}",
            fix="unpack the set again, all of it",
        )
    return archives


def _archive_fold(rule: FoldRule, archive: Path) -> str | None:
    match = re.fullmatch(rule.pattern, archive.name) if rule.pattern else None
    return match.group(1) if match else None


def _folds(rule: FoldRule, kept: list[tuple[_Record, str]]) -> list[str]:
    if rule.by == "content":
        return [str(content_fold(record.source.content, len(rule.names))) for record, _ in kept]
    if rule.by == "group":
        assert rule.of is not None, "folds by group say of what"
        groups = [rule.of(record.key, record.fields) or record.id for record, _ in kept]
        return deal_groups(groups, [label for _, label in kept], rule.names)
    folds = [_archive_fold(rule, record.archive) for record, _ in kept if record.archive is not None]
    assert None not in folds, "archives were chosen by this pattern"
    return [fold for fold in folds if fold is not None]


def deal_groups(groups: list[str], labels: list[str], folds: tuple[str, ...]) -> list[str]:
    """Fold of each clip: every group whole in one fold, classes and sizes as even as a greedy deal makes them.

    Groups of the rarest classes first, then large ones, then by name; each goes where its commonest class is rarest,
    then where there are fewest clips, then to the first. Nothing but groups and classes decides.
    """
    members: dict[str, Counter[str]] = defaultdict(Counter)
    for group, label in zip(groups, labels, strict=True):
        members[group][label] += 1
    # A class that stands in one group alone says nothing about balance; the commonest class of a group leads it.
    leads = {group: min(counts, key=lambda label: (-counts[label], label)) for group, counts in members.items()}
    rarity = Counter(leads.values())
    order = sorted(members, key=lambda group: (rarity[leads[group]], leads[group], -members[group].total(), group))
    held: dict[str, Counter[str]] = {fold: Counter() for fold in folds}
    fold_of = {}
    for group in order:
        lead = leads[group]
        fold_of[group] = min(folds, key=lambda fold: (held[fold][lead], held[fold].total(), folds.index(fold)))
        held[fold_of[group]] += members[group]
    return [fold_of[group] for group in groups]


def _label(task: Task, clip_id: str, fields: Mapping[str, Any]) -> str | None:
    """Class of a clip, None where the rule leaves it out."""
    rule = task.label
    try:
        label = rule(fields)
    except (TypeError, ValueError):
        raise SuiteError(
            f"task {task.name}: clip {clip_id} has a label of another kind",
            expected=f"a number in the field {rule.field!r}",
            got=repr(fields.get(rule.field)),
            fix="mend the clip's JSON, or the suite's label rule",
        ) from None
    if label is None and rule.missing == "refuse":
        raise SuiteError(
            f"task {task.name}: clip {clip_id} has no label",
            expected=f"the field {rule.field!r} in its JSON",
            got=f"the fields {', '.join(sorted(fields)) or '(none)'}",
            fix="mend the clip's JSON, or let the suite's label rule say `missing: leave out`",
        )
    # What is in a clip's list of events is read by `events.spans_of`.
    checked = label is not None and rule.classes is not None and task.kind != "frame"
    unknown = set(_each(task, label)) - set(rule.classes) if checked else set()
    if unknown:
        raise SuiteError(
            f"task {task.name}: clip {clip_id} has a class outside the list",
            expected=f"one of {len(rule.classes or ())} classes: {', '.join((rule.classes or ())[:8])} …",
            got=", ".join(sorted(unknown)),
            fix="mend the clip's JSON, or the suite's label list",
        )
    return label


def _each(task: Task, label: str) -> list[str]:
    return label.split(task.label.separator) if task.label.separator else [label]


def _classes(task: Task, clips: list[Clip]) -> list[str]:
    if task.kind not in ("clip", "multilabel"):
        return []
    found = {label for clip in clips for label in _each(task, clip.label)}
    return [label for label in task.label.classes if label in found] if task.label.classes else sorted(found)


def _check(result: TaskClips) -> None:
    task, clips = result.task, result.clips
    for what, expected, got in (
        ("clips", task.expected_clips, len(clips)),
        ("classes", task.expected_classes, len(result.classes)),
    ):
        if expected is not None and got != expected:
            raise SuiteError(
                f"task {task.name}: another number of {what}",
                expected=f"{expected} {what}, as the suite says",
                got=str(got),
                fix="unpack the set again, or write a suite file of your own for a part of it",
            )
    if task.kind in ("clip", "multilabel") and len(result.classes) < 2:
        raise SuiteError(
            f"task {task.name}: nothing to tell apart",
            expected="clips of two or more classes",
            got=f"{len(clips)} clips of {len(result.classes)} classes",
            fix="check the suite's label rule against the data",
        )
    counts = Counter(clip.id for clip in clips)
    assert not counts or max(counts.values()) == 1, f"clip id {counts.most_common(1)[0][0]} twice in one task"
    for fold in task.folds.scored:
        inside = sum(clip.fold == fold for clip in clips)
        if inside in (0, len(clips)):
            raise SuiteError(
                f"task {task.name}: fold {fold} cannot be scored against the others",
                expected="clips in the fold and outside it",
                got=f"{inside} of {len(clips)} clips in it",
                fix="unpack the set again, all of it",
            )
        if task.kind == "asr" and not any(clip.fold == fold and has_words(clip) for clip in clips):
            raise SuiteError(
                f"task {task.name}: fold {fold} cannot be scored, there is nothing said in it",
                expected=f"words in the field {task.label.field!r} of one of its clips or more",
                got=f"none in {inside} clips",
                fix="check the suite's label rule against the data, or leave the fold out of the scored ones",
            )


def has_words(clip: Clip) -> bool:
    """Whether the text of a clip of speech recognition holds a word: errors are counted per word."""
    return bool(clip.label.split())
