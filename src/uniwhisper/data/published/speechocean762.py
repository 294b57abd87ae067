"""speechocean762: English by Mandarin natives, scored by experts. Kaldi files in `train/`, `resource/scores.json`."""

from collections.abc import Iterator

from uniwhisper.data.published.corpus import Published
from uniwhisper.data.sources.clip import OnProblem, SourceClip
from uniwhisper.data.sources.detect import read_json
from uniwhisper.data.storage import Store


def _parse(store: Store, _: OnProblem) -> Iterator[SourceClip]:
    scores = read_json(store, "resource/scores.json")
    speakers, sexes, ages, texts, files = (
        _pairs(store, f"train/{name}") for name in ("utt2spk", "spk2gender", "spk2age", "text", "wav.scp")
    )
    for clip, file in files.items():
        speaker = speakers[clip]
        labels = {
            "text": texts[clip], "score": scores.get(clip, {}).get("total"), "sex": sexes[speaker],
            "age": int(ages[speaker]), "speaker": speaker,
        }  # fmt: skip
        yield SourceClip(clip, file, labels)


def _pairs(store: Store, name: str) -> dict[str, str]:
    """A Kaldi table: key, white space, the rest of the line."""
    lines = store.read(name).decode().splitlines()
    return {key: value.strip() for key, value in (line.split(maxsplit=1) for line in lines if line.strip())}


CORPUS = Published(
    name="speechocean762",
    title="speechocean762",
    url="https://www.openslr.org/101",
    licence="CC BY 4.0",
    domain="speech",
    hours=2.9,
    tasks={
        "pronunciation": {"field": "score"},
        "transcription": {"field": "text", "clean": "sentence_case"},
        "speaker_sex": {"field": "sex", "values": "sex"},
        "age_group": {"field": "age", "ranges": "age_group"},
    },
    layout="README.md in the archive; J. Zhang et al., arXiv 2104.01378",
    parse=_parse,
    unused={"speaker": "identity is never asked: it would not carry over to other speakers"},
)
