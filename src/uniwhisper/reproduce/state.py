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
_MODEL = {"model": (str,), "steps": (int,), "audio_seconds": (int, float), "train_seconds": (int, float)}
_FACTS: dict[str, dict[str, tuple[type, ...]]] = {
    "trained": _MODEL,
    "chosen": {**_MODEL, "choice": (dict,)},
    "judged": {"result": (str,), "commit": (str, type(None))},
}
"""What a stage is read for, and of which kind it is."""


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


def read_row(folder: Path) -> dict[str, Any]:
    """What is done of a row, by the `row.json` in its folder, each stage whole; empty: there is no such file.

    Raises:
        OutputError: the file is damaged, or a stage in it lacks what the chain writes.
    """
    path = folder / STATE_NAME
    state = read_written(path)
    for stage, facts in state.items():
        lacks = None if stage == "key" else _lacks(stage, facts)
        if stage == "judged" and not lacks:
            if facts["result"] not in facts["files"]:
                lacks = f"{facts['result']!r} among its files"
            elif "trained" not in state:
                lacks = "an entry 'trained' beside it"
        if lacks:
            raise OutputError(
                f"{path} is not whole: its entry {stage!r}",
                expected=f"{lacks}, as the chain writes it",
                got=json.dumps(facts, ensure_ascii=False)[:300],
                fix="copy the row.json that the chain wrote; or take that entry out, and its stage is run again",
            )
    return state


def _lacks(stage: str, facts: Any) -> str | None:
    """The first thing that is not there, or is of another kind; None: all is there."""
    if not isinstance(facts, dict):
        return "an object"
    for name, kinds in _FACTS.get(stage, {}).items():
        if name not in facts or not isinstance(facts[name], kinds):
            return f"{name!r} in it"
    files = facts.get("files")
    if not isinstance(files, dict) or not all(isinstance(digest, str) for digest in files.values()):
        return "'files' in it, with the SHA-256 of each"
    return None


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
        state = read_row(self.folder)
        if not state:
            return {}
        key = str(state.get("key"))
        if key != self.key:
            raise OutputError(
                f"{self.folder} holds a row of another plan",
                expected=f"plan {self.key[:12]}",
                got=f"plan {key[:12]}",
                fix="give the same data, sizes, --start-steps and rows as at the start, or choose another -o",
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
