"""Clotho v2.1: Freesound clips of 15 to 30 s, five captions each. `development/`, `clotho_captions_development.csv`.

Each caption is a clip of its own: all clips have five, so nothing is weighted by it.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath

from uniwhisper.data.published.corpus import Published
from uniwhisper.data.sources.clip import OnProblem, SourceClip
from uniwhisper.data.sources.table import rows
from uniwhisper.data.storage import Store

_METADATA = "clotho_metadata_development.csv"


def _parse(store: Store, on_problem: OnProblem) -> Iterator[SourceClip]:
    sources = {}
    if store.exists(_METADATA):
        sources = {row["file_name"]: str(row["sound_id"]) for _, row in rows(store, _METADATA, on_problem)}
    for _, row in rows(store, "clotho_captions_development.csv", on_problem):
        name = str(row["file_name"])
        for number in range(1, 6):
            labels = {"caption": row[f"caption_{number}"], "freesound": sources.get(name)}
            yield SourceClip(f"{PurePosixPath(name).stem}#{number}", f"development/{name}", labels)


CORPUS = Published(
    name="clotho",
    title="Clotho v2.1",
    url="https://zenodo.org/records/4783391",
    licence="captions: Tampere University licence (non-commercial); audio: per clip, Freesound",
    domain="sound",
    hours=23.9,
    tasks={"caption": {"field": "caption"}},
    layout="https://zenodo.org/records/4783391; K. Drossos et al., arXiv 1910.09387",
    parse=_parse,
    unused={"freesound": "where the clip comes from: `data overlap` compares it"},
)
