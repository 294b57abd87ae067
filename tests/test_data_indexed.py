"""A manifest that stays in its file gives the records, draws and errors of one that is read."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from toy_corpora import SOUND, Letters, clip, write_corpus, write_three_corpora
from uniwhisper.core.errors import ManifestError
from uniwhisper.data import indexed
from uniwhisper.data.config import DataConfig
from uniwhisper.data.indexed import IndexedManifest, open_manifest
from uniwhisper.data.loader import step_batches
from uniwhisper.data.manifest import Manifest
from uniwhisper.data.mixture import Mixture
from uniwhisper.data.prepare import prepare

CONFIG = DataConfig(clips_per_step=6, max_seconds=0.8, group_steps=4, holdout_folds=8, questions_per_clip=2)


@pytest.fixture
def prepared(tmp_path) -> Path:
    write_three_corpora(tmp_path / "in", clips=9)
    # Labels that look like the record's own fields.
    fields = {"label": 'rain","samples":7', "caption": "x", "samples": 5, "sha256": "00", "corpus": "é"}
    described = SOUND | {"tasks": {"caption": {"field": "caption"}}}
    write_corpus(tmp_path / "in" / "odd é", described, clip("a", fields, 0.2))
    prepare(tmp_path / "in", tmp_path / "out")
    return tmp_path / "out"


def test_records_and_draws_are_those_of_the_manifest_read_whole(prepared):
    whole = Manifest.read(prepared)
    for _ in range(2):  # the second time from the index
        lazy = IndexedManifest.open(prepared)
        assert list(lazy.records) == list(whole.records)
        assert lazy.records[-1] == whole.records[-1] and lazy.records[2:4] == list(whole.records[2:4])
        assert (lazy.hash, lazy.counts, lazy.corpora) == (whole.hash, whole.counts, whole.corpora)
        assert lazy.root.resolve() == whole.root.resolve()
        assert lazy.index.samples_N.tolist() == [record.samples for record in whole.records]
    with pytest.raises(IndexError):
        lazy.records[len(whole.records)]
    for config in (CONFIG, replace(CONFIG, clips_per_step=None, seconds_per_step=30.0)):
        for step in (0, 7, 123_456):
            assert Mixture([lazy], config, 5).step(step) == Mixture([whole], config, 5).step(step)
        held = [[draw.id for draw in Mixture([m], config, 5).held_out_draws()] for m in (lazy, whole)]
        assert held[0] == held[1] != []
    assert pickle.loads(pickle.dumps(lazy)).records[3] == whole.records[3]


def test_batches_of_workers_are_the_same(prepared):
    def waves(manifest, workers: int) -> list[bytes]:
        batches = step_batches(manifest, Letters(), CONFIG, seed=1, start_step=2, stop_step=5, workers=workers)
        return [batch.wave_BS.numpy().tobytes() for _, batch in batches]

    assert waves(IndexedManifest.open(prepared), 2) == waves(Manifest.read(prepared), 0)


def test_the_index_is_memory_mapped_and_made_again_for_other_content(prepared):
    lazy = IndexedManifest.open(prepared)
    assert isinstance(lazy.index.samples_N, np.memmap)
    (folder,) = prepared.glob("index-*")
    assert lazy.hash.startswith(folder.name.split("-")[1])
    path = prepared / "manifest.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))
    with pytest.raises(ManifestError, match="was changed after it was written"):
        IndexedManifest.open(prepared)
    assert list(prepared.glob("index-*")) == [folder], "nothing half-written stays"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [*lines[:2], "{}\n", *lines[3:]], "line 3"),
        (lambda lines: [lines[0], *lines[2:], lines[1]], "sorted by id"),
        (lambda lines: [lines[0], *[line.replace('"samples":', '"samples":1') for line in lines[1:]]], "was changed"),
        (lambda lines: ["no json\n", *lines], "line 1"),
        (lambda lines: [lines[0], lines[1].replace('"sha256":"', '"sha256":"?'), *lines[2:]], "line 2"),
    ],
)
def test_a_damaged_manifest_is_refused(prepared, change, message):
    path = prepared / "manifest.jsonl"
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))
    with pytest.raises(ManifestError, match=message):
        IndexedManifest.open(prepared)
    assert not list(prepared.glob("index-*"))


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(ManifestError, match="cannot read the manifest"):
        IndexedManifest.open(tmp_path)


def test_only_large_manifests_are_indexed(prepared, monkeypatch):
    assert type(open_manifest(prepared)) is Manifest
    assert not list(prepared.glob("index-*"))
    clips = json.loads((prepared / "manifest.jsonl").read_text().splitlines()[0])["counts"]
    monkeypatch.setattr(indexed, "MOST_CLIPS_IN_MEMORY", sum(row["clips"] for row in clips.values()) - 1)
    opened = open_manifest(prepared)
    assert type(opened) is IndexedManifest and opened.hash == Manifest.read(prepared).hash


@pytest.mark.parametrize("counts", ['{"a":{"clip":1}}', '{"a":3}', "[]", "null"])
def test_counts_that_say_nothing_are_no_obstacle(prepared, counts):
    """They only decide how a manifest is read; the hash says whether it is the one that was written."""
    path = prepared / "manifest.jsonl"
    head, rest = path.read_text().split("\n", 1)
    header = json.loads(head) | {"counts": json.loads(counts)}
    path.write_text(json.dumps(header) + "\n" + rest)
    assert open_manifest(prepared).hash == header["hash"]
