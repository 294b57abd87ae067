"""Where and with what something was made: written beside every checkpoint and result."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from uniwhisper.core.identity import code_identity

REPORTED_PACKAGES = ("torch", "transformers", "numpy", "safetensors", "soundfile", "soxr", "scikit-learn")


def git_commit() -> str | None:
    """Commit of the checkout this package runs from, with `-dirty` if tracked files differ; None outside one.

    Where the source travels without its history (a cluster node), `UNIWHISPER_COMMIT` says it.
    """
    folder = Path(__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # An installed wheel may lie inside somebody else's checkout: only ours tracks this very file.
    if git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return os.environ.get("UNIWHISPER_COMMIT")
    commit = git("rev-parse", "HEAD")
    return f"{commit}-dirty" if commit and git("status", "--porcelain", "--untracked-files=no") else commit


def package_versions() -> dict[str, str | None]:
    """Installed version of each package that can change a number; None if it is not installed."""
    found: dict[str, str | None] = {}
    for name in REPORTED_PACKAGES:
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
