"""MagnaTagATune: 29 s excerpts with 188 tags. `annotations_final.csv` (a column a tag), MP3s below sixteen folders.

The usual split is by folder: 0 to b for training, c for validation, d to f for test.
"""

from collections.abc import Iterator

from uniwhisper.data.published.corpus import Published
from uniwhisper.data.sources.clip import OnProblem, SourceClip
from uniwhisper.data.storage import Store

_TABLE = "annotations_final.csv"
_TRAINING_FOLDERS = "0123456789ab"


def _parse(store: Store, _: OnProblem) -> Iterator[SourceClip]:
    header, *lines = store.read(_TABLE).decode().splitlines()
    columns = [cell.strip('"') for cell in header.split("\t")]  # named .csv, separated by tabs
    for line in lines:
        row = dict(zip(columns, (cell.strip('"') for cell in line.split("\t")), strict=True))
        clip, path = row.pop("clip_id"), row.pop("mp3_path")
        tags = [tag for tag, value in row.items() if value == "1"]
        if path[0] in _TRAINING_FOLDERS and tags:
            yield SourceClip(clip, path, {"tags": tags})


CORPUS = Published(
    name="magnatagatune",
    title="MagnaTagATune",
    url="https://mirg.city.ac.uk/codeapps/the-magnatagatune-dataset",
    licence="CC BY-NC-SA 3.0 (Magnatune)",
    domain="music",
    hours=150,
    tasks={"sound_tags": {"field": "tags"}},
    layout="https://mirg.city.ac.uk/codeapps/the-magnatagatune-dataset; E. Law et al., ISMIR 2009",
    parse=_parse,
)
