"""What is done of a (row, seed): one JSON file in its folder, written in one move after each stage.

A chain that was interrupted reads it, and goes on with the first stage that is not in it; a run in the middle of
training goes on from its last checkpoint.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uniwhisper.core.errors import OutputError
from uniwhisper.core.files import atomic_output
from uniwhisper.core.identity import hash_file

STATE_NAME = "row.json"


def read_written(path: Path) -> dict[str, Any]:
    """A JSON object that the chain or a run wrote; empty: there is no such file.

    Raises:
        OutputError: the file is damaged.
    """
    if not path.is_file():
        return {}
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(written, dict):
            raise ValueError("no JSON object")
    except (OSError, ValueError) as error:
        raise OutputError(
            f"{path} cannot be read", expected="what the chain wrote there", got=str(error), fix="remove the folder"
        ) from None
    return written


@dataclass(frozen=True)
class RowState:
    """The state of one (row, seed) in `folder`, which belongs to a plan and to no other.

    `key` is the hash of all that decides the row.
    """

    folder: Path
    key: str

    def read(self) -> dict[str, Any]:
        """What is done: `trained` and `judged`, each absent until it is.

        Raises:
            OutputError: the folder holds a row of another plan, or the file is damaged.
        """
        state = read_written(self.folder / STATE_NAME)
        if not state:
            return {}
        key = str(state.get("key"))
        if key != self.key:
            raise OutputError(
                f"{self.folder} holds a row of another plan",
                expected=f"plan {self.key[:12]}",
                got=f"plan {key[:12]}",
                fix="give the same data, sizes and rows as at the start, or choose another -o",
            )
        return state

    def done(self, stage: str) -> Mapping[str, Any] | None:
        """Facts of a finished stage; None: it is not finished, or a file it made is no longer the one it made."""
        facts = self.read().get(stage)
        if facts is None:
            return None
        for name, digest in facts["files"].items():
            path = self.folder / name
            if not path.is_file() or hash_file(path) != digest:
                return None
        return facts

    def finish(self, stage: str, facts: Mapping[str, Any], files: list[Path]) -> None:
        """Say that a stage is finished, which facts it gave, and which files it made below the folder."""
        digests = {path.relative_to(self.folder).as_posix(): hash_file(path) for path in files}
        state = self.read() | {"key": self.key, stage: {**facts, "files": digests}}
        with atomic_output(self.folder / STATE_NAME, overwrite=True) as temporary:
            temporary.write_text(json.dumps(state, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
