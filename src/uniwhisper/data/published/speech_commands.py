"""Speech Commands v0.02: 35 words, a second each. `<word>/<speaker>_nohash_<n>.wav`, two lists of held-out files."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from uniwhisper.data.published.corpus import Published
from uniwhisper.data.sources.clip import OnProblem, SourceClip
from uniwhisper.data.storage import Store

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_HELD_OUT = ("validation_list.txt", "testing_list.txt")


def _parse(store: Store, _: OnProblem) -> Iterator[SourceClip]:
    held_out = {line for name in _HELD_OUT for line in store.read(name).decode().split()}
    for name in store.names():
        path = PurePosixPath(name)
        word = path.parent.name
        if path.suffix == ".wav" and name not in held_out and not word.startswith("_"):
            speaker = path.stem.partition("_nohash_")[0]
            labels = {"word": word, "digit": word if word in _DIGITS else None, "speaker": speaker}
            yield SourceClip(str(path.with_suffix("")), name, labels)


CORPUS = Published(
    name="speech_commands",
    title="Speech Commands v0.02",
    url="https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
    licence="CC BY 4.0",
    domain="speech",
    hours=23.6,
    tasks={"keyword": {"field": "word"}, "digit": {"field": "digit"}, "transcription": {"field": "word"}},
    layout="README.md in the archive; P. Warden, arXiv 1804.03209, sections 5 and 6",
    parse=_parse,
    unused={"speaker": "identity is never asked: it would not carry over to other speakers"},
)
