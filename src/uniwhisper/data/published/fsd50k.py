"""FSD50K: Freesound clips with AudioSet labels, several each. `FSD50K.dev_audio/`, `FSD50K.ground_truth/dev.csv`."""

from collections.abc import Iterator

from uniwhisper.data.published.corpus import Published
from uniwhisper.data.sources.clip import OnProblem, SourceClip
from uniwhisper.data.sources.table import rows
from uniwhisper.data.storage import Store


def _parse(store: Store, on_problem: OnProblem) -> Iterator[SourceClip]:
    for _, row in rows(store, "FSD50K.ground_truth/dev.csv", on_problem):
        if row["split"] == "train":
            labels = {"labels": str(row["labels"]).split(","), "freesound": str(row["fname"])}
            yield SourceClip(f"{row['fname']}", f"FSD50K.dev_audio/{row['fname']}.wav", labels)


CORPUS = Published(
    name="fsd50k",
    title="FSD50K",
    url="https://zenodo.org/records/4060432",
    licence="per clip: CC0, CC BY, CC BY-NC, CC Sampling+; the whole CC BY 4.0",
    domain="sound",
    hours=70.5,
    tasks={"sound_tags": {"field": "labels", "clean": "words"}},
    layout="https://zenodo.org/records/4060432, section Files",
    parse=_parse,
    unused={"freesound": "where the clip comes from: `data overlap` compares it"},
)
