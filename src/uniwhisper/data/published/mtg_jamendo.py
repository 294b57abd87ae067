"""MTG-Jamendo: full tracks tagged by genre, instrument and mood. `data/autotagging.tsv`, `audio/00/214.mp3`.

The split is the first of the repository's five (`data/splits/split-0/autotagging-train.tsv`). Tracks are cut into
pieces of thirty seconds, which all carry the track's tags.
"""

from collections.abc import Iterator

from uniwhisper.data.published.corpus import Published, pieces
from uniwhisper.data.sources.clip import OnProblem, SourceClip, problem
from uniwhisper.data.storage import Store

PIECE_SECONDS = 30.0
_TABLE = "data/splits/split-0/autotagging-train.tsv"
_KINDS = {"genre": "genres", "instrument": "instruments", "mood/theme": "moods"}


def _parse(store: Store, on_problem: OnProblem) -> Iterator[SourceClip]:
    for number, line in enumerate(store.read(_TABLE).decode().splitlines()[1:], start=2):
        # Tags fill the line's end, separated by tabs like the columns before them.
        track, _artist, _album, path, duration, *tags = line.split("\t")
        labels: dict[str, list[str]] = {}
        for tag in tags:
            kind, _, name = tag.partition("---")
            if kind not in _KINDS:
                where = f"{_TABLE}, line {number}"
                on_problem(problem(where, expected=f"tags of {list(_KINDS)}", got=repr(tag), fix="remove the tag"))
                continue
            labels.setdefault(_KINDS[kind], []).append(name)
        for start, seconds in pieces(float(duration), PIECE_SECONDS):
            length = seconds if seconds == PIECE_SECONDS else None  # the last: to where the file ends
            key = f"{track}@{round(1000 * start):08d}"
            yield SourceClip(key, f"audio/{path}", dict(labels), start_seconds=start, seconds=length)


CORPUS = Published(
    name="mtg_jamendo",
    title="MTG-Jamendo",
    url="https://github.com/MTG/mtg-jamendo-dataset",
    licence="per track: Creative Commons, many NC or ND; tags CC BY-NC-SA 4.0",
    domain="music",
    hours=2270,
    tasks={"genre": {"field": "genres"}, "mood": {"field": "moods"}},
    layout="README.md of the repository, sections Structure and Using the dataset",
    parse=_parse,
    unused={"instruments": "tags of several instruments: `instrument` asks for one"},
)
