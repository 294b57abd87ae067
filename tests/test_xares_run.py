"""A suite by the protocol `xares`, end to end on small tars, and what it refuses."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from conftest import tone
from uniwhisper.evaluation.suites import SuiteError, load_suite
from uniwhisper.evaluation.xares import pooling
from uniwhisper.evaluation.xares.kinds import Judged
from uniwhisper.evaluation.xares.run import evaluate
from uniwhisper.evaluation.xares.scoring import score_clips

PITCHES = {"low": 200.0, "high": 1600.0}


def archive(path: Path, first: int, count: int) -> None:
    """Tones of one of two pitches and of several lengths; `tags` names one or both."""
    with tarfile.open(path, "w") as tar:
        for number in range(first, first + count):
            label = ("low", "high")[number % 2]
            content = io.BytesIO()
            soundfile.write(content, tone(0.2 + 0.05 * (number % 5), PITCHES[label]), 16_000, format="WAV")
            fields = json.dumps({"label": label, "tags": "low;high" if number % 3 == 0 else label}).encode()
            for name, member in ((f"clip{number:03}.wav", content.getvalue()), (f"clip{number:03}.json", fields)):
                info = tarfile.TarInfo(name)
                info.size = len(member)
                tar.addfile(info, io.BytesIO(member))


def suite_file(folder: Path, *, with_settings: bool = True) -> Path:
    folds = {"by": "archive", "pattern": "fold-(.)[.]tar", "names": ["a", "b"]}
    splits = {"train": "a", "valid": "b", "test": "b"}
    base = {"description": "", "domain": "d", "folder": "tones", "folds": folds, "expected": {}}
    tasks = [
        base | {
            "name": "pitch", "label": {"field": "label"}, "metric": "accuracy",
            "xares": {"weight": 300, "knn": True, "epochs": 3},
        },
        base | {
            "name": "tags", "kind": "multilabel", "metric": "mAP",
            "label": {"field": "tags", "separator": ";", "classes": "pitches"},
            "xares": {"weight": 100, "knn": False, "epochs": 3, "crop_seconds": 0.2, "splits": splits},
        },
        base | {
            "name": "speech", "kind": "asr", "label": {"field": "label"}, "metric": "wer_inv",
            "xares": {"weight": 900, "knn": False},
        },
    ]  # fmt: skip
    if not with_settings:
        tasks = [{key: value for key, value in task.items() if key != "xares"} for task in tasks]
    (folder / "labels").mkdir(exist_ok=True)
    (folder / "labels" / "pitches.txt").write_text("low\nhigh\n")
    content = {"format": "uniwhisper-suite", "format_version": 2, "name": "s", "description": "", "tasks": tasks}
    path = folder / "suite.json"
    path.write_text(json.dumps(content))
    return path


def encode(wave_BS: torch.Tensor) -> torch.Tensor:
    """Frames of 1,600 samples: their spectrum."""
    return torch.fft.rfft(wave_BS.unfold(1, 1600, 1600)).abs()[..., :200]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "tones").mkdir()
    archive(tmp_path / "tones" / "fold-a.tar", 0, 24)
    archive(tmp_path / "tones" / "fold-b.tar", 24, 24)
    return tmp_path


def test_a_suite_is_judged_and_weighted(data):
    result = evaluate(Judged(encode), {"label": "m"}, load_suite(suite_file(data)), data, seeds=(0, 1))
    pitch, tags = result["tasks"]
    assert result["protocol"]["name"] == "xares" and list(result["not_run"]) == ["speech"]
    assert pitch["knn"]["score"] == 1 and tags["knn"] is None
    assert len(pitch["probe"]["seeds"]) == 2 and np.shape(pitch["probe"]["folds"]) == (2, 2)
    assert np.shape(tags["probe"]["folds"]) == (2, 1)
    expected = (300 * pitch["probe"]["score"] + 100 * tags["probe"]["score"]) / 400
    assert result["averages"]["probe"]["score"] == pytest.approx(expected)
    assert result["averages"]["knn"] == {"score": 1.0, "weight": 300, "tasks": ["pitch"]}
    json.dumps(result, allow_nan=False)


def test_the_vectors_are_those_of_padded_batches(data):
    """The same score from waves that this test decodes, pads and pools by itself."""
    result = evaluate(Judged(encode), {}, load_suite(suite_file(data)), data)
    waves = [tone(0.2 + 0.05 * (n % 5), PITCHES[("low", "high")[n % 2]]) for n in range(48)]
    vectors = []
    # Batches of 16 of each fold: its last one has 8, and none holds clips of two folds.
    for start, end in ((0, 16), (16, 24), (24, 40), (40, 48)):
        batch = waves[start:end]
        longest = max(map(len, batch))
        padded = torch.from_numpy(np.stack([np.pad(wave_S, (0, longest - len(wave_S))) for wave_S in batch]))
        vectors.append(encode(padded).mean(dim=1).numpy())
    # "high" is the first class: sorted.
    labels_N = np.array([1 - n % 2 for n in range(48)])
    expected = score_clips(np.concatenate(vectors), labels_N, ["a"] * 24 + ["b"] * 24, epochs=3)
    assert result["tasks"][0]["probe"]["folds"] == pytest.approx(np.array(expected.probe_folds))
    assert pooling.BATCH_CLIPS == 16


def test_a_clip_that_does_not_decode_is_named(data):
    broken = data / "tones" / "fold-b.tar"
    content = broken.read_bytes()
    place = content.index(b"RIFF")
    broken.write_bytes(content[:place] + b"JUNK" + content[place + 4 :])
    result = evaluate(Judged(encode), {}, load_suite(suite_file(data)), data)
    assert [skip["id"] for skip in result["tasks"][0]["clips"]["skipped"]] == ["fold-b/clip024"]
    assert result["tasks"][0]["clips"]["used"] == 47


def test_a_suite_without_settings_is_refused(data):
    with pytest.raises(SuiteError, match="nothing that the protocol xares can run"):
        evaluate(Judged(encode), {}, load_suite(suite_file(data, with_settings=False)), data)


def test_the_suite_carries_the_published_weights():
    from uniwhisper.evaluation.xares.average import weights

    suite = load_suite("xares-22")
    assert sorted(task.xares.weight for task in suite.tasks) == sorted(weights().values())
    assert sum(task.xares.weight for task in suite.tasks if task.xares.knn) == 22_889
