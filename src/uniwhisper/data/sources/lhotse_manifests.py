"""Lhotse: recordings with supervisions, cuts, and Shar. Lhotse reads its own files; decoding stays ours.

A supervision (with its recording) or a cut is one clip. Its labels are those of its supervisions: text, language,
gender, speaker and what lies in `custom`. Of several in one cut the texts are joined in order of time, other values
stand if all agree, and `speaker_count` counts the speakers.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from uniwhisper.core.errors import ManifestError, MissingExtraError
from uniwhisper.data.archive import tar_members
from uniwhisper.data.sources.clip import OnProblem, SourceClip, problem
from uniwhisper.data.sources.splits import choose_splits
from uniwhisper.data.storage import Store, is_url

if TYPE_CHECKING:
    from lhotse import Recording, SupervisionSegment

_LINES = re.compile(r"\.jsonl(\.gz)?$")
_SHAR_CUTS = re.compile(r"^cuts\.(.*)\.jsonl(\.gz)?$|^cuts\.jsonl(\.gz)?$")
_WHOLE_SECONDS = 0.05
"""A segment that leaves out less than this at either end is the whole recording: labels are rounded."""


def is_shar(names: Sequence[str]) -> bool:
    """Whether these names in a folder are those of Shar: `cuts.000000.jsonl.gz` beside `recording.000000.tar`."""
    return any(map(_SHAR_CUTS.match, names)) and any(re.match(r"^recording\..*tar$", name) for name in names)


def manifests_among(names: Sequence[str]) -> list[str]:
    """Files that hold Lhotse's recordings or cuts, by their names."""
    lines = [name for name in names if _LINES.search(name)]
    return [name for name in lines if "cuts" in PurePosixPath(name).name or "recordings" in PurePosixPath(name).name]


def lhotse_clips(
    store: Store,
    manifests: Sequence[Path],
    *,
    splits: Sequence[str] | None,
    notes: list[str],
    on_problem: OnProblem,
) -> Iterator[SourceClip]:
    """Clips of local Lhotse manifests whose audio lies below `store`.

    Args:
        manifests: files of cuts or recordings; `x_recordings_train.jsonl.gz` goes with `x_supervisions_train.jsonl.gz`.
        splits: as in `choose_splits`; a file's split is what follows `cuts_` or `recordings_`.
        notes: is told which splits were left out.

    Raises:
        ManifestError: (through `on_problem`) audio outside the folder, in a form other than a file, in one channel of
            several, or altered by Lhotse when read.
        MissingExtraError: Lhotse is not installed.
    """
    by_split: dict[str, list[Path]] = {}
    for path in manifests:
        by_split.setdefault(_split_of(path.name), []).append(path)
    chosen, left_out = choose_splits(by_split, splits)
    if left_out:
        notes.append(f"splits left out: {', '.join(left_out)}")
    for path in sorted(path for split in chosen for path in by_split[split]):
        listing = _cuts(path) if "cuts" in path.name else _recordings(path)
        for name, recording, start, seconds, channels, supervisions in listing:
            try:
                yield _clip(store, path, name, recording, start, seconds, channels, supervisions)
            except ManifestError as error:
                on_problem(error)


def shar_clips(store: Store, *, on_problem: OnProblem) -> Iterator[SourceClip]:
    """Clips of a folder in Lhotse's Shar: each line of `cuts.*` goes with a pair of members of `recording.*.tar`.

    Raises:
        ManifestError: (through `on_problem`) a damaged tar, or a cut without its recording.
    """
    deserialize = _lhotse().serialization.deserialize_item
    load_lines = _lhotse().serialization.load_jsonl
    names = store.names(deep=False)
    for cuts in sorted(name for name in names if _SHAR_CUTS.match(name)):
        shard = _LINES.sub("", cuts).removeprefix("cuts").removeprefix(".")
        tar = f"recording.{shard}.tar" if shard else "recording.tar"
        if tar not in names:
            expected, fix = f"{tar} beside {cuts}", "copy the missing shard, or remove the other half"
            on_problem(problem(cuts, expected=expected, got="no such file", fix=fix))
            continue
        members = {}
        with store.open(tar) as file:
            for member, _, error in tar_members(file, store.size(tar), f"{store.name}/{tar}", on_problem):
                name, _, extension = member.name.rpartition(".")
                if extension in ("json", "nodata", "nometa"):
                    continue
                if error is None:
                    members[name] = member
                else:
                    on_problem(error)
        for line in load_lines(store.path(cuts)):
            cut = deserialize(line)
            member = members.get(cut.id)
            if member is None:
                fix = "write the Shar again: each cut needs its audio"
                on_problem(problem(cut.id, expected=f"its audio in {tar}", got="none", fix=fix))
                continue
            yield SourceClip(cut.id, tar, _labels(cut.supervisions), offset=member.offset_data, size=member.size)


def _cuts(path: Path) -> Iterator[tuple]:
    for cut in _lhotse().load_manifest_lazy(path):
        recording = getattr(cut, "recording", None)
        channel = getattr(cut, "channel", None)
        channels = channel if isinstance(channel, list) else [channel]
        yield cut.id, recording, cut.start if recording else 0, cut.duration, channels, cut.supervisions


def _recordings(path: Path) -> Iterator[tuple]:
    lhotse = _lhotse()
    beside = path.with_name(path.name.replace("recordings", "supervisions"))
    if not beside.exists():
        for recording in lhotse.load_manifest_lazy(path):
            yield recording.id, recording, 0, recording.duration, recording.channel_ids, []
        return
    recordings = {recording.id: recording for recording in lhotse.load_manifest_lazy(path)}
    for supervision in lhotse.load_manifest_lazy(beside):
        channel = supervision.channel
        channels = channel if isinstance(channel, list) else [channel]
        recording = recordings.get(supervision.recording_id)
        yield supervision.id, recording, supervision.start, supervision.duration, channels, [supervision]


def _clip(
    store: Store,
    manifest: Path,
    name: str,
    recording: "Recording | None",
    start: float,
    seconds: float,
    channels: Sequence[int],
    supervisions: Sequence["SupervisionSegment"],
) -> SourceClip:
    def refuse(expected: str, got: str, fix: str) -> ManifestError:
        return problem(f"{manifest.name}: {name}", expected=expected, got=got, fix=fix)

    if recording is None:
        raise refuse("one recording", "none, or a mixture of several", "write the audio out, e.g. as Shar")
    if recording.transforms:
        raise refuse("audio as it is in its file", f"{len(recording.transforms)} changes on reading", "write it out")
    if len(recording.sources) != 1 or recording.sources[0].type != "file":
        got = ", ".join(source.type for source in recording.sources)
        raise refuse("audio in one file", got, "write the audio out, e.g. as Shar")
    if recording.num_channels > 1 and len(channels) < recording.num_channels:
        got = f"channel {channels} of {recording.num_channels}"
        raise refuse("all channels, which are averaged", got, "write each channel to a file of its own")
    file = _below(store, manifest, recording.sources[0].source)
    if file is None:
        fix = "name a --root that holds the audio"
        raise refuse(f"a file below {store.root}", str(recording.sources[0].source), fix)
    labels = _labels(supervisions)
    if start <= _WHOLE_SECONDS and start + seconds >= recording.duration - _WHOLE_SECONDS:
        return SourceClip(name, file, {**labels, "seconds": recording.duration})
    return SourceClip(name, file, labels, start_seconds=float(start), seconds=float(seconds))


def _below(store: Store, manifest: Path, source: str) -> str | None:
    """Name of a file in the store; Lhotse's paths are absolute, or relative to somewhere it does not say."""
    if is_url(store.root):
        prefix = str(store.root).rstrip("/") + "/"
        return source.removeprefix(prefix) if source.startswith(prefix) else source if "://" not in source else None
    root = Path(store.root).resolve()
    for base in (root, manifest.parent, Path.cwd()):
        path = (base / source).resolve()
        if path.is_relative_to(root) and path.is_file():
            return path.relative_to(root).as_posix()
    # Nothing there: named all the same if it would lie inside, so that the error is about the missing file.
    path = (root / source).resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else None


def _labels(supervisions: Sequence["SupervisionSegment"]) -> dict[str, Any]:
    ordered = sorted(supervisions, key=lambda supervision: supervision.start)
    each = [
        {**(one.custom or {}), "text": one.text, "language": one.language, "gender": one.gender, "speaker": one.speaker}
        for one in ordered
    ]
    labels: dict[str, Any] = {}
    for name in dict.fromkeys(key for values in each for key in values):
        values = [one.get(name) for one in each]
        if name == "text" and all(values):
            labels["text"] = " ".join(values)
        elif values[0] is not None and all(value == values[0] for value in values):
            labels[name] = (
                values[0] if isinstance(values[0], str | int | float | bool | list | dict) else str(values[0])
            )
    speakers = {one.speaker for one in ordered}
    if len(ordered) > 1 and None not in speakers:
        labels["speaker_count"] = len(speakers)
    return labels


def _split_of(name: str) -> str:
    stem = _LINES.sub("", name)
    return re.sub(r"^.*?(cuts|recordings)[_.-]?", "", stem) or "train"


def _lhotse() -> Any:
    try:
        logging.getLogger("lhotse").setLevel(logging.ERROR)
        import lhotse
        import lhotse.serialization
    except ImportError:
        raise MissingExtraError.of("lhotse", "data", "reading Lhotse's manifests") from None
    return lhotse
