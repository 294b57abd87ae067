"""NSynth: single notes of a thousand instruments, four seconds each. `nsynth-train/` with `audio/`, `examples.json`."""

from collections.abc import Iterator

from uniwhisper.data.answers import note_name
from uniwhisper.data.published.corpus import Published
from uniwhisper.data.sources.clip import OnProblem, SourceClip
from uniwhisper.data.sources.detect import read_json
from uniwhisper.data.storage import Store


def _parse(store: Store, _: OnProblem) -> Iterator[SourceClip]:
    for key, entry in read_json(store, "nsynth-train/examples.json").items():
        labels = {
            "instrument": entry["instrument_family_str"],
            "note": note_name(entry["pitch"]),
            "source": entry["instrument_source_str"],
            "velocity": entry["velocity"],
        }
        yield SourceClip(key, f"nsynth-train/audio/{key}.wav", labels)


CORPUS = Published(
    name="nsynth",
    title="NSynth",
    url="https://magenta.tensorflow.org/datasets/nsynth",
    licence="CC BY 4.0",
    domain="music",
    hours=321.3,
    tasks={"instrument": {"field": "instrument", "clean": "words"}, "note": {"field": "note", "clean": "note"}},
    layout="https://magenta.tensorflow.org/datasets/nsynth, sections Files and Example format",
    parse=_parse,
    unused={"source": "acoustic, electronic or synthetic", "velocity": "how hard the key was struck"},
)
