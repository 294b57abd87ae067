"""Finding files that end too early, from what their container promises.

libsndfile reads a cut WAV or Ogg file without complaint, so the promise is checked here, before decoding. Seen: the
sample chunk of WAV, RF64, AIFF, W64, CAF and AU; the boxes of MP4; the last page of Ogg. What has no such promise (an
MP3 without length header, raw AAC) cannot be checked by anybody.
"""

import io
import mmap
from dataclasses import dataclass
from typing import BinaryIO

from uniwhisper.audio.formats import is_mpeg4
from uniwhisper.core.errors import AudioError

# Sizes that writers put into a header when they cannot go back to fill it in (ffmpeg, sox and arecord into a pipe).
STREAMING_SIZES = frozenset({0, 0x7FFF_F000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF})
_MOST_CHUNKS = 1000
_W64_DATA = bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")
_OGG_END_OF_STREAM = 4
_OGG_LARGEST_PAGE = 27 + 255 + 255 * 255  # RFC 3533, section 6


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """How a format lays out its chunks: an id, a size, the content."""

    start: int
    data_id: bytes
    size_bytes: int = 4
    byte_order: str = "little"
    align: int = 2
    size_includes_header: bool = False


_LAYOUTS = {
    b"RIFF": _Layout(start=12, data_id=b"data"),
    b"RF64": _Layout(start=12, data_id=b"data"),
    b"RIFX": _Layout(start=12, data_id=b"data", byte_order="big"),
    b"FORM": _Layout(start=12, data_id=b"SSND", byte_order="big"),
    b"caff": _Layout(start=8, data_id=b"data", size_bytes=8, byte_order="big", align=1),
    b"riff": _Layout(start=40, data_id=_W64_DATA, size_bytes=8, align=8, size_includes_header=True),
}


def check_complete(file: BinaryIO, size: int, name: str) -> None:
    """Refuse a file of `size` bytes that holds less than its own header promises.

    Raises:
        AudioError: the file is truncated.
    """
    file.seek(0)
    head = file.read(12)
    if head[:4] in _LAYOUTS:
        if (found := _find_data(file, size, _LAYOUTS[head[:4]])) is not None:
            _compare(name, promised=found[1], present=size - found[0])
    elif head[:4] in (b".snd", b"dns.") and len(head) == 12:
        byte_order = "big" if head[:4] == b".snd" else "little"
        start, promised = (int.from_bytes(head[at : at + 4], byte_order) for at in (4, 8))
        _compare(name, promised=promised, present=size - start)
    elif head[:4] == b"OggS":
        _check_last_ogg_page(file, size, name)
    elif head[4:8] == b"ftyp" and is_mpeg4(file):  # images come in the same boxes
        _check_boxes(file, size, name)
    file.seek(0)


def with_data_size_filled_in(file: BinaryIO, size: int) -> mmap.mmap | io.BytesIO | None:
    """A private, corrected view of a WAV whose writer left 0 as the size of its samples; None if it is not one.

    A recorder that was cut off, or wrote into a pipe, leaves such a file. libsndfile takes the 0 at its word.
    """
    file.seek(0)
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE" or (found := _find_data(file, size, _LAYOUTS[b"RIFF"])) is None:
        return None
    start, promised = found
    riff_ends = 8 + int.from_bytes(head[4:8], "little")
    # A WAV that is truly empty may still have chunks behind its samples; then the outer size covers them.
    left_open = riff_ends <= start or riff_ends - 8 in STREAMING_SIZES
    if promised != 0 or start >= size or not left_open:
        return None
    if isinstance(file, io.FileIO):
        view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # a three-hour file must not be read into memory
    else:
        file.seek(0)
        view = io.BytesIO(file.read())
    for at, value in ((4, size - 8), (start - 4, size - start)):
        view.seek(at)
        view.write(min(value, 0xFFFF_FFFF).to_bytes(4, "little"))
    return view


def _find_data(file: BinaryIO, size: int, layout: _Layout) -> tuple[int, int] | None:
    """Where the sample chunk's content starts and how many bytes it promises; None if there is no such chunk."""
    position, rf64_size = layout.start, None
    header_bytes = len(layout.data_id) + layout.size_bytes
    for _ in range(_MOST_CHUNKS):
        file.seek(position)
        header = file.read(header_bytes)
        if len(header) < header_bytes:
            return None
        kind, length = header[: len(layout.data_id)], int.from_bytes(header[len(layout.data_id) :], layout.byte_order)
        if layout.size_includes_header:
            length = max(length - header_bytes, 0)
        start = position + header_bytes
        if kind == b"ds64":
            rf64_size = int.from_bytes(file.read(16)[8:], "little")
        if kind == layout.data_id:
            return start, rf64_size if rf64_size is not None and length == 0xFFFF_FFFF else length
        position = start + -(-length // layout.align) * layout.align
        if position >= size:
            return None
    return None


def _compare(name: str, *, promised: int, present: int) -> None:
    if promised > present and promised not in STREAMING_SIZES:
        raise truncated(name, f"{promised:,} bytes of samples, as its header says", f"{max(present, 0):,} bytes")


def _check_last_ogg_page(file: BinaryIO, size: int, name: str) -> None:
    file.seek(max(0, size - 2 * _OGG_LARGEST_PAGE))
    tail = file.read()
    at = tail.rfind(b"OggS\0")
    while at >= 0:
        segments = tail[at + 27 : at + 27 + tail[at + 26]] if at + 27 <= len(tail) else b""
        complete = at + 27 <= len(tail) and len(segments) == tail[at + 26]
        if not complete or at + 27 + len(segments) + sum(segments) > len(tail):
            raise truncated(name, "a complete last page", "a page cut in its middle")
        if at + 27 + len(segments) + sum(segments) == len(tail) or tail[at + 5] & _OGG_END_OF_STREAM:
            break
        # Not the page that ends the file: the letters stood inside a page, or something was appended to the stream.
        at = tail.rfind(b"OggS\0", 0, at)
    if at < 0 or not tail[at + 5] & _OGG_END_OF_STREAM:
        raise truncated(name, "a last page marked as the end of the stream", "no such page")


def _check_boxes(file: BinaryIO, size: int, name: str) -> None:
    position, kinds = 0, []
    while position + 8 <= size and len(kinds) < _MOST_CHUNKS:
        file.seek(position)
        header = file.read(16)
        length, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        elif length == 0:
            length = size - position
        if length < 8:
            return  # Not a box; the decoder will say what is wrong.
        if position + length > size:
            raise truncated(
                name, f"a box {kind.decode('latin-1')!r} of {length:,} bytes", f"{size - position:,} bytes of it"
            )
        kinds.append(kind)
        position += length
    if b"moov" not in kinds and b"moof" not in kinds:
        raise truncated(name, "a box 'moov' (the table of contents)", "a file that ends before it")


def truncated(name: str, expected: str, got: str) -> AudioError:
    """The error for audio that ends too early."""
    return AudioError(
        f"{name} is truncated",
        expected=expected,
        got=got,
        fix="copy or download it again; to keep what is there: ffmpeg -i INPUT repaired.wav",
    )
