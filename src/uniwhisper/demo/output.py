"""The demo's output folder, and the clock over its steps."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from uniwhisper.core.errors import OutputError
from uniwhisper.core.files import atomic_output, check_output
from uniwhisper.core.provenance import provenance

FACTS_NAME = "demo.json"
PAGE_NAME = "report.html"


def fresh_folder(output: Path) -> None:
    """Make `output` an empty folder that is marked as the demo's; only an earlier demo's folder is ever emptied.

    Raises:
        OutputError: it is a file, holds something else, or cannot be written.
    """
    if output.is_dir() and any(output.iterdir()) and not (output / FACTS_NAME).is_file():
        raise OutputError(
            f"{output} is not empty",
            expected="a new folder, or one that an earlier demo made",
            got="a folder with other files",
            fix="choose another -o",
        )
    check_output(output / FACTS_NAME, overwrite=True)
    for child in output.iterdir() if output.is_dir() else ():
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()
    write_facts(output, {"finished": False})


def write_facts(output: Path, facts: dict[str, Any]) -> None:
    """Write what a program may want to know about this demo."""
    with atomic_output(output / FACTS_NAME, overwrite=True) as temporary:
        temporary.write_text(json.dumps({**facts, "provenance": provenance()}, indent=2) + "\n")


def write_page(output: Path, html: str) -> Path:
    """Write the page; returns its path."""
    with atomic_output(output / PAGE_NAME, overwrite=True) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return output / PAGE_NAME


class Steps:
    """Says each step when it begins, and how long it took when it ends."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.seconds: dict[str, float] = {}
        """Step -> wall seconds, in the order they were taken."""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time the block under this name."""
        self._say(f"{name} …")
        start = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - start
        self._say(f"{name}: {self.seconds[name]:.1f} s")
