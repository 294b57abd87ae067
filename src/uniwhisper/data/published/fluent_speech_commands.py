"""Fluent Speech Commands: spoken commands with action, object and location. `data/train_data.csv`, `wavs/speakers/`."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from uniwhisper.data.published.corpus import Published
from uniwhisper.data.sources.clip import OnProblem, SourceClip
from uniwhisper.data.sources.table import rows
from uniwhisper.data.storage import Store


def _parse(store: Store, on_problem: OnProblem) -> Iterator[SourceClip]:
    for _, row in rows(store, "data/train_data.csv", on_problem):
        labels = {name: row[name] for name in ("transcription", "action", "object", "location")}
        labels["speaker"] = row["speakerId"]
        yield SourceClip(PurePosixPath(row["path"]).stem, row["path"], labels)


CORPUS = Published(
    name="fluent_speech_commands",
    title="Fluent Speech Commands",
    url="https://fluent.ai/fluent-speech-commands-a-dataset-for-spoken-language-understanding-research/",
    licence="Fluent Speech Commands Public License (research only)",
    domain="speech",
    hours=14.7,
    tasks={
        "intent": {"field": "action", "slots": {"object": "object", "location": "location"}},
        "transcription": {"field": "transcription"},
    },
    layout="readme.md in the archive; L. Lugosch et al., arXiv 1904.03670, section 4",
    parse=_parse,
    unused={
        "object": "a slot of the intent",
        "location": "a slot of the intent",
        "speaker": "identity is never asked: it would not carry over to other speakers",
    },
)
