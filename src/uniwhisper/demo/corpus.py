"""Synthetic sounds -> a corpus laid out as every other: a tar of FLAC and JSON pairs, and its description."""

import io
import json
import tarfile
from pathlib import Path

import soundfile

from uniwhisper.core.files import atomic_output
from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.demo.synth import KINDS, Sound, synthesise

DESCRIPTION = {
    "domain": "sound",
    "licence": "Apache-2.0 (made by this project's code)",
    "tasks": {"sound_tag": {"field": "label"}},
    "unused": {"caption": "says no more than the label; one question is learnt sooner than two"},
}


def variants(first: int, count: int) -> list[Sound]:
    """`count` variants of every kind, from number `first`; other numbers give other sounds."""
    return [synthesise(label, variant) for label in KINDS for variant in range(first, first + count)]


def write_corpus(sounds: list[Sound], folder: Path) -> None:
    """Write `folder`/sounds.tar and `folder`/corpus.json, the form that `uniwhisper data prepare` reads.

    Raises:
        OutputError: the folder exists or cannot be written.
    """
    with atomic_output(folder, overwrite=False, folder_with="corpus.json") as temporary:
        temporary.mkdir()
        with tarfile.open(temporary / "sounds.tar", "w") as archive:
            for number, sound in enumerate(sounds):
                key = f"{number:04d}-{sound.label.replace(' ', '-')}"
                fields = {"label": sound.label, "caption": sound.caption, "seconds": sound.seconds}
                _add(archive, f"{key}.flac", flac_bytes(sound))
                _add(archive, f"{key}.json", json.dumps(fields).encode())
        (temporary / "corpus.json").write_text(json.dumps(DESCRIPTION, indent=2) + "\n")


def flac_bytes(sound: Sound) -> bytes:
    """The sound as 16-bit FLAC."""
    buffer = io.BytesIO()
    soundfile.write(buffer, sound.wave_S, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # no owner, no time: the same bytes on every run
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
