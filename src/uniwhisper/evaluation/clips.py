"""The clips of a task: found in WebDataset tars, each with its class and its fold, nothing left out unsaid."""

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uniwhisper.core.identity import content_fold, hash_json
from uniwhisper.data.archive import index_archive, read_member
from uniwhisper.evaluation.suites import FoldRule, SuiteError, Task


@dataclass(frozen=True)
class Clip:
    id: str
    """`archive name/key`: unique within a task, also where two archives share a key."""
    label: str
    fold: str
    sha256: str
    """Of the encoded audio's bytes."""
    archive: Path
    offset: int
    size: int

    def audio(self) -> bytes:
        """The encoded audio.

        Raises:
            ManifestError: the archive is missing or shorter than when it was indexed.
        """
        return read_member(self.archive, self.offset, self.size)


@dataclass(frozen=True)
class TaskClips:
    task: Task
    clips: list[Clip]
    """In the order of archive names, then of the archive."""
    classes: list[str]
    """Sorted; a clip's class index points here."""
    left_out: dict[str, int]
    """Clips in the archives that the task's label rule leaves out, by reason."""

    @property
    def hash(self) -> str:
        """Identity of the task's content: audio, labels and folds, wherever the files lie."""
        return hash_json([[clip.id, clip.sha256, clip.label, clip.fold] for clip in self.clips])

    @property
    def audio_hash(self) -> str:
        """Identity of the audio alone: what vectors depend on."""
        return hash_json([clip.sha256 for clip in self.clips])

    def repeated_across_folds(self) -> list[str]:
        """Ids of clips whose very bytes also lie in another fold: their neighbour gives the answer away."""
        folds_of: dict[str, set[str]] = {}
        for clip in self.clips:
            folds_of.setdefault(clip.sha256, set()).add(clip.fold)
        return [clip.id for clip in self.clips if len(folds_of[clip.sha256]) > 1]


def find_clips(task: Task, data: Path) -> TaskClips:
    """Index the archives of `task` below the folder `data`.

    Raises:
        SuiteError: a folder, archive, fold, label or clip that the task promises is not there.
        ManifestError: an archive cannot be read.
    """
    found: list[tuple[Clip, str | None]] = []
    for archive in _archives(task, data):
        for record in index_archive(archive):
            clip_id = f"{archive.stem}/{record.key}"
            # As `sha256sum` prints it, because that is what manifests and recipes take content folds from.
            audio_hash = hashlib.sha256(read_member(archive, record.offset, record.size)).hexdigest()
            label = _label(task, clip_id, record.fields)
            clip = Clip(
                id=clip_id,
                label=label or "",
                fold=_fold(task.folds, archive, audio_hash),
                sha256=audio_hash,
                archive=archive,
                offset=record.offset,
                size=record.size,
            )
            found.append((clip, label))
    unlabelled = sum(label is None for _, label in found)
    clips = [clip for clip, label in found if label is not None]
    sizes = Counter(clip.label for clip in clips)
    kept = [clip for clip in clips if sizes[clip.label] >= task.label.min_clips]
    reasons = {
        f"no {task.label.field!r}": unlabelled,
        f"class of fewer than {task.label.min_clips} clips": len(clips) - len(kept),
    }
    left_out = {reason: count for reason, count in reasons.items() if count}
    result = TaskClips(task, kept, sorted({clip.label for clip in kept}), left_out)
    _check(result)
    return result


def present(task: Task, data: Path) -> str:
    """One line on whether the folder and folds of `task` lie below `data`, without reading the archives."""
    try:
        archives = _archives(task, data)
    except SuiteError as error:
        return f"missing: {error.got}"
    return f"present: {len(archives)} archive{'s' if len(archives) != 1 else ''}"


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


def _fold(rule: FoldRule, archive: Path, audio_hash: str) -> str:
    if rule.by == "content":
        return str(content_fold(audio_hash, len(rule.names)))
    fold = _archive_fold(rule, archive)
    assert fold is not None, "archives were chosen by this pattern"
    return fold


def _label(task: Task, clip_id: str, fields: dict[str, Any]) -> str | None:
    """Class of a clip, None where the rule leaves it out."""
    try:
        label = task.label(fields)
    except (TypeError, ValueError):
        raise SuiteError(
            f"task {task.name}: clip {clip_id} has a label of another kind",
            expected=f"a number in the field {task.label.field!r}",
            got=repr(fields.get(task.label.field)),
            fix="mend the clip's JSON, or the suite's label rule",
        ) from None
    if label is None and task.label.missing == "refuse":
        raise SuiteError(
            f"task {task.name}: clip {clip_id} has no label",
            expected=f"the field {task.label.field!r} in its JSON",
            got=f"the fields {', '.join(sorted(fields)) or '(none)'}",
            fix="mend the clip's JSON, or let the suite's label rule say `missing: leave out`",
        )
    return label


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
    if len(result.classes) < 2:
        raise SuiteError(
            f"task {task.name}: nothing to tell apart",
            expected="clips of two or more classes",
            got=f"{len(clips)} clips of {len(result.classes)} classes",
            fix="check the suite's label rule against the data",
        )
    counts = Counter(clip.id for clip in clips)
    assert max(counts.values()) == 1, f"clip id {counts.most_common(1)[0][0]} twice in one task"
    for fold in task.folds.scored:
        inside = sum(clip.fold == fold for clip in clips)
        if inside in (0, len(clips)):
            raise SuiteError(
                f"task {task.name}: fold {fold} cannot be scored against the others",
                expected="clips in the fold and outside it",
                got=f"{inside} of {len(clips)} clips in it",
                fix="unpack the set again, all of it",
            )
