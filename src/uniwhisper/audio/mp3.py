"""MP3 files that do not state their length.

For these, libsndfile estimates the length from the size of the file and the bit rate of its first frame, and stops
reading there: of a file with a variable bit rate it can lose most, in silence. Told that the file never ends, it reads
to the true end, and reports a last frame that is cut.
"""

import io
from typing import BinaryIO

from uniwhisper.audio.formats import after_id3

_ENDLESS = 1 << 40


def states_length(file: BinaryIO) -> bool:
    """Whether an MP3's first frame holds a Xing, Info or VBRI header, which counts the frames."""
    first_frame = after_id3(file)[:64]
    return any(tag in first_frame for tag in (b"Xing", b"Info", b"VBRI"))


class EndlessFile:
    """A file object that claims another terabyte behind its end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        position = self._file.seek(offset, whence)
        if whence == io.SEEK_END and offset == 0:
            position = self._file.seek(position + _ENDLESS)
        return position

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)
