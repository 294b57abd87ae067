"""Files below one folder: on disk, or in an object store that a URL names (through fsspec).

Everything that reads corpora and their audio goes through `Store`, so that a manifest may name either. A name is
relative, with forward slashes, and never leads out of the folder.
"""

import hashlib
import os
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from uniwhisper.core.errors import ManifestError, MissingExtraError

Root = Path | str
"""A folder: a path, or a URL such as `s3://bucket/corpora` (any file system that fsspec knows)."""
_CHUNK = 1 << 20


def is_url(place: Root) -> bool:
    """Whether a place is named by a URL."""
    return isinstance(place, str) and "://" in place


def is_inside(name: str) -> bool:
    """Whether a relative name stays below the folder it is relative to."""
    pure = PurePosixPath(name)
    return bool(name) and not pure.is_absolute() and ".." not in pure.parts and "\\" not in name


class Store:
    """Files below `root`."""

    def __init__(self, root: Root) -> None:
        self.root: Root = root if is_url(root) else Path(root)

    @property
    def name(self) -> str:
        """Last part of the root."""
        return PurePosixPath(str(self.root)).name

    def path(self, name: str) -> str:
        """Where a file lies: a path or a URL.

        Raises:
            ManifestError: the name is absolute or leads out of the folder.
        """
        if not is_inside(name):
            raise ManifestError(
                f"{name!r} is refused",
                expected=f"a relative path that stays inside {self.root}",
                got="it leads outside",
                fix="name files relative to the folder of the corpus, with forward slashes and without `..`",
            )
        return f"{str(self.root).rstrip('/')}/{name}" if is_url(self.root) else str(self.root / name)

    def below(self, name: str) -> "Store":
        """The folder `name` of this one."""
        return Store(self.path(name) if is_url(self.root) else Path(self.path(name)))

    def open(self, name: str) -> BinaryIO:
        """A seekable file. Raises OSError as `open` does."""
        if is_url(self.root):
            return _file_system(str(self.root)).open(self.path(name), "rb")
        return Path(self.path(name)).open("rb")

    def read(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        """`size` bytes (None: all) from `offset` on; fewer if the file ends before. Raises OSError."""
        if is_url(self.root):
            end = None if size is None else offset + size
            return _file_system(str(self.root)).cat_file(self.path(name), start=offset, end=end)
        with Path(self.path(name)).open("rb") as file:
            file.seek(offset)
            return file.read(-1 if size is None else size)

    def size(self, name: str) -> int:
        """Bytes of a file. Raises OSError if there is none."""
        if is_url(self.root):
            return int(_file_system(str(self.root)).info(self.path(name))["size"])
        return Path(self.path(name)).stat().st_size

    def exists(self, name: str) -> bool:
        """Whether a file is there."""
        try:
            self.size(name)
        except OSError:
            return False
        return True

    def sha256(self, name: str) -> str:
        """SHA-256 of a file's content, read in pieces. Raises OSError."""
        digest = hashlib.sha256()
        with self.open(name) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()

    def folders(self) -> list[str]:
        """Names of the folders directly below, without hidden ones, sorted."""
        if is_url(self.root):
            return sorted({name.split("/")[0] for name in self.names() if "/" in name})
        return sorted(child.name for child in self.root.iterdir() if child.is_dir() and not child.name.startswith("."))

    def names(self, *, deep: bool = True) -> list[str]:
        """Names of the files below (`deep` False: directly below), without hidden ones, sorted."""
        if is_url(self.root):
            found = _file_system(str(self.root)).find(str(self.root), maxdepth=None if deep else 1)
            prefix = _file_system(str(self.root))._strip_protocol(str(self.root)).rstrip("/") + "/"
            names = [path.removeprefix(prefix) for path in found]
            return sorted(name for name in names if not any(part.startswith(".") for part in name.split("/")))
        found = []
        for parent, folders, files in os.walk(self.root):
            folders[:] = [folder for folder in folders if deep and not folder.startswith(".")]
            relative = Path(parent).relative_to(self.root).as_posix()
            before = "" if relative == "." else f"{relative}/"
            found += [before + name for name in files if not name.startswith(".")]
        return sorted(found)


@lru_cache(maxsize=8)
def _file_system(url: str) -> Any:
    try:
        import fsspec
    except ImportError:
        raise MissingExtraError.of("fsspec", "data", f"reading {url}") from None
    protocol = url.partition("://")[0]
    try:
        return fsspec.filesystem(protocol)
    except (ImportError, ValueError) as error:
        raise ManifestError(
            f"cannot reach {url}",
            expected="a URL of a file system that fsspec can open here",
            got=str(error),
            fix=f"install what fsspec needs for `{protocol}`, or copy the corpus to a local folder",
        ) from None
