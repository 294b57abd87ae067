"""GTZAN: ten genres, a hundred excerpts of thirty seconds each. `genres/<genre>/<genre>.00000.wav` (also `.au`).

There is no official split, excerpts repeat, and some labels are wrong (B. Sturm, arXiv 1306.1461). Who wants to be
judged on it must not train on it; `uniwhisper data overlap` finds out.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath

from uniwhisper.data.published.corpus import Published
from uniwhisper.data.sources.clip import OnProblem, SourceClip
from uniwhisper.data.storage import Store

_GENRES = {
    "blues": "blues", "classical": "classical", "country": "country", "disco": "disco", "hiphop": "hip-hop",
    "jazz": "jazz", "metal": "metal", "pop": "pop", "reggae": "reggae", "rock": "rock",
}  # fmt: skip


def _parse(store: Store, _: OnProblem) -> Iterator[SourceClip]:
    for name in store.names():
        path = PurePosixPath(name)
        if path.suffix in (".wav", ".au") and path.name.startswith(f"{path.parent.name}."):
            yield SourceClip(path.stem, name, {"genre": path.parent.name})


CORPUS = Published(
    name="gtzan",
    title="GTZAN",
    url="http://marsyas.info/downloads/datasets.html",
    licence="not stated (copyrighted music)",
    domain="music",
    hours=8.3,
    tasks={"genre": {"field": "genre", "values": _GENRES}},
    layout="http://marsyas.info/downloads/datasets.html; B. Sturm, arXiv 1306.1461",
    parse=_parse,
)
