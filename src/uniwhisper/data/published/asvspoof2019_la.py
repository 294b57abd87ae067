"""ASVspoof 2019, logical access: genuine and synthesised speech. A protocol file, and a folder of FLAC."""

from collections.abc import Iterator

from uniwhisper.data.published.corpus import Published
from uniwhisper.data.sources.clip import OnProblem, SourceClip, problem
from uniwhisper.data.storage import Store

_PROTOCOL = "ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.train.trn.txt"


def _parse(store: Store, on_problem: OnProblem) -> Iterator[SourceClip]:
    for number, line in enumerate(store.read(_PROTOCOL).decode().splitlines(), start=1):
        parts = line.split()
        if len(parts) != 5:
            where, expected = f"{_PROTOCOL}, line {number}", "speaker, clip, -, system, bonafide or spoof"
            on_problem(problem(where, expected=expected, got=repr(line), fix="copy the protocol again"))
            continue
        speaker, clip, _, system, kind = parts
        labels = {"kind": kind, "system": system, "speaker": speaker}
        yield SourceClip(clip, f"ASVspoof2019_LA_train/flac/{clip}.flac", labels)


CORPUS = Published(
    name="asvspoof2019_la",
    title="ASVspoof 2019 LA",
    url="https://datashare.ed.ac.uk/handle/10283/3336",
    licence="ODC-By 1.0",
    domain="speech",
    hours=24.2,
    tasks={"spoofing": {"field": "kind", "values": {"bonafide": "genuine", "spoof": "spoofed"}}},
    layout="README.LA.txt in the archive",
    parse=_parse,
    unused={
        "system": "the synthesiser: evaluation uses others",
        "speaker": "identity is never asked: it would not carry over to other speakers",
    },
)
