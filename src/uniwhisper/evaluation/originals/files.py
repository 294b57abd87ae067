"""Finding a set's files in an unpacked original, however deep they were unpacked."""

import hashlib
import os
from pathlib import Path

from uniwhisper.core.errors import ManifestError

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")


class Files:
    """The files below a folder, found by the end of their path, in any case of letters."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._paths: dict[str, list[Path]] = {}
        for folder, _, names in os.walk(root):
            for name in names:
                self._paths.setdefault(name.casefold(), []).append(Path(folder) / name)

    def find(self, end: str) -> Path:
        """The file whose path ends in `end`; of several with the same bytes the one that lies highest.

        Raises:
            ManifestError: there is none, or there are several that differ.
        """
        tail = "/" + end.casefold()
        name = end.casefold().rpartition("/")[2]
        found = [path for path in self._paths.get(name, []) if path.as_posix().casefold().endswith(tail)]
        found.sort(key=lambda path: (len(path.parts), path))
        if not found:
            raise ManifestError(
                f"{end} is missing",
                expected=f"it anywhere below {self.root}",
                got="no such file",
                fix="download and unpack the original again, all of it",
            )
        if len(found) > 1 and len({hashlib.sha256(path.read_bytes()).digest() for path in found}) > 1:
            raise ManifestError(
                f"{end} is there more than once",
                expected="one file, or copies of it",
                got=f"{len(found)} that differ: {', '.join(str(path.relative_to(self.root)) for path in found[:3])}",
                fix="keep one copy of the original there",
            )
        return found[0]

    def archives(self) -> list[str]:
        """Names of files that look packed."""
        return sorted(path.name for name, paths in self._paths.items() if name.endswith(_ARCHIVES) for path in paths)
