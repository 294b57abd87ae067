"""Labelled files to a judged classifier."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uniwhisper.audio.load import read
from uniwhisper.core.errors import ManifestError
from uniwhisper.embedding.decode import Inputs
from uniwhisper.embedding.embedder import Embedder, Progress
from uniwhisper.embedding.table import EmbeddingTable, Failure
from uniwhisper.embedding.workers import worker_count
from uniwhisper.finetuning.classifier import Classifier
from uniwhisper.finetuning.full import FullConfig, train_encoder, unchanged
from uniwhisper.finetuning.head import fit_head
from uniwhisper.finetuning.labels import LabelledFiles, held_out
from uniwhisper.finetuning.scores import Scores, score
from uniwhisper.model.weights import encoder_identity


@dataclass(frozen=True, eq=False)
class Finetuned:
    classifier: Classifier
    scores: Scores
    """On the clips that were held out."""
    failures: list[Failure]
    """Files that could not be read; they are in neither part."""


def finetune(
    files: LabelledFiles,
    *,
    model: str | Path | None = None,
    full: FullConfig | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Callable[[str], Progress] = lambda _: lambda *_: None,
) -> Finetuned:
    """Train on one part of `files`, judge on the other. The classifier that is returned is the one that was judged.

    Args:
        files: from `read_labels`.
        model: as in `Embedder.from_pretrained`.
        full: train the encoder too, so. None: frozen features and a linear head, which takes little more than the time
            to embed the files once.
        seed: of the inner split.
        device: `auto`, `cpu` or `cuda`.
        progress: called with the name of a stage; gives what is told how much of it is done.

    Raises:
        ManifestError: too few files can be read, or a class is left without one to train on.
        WeightsError: the model cannot be loaded.
    """
    embedder = Embedder.from_pretrained(model, device=device)
    workers = worker_count(files.paths, embedder.device.type)
    with Inputs(files.paths, skip=True, workers=workers) as inputs:
        table = embedder.table(inputs, progress=progress("embedding"))
        failures = list(inputs.failures)
    failed = {failure.index for failure in failures}
    rows = [row for row in range(len(files.paths)) if row not in failed]
    labels = np.array([files.labels[row] for row in rows], dtype=object)
    out_N = held_out(files, rows) if rows else np.zeros(0, dtype=bool)
    classes = sorted(set(labels[~out_N]))
    _check(files, classes, out_N, failures)
    classes_N = np.array([classes.index(label) if label in classes else -1 for label in labels], dtype=np.int64)

    head, strength = fit_head(table.vectors[~out_N], classes_N[~out_N], classes=len(classes), seed=seed)
    made: dict[str, Any] = {
        "from": embedder.source,
        "method": "linear head on frozen features",
        "strength": strength,
        "seed": seed,
        "trained_on": int((~out_N).sum()),
        "held_out": int(out_N.sum()),
        "not_read": [{"path": failure.name, "reason": failure.reason} for failure in failures],
    }
    if files.placeholders:
        made["placeholders"] = files.placeholders
    if full is not None:
        frozen = score(classes, classes_N[out_N], head.probabilities(table.vectors[out_N]))
        training = [read(files.paths[rows[place]]) for place in np.flatnonzero(~out_N)]
        encoder, head, told = train_encoder(
            embedder.encoder, head, training, classes_N[~out_N], full, progress=progress("training")
        )
        made |= {"method": "encoder and linear head", "full": told, "accuracy_frozen": frozen.accuracy}
        if (warning := unchanged(told)) is not None:
            made |= {"method": "linear head on frozen features", "warning": warning}
        embedder = Embedder.from_encoder(encoder, identity=encoder_identity(encoder), source=embedder.source)
        table = _again(embedder, files, [rows[place] for place in np.flatnonzero(out_N)], progress("judging"))
        vectors_ND = table.vectors
    else:
        vectors_ND = table.vectors[out_N]
    scores = score(classes, classes_N[out_N], head.probabilities(vectors_ND))
    record = {"made": made, "scores": scores.to_json()}
    return Finetuned(Classifier(embedder, head, classes, record), scores, failures)


def _again(embedder: Embedder, files: LabelledFiles, rows: list[int], progress: Progress) -> EmbeddingTable:
    return embedder.embed([files.paths[row] for row in rows], progress=progress)


def _check(files: LabelledFiles, classes: list[str], out_N: np.ndarray, failures: list[Failure]) -> None:
    lost = sorted(set(files.classes) - set(classes))
    if lost or len(classes) < 2 or not out_N.any():
        got = f"none to train on for {', '.join(lost[:5])}" if lost else f"{int(out_N.sum())} to judge on"
        fix = "add recordings, or leave these classes out"
        if failures:  # mostly all of them: a list whose paths are relative to another folder
            first = failures[0]
            got += f"; {len(failures):,} of {len(files.paths):,} files cannot be read, "
            got += f"such as {first.name}: {first.reason}"
            fix = f"mend these files or their paths, which are relative to the folder of the CSV; or {fix}"
        raise ManifestError(
            "too few files can be read",
            expected="of two or more classes a file to train on each, and one to judge on",
            got=got,
            fix=fix,
        )
