"""Made-up originals of the sets of `mini`: tones in the layouts that the publishers describe, nothing real."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import soundfile

from uniwhisper.data.archive import index_archive, read_member
from uniwhisper.evaluation.originals.sets import MINI, Original, hash_labels

BY_NAME = {original.name: original for original in MINI}
RATE_HZ = 8_000
IN_THE_ORIGINAL = {
    "esc50": "ESC-50-master/audio",
    "fsdd": "free-spoken-digit-dataset/recordings",
    "ravdess": "Actor_{actor}",
    "fsd_instrument10": "FSDKaggle2018.audio_train",
    "philharmonia": "all-samples/{instrument}",
    "speech_commands_v2_testset": "",
    "speechocean762_test": "speechocean762/WAVE/SPEAKER{speaker}",
}
"""Where the publishers' own descriptions put the files."""


def tone(seconds: float, number: int, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Int16, another pitch for every number."""
    time_S = np.arange(round(seconds * rate_hz)) / rate_hz
    return (30_000 * np.sin(2 * np.pi * (200 + number) * time_S)).astype(np.int16)


def part(original: Original, clips: list, labels_hash: str | None = None) -> Original:
    """The set with these clips only."""

    class Part(Original):
        __slots__ = ()

        def clips(self):
            return clips

    values = {entry.name: getattr(original, entry.name) for entry in fields(Original)}
    return Part(**values | {"labels_hash": labels_hash or hash_labels(original.labels(clips, Path))})


def small(name: str, count: int = 4) -> Original:
    """The set with its first, its last and some clips between."""
    listed = BY_NAME[name].clips()
    return part(BY_NAME[name], [listed[place] for place in np.linspace(0, len(listed) - 1, count).astype(int)])


def write_original(original: Original, sources: Path) -> list[Path]:
    paths = []
    for number, clip in enumerate(original.clips()):
        stem = Path(clip.file).stem
        folder = IN_THE_ORIGINAL[original.name].format(
            actor=stem[-2:], instrument=stem.split("_")[0], speaker=stem[1:5]
        )
        path = sources / original.name / folder / clip.file
        path.parent.mkdir(parents=True, exist_ok=True)
        seconds = clip.seconds + (1.5 if clip.seconds == original.longest_seconds else 0)
        kind = "MP3" if path.suffix == ".mp3" else "WAV"
        rate_hz = 44_100 if kind == "MP3" else RATE_HZ
        soundfile.write(path, tone(seconds, number, rate_hz), rate_hz, format=kind)
        paths.append(path)
    return paths


def archived(folder: Path) -> dict[str, tuple[str, str, dict, bytes]]:
    """Key -> archive, name of the audio, fields, audio."""
    return {
        clip.key: (path.name, clip.audio_member, clip.fields, read_member(path, clip.offset, clip.size))
        for path in folder.glob("*.tar")
        for clip in index_archive(path)
    }
