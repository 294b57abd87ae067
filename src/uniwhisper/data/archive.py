"""Reading WebDataset tars without trusting them: which clips lie where, nothing is ever unpacked.

A clip is a pair of members `<key>.<audio extension>` and `<key>.json`; instead of the JSON, or beside it, there may be
`<key>.cls` and `<key>.txt`, whose text is then the field `cls` or `txt`. Following WebDataset, the key is the member's
path up to the first dot of its file name. Members are read by offset, so a name with `..` could write nothing; it is
refused all the same, because whoever unpacks such a tar with another program is not that lucky.
"""

import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from uniwhisper.audio.formats import AUDIO_EXTENSIONS
from uniwhisper.core.errors import ManifestError

TEXT_EXTENSIONS = ("cls", "txt")
"""Members that hold one label as text, by WebDataset's names."""
_REPACK = "pack the archive again, with one `<key>.json` for each `<key>.<audio extension>` and plain relative names"


@dataclass(frozen=True, slots=True)
class ArchivedClip:
    """One clip of a tar: where its encoded audio lies (bytes from the start of the tar) and its labels."""

    key: str
    audio_member: str
    offset: int
    size: int
    fields: dict[str, Any]


def raise_problem(error: ManifestError) -> None:
    """The default for `on_problem`: the first problem ends the reading."""
    raise error


def stop_at(error: ManifestError) -> None:
    """The `on_problem` of `data prepare`: as `raise_problem`, and says what goes on without such clips."""
    fix = f"{error.fix}; or go without bad clips, all of them named: --skip-bad"
    raise ManifestError(error.problem, expected=error.expected, got=error.got, fix=fix)


def index_archive(
    path: Path, *, on_problem: Callable[[ManifestError], None] = raise_problem, list_field: str | None = None
) -> list[ArchivedClip]:
    """Clips of the tar at `path`, in the order of their keys.

    Args:
        list_field: where a clip's JSON is a list, the field under which it stands; None: a list is a problem.
        on_problem: called with each problem. If it returns, the clip (or, in a truncated tar, everything after the
            damage) is left out of the result and reading goes on.

    Raises:
        ManifestError: (through the default `on_problem`) not a tar, truncated, a member with `..` or an absolute
            path, a link or device, a clip without its partner, broken JSON, JSON that is no object, a key twice.
    """
    with path.open("rb") as file:
        return index_tar(
            file, path.stat().st_size, f"{path.parent.name}/{path.name}", on_problem=on_problem, list_field=list_field
        )


def index_tar(
    file: BinaryIO,
    length: int,
    where: str,
    *,
    on_problem: Callable[[ManifestError], None] = raise_problem,
    list_field: str | None = None,
) -> list[ArchivedClip]:
    """As `index_archive`, of an open, seekable tar of `length` bytes that errors call `where`."""
    audio: dict[str, tarfile.TarInfo] = {}
    labels: dict[str, dict[str, Any]] = {}
    texts: dict[str, dict[str, Any]] = {}
    refused: set[str] = set()
    for member, content, error in tar_members(file, length, where, on_problem):
        key, extension = _split(member.name)
        is_text = extension in TEXT_EXTENSIONS
        if error is None and extension != "json" and not is_text and f".{extension}" not in AUDIO_EXTENSIONS:
            expected = f"`.json`, `.cls`, `.txt` or audio ({' '.join(sorted(AUDIO_EXTENSIONS))})"
            error = _problem(where, member.name, expected, f"extension {extension!r}", _REPACK)
        if error is None and (
            extension in texts.get(key, ()) if is_text else key in (labels if extension == "json" else audio)
        ):
            kind = "labels" if is_text or extension == "json" else "audio"
            error = _problem(where, member.name, "each key once", f"a second member with {kind} for {key!r}", _REPACK)
        if error is None:
            try:
                if is_text:
                    texts.setdefault(key, {})[extension] = _text(where, member.name, content)
                elif extension == "json":
                    labels[key] = _json_object(where, member.name, content, list_field)
                else:
                    audio[key] = member
            except ManifestError as broken:
                error = broken
        if error is not None:
            refused.add(key)
            on_problem(error)
    for key, fields in texts.items():
        labels[key] = {**fields, **labels.get(key, {})}

    for key in sorted((audio.keys() ^ labels.keys()) - refused):
        has, lacks = ("audio", f"{key}.json") if key in audio else ("labels", f"{key}.<audio extension>")
        on_problem(_problem(where, key, f"audio and labels, so also {lacks}", f"only {has}", _REPACK))
    return [
        ArchivedClip(key, audio[key].name, audio[key].offset_data, audio[key].size, labels[key])
        for key in sorted((audio.keys() & labels.keys()) - refused)
    ]


def read_member(path: Path, offset: int, size: int) -> bytes:
    """The `size` bytes from `offset` on of the tar at `path`: a member's content, where `index_archive` found it.

    Raises:
        ManifestError: the archive is missing, cannot be read, or ends before the member does.
    """
    expected, fix = f"{size} bytes at {offset}", "put the archive back as it was when it was indexed"
    where = f"{path.parent.name}/{path.name}"
    try:
        with path.open("rb") as file:
            file.seek(offset)
            content = file.read(size)
    except OSError as error:
        raise _problem(where, None, expected, error.strerror or str(error), fix) from None
    if len(content) != size:
        raise _problem(where, None, expected, f"{len(content)} bytes", fix)
    return content


def tar_members(
    file: BinaryIO, length: int, where: str, on_problem: Callable[[ManifestError], None]
) -> Iterator[tuple[tarfile.TarInfo, bytes, ManifestError | None]]:
    """Each member of an open tar that is no folder: its content if it holds labels (else b""), and why it is refused.

    Refused are names that lead outside, links, devices and empty audio. Damage to the tar itself is told to
    `on_problem` and ends the reading.
    """
    damaged = "copy or download the archive again; `tar -tf` must list it without an error"
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                if member.offset_data + member.size > length:
                    got = f"the file ends {member.offset_data + member.size - length} bytes before the member does"
                    on_problem(_problem(where, member.name, f"{member.size} bytes of content", got, damaged))
                    return
                if member.isdir():
                    continue
                content = archive.extractfile(member).read() if member.isreg() and _holds_labels(member) else b""
                yield member, content, _unsafe(where, member)
            end = archive.offset
    except tarfile.TarError as error:
        on_problem(_problem(where, None, "a complete, uncompressed tar", str(error), damaged))
        return
    # A tar cut exactly between two members reads without an error; only the missing end marker gives it away.
    file.seek(max(0, min(end, length - tarfile.BLOCKSIZE)))
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        on_problem(_problem(where, None, "an end-of-archive block of zeros", "the file ends without one", damaged))


def _split(name: str) -> tuple[str, str]:
    """Key and lower-case extension: `a/b.c.ogg` -> (`a/b`, `c.ogg`)."""
    pure = PurePosixPath(name)
    stem, _, extension = pure.name.partition(".")
    return str(pure.with_name(stem)) if stem else name, extension.lower()


def _holds_labels(member: tarfile.TarInfo) -> bool:
    return _split(member.name)[1] in ("json", *TEXT_EXTENSIONS) or member.name.endswith(".json")


def _text(where: str, name: str, content: bytes) -> str | None:
    """The label of a `.cls` or `.txt`; None if there is nothing in it."""
    try:
        return content.decode().strip() or None
    except UnicodeDecodeError as error:
        raise _problem(where, name, "text in UTF-8", str(error), "mend this member") from None


def _unsafe(where: str, member: tarfile.TarInfo) -> ManifestError | None:
    pure = PurePosixPath(member.name)
    if pure.is_absolute() or ".." in pure.parts or "\\" in member.name:
        return _problem(
            where, member.name, "a relative path that stays inside the archive", "it leads outside", _REPACK
        )
    if not member.isreg() or member.issparse():
        return _problem(where, member.name, "a plain file", "a link, device or sparse file", _REPACK)
    if _holds_labels(member) or member.size > 0:
        return None
    return _problem(where, member.name, "encoded audio", "0 bytes", "remove the clip, or put its audio in")


def _json_object(where: str, name: str, content: bytes, list_field: str | None) -> dict[str, Any]:
    try:
        value = json.loads(content.decode())
    except ValueError as error:
        raise _problem(where, name, "valid JSON in UTF-8", str(error), "mend this member") from None
    if isinstance(value, list) and list_field is not None:
        return {list_field: value}
    if not isinstance(value, dict):
        raise _problem(where, name, "a JSON object {field: value}", type(value).__name__, "mend this member")
    return value


def _problem(where: str, member: str | None, expected: str, got: str, fix: str) -> ManifestError:
    return ManifestError(where + (f": {member}" if member is not None else ""), expected=expected, got=got, fix=fix)
