"""TAU Urban Acoustic Scenes 2020 Mobile: scenes of European cities. `audio/`, `evaluation_setup/fold1_train.csv`."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from uniwhisper.data.published.corpus import Published
from uniwhisper.data.sources.clip import OnProblem, SourceClip, problem
from uniwhisper.data.storage import Store

_TABLE = "evaluation_setup/fold1_train.csv"
_SCENES = {
    "airport": "airport", "bus": "bus", "metro": "metro", "metro_station": "metro station", "park": "park",
    "public_square": "public square", "shopping_mall": "shopping mall", "street_pedestrian": "pedestrian street",
    "street_traffic": "street with traffic", "tram": "tram",
}  # fmt: skip


def _parse(store: Store, on_problem: OnProblem) -> Iterator[SourceClip]:
    # Named .csv, but its cells are separated by tabs.
    header, *lines = store.read(_TABLE).decode().splitlines()
    if header.split("\t")[:2] != ["filename", "scene_label"]:
        on_problem(problem(_TABLE, expected="filename and scene_label", got=repr(header), fix="copy the table again"))
        return
    for line in lines:
        name, scene, *_ = line.split("\t")
        _, city, place, *_ = PurePosixPath(name).stem.split("-")
        yield SourceClip(PurePosixPath(name).stem, name, {"scene": scene, "place": f"{city}-{place}"})


CORPUS = Published(
    name="tau_urban_scenes",
    title="TAU Urban Acoustic Scenes 2020 Mobile",
    url="https://zenodo.org/records/3819968",
    licence="Tampere University licence (non-commercial)",
    domain="sound",
    hours=38.8,
    tasks={"scene": {"field": "scene", "values": _SCENES}},
    layout="README.md in the archive",
    parse=_parse,
    unused={"place": "city and recording location: held out by the official fold"},
)
