"""The commit that a record names is that of the code that ran, or none."""

import os
import subprocess
from pathlib import Path

import pytest

from uniwhisper.core import provenance
from uniwhisper.core.provenance import git_commit


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Makes a repository in which `place` is tracked and believed to be the running file; gives its folder."""
    for name in [name for name in os.environ if name.startswith("GIT_")] + ["UNIWHISPER_COMMIT"]:
        monkeypatch.delenv(name, raising=False)

    def make(place: str, name: str = "repository") -> Path:
        file = tmp_path / name / place
        file.parent.mkdir(parents=True)
        file.write_text("")
        git(tmp_path / name, "init", "-q")
        git(tmp_path / name, "add", ".")
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        git(tmp_path / name, *who, "commit", "-q", "-m", name)
        monkeypatch.setattr(provenance, "__file__", str(file))
        return tmp_path / name

    return make


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_a_checkout_says_its_commit_and_whether_files_differ(repository):
    ours = repository("src/uniwhisper/core/provenance.py")
    assert git_commit() == git(ours, "rev-parse", "HEAD")
    (ours / "src/uniwhisper/core/provenance.py").write_text("changed")
    assert git_commit() == git(ours, "rev-parse", "HEAD") + "-dirty"


def test_a_copy_in_another_repository_has_not_its_commit(repository, monkeypatch):
    repository("vendor/uniwhisper/core/provenance.py")
    assert git_commit() is None
    monkeypatch.setenv("UNIWHISPER_COMMIT", "of-the-copy")
    assert git_commit() == "of-the-copy"


def test_a_hook_of_another_repository_does_not_change_it(repository, monkeypatch):
    theirs = repository("provenance.py", "theirs")
    ours = repository("src/uniwhisper/core/provenance.py")
    monkeypatch.setenv("GIT_DIR", str(theirs / ".git"))
    monkeypatch.delenv("GIT_WORK_TREE", raising=False)
    expected = subprocess.run(
        ["git", "--git-dir", str(ours / ".git"), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert git_commit() == expected


def test_without_git_nothing_is_guessed(repository, monkeypatch, tmp_path):
    repository("src/uniwhisper/core/provenance.py")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit() is None
    monkeypatch.setenv("UNIWHISPER_COMMIT", "said")
    assert git_commit() == "said"
