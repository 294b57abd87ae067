"""Single notes, melodies and small bands, invented here and played by fluidsynth: every label is exact."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from uniwhisper.audio.load import read
from uniwhisper.core.errors import UserError
from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.data.answers import note_name
from uniwhisper.data.public.importing import Clip
from uniwhisper.data.synthetic.midi import DRUM_CHANNEL, Note, midi_file
from uniwhisper.data.synthetic.program import run

CORPUS = "synthetic_music"
_OCTAVES_BELOW = {"church organ": "its pipes also sound an octave below the written note"}
_TASKS: Mapping[str, Any] = {
    "instrument": {"field": "instrument"},
    "sound_tags": {"field": "instruments"},
    "note": {"field": "note", "exclude": {"instrument": _OCTAVES_BELOW}},
    "note_transcription": {"field": "notes", "exclude": {"instrument": _OCTAVES_BELOW}},
    "key": {"field": "key"},
    "tempo": {"field": "tempo"},
    "domain": {"constant": "music"},
}
_UNUSED = {
    "synthetic": "names the origin",
    "kind": "note, melody or band: how it was made",
    "soundfont": "whose recordings were played: how it was made",
}
SOUNDFONT = Path("/usr/share/sounds/sf2/TimGM6mb.sf2")
_TERMS = {
    "TimGM6mb": "GPL-2.0-or-later",
    "FluidR3_GM": "MIT",
    "MuseScore_General": "MIT",
    "MuseScore_General_Lite": "MIT",
}
"""Soundfonts that Debian and Ubuntu have, and their terms there."""
LONGEST_SECONDS = 10.0
_KINDS = {"note": 0.25, "melody": 0.4, "band": 0.35}
_RELEASE_SECONDS = 0.6
_TONICS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}


def description(soundfonts: Sequence[Path]) -> dict[str, Any]:
    """What `corpus.json` says of music that these soundfonts played.

    Raises:
        UserError: none is given, one is missing or is no soundfont, or two have one name.
    """
    for path in soundfonts:
        _check_soundfont(path)
    names = [path.stem for path in soundfonts]
    if not names or len(set(names)) < len(names):
        raise UserError(
            "cannot tell soundfonts apart",
            expected="one or more, each with a name of its own",
            got=", ".join(map(str, soundfonts)) or "none",
            fix="name each once",
        )
    played = ", ".join(f"{name} ({_TERMS.get(name, 'terms not listed')})" for name in names)
    return {
        "domain": "music",
        "licence": f"made by fluidsynth with {played} from notes drawn by this project",
        "tasks": _TASKS,
        "unused": _UNUSED,
    }


def clip(seed: int, index: int, soundfonts: Sequence[Path] = (SOUNDFONT,)) -> Clip:
    """Clip `index` of `seed`: a pure function of the two, the soundfonts, which play in turn, and fluidsynth's version.

    Raises:
        UserError: fluidsynth is not installed, or fails.
    """
    soundfont = soundfonts[index % len(soundfonts)]
    random = np.random.default_rng([seed, index])
    kind = str(random.choice(list(_KINDS), p=list(_KINDS.values())))
    notes, programs, labels = {"note": _single_note, "melody": _melody, "band": _band}[kind](random)
    end = min(LONGEST_SECONDS, max(note.end_seconds for note in notes) + _RELEASE_SECONDS)
    wave_S = _play(notes, programs, soundfont)[: round(end * SAMPLE_RATE_HZ)]
    peak = float(np.abs(wave_S).max())
    level = 10 ** (random.uniform(-15, -1) / 20)
    wave_S = wave_S * np.float32(level / peak) if peak > 0 else wave_S
    seconds = round(len(wave_S) / SAMPLE_RATE_HZ, 3)
    made = {"kind": kind, "soundfont": soundfont.stem, "synthetic": True, "seconds": seconds}
    return Clip(f"music_{seed}_{index:06d}", wave_S, {**labels, **made})


Composition = tuple[list[Note], list[int], dict[str, Any]]
"""Notes, programs by channel, labels."""


def _single_note(random: np.random.Generator) -> Composition:
    instrument = _pick(random, _table()["instruments"])
    number = int(random.integers(instrument["low"], instrument["high"] + 1))
    note = Note(0.05, 0.05 + random.uniform(0.4, 2.5), number, 0, int(random.integers(50, 120)))
    return [note], [instrument["program"]], {"instrument": instrument["name"], "note": note_name(number)}


def _melody(random: np.random.Generator) -> Composition:
    instrument = _pick(random, _table()["instruments"])
    tempo, key, scale = _frame(random)
    notes = _line(random, instrument, scale, tempo, channel=0, seconds=random.uniform(4, LONGEST_SECONDS - 1))
    heard = [[round(note.start_seconds, 2), round(note.end_seconds, 2), note_name(note.number)] for note in notes]
    labels = {"instrument": instrument["name"], "notes": heard}
    # A handful of notes fits many keys and tempos.
    return notes, [instrument["program"]], labels | ({"key": key, "tempo": tempo} if len(notes) >= 10 else {})


def _band(random: np.random.Generator) -> Composition:
    table = _table()
    tempo, key, scale = _frame(random)
    beat = 60 / tempo
    by_name = {instrument["name"]: instrument for instrument in table["instruments"]}
    lead = _pick(random, table["instruments"])
    others = [name for name in table["accompaniment"] if name != lead["name"]]
    chords, bass = by_name[_pick(random, others)], by_name[_pick(random, table["bass"])]
    players = [lead, chords] + ([bass] if random.random() < 0.7 and bass != lead else [])
    seconds = LONGEST_SECONDS - 0.5
    notes = _line(random, lead, scale, tempo, channel=0, seconds=seconds)
    degrees = _pick(random, table["progressions"])
    for bar in range(int(np.ceil(seconds / (4 * beat)))):
        degree = degrees[bar % len(degrees)]
        start, end = bar * 4 * beat, min((bar + 1) * 4 * beat, seconds)
        for step in (0, 2, 4):
            notes.append(Note(start, end, _fit(_degree(scale, degree + step), 48, 72), 1, 62))
        if len(players) == 3:
            root = _fit(_degree(scale, degree), bass["low"], bass["low"] + 16)
            for at in (0, 2):
                if start + at * beat < seconds - 0.1:
                    notes.append(Note(start + at * beat, min(start + (at + 1.8) * beat, seconds), root, 2, 90))
    names = [player["name"] for player in players]
    if random.random() < 0.6:
        notes += _drums(_pick(random, table["drum_patterns"]), beat, seconds)
        names.append("drum kit")
    labels = {"instruments": sorted(set(names)), "key": key, "tempo": tempo}
    return notes, [player["program"] for player in players], labels


def _frame(random: np.random.Generator) -> tuple[int, str, list[int]]:
    """Tempo in beats per minute, key, and the scale's pitch classes from the tonic on."""
    tonic, mode = int(random.integers(12)), _pick(random, list(_SCALES))
    return int(random.integers(60, 181)), f"{_TONICS[tonic]} {mode}", [tonic + step for step in _SCALES[mode]]


def _line(
    random: np.random.Generator,
    instrument: Mapping[str, Any],
    scale: Sequence[int],
    tempo: int,
    *,
    channel: int,
    seconds: float,
) -> list[Note]:
    """A walk on the scale from the tonic chord, one note at a time."""
    beat, now = 60 / tempo, 0.05
    degree = int(random.choice([0, 2, 4]))
    notes: list[Note] = []
    while now < seconds - 0.2:
        length = beat * float(random.choice([0.5, 1, 1, 1.5, 2]))
        end = min(now + length, seconds)
        number = _fit(_degree(scale, degree) + 60, instrument["low"], instrument["high"])
        if notes and random.random() < 0.08:
            now = end
            continue
        sounding = now + max(0.08, (end - now) * random.uniform(0.75, 0.98))
        notes.append(Note(now, sounding, number, channel, int(random.integers(70, 115))))
        degree += int(random.choice([-3, -2, -1, -1, 1, 1, 2, 3]))
        degree = int(np.clip(degree, -5, 10))
        now = end
    return notes


def _drums(pattern: Mapping[str, Sequence[int]], beat: float, seconds: float) -> list[Note]:
    bars = int(np.ceil(seconds / (4 * beat)))
    starts = [
        ((bar * 16 + step) * beat / 4, int(number))
        for bar in range(bars)
        for number, steps in pattern.items()
        for step in steps
    ]
    return [Note(start, start + 0.1, number, DRUM_CHANNEL, 95) for start, number in starts if start < seconds - 0.2]


def _degree(scale: Sequence[int], degree: int) -> int:
    """Semitones of a scale degree; degrees beyond the scale continue in the next octave."""
    octave, step = divmod(degree, len(scale))
    return scale[step] + 12 * octave


def _fit(number: int, low: int, high: int) -> int:
    """The same pitch class within [low, high] (at least an octave wide), as near as octaves allow."""
    assert high - low >= 11, (low, high)
    while number < low:
        number += 12
    while number > high:
        number -= 12
    return number


def _play(notes: Sequence[Note], programs: Sequence[int], soundfont: Path) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        score, sound = Path(folder) / "score.mid", Path(folder) / "sound.wav"
        score.write_bytes(midi_file(notes, programs))
        rate = ["-r", str(SAMPLE_RATE_HZ), "-O", "s16", "-T", "wav"]
        quiet = ["-ni", "-q", "-g", "0.5", "-o", "synth.dynamic-sample-loading=1"]
        run(["fluidsynth", *quiet, *rate, "-F", str(sound), str(soundfont.resolve()), str(score)])
        return read(sound)


def _check_soundfont(path: Path) -> None:
    """fluidsynth plays silence or another soundfont, with exit status 0, where one is none."""
    found = "no such file"
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(12)
        if head[:4] == b"RIFF" and head[8:] == b"sfbk":
            return
        found = f"a file that begins with {head[:4]!r}"
    raise UserError(
        f"cannot play {path}",
        expected="a soundfont, .sf2 or .sf3",
        got=found,
        fix="on Debian or Ubuntu: apt-get install timgm6mb-soundfont, or fluid-soundfont-gm",
    )


def _pick(random: np.random.Generator, options: Sequence[Any]) -> Any:
    return options[int(random.integers(len(options)))]


@lru_cache(maxsize=1)
def _table() -> Mapping[str, Any]:
    return json.loads(files("uniwhisper.data.synthetic").joinpath("music.json").read_text(encoding="utf-8"))
