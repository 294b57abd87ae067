"""From a corpus's own spelling of a label to the words of an answer: small named functions, and the note names.

`corpora.json` names these functions; a corpus needs no code of its own.
"""

import hashlib
import re
from collections.abc import Callable

_SHARP_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_NOTE = re.compile(r"(?:^|\s)([A-G])([#b]?)(-?\d+)$")
SEMITONES_PER_OCTAVE = 12


def text(label: str) -> str:
    """As it is, with single spaces."""
    return " ".join(label.split())


def words(label: str) -> str:
    """As `text`, and underscores are spaces."""
    return text(label.replace("_", " "))


def file_stem(label: str) -> str:
    """A file's stem as a caption: take numbers off the end of each word, open camelCase, lower case.

    `ambi_glass_rub2` -> `ambi glass rub`; `SodaCanCrunch3 loudShort` -> `soda can crunch loud short`. A stem that
    holds nothing but numbers stays as it is.
    """
    opened = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", words(re.sub(r"[()]", " ", label).replace("+", " and ")))
    kept = [re.sub(r"(?<=[^\W\d])\d+\w?$|^\d+\w?$|[!+]+$", "", word) for word in opened.split()]
    return words(" ".join(kept)).lower() or words(label).lower()


def sentence_case(label: str) -> str:
    """`MARK IS GOING` -> `Mark is going`: text that is all capitals carries no case, one capital opens it."""
    return words(label).capitalize()


def note(label: str) -> str:
    """Scientific pitch name at the end of a label, spelled with sharps: `FF A#2` -> `A#2`, `Bb0` -> `A#0`."""
    return note_name(note_number(label))


def note_octave_up(label: str) -> str:
    """As `note`, for corpora that call middle C `C3` where scientific pitch notation calls it `C4`."""
    return note_name(note_number(label) + SEMITONES_PER_OCTAVE)


def note_number(label: str) -> int:
    """MIDI number of the note at the end of `label`: A4 is 69, middle C (C4) 60.

    Raises:
        ValueError: there is no note.
    """
    found = _NOTE.search(label)
    if found is None:
        raise ValueError(f"{label!r} does not end in a note such as `A4`, `C#3` or `Bb-1`")
    letter, accidental, octave = found.groups()
    alteration = {"#": 1, "b": -1, "": 0}[accidental]
    return SEMITONES_PER_OCTAVE * (int(octave) + 1) + _SEMITONES[letter] + alteration


def note_name(number: int) -> str:
    """Name of a MIDI number, with sharps: 61 -> `C#4`."""
    octave, step = divmod(number, SEMITONES_PER_OCTAVE)
    return f"{_SHARP_NAMES[step]}{octave - 1}"


def transpose(name: str, semitones: int) -> str:
    """The note `semitones` above (below, if negative)."""
    return note_name(note_number(name) + semitones)


def speaker_name(label: str) -> str:
    """The three words that a speaker of that id is called by: nothing but the voice itself can tell them."""
    return code_name(hashlib.sha256(label.encode()).hexdigest())


_CODE_WORDS = [
    "apple",
    "arm",
    "bag",
    "ball",
    "bank",
    "bed",
    "bell",
    "bird",
    "board",
    "boat",
    "book",
    "bottle",
    "box",
    "bread",
    "bridge",
    "brush",
    "cake",
    "camp",
    "card",
    "chair",
    "church",
    "clock",
    "cloud",
    "coat",
    "corn",
    "cup",
    "desk",
    "door",
    "dress",
    "duck",
    "eye",
    "farm",
    "field",
    "fire",
    "fish",
    "floor",
    "flower",
    "foot",
    "garden",
    "glass",
    "gold",
    "hair",
    "hand",
    "hat",
    "head",
    "hill",
    "horse",
    "house",
    "ice",
    "key",
    "king",
    "lake",
    "lamp",
    "leaf",
    "letter",
    "milk",
    "moon",
    "nose",
    "paper",
    "pen",
    "river",
    "road",
    "roof",
    "rose",
]


def code_name(sha256: str) -> str:
    """Three words made of a hash: of a recording's content, a name that nothing but the recording itself can tell."""
    number = int(sha256[-12:], 16)
    words_of_it = []
    for _ in range(3):
        number, place = divmod(number, len(_CODE_WORDS))
        words_of_it.append(_CODE_WORDS[place])
    return " ".join(words_of_it)


CLEANERS: dict[str, Callable[[str], str]] = {
    cleaner.__name__: cleaner for cleaner in (text, words, file_stem, sentence_case, note, note_octave_up, speaker_name)
}
