"""What the chain runs, and what it leaves: one row for one seed."""

from dataclasses import dataclass
from pathlib import Path

from uniwhisper.reproduce.state import RowState


@dataclass(frozen=True)
class Job:
    """One row for one seed."""

    row: str
    seed: int

    @property
    def folder_name(self) -> str:
        return f"{self.row}-seed{self.seed}"


@dataclass(frozen=True)
class Made:
    """A trained job: its model, and what that model had of steps and audio."""

    state: RowState
    model: str
    """What `--model` takes; a folder is relative to the chain's."""
    steps: int
    audio_seconds: float
    train_seconds: float


@dataclass(frozen=True)
class Done:
    """What a finished job leaves."""

    job: Job
    steps: int
    audio_seconds: float
    train_seconds: float
    model: str
    """What `--model` takes, relative to the chain's folder."""
    result: Path
    commit: str | None
