"""A classifier: encoder, head and the names of the classes, in one folder that needs nothing else.

classifier.json     classes, identity of the encoder, how it was made, how it was judged
head.safetensors    weight (C, D), bias (C)
encoder/            the encoder, in the project's model format
confusion.csv, confusion.png, README.md     for people
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from uniwhisper.audio.load import AudioSource
from uniwhisper.core.errors import WeightsError
from uniwhisper.embedding.decode import Inputs
from uniwhisper.embedding.embedder import Embedder, OnError, Progress
from uniwhisper.embedding.table import EmbeddingTable, Failure
from uniwhisper.finetuning.head import Head
from uniwhisper.model.tensor_files import SafetensorsFiles, read_json
from uniwhisper.model.weights import save_encoder, smallest_exact_dtype

CLASSIFIER_FILE = "classifier.json"
HEAD_FILE = "head.safetensors"
ENCODER_FOLDER = "encoder"
FORMAT = "uniwhisper classifier"


@dataclass(frozen=True, eq=False)
class Classified:
    """One row per clip that could be read, in the order of the input."""

    names: list[str]
    classes: list[str]
    """(C,) what the columns of `probabilities` are."""
    probabilities: np.ndarray
    """(N, C) float64, rows sum to 1."""
    failures: list[Failure]

    @property
    def labels(self) -> list[str]:
        """(N,) the most probable class of each clip."""
        return [self.classes[place] for place in self.probabilities.argmax(axis=1)]


@dataclass(frozen=True, eq=False)
class Classifier:
    """Made by `finetune` or `load`."""

    embedder: Embedder
    head: Head
    classes: list[str]
    record: dict[str, Any] = field(repr=False)
    """How it was made and judged; JSON."""

    def classify(self, sources: Sequence[AudioSource], *, on_error: OnError = "raise") -> Classified:
        """Classes of clips; `sources` and `on_error` as in `Embedder.embed`.

        Raises:
            AudioError: an input is bad and `on_error` is `raise`.
        """
        return self.of(self.embedder.embed(sources, on_error=on_error))

    def classify_inputs(self, inputs: Inputs, *, progress: Progress | None = None) -> Classified:
        """`classify` for inputs that were opened before."""
        return self.of(self.embedder.table(inputs, progress=progress))

    def of(self, table: EmbeddingTable) -> Classified:
        """Classes of clips whose vectors this classifier's embedder made."""
        return Classified(table.names, self.classes, self.head.probabilities(table.vectors), table.failures)

    def save(self, folder: Path) -> None:
        """Write the folder's three parts; `folder` is one that `core.files.atomic_output` gave."""
        from safetensors.numpy import save

        (folder / ENCODER_FOLDER).mkdir(parents=True)
        encoder = self.embedder.encoder
        save_encoder(encoder, folder / ENCODER_FOLDER, dtype=smallest_exact_dtype(encoder))
        # safetensors writes memory as it lies: of a transposed view, another matrix.
        head = {"weight": np.ascontiguousarray(self.head.weight), "bias": np.ascontiguousarray(self.head.bias)}
        (folder / HEAD_FILE).write_bytes(save(head))
        description = {
            "format": FORMAT,
            "format_version": 1,
            "classes": self.classes,
            "encoder": self.embedder.identity,
            **self.record,
        }
        text = json.dumps(description, indent=2, ensure_ascii=False, allow_nan=False)
        (folder / CLASSIFIER_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "auto") -> "Classifier":
        """Read a folder that `save` wrote.

        Raises:
            WeightsError: the folder is none, or its parts do not fit together.
        """
        folder = Path(folder)
        if not (folder / CLASSIFIER_FILE).is_file():
            raise WeightsError(
                f"{folder} is no classifier",
                expected=f"a folder with {CLASSIFIER_FILE}, as `uniwhisper finetune` writes it",
                got="no such file in it" if folder.is_dir() else "a file" if folder.is_file() else "no such folder",
                fix="uniwhisper finetune FOLDER-OR-CSV -o DIR",
            )
        description = read_json(folder / CLASSIFIER_FILE)
        embedder = Embedder.from_pretrained(folder / ENCODER_FOLDER, device=device)
        tensors = SafetensorsFiles.single(folder / HEAD_FILE)
        weight, bias = (tensors[name].numpy() if name in tensors else np.zeros(0) for name in ("weight", "bias"))
        classes = description.get("classes")
        fits = isinstance(classes, list) and weight.shape == (len(classes), embedder.width)
        weights = description.get("encoder", {}).get("weights")
        if description.get("format") != FORMAT or not fits or bias.shape != weight.shape[:1]:
            raise _mixed(folder, f"classes, a head {weight.shape} and an encoder of width {embedder.width}")
        if weights != embedder.identity["weights"]:
            raise _mixed(folder, f"an encoder {embedder.identity['weights'][:12]}, the head of {str(weights)[:12]}")
        record = {key: description[key] for key in ("made", "scores") if key in description}
        return cls(embedder, Head(weight, bias), classes, record)


def _mixed(folder: Path, got: str) -> WeightsError:
    return WeightsError(
        f"the parts of {folder} do not belong together",
        expected="the folder as it was written",
        got=got,
        fix="copy it again, or make it anew with `uniwhisper finetune`",
    )
