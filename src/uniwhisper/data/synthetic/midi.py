"""Notes -> a MIDI file (format 0), just enough for a synthesiser. Standard MIDI Files 1.0."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

TICKS_PER_SECOND = 1000
DRUM_CHANNEL = 9


@dataclass(frozen=True, slots=True)
class Note:
    """One key pressed on one channel."""

    start_seconds: float
    end_seconds: float
    number: int
    """MIDI number: 60 is C4."""
    channel: int
    velocity: int


def midi_file(notes: Sequence[Note], programs: Sequence[int]) -> bytes:
    """A file whose channel c plays General MIDI program `programs[c]`; times are exact to the millisecond."""
    events = [(0, 0, bytes((0xC0 | channel, program))) for channel, program in enumerate(programs)]
    for note in notes:
        assert note.end_seconds > note.start_seconds, note
        events.append((_ticks(note.start_seconds), 2, bytes((0x90 | note.channel, note.number, note.velocity))))
        # A note that ends when the same key is struck again ends first.
        events.append((_ticks(note.end_seconds), 1, bytes((0x80 | note.channel, note.number, 0))))
    # 500 ticks a quarter note at 500,000 microseconds a quarter note: one tick a millisecond.
    track, now = bytearray(b"\x00\xff\x51\x03" + (500_000).to_bytes(3, "big")), 0
    for tick, _, message in sorted(events):
        track += _variable_length(tick - now) + message
        now = tick
    track += b"\x00\xff\x2f\x00"
    head = struct.pack(">4sIHHH", b"MThd", 6, 0, 1, TICKS_PER_SECOND // 2)
    return head + struct.pack(">4sI", b"MTrk", len(track)) + bytes(track)


def _ticks(seconds: float) -> int:
    return round(seconds * TICKS_PER_SECOND)


def _variable_length(value: int) -> bytes:
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F | 0x80)
    return bytes(reversed(groups))
