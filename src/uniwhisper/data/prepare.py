"""A folder of corpora -> a manifest: every clip is decoded once, checked, and measured.

Layout: `FOLDER/<corpus>/*.tar`. The corpus is described by `corpus.json` in its folder, or shipped in `corpora.json`.
"""

import hashlib
import json
from pathlib import Path

from uniwhisper.audio.load import read
from uniwhisper.core.errors import AudioError, ManifestError
from uniwhisper.core.files import check_output
from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.data.archive import ArchivedClip, index_archive, raise_problem, read_member
from uniwhisper.data.corpora import CorpusDescription, parse_description, shipped_corpora
from uniwhisper.data.manifest import MANIFEST_NAME, Manifest, Record, duplicate_id
from uniwhisper.data.parallel import Progress, in_threads

SECONDS_TOLERANCE = 0.1
DESCRIPTION_NAME = "corpus.json"


def prepare(
    folder: Path,
    output: Path,
    *,
    skip_bad: bool = False,
    overwrite: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Check every clip below `folder` and write `output`/manifest.jsonl.

    Args:
        skip_bad: leave bad clips out and name them in `Manifest.skipped`, instead of stopping at the first.
        workers: threads that decode (decoding releases Python's lock); None: one for each usable core.
        progress: told now and then how many clips are done.

    Raises:
        ManifestError: no archives, an undescribed corpus, or (without `skip_bad`) the first bad clip.
        OutputError: the manifest exists and `overwrite` is False, or it cannot be written.
    """
    folder, output = Path(folder), Path(output)
    check_output(output / MANIFEST_NAME, overwrite=overwrite)
    corpora = find_corpora(folder)
    descriptions = {name: describe_corpus(folder / name) for name in corpora}
    problems: list[ManifestError] = []
    on_problem = problems.append if skip_bad else raise_problem
    clips = [
        (name, path, clip)
        for name, paths in corpora.items()
        for path in paths
        for clip in index_archive(path, on_problem=on_problem)
    ]

    def check(item: tuple[str, Path, ArchivedClip]) -> Record | ManifestError:
        name, path, clip = item
        try:
            return check_clip(folder, path, clip, corpus=name, description=descriptions[name])
        except ManifestError as error:
            return error

    records: dict[str, Record] = {}
    for done, result in enumerate(in_threads(check, clips, workers), start=1):
        if isinstance(result, Record) and result.id in records:
            result = duplicate_id(records[result.id], result)
        if isinstance(result, Record):
            records[result.id] = result
        else:
            on_problem(result)
        if progress is not None:
            progress(done, len(clips))
    if not records:
        raise ManifestError(
            f"{folder} holds no usable clip",
            expected="at least one clip that can be decoded",
            got=f"{len(problems)} bad clips" + (f", the first: {problems[0].one_line}" if problems else ""),
            fix="mend the archives",
        )
    manifest = Manifest.of(records.values(), descriptions, folder, [problem.one_line for problem in problems])
    manifest.write(output, overwrite=overwrite)
    return manifest


def find_corpora(folder: Path) -> dict[str, list[Path]]:
    """Corpus -> its tars, both sorted by name.

    Raises:
        ManifestError: the folder is missing, or no folder in it holds a tar.
    """
    layout = "FOLDER/<corpus>/*.tar"
    if not folder.is_dir():
        got = "no such folder" if not folder.exists() else "a file"
        raise ManifestError(f"cannot prepare {folder}", expected=layout, got=got, fix="name the folder of the corpora")
    found = {child.name: sorted(child.glob("*.tar")) for child in sorted(folder.iterdir()) if child.is_dir()}
    corpora = {name: paths for name, paths in found.items() if paths}
    if not corpora:
        loose = sorted(folder.glob("*.tar"))
        got = f"{len(loose)} tars directly in it" if loose else f"{len(found)} folders, none with a tar"
        fix = f"name its parent: {folder.resolve().parent}" if loose else "name the folder that holds the corpora"
        raise ManifestError(f"no corpus in {folder}", expected=layout, got=got, fix=fix)
    return corpora


def describe_corpus(folder: Path) -> CorpusDescription:
    """The folder's own `corpus.json`, else the shipped description of that name.

    Raises:
        ManifestError: neither exists, or the file is no valid description.
    """
    path = folder / DESCRIPTION_NAME
    if path.exists():
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ManifestError(
                f"cannot read {path}", expected="a JSON object", got=str(error), fix="mend the file"
            ) from None
        return parse_description(value, name=folder.name)
    if folder.name not in shipped_corpora():
        example = {"domain": "sound", "licence": "CC0", "tasks": {"sound_tag": {"field": "label", "clean": "words"}}}
        raise ManifestError(
            f"corpus {folder.name} is not described",
            expected=f"{path}, or one of the shipped corpora: {', '.join(shipped_corpora())}",
            got="neither",
            fix=f"write {DESCRIPTION_NAME} in that folder, for example {json.dumps(example)}",
        )
    return shipped_corpora()[folder.name]


def check_clip(root: Path, archive: Path, clip: ArchivedClip, *, corpus: str, description: CorpusDescription) -> Record:
    """Decode a clip, compare its length with the declared one, and try its labels.

    Raises:
        ManifestError: it cannot be decoded, its `seconds` are wrong, a label is unknown, or nothing can be asked.
    """
    record_id = f"{corpus}/{clip.key}"
    content = read_member(archive, clip.offset, clip.size)
    try:
        samples = len(read(content, name=record_id))
    except AudioError as error:
        raise ManifestError(record_id, expected=error.expected, got=error.got, fix=error.fix) from None
    labels = dict(clip.fields)
    declared = labels.pop("seconds", None)
    if declared is not None:
        good = isinstance(declared, int | float) and not isinstance(declared, bool)
        if not good or not abs(declared - samples / SAMPLE_RATE_HZ) <= SECONDS_TOLERANCE:
            raise ManifestError(
                record_id,
                expected=f"the declared {declared!r} seconds, within {SECONDS_TOLERANCE}",
                got=f"{samples / SAMPLE_RATE_HZ:.3f} seconds after decoding {clip.audio_member}",
                fix="correct `seconds` in the clip's JSON (or leave it out), or replace the damaged audio",
            )
    if not description.answers(record_id, labels):
        wanted = sorted({rule["field"] for rule in description.tasks.values() if "field" in rule})
        fix = "fill one of these fields, or describe what can be asked in corpus.json"
        raise ManifestError(record_id, expected=f"a label in {wanted}", got=f"the fields {sorted(labels)}", fix=fix)
    return Record(
        id=record_id,
        corpus=corpus,
        domain=description.domain,
        archive=archive.relative_to(root).as_posix(),
        offset=clip.offset,
        size=clip.size,
        samples=samples,
        sha256=hashlib.sha256(content).hexdigest(),
        fields=labels,
    )
