"""What a file is, decided by its first bytes: a name or an extension proves nothing.

Signatures: the formats' own specifications; ISO/IEC 14496-12 (boxes) and 13818-7 (ADTS) for MPEG-4 audio.
"""

import codecs
from typing import BinaryIO

PLAIN_TEXT = "plain text"
READABLE = "wav, flac, ogg (vorbis, opus), mp3, aiff, au, caf, w64; m4a, mp4 and aac with the extra [m4a]"
CONVERT = "convert it first, e.g. ffmpeg -i INPUT output.wav"

# Which files below a folder count as audio. A file named outright is read whatever it is called.
# fmt: off
AUDIO_EXTENSIONS = frozenset((
    ".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".mp1", ".aif", ".aiff", ".aifc", ".au",
    ".snd", ".caf", ".w64", ".rf64", ".nist", ".sph", ".voc", ".ircam", ".sf", ".avr", ".pvf", ".svx", ".8svx",
    ".paf", ".m4a", ".m4b", ".mp4", ".aac",
))
# Recordings that nothing here decodes: below a folder they fail by name, with advice, and are not passed over.
UNREAD_EXTENSIONS = frozenset((".wma", ".amr", ".ape", ".wv", ".tta", ".mpc", ".webm", ".weba", ".mka"))
# fmt: on

_HEAD_BYTES = 4096
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_IMAGE_BRANDS = (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis")

_SIGNATURES = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive (or an Office, NumPy .npz or PyTorch .pt file)"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x7fELF", "a program"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy .npy array"),
    (b"PAR1", "a Parquet table"),
    (b"SQLite format 3", "an SQLite database"),
    (b"version https://git-lfs", "a Git LFS pointer (the audio itself was not downloaded)"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM file"),
    (b"\x30\x26\xb2\x75", "a Windows Media file"),
    (b"MThd", "a MIDI file (notes, not sound)"),
    (b"#!AMR", "an AMR file"),
    (b"MAC ", "a Monkey's Audio file"),
    (b"wvpk", "a WavPack file"),
    (b"TTA1", "a True Audio file"),
)
_AUDIO_SIGNATURES = (
    (b"RIFF", "RIFF"), (b"RIFX", "RIFX"), (b"RF64", "RF64"), (b"riff", "W64"), (b"FORM", "AIFF"), (b"caff", "CAF"),
    (b"fLaC", "FLAC"), (b"OggS", "Ogg"), (b"ID3", "MP3"), (b".snd", "AU"), (b"dns.", "AU"), (b"NIST_1A", "NIST"),
    (b"Creative Voice File", "VOC"),
)  # fmt: skip


def head_of(file: BinaryIO) -> bytes:
    """The first bytes of a seekable file, which is left at its start."""
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    return head


def after_id3(file: BinaryIO) -> bytes:
    """The first bytes behind an ID3v2 tag, or of the file if there is none."""
    head = head_of(file)
    if head[:3] != b"ID3" or len(head) < 10:
        return head
    size = 0
    for byte in head[6:10]:  # seven bits per byte (ID3v2.4, section 6.2)
        size = size << 7 | byte & 0x7F
    file.seek(10 + size)
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    return head


def is_mpeg4(file: BinaryIO) -> bool:
    """Whether this is MP4/M4A/QuickTime or raw AAC, which libsndfile does not read."""
    head = after_id3(file)
    if head[4:8] in _BOXES:
        return head[8:12] not in _IMAGE_BRANDS
    is_adts = len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0
    return is_adts or head[:4] == b"ADIF"


def looks_like(head: bytes) -> str:
    """What the first bytes of a file suggest, in words for an error message."""
    if head[4:8] == b"ftyp" and head[8:12] in _IMAGE_BRANDS:
        return "a HEIF or AVIF image"
    if head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"WEBP"):
        return {b"AVI ": "an AVI video", b"WEBP": "a WebP image"}[head[8:12]]
    for signature, description in _SIGNATURES:
        if head.startswith(signature):
            return description
    if head[257:262] == b"ustar":
        return "a tar archive"
    if not head.strip(b"\0"):
        return "nothing but zero bytes"
    return _looks_like_text(head) or f"unknown content (first bytes: {head[:8].hex(' ')})"


def audio_signature(head: bytes) -> str | None:
    """Name of the audio format whose signature the file begins with; None if there is no such signature."""
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[:3] != b"\xff\xd8\xff" and head[1] != 0xFF:
        return "MP3"
    if head[:4] == b"RIFF" and head[8:12] not in (b"WAVE", b""):
        return None
    return next((name for signature, name in _AUDIO_SIGNATURES if head.startswith(signature)), None)


def _looks_like_text(head: bytes) -> str | None:
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError:
        return None
    if not all(character.isprintable() or character.isspace() for character in text):
        return None
    start = text.lstrip()[:64].lower()
    if start.startswith(("<!doctype html", "<html")):
        return "an HTML page"
    if start.startswith("<?xml"):
        return "an XML document"
    return "JSON text" if start.startswith(("{", "[")) else PLAIN_TEXT
