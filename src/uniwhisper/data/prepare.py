"""A folder of corpora -> a manifest: every clip is decoded once, checked, and measured.

Layout: `FOLDER/<corpus>/…`, in any form that `sources.detect` knows. The corpus is described by `corpus.json` in its
folder, or shipped in `corpora.json`. Nothing is kept per clip but what the manifest's writer holds, so the number of
clips is bounded by the disk.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from uniwhisper.audio.load import read, read_segment
from uniwhisper.core.errors import AudioError, ManifestError
from uniwhisper.core.files import check_output
from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.data.archive import raise_problem, stop_at
from uniwhisper.data.corpora import CorpusDescription, parse_description, shipped_corpora
from uniwhisper.data.left_out import LeftOut
from uniwhisper.data.manifest import MANIFEST_NAME, Manifest, Record
from uniwhisper.data.manifest_writer import ManifestWriter, Written
from uniwhisper.data.parallel import Progress, in_threads
from uniwhisper.data.placeholders import PlaceholderCount
from uniwhisper.data.sources import parquet_cells
from uniwhisper.data.sources.clip import OnProblem, SourceClip
from uniwhisper.data.sources.detect import DESCRIPTION_NAME, FORMS, has_corpus, read_json, source_clips
from uniwhisper.data.storage import Root, Store, is_url

SECONDS_TOLERANCE = 0.1
_EXAMPLE = {"domain": "sound", "licence": "CC0", "tasks": {"sound_tag": {"field": "label", "clean": "words"}}}
_TO_THE_END = 1 << 40  # samples; two years
_LAYOUT = f"FOLDER/<corpus>/ with {FORMS}"


@dataclass
class Corpus:
    """A corpus that was found, before its clips are looked at."""

    name: str
    folder: str
    """Relative to the root; empty: the root itself."""
    description: CorpusDescription
    clips: Iterable[SourceClip]
    notes: list[str] = field(default_factory=list)
    """What was left out on purpose, filled in while clips are read; and which answers look as if they were none."""


def prepare(
    folder: Root,
    output: Path,
    *,
    skip_bad: bool = False,
    overwrite: bool = False,
    splits: Sequence[str] | None = None,
    leave_out: Sequence[str] = (),
    workers: int | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Check every clip below `folder` and write `output`/manifest.jsonl; returns it, read back.

    Args:
        folder: a folder, or a URL that fsspec opens.
        skip_bad: leave bad clips out and name them in `Manifest.skipped`, instead of stopping at the first.
        splits: of corpora that come in several; None: those named train…, or all if there are none.
        leave_out: rules `FIELD=PATTERN`: clips with such a field are not decoded and not in the manifest, their number
            is in the corpus's notes and, by rule, in `Manifest.left_out`.
        workers: threads that decode (decoding releases Python's lock); None: one for each usable core.
        progress: told now and then how many clips are done; how many there are is not known before the end.

    Raises:
        ManifestError: no corpus, an undescribed corpus, a rule about a field that no clip has, or (without `skip_bad`)
            the first bad clip.
        OutputError: the manifest exists and `overwrite` is False, or it cannot be written.
    """
    written, _ = prepare_folder(
        folder, output, skip_bad=skip_bad, overwrite=overwrite, splits=splits, leave_out=leave_out, workers=workers,
        progress=progress,
    )  # fmt: skip
    return Manifest.read(written.path)


def prepare_folder(
    folder: Root,
    output: Path,
    *,
    skip_bad: bool = False,
    overwrite: bool = False,
    splits: Sequence[str] | None = None,
    leave_out: Sequence[str] = (),
    workers: int | None = None,
    progress: Progress | None = None,
) -> tuple[Written, list[str]]:
    """As `prepare`, without reading the manifest back: what was written, and the notes of its corpora."""
    check_output(Path(output) / MANIFEST_NAME, overwrite=overwrite)
    problems: list[ManifestError] = []
    on_problem = problems.append if skip_bad else stop_at
    corpora = find_corpora(folder, splits=splits, on_problem=on_problem)
    written = write_corpora(
        folder, corpora, output, problems=problems, on_problem=on_problem, overwrite=overwrite, leave_out=leave_out,
        workers=workers, progress=progress,
    )  # fmt: skip
    notes = [f"{corpus.name}: {line}" for corpus in corpora for line in corpus.notes]
    others = sorted(set(Store(folder).folders()) - {corpus.name for corpus in corpora})
    notes += [f"{name}: left out, it holds no corpus and no {DESCRIPTION_NAME}" for name in others]
    return written, notes + list(written.notes)


def write_corpora(
    root: Root,
    corpora: Sequence[Corpus],
    output: Path,
    *,
    problems: Sequence[ManifestError],
    on_problem: OnProblem,
    overwrite: bool = False,
    leave_out: Sequence[str] = (),
    workers: int | None = None,
    progress: Progress | None = None,
) -> Written:
    """Check the clips of `corpora`, whose folders lie below `root`, and write `output`/manifest.jsonl.

    Args:
        problems: what `on_problem` was told so far, by whoever lists the clips too; it may grow meanwhile.
        on_problem, leave_out, workers, progress, overwrite: as in `prepare`.

    Raises:
        ManifestError, OutputError: as `prepare`.
    """
    store = Store(root)
    # A file may have been replaced since this process looked at it last.
    parquet_cells.forget()
    _recording.cache_clear()
    left_out = LeftOut(leave_out)

    named = {corpus.name: corpus for corpus in corpora}

    def clips() -> Iterator[tuple[str, SourceClip]]:
        for name, corpus in named.items():
            for clip in left_out.remaining(name, corpus.description.licence, corpus.clips):
                yield name, clip

    def check(item: tuple[str, SourceClip]) -> Record | ManifestError:
        name, clip = item
        try:
            return check_clip(store, clip, corpus=named[name])
        except ManifestError as error:
            return error

    descriptions = {name: corpus.description for name, corpus in named.items()}
    placeholders = {name: PlaceholderCount(description) for name, description in descriptions.items()}
    with ManifestWriter(output, descriptions, root, overwrite=overwrite) as writer:
        listed = left_out.once_known(clips(), Path(output))
        for done, result in enumerate(in_threads(check, listed, workers), start=1):
            if isinstance(result, Record):
                writer.add(result)
                placeholders[result.corpus].add(result.id, result.fields)
            else:
                on_problem(result)
            if progress is not None:
                progress(done, None)
        if not writer.count:
            raise ManifestError(
                f"{root} holds no usable clip",
                expected="at least one clip that can be decoded",
                got=f"{len(problems)} bad clips"
                + (f", the first: {problems[0].one_line}" if problems else "")
                + f"; {left_out.count:,} left out by --leave-out" * bool(leave_out),
                fix="mend the corpora" + ", or leave out less" * bool(leave_out),
            )
        lines = [problem.one_line for problem in problems]
        written = writer.finish(lines, left_out=left_out.clips, on_problem=on_problem)
    for corpus in corpora:
        corpus.notes.extend(left_out.lines(corpus.name))
        corpus.notes.extend(placeholders[corpus.name].lines())
    return replace(written, problems=tuple(problems), notes=tuple(left_out.unmatched_lines()))


def find_corpora(
    folder: Root, *, splits: Sequence[str] | None = None, on_problem: OnProblem = raise_problem
) -> list[Corpus]:
    """The corpora in the folders directly below, sorted by name; their clips are listed when iterated.

    Raises:
        ManifestError: the folder is missing, no folder in it holds a corpus, or one is not described.
    """
    if not is_url(folder) and not Path(folder).is_dir():
        got = "a file" if Path(folder).exists() else "no such folder"
        fix = "name the folder of the corpora"
        raise ManifestError(f"cannot prepare {folder}", expected=_LAYOUT, got=got, fix=fix)
    store = Store(folder)
    folders = store.folders()
    # A folder that is described is meant: where its clips cannot be found, that is an error.
    names = [name for name in folders if store.exists(f"{name}/{DESCRIPTION_NAME}") or has_corpus(store.below(name))]
    if not names:
        loose = [name for name in store.names(deep=False) if name.endswith(".tar")]
        itself = bool(loose) or store.exists(DESCRIPTION_NAME) or has_corpus(store)
        got = f"{len(loose)} tars directly in it" if loose else f"{len(folders)} folders, none with a corpus"
        parent = folder.rpartition("/")[0] if is_url(folder) else Path(folder).resolve().parent
        fix = (
            f"name its parent: {parent}"
            if itself
            else f"name the folder that holds the corpora, and describe each in a {DESCRIPTION_NAME} in its own "
            f"folder, for example {json.dumps(_EXAMPLE)}"
        )
        raise ManifestError(f"no corpus in {folder}", expected=_LAYOUT, got=got, fix=fix)
    return [open_corpus(store.below(name), name, splits=splits, on_problem=on_problem) for name in names]


def open_corpus(
    store: Store, name: str, *, splits: Sequence[str] | None = None, on_problem: OnProblem = raise_problem
) -> Corpus:
    """The corpus in a folder, described by its own `corpus.json`, else by the shipped entry of its name.

    Raises:
        ManifestError: neither exists, or the file is no valid description.
    """
    description, columns = describe_corpus(store, name)
    corpus = Corpus(name, name, description, ())
    corpus.clips = source_clips(store, columns=columns, splits=splits, notes=corpus.notes, on_problem=on_problem)
    return corpus


def describe_corpus(store: Store, name: str) -> tuple[CorpusDescription, Mapping[str, str]]:
    """Description of a corpus, and the names of its special columns.

    Raises:
        ManifestError: it is not described, or the file is no valid description.
    """
    if store.exists(DESCRIPTION_NAME):
        value = read_json(store, DESCRIPTION_NAME)
        columns = value.pop("columns", {}) if isinstance(value, dict) else {}
        if not isinstance(columns, dict) or not all(isinstance(column, str) for column in columns.values()):
            fix = 'for example "columns": {"file_name": "path", "id": "utterance"}'
            raise ManifestError(
                f"corpus {name}: columns", expected="an object {column: its name here}", got=repr(columns), fix=fix
            )
        return parse_description(value, name=name), columns
    if name not in shipped_corpora():
        raise ManifestError(
            f"corpus {name} is not described",
            expected=f"{store.path(DESCRIPTION_NAME)}, or one of the shipped corpora: {', '.join(shipped_corpora())}",
            got="neither",
            fix=f"write {DESCRIPTION_NAME} in that folder, for example {json.dumps(_EXAMPLE)}",
        )
    return shipped_corpora()[name], {}


def check_clip(store: Store, clip: SourceClip, *, corpus: Corpus) -> Record:
    """Decode a clip, compare its length with the declared one, and try its labels.

    Args:
        store: the root that the corpus's folder is relative to.

    Raises:
        ManifestError: its file is missing or cannot be decoded, its `seconds` are wrong, a label is unknown, or
            nothing can be asked.
    """
    record_id = f"{corpus.name}/{clip.key}"
    place = f"{corpus.folder}/{clip.file}" if corpus.folder else clip.file
    try:
        size, sha256, samples = _measure(store, place, clip, record_id)
    except AudioError as error:
        raise ManifestError(record_id, expected=error.expected, got=error.got, fix=error.fix) from None
    except OSError as error:
        fix = "put the file there, or remove the clip from the corpus's list"
        got = f"{store.path(place)}: {error.strerror or error}"
        raise ManifestError(record_id, expected="a file that can be read", got=got, fix=fix) from None
    labels = dict(clip.fields)
    declared = clip.seconds if clip.start_seconds is not None else labels.pop("seconds", None)
    if declared is not None:
        good = isinstance(declared, int | float) and not isinstance(declared, bool)
        if not good or not abs(declared - samples / SAMPLE_RATE_HZ) <= SECONDS_TOLERANCE:
            raise ManifestError(
                record_id,
                expected=f"the declared {declared!r} seconds, within {SECONDS_TOLERANCE}",
                got=f"{samples / SAMPLE_RATE_HZ:.3f} seconds after decoding {clip.file}",
                fix="correct `seconds` in the clip's labels (or leave it out), or replace the damaged audio",
            )
    if not corpus.description.answers(record_id, labels):
        wanted = sorted({rule["field"] for rule in corpus.description.tasks.values() if "field" in rule})
        fix = "fill one of these fields, or describe what can be asked in corpus.json"
        raise ManifestError(record_id, expected=f"a label in {wanted}", got=f"the fields {sorted(labels)}", fix=fix)
    return Record(
        id=record_id,
        corpus=corpus.name,
        domain=corpus.description.domain,
        archive=place,
        offset=clip.offset,
        size=size,
        samples=samples,
        sha256=sha256,
        fields=labels,
        column=clip.column,
        start_seconds=clip.start_seconds,
    )


def _measure(store: Store, place: str, clip: SourceClip, name: str) -> tuple[int, str, int]:
    """Bytes, hash and samples of a clip."""
    if clip.start_seconds is None:
        if clip.column is not None:
            content = parquet_cells.read(store, place, clip.column, clip.offset)
        else:
            content = store.read(place, clip.offset, clip.size)
        return len(content), hashlib.sha256(content).hexdigest(), len(read(content, name=name))
    # Recordings are long and hold many segments: each is hashed once, and decoded only where the segment lies.
    assert clip.column is None and clip.offset == 0 and clip.size is None, "segments lie in files of their own"
    size, sha256 = _recording(store.root, place)
    wanted = _TO_THE_END if clip.seconds is None else max(1, round(clip.seconds * SAMPLE_RATE_HZ))
    source = store.read(place) if is_url(store.root) else Path(store.path(place))
    return size, sha256, len(read_segment(source, start_seconds=clip.start_seconds, samples=wanted, name=name))


@lru_cache(maxsize=64)
def _recording(root: Root, place: str) -> tuple[int, str]:
    store = Store(root)
    return store.size(place), store.sha256(place)
