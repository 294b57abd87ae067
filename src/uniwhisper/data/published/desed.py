"""DESED, synthetic soundscapes with times: `metadata/train/<set>/soundscapes.tsv`, `audio/train/<set>/soundscapes/`."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import PurePosixPath

from uniwhisper.data.published.corpus import Published
from uniwhisper.data.sources.clip import OnProblem, SourceClip
from uniwhisper.data.sources.table import rows
from uniwhisper.data.storage import Store


def _parse(store: Store, on_problem: OnProblem) -> Iterator[SourceClip]:
    for table in store.names():
        if not (table.startswith("metadata/train/") and table.endswith("soundscapes.tsv")):
            continue
        folder = f"audio/{PurePosixPath(table).parent.relative_to('metadata')}/soundscapes"
        events: dict[str, list[list]] = defaultdict(list)
        for _, row in rows(store, table, on_problem):
            if row["onset"] is not None:
                events[row["filename"]].append([float(row["onset"]), float(row["offset"]), row["event_label"]])
        for name, found in sorted(events.items()):
            labels = {"events": sorted(found), "labels": sorted({label for _, _, label in found})}
            yield SourceClip(
                f"{PurePosixPath(folder).parent.name}/{PurePosixPath(name).stem}", f"{folder}/{name}", labels
            )


CORPUS = Published(
    name="desed",
    title="DESED (synthetic)",
    url="https://zenodo.org/records/6026841",
    licence="CC BY 4.0 (sound bank: per clip, Freesound)",
    domain="sound",
    hours=27.8,
    tasks={
        "event_detection": {"field": "events", "clean": "words"},
        "sound_tags": {"field": "labels", "clean": "words"},
    },
    layout="https://github.com/turpaultn/DESED, section Annotation format",
    parse=_parse,
)
