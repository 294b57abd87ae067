"""An interrupted pretraining of a language model: where its checkpoints lie, and may it go on.

They lie beside the output, in `NAME.unfinished`, until it is whole: in the output folder is a language model and
nothing else, for it is loaded, hashed and published as one. The folder appears with the first checkpoint.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from uniwhisper.core.errors import OutputError, RecipeError
from uniwhisper.core.files import check_output
from uniwhisper.core.identity import hash_bytes, hash_json
from uniwhisper.core.provenance import provenance
from uniwhisper.data.reading_text import ReadingText
from uniwhisper.training.checkpoint import Progress, latest_checkpoint, load_checkpoint, save_checkpoint, write_json
from uniwhisper.training.run_folder import changed_fields

if TYPE_CHECKING:
    from tokenizers import Tokenizer

DESCRIBED = "run.json"
TOKENIZER = "tokenizer.json"


class Trained(torch.nn.Module):
    """A language model as checkpoints see what is trained."""

    TRAINED = ("language_model",)

    def __init__(self, language_model: torch.nn.Module) -> None:
        super().__init__()
        self.language_model = language_model


class PretrainRun:
    """The unfinished run beside `output`, begun or gone on with.

    Raises:
        OutputError: an interrupted run lies there and neither `resume` nor `overwrite` is asked for; or a folder of
            somebody else does.
        RecipeError: `resume`, and there is none, or one of another recipe or other text.
    """

    def __init__(
        self, output: Path, recipe: Any, contents: list[str], reading: ReadingText, *, resume: bool, overwrite: bool
    ) -> None:
        self.folder = unfinished(output)
        self._start = {
            "recipe": asdict(recipe),
            "text_hash": hash_bytes(text.encode() for text in contents),
            "reading_hash": hash_json(asdict(reading)),
        }
        check_output(self.folder, overwrite=True, folder_with=DESCRIBED)
        described = self.folder / DESCRIBED
        if resume:
            _check_same(described, self._start)
        elif described.is_file() and not overwrite:
            raise OutputError(
                f"{self.folder} is an interrupted run",
                expected="no run of this output that could go on",
                got="an earlier run",
                fix="add --resume to continue that run, --overwrite to begin again, or choose another -o",
            )
        elif self.folder.is_dir():
            shutil.rmtree(self.folder)

    def tokenizer(self, train: Callable[[], "Tokenizer"]) -> "Tokenizer":
        """That of the run, trained if it has none yet: what the model learnt so far is in its tokens."""
        from tokenizers import Tokenizer

        kept = self.folder / TOKENIZER
        self._tokenizer = Tokenizer.from_file(str(kept)) if kept.is_file() else train()
        return self._tokenizer

    def restore(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
        """Put the newest checkpoint in place; the start if there is none."""
        newest = latest_checkpoint(self.folder / "checkpoints")
        if newest is None:
            return Progress(step=0, audio_seconds=0.0, train_seconds=0.0, threads=torch.get_num_threads())
        return load_checkpoint(newest, Trained(model), optimizer)

    def save(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, step: int, train_seconds: float) -> None:
        """Write the checkpoint after `step` optimizer steps; what a resumption needs beside it comes first."""
        if not (self.folder / DESCRIBED).is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / TOKENIZER, json.loads(self._tokenizer.to_str()))
            write_json(self.folder / DESCRIBED, {**self._start, "provenance": provenance()})
        progress = Progress(step=step, audio_seconds=0.0, train_seconds=train_seconds, threads=torch.get_num_threads())
        save_checkpoint(self.folder / "checkpoints", Trained(model), optimizer, progress)

    def finish(self) -> None:
        """Remove the folder: the output is whole."""
        shutil.rmtree(self.folder, ignore_errors=True)


def unfinished(output: Path) -> Path:
    """Folder of the checkpoints of an interrupted run of `output`."""
    return output.with_name(f"{output.name}.unfinished")


def _check_same(described: Path, now: dict[str, Any]) -> None:
    if not described.is_file():
        raise RecipeError(
            f"nothing to resume in {described.parent}",
            expected=f"{DESCRIBED} of an interrupted run, which comes with its first checkpoint",
            got="none",
            fix="leave out --resume",
        )
    try:
        earlier = json.loads(described.read_text())
        differing = [name for name, value in now.items() if earlier[name] != value]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecipeError(
            f"{described} cannot be read",
            expected="what pretraining wrote there",
            got=str(error),
            fix="leave out --resume and add --overwrite to begin again, or choose another -o",
        ) from None
    for name in differing:
        what = {"recipe": "another recipe", "text_hash": "other text files", "reading_hash": "another --data"}[name]
        raise RecipeError(
            f"{described.parent} was started with {what}",
            expected=f"the {name.replace('_', ' ')} it was started with",
            got=changed_fields(earlier[name], now[name]) if name == "recipe" else str(now[name])[:12],
            fix="give the same texts, --data, --steps and --seed as at the start, or choose another -o",
        )
