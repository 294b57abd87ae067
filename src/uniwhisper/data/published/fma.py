"""FMA: tracks of the Free Music Archive by genre. `fma_metadata/tracks.csv`, `fma_<size>/000/000002.mp3`.

`tracks.csv` has two header rows (group, column) and a third that names the index.
"""

import csv
import io
from collections.abc import Iterator

from uniwhisper.data.published.corpus import Published
from uniwhisper.data.sources.clip import OnProblem, SourceClip, problem
from uniwhisper.data.storage import Store

_TABLE = "fma_metadata/tracks.csv"


def _parse(store: Store, on_problem: OnProblem) -> Iterator[SourceClip]:
    audio = sorted(folder for folder in store.folders() if folder.startswith("fma_") and folder != "fma_metadata")
    if not audio:
        on_problem(problem(str(store.root), expected="fma_small, …, fma_full", got="none", fix="unpack one of them"))
        return
    with store.open(_TABLE) as file, io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
        table = csv.reader(text)
        groups, names = next(table), next(table)
        next(table)
        columns = {(group, name): index for index, (group, name) in enumerate(zip(groups, names, strict=True))}
        split, genre = columns["set", "split"], columns["track", "genre_top"]
        for row in table:
            name = f"{int(row[0]):06d}"
            place = f"{audio[0]}/{name[:3]}/{name}.mp3"
            # The table lists all of FMA, a download holds a part of it.
            if row[split] == "training" and row[genre] and store.exists(place):
                yield SourceClip(name, place, {"genre": row[genre]})


CORPUS = Published(
    name="fma",
    title="FMA (large)",
    url="https://github.com/mdeff/fma",
    licence="per track: Creative Commons, many NC or ND; metadata CC BY 4.0",
    domain="music",
    hours=710,
    tasks={"genre": {"field": "genre"}},
    layout="README.md of the repository, section Data",
    parse=_parse,
)
