"""Small folders in the very layouts of X-ARES's archives of events, captions and speech, from any sounds."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from toy_corpora import RATE, write_tar

DESED_SPLITS = ("wds-audio-train", "wds-audio-eval")
MAESTRO_SPLITS = ("maestro_train", "maestro_valid", "maestro_test")
CLOTHO_SPLITS = ("clotho_development", "clotho_evaluation", "clotho_validation")
LIBRISPEECH_SPLITS = ("train-clean-100", "dev-clean", "test-clean")

Clips = Sequence[tuple[str, np.ndarray, Any]]
"""Key, wave (S,) float at 16 kHz, JSON."""


def write_split(folder: Path, split: str, clips: Clips) -> Path:
    """One archive, its clips in this order, audio before labels as X-ARES's are."""
    members = []
    for key, wave_S, labels in clips:
        stream = io.BytesIO()
        soundfile.write(stream, wave_S, RATE, format="WAV", subtype="PCM_16")
        members += [(f"{key}.wav", stream.getvalue()), (f"{key}.json", json.dumps(labels).encode())]
    return write_tar(folder / f"{split}-000000.tar", members)


def placed(
    sounds: Mapping[Any, Sequence[np.ndarray]], generator: np.random.Generator, *, seconds: float, count: int
) -> tuple[np.ndarray, list[tuple[Any, float, float]]]:
    """`count` of the sounds at random times in faint noise: the wave, and (name, start, end) of each."""
    wave_S = generator.normal(0, 1e-3, round(seconds * RATE)).astype(np.float32)
    events = []
    for _ in range(count):
        name = list(sounds)[generator.integers(len(sounds))]
        sound_S = sounds[name][generator.integers(len(sounds[name]))][: len(wave_S) // 2]
        start = int(generator.integers(0, len(wave_S) - len(sound_S)))
        wave_S[start : start + len(sound_S)] += sound_S
        events.append((name, round(start / RATE, 3), round((start + len(sound_S)) / RATE, 3)))
    return (wave_S / max(1.0, float(np.abs(wave_S).max()))), events


def write_desed(
    data: Path, sounds: Mapping[str, Sequence[np.ndarray]], clips: Sequence[int], *, seconds: float = 10, seed: int = 0
) -> None:
    """`sounds`: by DESED's classes; `clips`: how many in each split. The first of a split is labelled weakly."""
    generator = np.random.default_rng(seed)
    for split, count in zip(DESED_SPLITS, clips, strict=True):
        written = []
        for number in range(count):
            length = seconds * (1 - 0.1 * (number % 3))
            wave_S, events = placed(sounds, generator, seconds=length, count=2)
            labels = [{"onset": start, "offset": end, "label": name} for name, start, end in events]
            if number == 0:
                names = dict.fromkeys(name for name, _, _ in events)
                labels = [{"onset": 0.0, "offset": seconds, "label": ",".join(names)}]
            written.append((f"Y{count - number:03d}", wave_S, labels))  # not in the order of keys
        write_split(data / "desed", split, written)


def write_maestro(
    data: Path, notes: Mapping[int, Sequence[np.ndarray]], clips: Sequence[int], *, seconds: float = 12, seed: int = 1
) -> None:
    """`notes`: sounds by MIDI number."""
    generator = np.random.default_rng(seed)
    for split, count in zip(MAESTRO_SPLITS, clips, strict=True):
        written = []
        for number in range(count):
            wave_S, events = placed(notes, generator, seconds=seconds + number, count=6)
            labels = [{"start": start, "end": end, "note": int(note)} for note, start, end in events]
            written.append((f"piece{number:03d}", wave_S, labels))
        write_split(data / "maestro", split, written)


def write_clotho(
    data: Path, sounds: Mapping[str, Sequence[np.ndarray]], clips: Sequence[int], *, seed: int = 2
) -> None:
    """`sounds`: by a word or two that all five captions of a clip hold."""
    generator = np.random.default_rng(seed)
    forms = ("a {} is heard", "the sound of {}", "{} near by", "{} and nothing else", "somewhere there is {}")
    for split, count in zip(CLOTHO_SPLITS, clips, strict=True):
        written = []
        for number in range(count):
            name = list(sounds)[number % len(sounds)]
            wave_S = sounds[name][generator.integers(len(sounds[name]))]
            captions = {f"caption_{place}": form.format(name) for place, form in enumerate(forms, 1)}
            written.append((f"clip{number:03d}", wave_S, captions))
        write_split(data / "clotho", split, written)


def write_librispeech(data: Path, spoken: Sequence[tuple[np.ndarray, str]], clips: Sequence[int]) -> None:
    """`spoken`: waves and transcripts, dealt to the splits one after the other."""
    rest = iter(spoken)
    for split, count in zip(LIBRISPEECH_SPLITS, clips, strict=True):
        written = []
        for number in range(count):
            wave_S, text = next(rest)
            written.append((f"{split}-{number:03d}", wave_S, {"trans": text, "gender": "M"}))
        write_split(data / "librispeech", split, written)
