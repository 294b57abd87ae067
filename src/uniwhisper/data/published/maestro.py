"""MAESTRO v3: piano performances with the MIDI of the instrument itself. `maestro-v3.0.0.csv`, files below years.

Performances last minutes; they are cut into pieces of five seconds. A note lasts from its key's stroke to its release;
the pedal, which sounds on, is not asked about.
"""

import io
from collections.abc import Iterator

from uniwhisper.core.errors import MissingExtraError
from uniwhisper.data.answers import note_name
from uniwhisper.data.published.corpus import Published, pieces
from uniwhisper.data.sources.clip import OnProblem, SourceClip, problem
from uniwhisper.data.sources.table import rows
from uniwhisper.data.storage import Store

PIECE_SECONDS = 5.0
_TABLE = "maestro-v3.0.0.csv"


def _parse(store: Store, on_problem: OnProblem) -> Iterator[SourceClip]:
    for number, row in rows(store, _TABLE, on_problem):
        if row["split"] != "train":
            continue
        try:
            notes = midi_notes(store.read(row["midi_filename"]))
        except (OSError, EOFError, ValueError) as error:
            where, fix = f"{_TABLE}, line {number}", "copy the MIDI file again"
            on_problem(problem(where, expected="a MIDI file that can be read", got=str(error), fix=fix))
            continue
        for start, seconds in pieces(float(row["duration"]), PIECE_SECONDS):
            inside = [
                [round(max(0.0, begin - start), 3), round(min(seconds, end - start), 3), name]
                for begin, end, name in notes
                if begin < start + seconds and end > start
            ]
            length = seconds if seconds == PIECE_SECONDS else None  # the last: to where the file ends
            key = f"{row['audio_filename'].removesuffix('.wav')}@{round(1000 * start):08d}"
            labels = {"notes": inside, "instrument": "piano"}
            yield SourceClip(key, row["audio_filename"], labels, start_seconds=start, seconds=length)


def midi_notes(content: bytes) -> list[tuple[float, float, str]]:
    """(start, end, name) in seconds of the notes of a MIDI file, in the order of their starts.

    Raises:
        OSError, EOFError, ValueError: it is no MIDI file, or a damaged one.
        MissingExtraError: mido is not installed.
    """
    try:
        import mido
    except ImportError:
        raise MissingExtraError.of("mido", "data", "reading MIDI") from None
    now, sounding, notes = 0.0, {}, []
    for message in mido.MidiFile(file=io.BytesIO(content)):
        now += message.time
        if message.type not in ("note_on", "note_off"):
            continue
        if message.note in sounding:
            notes.append((sounding.pop(message.note), now, note_name(message.note)))
        if message.type == "note_on" and message.velocity > 0:
            sounding[message.note] = now
    return sorted(notes)


CORPUS = Published(
    name="maestro",
    title="MAESTRO v3.0.0",
    url="https://magenta.tensorflow.org/datasets/maestro",
    licence="CC BY-NC-SA 4.0",
    domain="music",
    hours=159.2,
    tasks={"note_transcription": {"field": "notes", "clean": "note"}, "instrument": {"field": "instrument"}},
    layout="https://magenta.tensorflow.org/datasets/maestro, section Dataset",
    parse=_parse,
)
