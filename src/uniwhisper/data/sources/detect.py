"""Which form a corpus's folder has, seen by what lies in it, and its clips."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from uniwhisper.core.errors import ManifestError
from uniwhisper.data.archive import index_tar
from uniwhisper.data.sources.audio_folder import audio_among, audio_folder_clips
from uniwhisper.data.sources.clip import OnProblem, SourceClip, problem
from uniwhisper.data.sources.hugging_face import ARROW, PARQUET, hugging_face_clips
from uniwhisper.data.sources.lhotse_manifests import is_shar, lhotse_clips, manifests_among, shar_clips
from uniwhisper.data.sources.table import TABLE_ENDINGS, TABLE_NAMES, table_clips
from uniwhisper.data.storage import Store, is_url

DESCRIPTION_NAME = "corpus.json"
FORMS = (
    "*.tar, metadata.csv/.tsv/.jsonl with audio, *.parquet, *.arrow, or Lhotse's *cuts*.jsonl.gz or Shar; beside a "
    f"{DESCRIPTION_NAME} also one table of any name, or a folder of audio for each label"
)


def has_corpus(store: Store) -> bool:
    """Whether the folder holds a corpus in one of the forms that are read."""
    return bool(_form(store))


def source_clips(
    store: Store,
    *,
    columns: Mapping[str, str],
    splits: Sequence[str] | None,
    notes: list[str],
    on_problem: OnProblem,
) -> Iterator[SourceClip]:
    """Clips of one corpus's folder, in the order of its files. Nothing is decoded.

    Args:
        columns: names of special columns, for tables and Hugging Face datasets.
        splits: which of several splits; see `choose_splits`.
        notes: is told what was left out on purpose.
        on_problem: is told of each bad clip.

    Raises:
        ManifestError: the folder holds no form of corpus; or through `on_problem`.
    """
    form, names = _form(store) or ("", [])
    if form == "shar":
        return shar_clips(store, on_problem=on_problem)
    if form == "tar":
        return _tar_clips(store, names, on_problem)
    if form == "table":
        return table_clips(store, names[0], columns=columns, on_problem=on_problem)
    if form == "hugging face":
        return hugging_face_clips(store, names, columns=columns, splits=splits, notes=notes, on_problem=on_problem)
    if form == "lhotse":
        if is_url(store.root):
            raise problem(
                f"{store.root}",
                expected="Lhotse's manifests on disk, or Shar",
                got="manifests in an object store",
                fix="write the corpus as Shar, or copy it",
            )
        paths = [Path(store.path(name)) for name in names]
        return lhotse_clips(store, paths, splits=splits, notes=notes, on_problem=on_problem)
    if form == "audio folder":
        return audio_folder_clips(names, splits=splits, notes=notes)
    tables = _tables(store.names(deep=False))
    raise problem(
        f"no corpus in {store.root}",
        expected=FORMS,
        got=f"the tables {', '.join(tables)}" if tables else "none of these",
        fix="name the table that lists the clips metadata" + PurePosixPath(tables[0]).suffix
        if tables
        else f"put its files there, or remove {DESCRIPTION_NAME}",
    )


def _form(store: Store) -> tuple[str, list[str]] | None:
    """(form, its files); None if there is none. What lies directly in the folder goes before what lies deeper."""
    names = store.names(deep=False)
    if is_shar(names):
        return "shar", names
    if tars := [name for name in names if name.endswith(".tar")]:
        return "tar", tars
    if tables := [name for name in TABLE_NAMES if name in names]:
        return "table", tables
    if manifests := manifests_among(names):
        return "lhotse", manifests
    described = DESCRIPTION_NAME in names
    # Only where somebody said that this is a corpus: any other folder may hold a table, or some audio.
    if described and (tables := _tables(names)):
        return ("table", tables) if len(tables) == 1 else None
    everything = store.names()
    if tables := [name for name in everything if name.endswith((ARROW, PARQUET))]:
        return "hugging face", tables
    if described and (audio := audio_among(everything)):
        return "audio folder", audio
    return None


def _tables(names: Sequence[str]) -> list[str]:
    return [name for name in names if PurePosixPath(name).suffix in TABLE_ENDINGS]


def _tar_clips(store: Store, names: list[str], on_problem: OnProblem) -> Iterator[SourceClip]:
    for name in names:
        with store.open(name) as file:
            clips = index_tar(file, store.size(name), f"{store.name}/{name}", on_problem=on_problem)
        for clip in clips:
            yield SourceClip(clip.key, name, clip.fields, offset=clip.offset, size=clip.size)


def read_json(store: Store, name: str) -> Any:
    """A JSON file of the folder.

    Raises:
        ManifestError: it cannot be read.
    """
    try:
        return json.loads(store.read(name).decode())
    except (OSError, ValueError) as error:
        where = f"cannot read {store.path(name)}"
        raise ManifestError(where, expected="a JSON object", got=str(error), fix="mend the file") from None
