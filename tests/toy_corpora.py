"""Small corpora written by tests: tars of tones with labels, in the layout that `data prepare` reads."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

RATE = 16_000
SPEECH = {
    "domain": "speech",
    "licence": "CC0",
    "tasks": {"transcription": {"field": "text"}, "speaker_sex": {"field": "sex", "values": "sex"}},
}
SOUND = {
    "domain": "sound",
    "licence": "CC0",
    "tasks": {"caption": {"field": "caption"}, "sound_tag": {"field": "label", "clean": "words"}},
}
MUSIC = {
    "domain": "music",
    "licence": "CC0",
    "tasks": {"instrument": {"field": "label"}, "note": {"field": "note", "clean": "note"}},
}
NOTES = ("A3", "Bb3", "C4", "F#4")


def wav(seconds: float, frequency_hz: float = 440.0) -> bytes:
    """A tone as 16-bit wav."""
    wave = 0.3 * np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * RATE)) / RATE)
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, RATE, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> Path:
    """A tar with these members, whatever their names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def clip(key: str, fields: dict[str, Any], seconds: float, frequency_hz: float = 440.0) -> list[tuple[str, bytes]]:
    """The two members of a clip; `seconds` is declared unless `fields` does it."""
    labels = json.dumps({"seconds": seconds, **fields}, ensure_ascii=False).encode()
    return [(f"{key}.wav", wav(seconds, frequency_hz)), (f"{key}.json", labels)]


def write_corpus(folder: Path, description: dict[str, Any] | None, members: list[tuple[str, bytes]]) -> Path:
    """One corpus folder: a tar, and a corpus.json unless `description` is None."""
    write_tar(folder / "shard-000000.tar", members)
    if description is not None:
        (folder / "corpus.json").write_text(json.dumps(description))
    return folder


def write_three_corpora(folder: Path, clips: int = 24) -> Path:
    """`clips` short clips each of speech, sound and music, every one of another length and pitch."""
    speech, sound, music = [], [], []
    for index in range(clips):
        seconds, frequency = 0.2 + 0.03 * index, 200.0 + 7 * index
        text = {"text": f"sentence {index}", "sex": "fm"[index % 2]}
        speech += clip(f"s{index:03d}", text, seconds, frequency)
        label = ("dog_bark", "rain", "door")[index % 3]
        sound += clip(f"e{index:03d}", {"label": label, "caption": f"thing {index}"}, seconds, frequency + 1000)
        played = {"label": ("flute", "piano")[index % 2], "note": NOTES[index % len(NOTES)]}
        music += clip(f"m{index:03d}", played, seconds, frequency + 2000)
    write_corpus(folder / "talk", SPEECH, speech)
    write_corpus(folder / "noises", SOUND, sound)
    write_corpus(folder / "tunes", MUSIC, music)
    return folder


class Letters:
    """A tokenizer with one token per byte, so that ids can be written by hand."""

    eos_token_id = 256

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        assert not add_special_tokens, "parts must be encoded without special tokens"
        return list(text.encode())
