import json
import subprocess
import tarfile

import mteb
import numpy as np
import pytest
from datasets import Audio, Dataset, DatasetDict
from mteb.abstasks.classification import AbsTaskClassification
from mteb.abstasks.task_metadata import TaskMetadata

from conftest import SHARED_DATA
from uniwhisper import Embedder
from uniwhisper.integrations.mteb import load, model_meta, register


def test_mock_run(checkpoint, record_property):
    """`mteb.mock_run` on every audio task"""
    results = mteb.mock_run(load(checkpoint, device="cpu")).task_results
    tried = {name: result for name, result in results.items() if result is not None}
    failed = {name: result.exception for name, result in tried.items() if hasattr(result, "exception")}
    record_property("audio tasks passed", f"{len(tried) - len(failed)} of {len(tried)}")
    assert len(tried) >= 7 and not failed


def test_registered(checkpoint):
    """`mteb.get_model_meta` finds the registered `ModelMeta`, whose loader gives the encoder."""
    meta = model_meta(checkpoint, name="uniwhisper/tiny", training_datasets=set())
    register(meta)
    found = mteb.get_model_meta("uniwhisper/tiny")
    assert (found.embed_dim, found.modalities, found.similarity_fn_name) == (32, ["audio"], "cosine")
    assert found.loader(found.name, **found.loader_kwargs).embedder.width == 32


class SpokenDigits(AbsTaskClassification):
    """Four speakers to train on, two to test on."""

    metadata = TaskMetadata(
        name="SpokenDigitsUnseenSpeakers",
        description="Digits of the Free Spoken Digit Dataset, speakers kept apart.",
        reference="https://github.com/Jakobovski/free-spoken-digit-dataset",
        dataset={"path": "local/fsdd", "revision": "local"},
        type="AudioClassification",
        category="a2c",
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score="accuracy",
        date=("2016-01-01", "2020-12-31"),
        domains=["Spoken"],
        task_subtypes=[],
        license="cc-by-sa-4.0",
        annotations_creators="human-annotated",
        dialect=[],
        modalities=["audio"],
        sample_creation="found",
        bibtex_citation="",
    )
    input_column_name = "audio"
    label_column_name = "label"
    folder = None

    def load_data(self, **_):
        splits = {"train": [], "test": []}
        for number, path in enumerate(sorted(self.folder.glob("*.tar"))):
            with tarfile.open(path) as archive:
                members = {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}
            for name in sorted(members):
                if name.endswith(".ogg"):
                    label = str(json.loads(members[name.replace(".ogg", ".json")])["label"])
                    row = {"audio": {"bytes": members[name], "path": name}, "label": label}
                    splits["test" if number >= 4 else "train"].append(row)
        self.dataset = DatasetDict(
            {name: Dataset.from_list(rows).cast_column("audio", Audio()) for name, rows in splits.items()}
        )
        self.data_loaded = True


def test_a_real_task(tmp_path, record_property):
    """A real task end to end, packaged model: spoken digits of unseen speakers, 8 clips a class to learn from"""
    if not (SHARED_DATA / "evaluation" / "fsdd.tar.gz").is_file():
        pytest.skip("no shared audio beside this checkout")
    subprocess.run([SHARED_DATA / "unpack", tmp_path, "fsdd"], check=True, capture_output=True)
    SpokenDigits.folder = tmp_path / "evaluation" / "fsdd"
    task = SpokenDigits()
    results = mteb.evaluate(load(device="cpu"), [task], cache=None, show_progress_bar=False)
    score = results.task_results[0].get_score()
    record_property("accuracy", f"{score:.3f}")
    assert np.isfinite(score) and score > 0.15  # chance is 0.1


def test_padding_changes_nothing(checkpoint, clips, ours, record_property):
    """What mteb's maintainers want of every model: a 1 s clip alone and beside a 5 s clip"""
    encoder = Embedder.from_pretrained(checkpoint, device="cpu")
    alone = encoder.embed([(clips[0], 16_000)]).vectors[0]
    difference = float(np.abs(alone - ours[0]).max())
    record_property("largest difference", f"{difference:.1e}")
    assert difference <= 1e-5
