"""Where and with what something was made: written beside every checkpoint and result."""

import os
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from uniwhisper.core.identity import code_identity

REPORTED_PACKAGES = ("torch", "transformers", "numpy", "safetensors", "soundfile", "soxr", "scikit-learn")
_TRACKED_AS = "src/uniwhisper/core/provenance.py"


def git_commit() -> str | None:
    """Commit of the checkout this package runs from, with `-dirty` if tracked files differ; None where it is unknown.

    Where the source travels without its history (a cluster node), or git is missing, `UNIWHISPER_COMMIT` says it.
    """
    folder = Path(__file__).parent
    # In a hook of another repository these say which one is meant.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=10
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # A wheel or a copy may lie inside somebody else's checkout: only ours tracks this very file in this very place.
    if git("ls-files", "--full-name", "--error-unmatch", Path(__file__).name) != _TRACKED_AS:
        return os.environ.get("UNIWHISPER_COMMIT")
    commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no")
    if commit is None or changes is None:
        return None
    return f"{commit}-dirty" if changes else commit


def package_versions(names: Iterable[str] = REPORTED_PACKAGES) -> dict[str, str | None]:
    """Installed version of each package that can change a number; None if it is not installed."""
    found: dict[str, str | None] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def provenance() -> dict[str, Any]:
    """Commit, code identity, Python and package versions: a JSON object without machine names or paths."""
    return {
        "commit": git_commit(),
        "code": code_identity(),
        "python": platform.python_version(),
        "packages": package_versions(),
    }


def without_place(source: str) -> str:
    """A hub id or another word as it is; of a path on this machine, which means nothing elsewhere, the last name."""
    path = Path(source)
    is_place = path.is_absolute() or source.startswith((".", "~")) or path.exists()
    return path.absolute().name if is_place else source
