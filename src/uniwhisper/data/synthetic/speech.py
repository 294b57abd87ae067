"""Spoken words, numbers and phrases by espeak-ng and flite: many voices, exact text."""

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from uniwhisper.audio.load import read
from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.data.public.importing import Clip
from uniwhisper.data.synthetic.program import run

CORPUS = "synthetic_speech"
DESCRIPTION: Mapping[str, Any] = {
    "domain": "speech",
    "licence": "made by espeak-ng and flite from this project's words",
    "tasks": {
        "transcription": {"field": "text"},
        "keyword": {"field": "keyword"},
        "digit": {"field": "digit"},
        "language": {"constant": "English"},
        "domain": {"constant": "speech"},
    },
    "unused": {"voice": "a program's voice is nobody", "synthetic": "names the origin"},
}
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029")
VARIANTS = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "f1", "f2", "f3", "f4", "f5", "klatt", "klatt2", "klatt4")
FLITE_VOICES = ("kal16", "awb", "rms", "slt")
_KINDS = {"digit": 0.22, "command": 0.18, "number": 0.1, "noun": 0.1, "phrase": 0.4}
_FLITE_SHARE = 0.3
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_TEENS = ["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]


def clip(seed: int, index: int) -> Clip:
    """Clip `index` of `seed`: a pure function of the two and of the programs' versions.

    Raises:
        UserError: espeak-ng or flite is not installed, or fails.
    """
    random = np.random.default_rng([seed, index])
    labels = utterance(random)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        command, voice = _voice(random, labels["text"], path)
        run(command)
        wave_S = _trim(read(path)) * np.float32(10 ** (random.uniform(-15, 0) / 20))
    seconds = round(len(wave_S) / SAMPLE_RATE_HZ, 3)
    return Clip(f"speech_{seed}_{index:06d}", wave_S, {**labels, "voice": voice, "synthetic": True, "seconds": seconds})


def utterance(random: np.random.Generator) -> dict[str, str]:
    """What is said: `text`, and `keyword` or `digit` if it is one."""
    words = _words()
    kind = str(random.choice(list(_KINDS), p=list(_KINDS.values())))
    if kind == "phrase":
        return {"text": _fill(random, _pick(random, words["phrases"]))}
    if kind == "number":
        return {"text": number_words(int(random.integers(10, 1000)))}
    text = _pick(random, words[kind])
    return {"text": text} | {"digit": {"digit": text, "keyword": text}, "command": {"keyword": text}}.get(kind, {})


def number_words(number: int) -> str:
    """English words of a number from 0 to 999: 342 -> `three hundred and forty-two`."""
    assert 0 <= number < 1000, number
    digits = _words()["digit"]
    if number < 10:
        return digits[number]
    if number < 20:
        return _TEENS[number - 10]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens - 2] + (f"-{digits[ones]}" if ones else "")
    hundreds, rest = divmod(number, 100)
    return f"{digits[hundreds]} hundred" + (f" and {number_words(rest)}" if rest else "")


def _fill(random: np.random.Generator, phrase: str) -> str:
    def word(found: re.Match[str]) -> str:
        name = found.group(1)
        return number_words(int(random.integers(10, 1000))) if name == "number" else _pick(random, _words()[name])

    return re.sub(r"\{(\w+)\}", word, phrase)


def _voice(random: np.random.Generator, text: str, path: Path) -> tuple[list[str], str]:
    """The command that speaks `text` into `path`, and the voice's name."""
    if random.random() < _FLITE_SHARE:
        name = _pick(random, FLITE_VOICES)
        stretch, pitch = random.uniform(0.75, 1.4), random.uniform(80, 220)
        settings = ["--setf", f"duration_stretch={stretch:.2f}", "--setf", f"int_f0_target_mean={pitch:.0f}"]
        return ["flite", "-voice", name, *settings, "-t", text, "-o", str(path)], f"flite {name}"
    name = f"{_pick(random, ACCENTS)}+{_pick(random, VARIANTS)}"
    speed, pitch = int(random.integers(110, 230)), int(random.integers(15, 90))
    command = ["espeak-ng", "-v", name, "-s", str(speed), "-p", str(pitch), "-w", str(path), text]
    return command, f"espeak-ng {name}"


def _trim(wave_S: np.ndarray) -> np.ndarray:
    """At most 0.2 s of near-silence at either end."""
    loud = np.flatnonzero(np.abs(wave_S) > 0.003)
    if not len(loud):
        return wave_S
    margin = SAMPLE_RATE_HZ // 5
    return wave_S[max(0, loud[0] - margin) : loud[-1] + margin]


def _pick(random: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(random.integers(len(options)))]


@lru_cache(maxsize=1)
def _words() -> Mapping[str, Any]:
    return json.loads(files("uniwhisper.data.synthetic").joinpath("words.json").read_text(encoding="utf-8"))
