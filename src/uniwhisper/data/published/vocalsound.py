"""VocalSound: laughs, sighs, coughs, throats cleared, sneezes, sniffs. `audio_16k/f0003_0_cough.wav`, `datafiles/`."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from uniwhisper.data.published.corpus import Published
from uniwhisper.data.sources.clip import OnProblem, SourceClip, problem
from uniwhisper.data.sources.detect import read_json
from uniwhisper.data.storage import Store

_LABELS = {
    "laughter": "laughter", "sigh": "sigh", "cough": "cough", "throatclearing": "throat clearing", "sneeze": "sneeze",
    "sniff": "sniff",
}  # fmt: skip


def _parse(store: Store, on_problem: OnProblem) -> Iterator[SourceClip]:
    for entry in read_json(store, "datafiles/tr.json")["data"]:
        name = PurePosixPath(entry["wav"]).name  # the published list holds its authors' own folders
        parts = PurePosixPath(name).stem.split("_")
        if len(parts) != 3:
            on_problem(problem(name, expected="speaker_number_sound.wav", got=name, fix="remove the entry"))
            continue
        labels = {"sound": parts[2], "sex": parts[0][0]}
        yield SourceClip(PurePosixPath(name).stem, f"audio_16k/{name}", labels)


CORPUS = Published(
    name="vocalsound",
    title="VocalSound",
    url="https://github.com/YuanGongND/vocalsound",
    licence="CC BY-SA 4.0",
    domain="sound",
    hours=17.4,
    tasks={"vocal_sound": {"field": "sound", "values": _LABELS}, "speaker_sex": {"field": "sex", "values": "sex"}},
    layout="README.md of the repository, section Dataset Details",
    parse=_parse,
)
