"""The suite `xares-22` by the protocol `xares` on small folders laid out as its archives: events, captions, speech.

Each score is computed a second time here, from the archives on, with PyTorch's layers and optimiser and scikit-learn.
"""

import csv
import io
import json
import math
import tarfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from sklearn.metrics import f1_score
from torch import nn
from typer.testing import CliRunner

import xares_corpora as corpora
from conftest import tone
from test_report import parse, table
from test_xares_asr import WORDS, language_model  # noqa: F401 (a fixture)
from toy_results import toy_result, write_result
from uniwhisper.cli.app import app
from uniwhisper.evaluation.kept import Kept
from uniwhisper.evaluation.suites import SuiteError, load_suite
from uniwhisper.evaluation.xares import asr, order, retrieval
from uniwhisper.evaluation.xares.kinds import Judged
from uniwhisper.evaluation.xares.language import SpeechModel, open_tokenizer
from uniwhisper.evaluation.xares.pooling import PaddedWhisper, TimedEncode
from uniwhisper.evaluation.xares.run import evaluate
from uniwhisper.evaluation.xares.targets import DESED_CLASSES, PITCH_NAMES
from uniwhisper.report.read import read_result
from uniwhisper.report.results import ResultError
from uniwhisper.report.words import three_digits

HOP, WIDTH = 0.02, 161
SEEDS = (0, 1)
MODEL = {
    "label": "spectrum", "source": "spectrum", "width": WIDTH,
    "identity": {"weights": "5" * 64, "code": "0.1+c", "layer": "none"},
}  # fmt: skip
SOUNDS = {name: [tone(0.5 + 0.1 * place, 200 * (place + 1))] for place, name in enumerate(DESED_CLASSES)}


def encode(wave_BS: torch.Tensor) -> torch.Tensor:
    """Frames of 20 ms: the logarithm of their spectrum."""
    return (torch.fft.rfft(wave_BS.unfold(1, 320, 320)).abs() + 1e-3).log()


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("xares")
    corpora.write_desed(folder, SOUNDS, (300, 30), seconds=2)
    corpora.write_maestro(folder, {21 + 5 * n: [tone(0.4, 150 * 1.5**n)] for n in range(6)}, (20, 3, 3), seconds=2)
    named = {name.lower().replace("_", " "): waves for name, waves in list(SOUNDS.items())[:6]}
    corpora.write_clotho(folder, named, (12, 6, 6))
    spoken = [(tone(0.2 + 0.02 * n, 300 + 9 * n), f"{WORDS[n % 5]} {WORDS[n % 3]}") for n in range(12)]
    corpora.write_librispeech(folder, spoken, (6, 3, 3))
    return folder


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    words = "a is heard the sound of near by and nothing else somewhere there cat speech running water dishes _"
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (folder / "vocab.txt").write_text("\n".join([*marks, *words.split(), "vacuum", "cleaner"]) + "\n")
    return open_tokenizer(folder)


@pytest.fixture(scope="module")
def judged(tokenizer, language_model) -> Judged:  # noqa: F811
    return Judged(encode, TimedEncode(encode, HOP), tokenizer, SpeechModel(*language_model, "small", "0" * 64))


@pytest.fixture(scope="module")
def result(judged, data) -> dict:
    return evaluate(judged, MODEL, load_suite("xares-22"), data, seeds=SEEDS)


def task_of(result: dict, name: str) -> dict:
    (task,) = [task for task in result["tasks"] if task["name"] == name]
    return task


def stored(data: Path, folder: str, split: str, *, batch: int = 16, crop: int | None = None):
    """Frames (T, D) and labels of every clip in the order of the archive, padding of its batch of 16 included."""
    waves, labels = [], []
    with tarfile.open(data / folder / f"{split}-000000.tar") as archive:
        for member in archive:
            content = archive.extractfile(member).read()
            if member.name.endswith(".json"):
                labels.append(json.loads(content))
            else:
                wave_S = torch.from_numpy(soundfile.read(io.BytesIO(content), dtype="float32")[0])
                waves.append(wave_S if crop is None else nn.functional.pad(wave_S, (0, crop - len(wave_S))))
    frames = []
    for start in range(0, len(waves), batch):
        frames += list(encode(nn.utils.rnn.pad_sequence(waves[start : start + batch], batch_first=True)))
    return frames, labels


def frame_target(labels: list[dict], frames: int) -> torch.Tensor:
    """(T, C) by X-ARES's rule, of notes or of events."""
    target_TC = torch.zeros(frames, 10 if labels and "label" in labels[0] else 87)
    for each in labels:
        start, end = (math.ceil(each[a if a in each else b] / HOP) for a, b in (("onset", "start"), ("offset", "end")))
        for name in each["label"].split(",") if "label" in each else [each["note"]]:
            target_TC[start:end, name - 21 if isinstance(name, int) else DESED_CLASSES.index(name)] = 1
    return target_TC


def padded(rows):
    return nn.utils.rnn.pad_sequence(rows, batch_first=True)


def segment_score(head, frames, labels, *, batch: int, segment: int, average: str) -> float:
    both = [[], []]
    for start in range(0, len(frames), batch):
        x = padded(frames[start : start + batch])
        y = torch.stack([frame_target(each, x.shape[1]) for each in labels[start : start + batch]])
        for into, values in zip(both, (head(x).sigmoid().round(), y), strict=True):
            into.append(nn.functional.max_pool1d(values.transpose(1, 2), segment).transpose(1, 2).flatten(0, 1))
    predicted, wanted = (torch.cat(parts).detach().numpy() for parts in both)
    return f1_score(wanted, predicted, average=average, zero_division=0)


def second_opinion(sides, seed: int, *, epochs: int, weight: float = 1.0, **how) -> tuple[float, int]:
    """Score and chosen epoch by PyTorch's own parts; `sides`: (frames, labels) of train, valid and test."""
    (frames, labels), batch = sides[0], how["batch"]
    classes = frame_target(labels[0], 1).shape[1]
    torch.manual_seed(42)
    linear = nn.Linear(WIDTH, classes)
    head = nn.Sequential(nn.LayerNorm(WIDTH), linear)
    optimiser = torch.optim.Adam(head.parameters(), lr=1e-3)
    loss_of = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(weight))
    chosen, scores = [], []
    for epoch, shown in enumerate(order.epoch_orders([np.arange(len(frames))], epochs=epochs, seed=seed)):
        optimiser.param_groups[0]["lr"] = 1e-4 + 9e-4 * (1 + math.cos(math.pi * epoch / epochs)) / 2
        for start in range(0, len(shown), batch):
            x = padded([frames[clip] for clip in shown[start : start + batch]])
            y = torch.stack([frame_target(labels[clip], x.shape[1]) for clip in shown[start : start + batch]])
            optimiser.zero_grad()
            loss_of(head(x), y).backward()
            optimiser.step()
        chosen.append(segment_score(head, *sides[1], **how))
        scores.append(segment_score(head, *sides[2], **how))
    best = int(np.argmax(chosen))
    return scores[best], best + 1


def test_desed_is_scored_as_a_second_implementation_scores_it(result, data):
    task = task_of(result, "desed")
    assert (
        task["weight"] == 1153
        and task["classes"] == 10
        and task["knn"] is None
        and task["splits"] == ["wds-audio-eval"]
    )
    sides = [stored(data, "desed", split) for split in ("wds-audio-train", "wds-audio-eval", "wds-audio-eval")]
    expected = [second_opinion(sides, s, epochs=10, batch=32, segment=50, average="macro") for s in SEEDS]
    assert task["probe"]["seeds"] == pytest.approx([score for score, _ in expected])
    assert task["probe"]["epochs"] == [epoch for _, epoch in expected]
    assert 0.1 < task["probe"]["score"] < 1 and task["probe"]["score"] == pytest.approx(np.mean(task["probe"]["seeds"]))


def test_maestro_is_scored_as_a_second_implementation_scores_it(result, data):
    task = task_of(result, "maestro")
    sides = [stored(data, "maestro", f"maestro_{split}", batch=1) for split in ("train", "valid", "test")]
    expected = [second_opinion(sides, s, epochs=50, weight=10.0, batch=1, segment=5, average="micro") for s in SEEDS]
    assert task["probe"]["seeds"] == pytest.approx([score for score, _ in expected])
    assert task["weight"] == 65 and task["classes"] == 87 and task["probe"]["score"] > 0.3


def test_clotho_pairs_every_caption_with_its_clip(result, data, tokenizer):
    sides = []
    for split in corpora.CLOTHO_SPLITS:
        frames, labels = stored(data, "clotho", split, crop=30 * 16_000)
        vectors_ND = torch.stack([frames_TD.mean(dim=0) for frames_TD in frames]).numpy()
        captions = [text for each in labels for text in each.values()]
        sides.append(retrieval.CaptionedClips(vectors_ND, tokenizer.tokenize(captions)))
    # "a cat is heard" with the marks that BERT's tokenizer puts around it
    assert sides[0].captions[0] == [2, 5, 18, 6, 7, 3] and tokenizer.vocabulary == 26
    for place, seed in enumerate(SEEDS):
        answer = retrieval.train_retrieval(
            *sides,
            orders=order.epoch_orders([np.arange(12)], epochs=20, seed=seed, captions=5),
            vocabulary=tokenizer.vocabulary,
        )
        task = task_of(result, "clotho")
        assert task["probe"]["seeds"][place] == pytest.approx(answer.score)
        assert task["probe"]["epochs"][place] == answer.epoch + 1
    assert task["probe"]["score"] > 1 / 6  # chance among six clips, both ways


def test_speech_goes_through_the_language_model(result, data, language_model):  # noqa: F811
    sides = []
    for split in corpora.LIBRISPEECH_SPLITS:
        frames, labels = stored(data, "librispeech", split)
        texts = [each["trans"] for each in labels]
        sides.append(asr.Transcribed([frames_TD.numpy() for frames_TD in frames], texts))
    answer = asr.train_asr(
        *sides,
        causal_lm=language_model[0],
        tokenizer=language_model[1],
        width=WIDTH,
        orders=order.epoch_orders([np.arange(6)], epochs=10, seed=0),
    )
    task = task_of(result, "librispeech_asr")
    assert task["probe"]["seeds"][0] == pytest.approx(answer.score) and task["weight"] == 10_000


def test_the_average_weighs_what_was_run_and_the_rest_is_named(result):
    ran = {"desed": 1153, "maestro": 65, "clotho": 1045, "librispeech_asr": 10_000}
    scores = {name: task_of(result, name)["probe"]["score"] for name in ran}
    expected = sum(scores[name] * weight for name, weight in ran.items()) / sum(ran.values())
    assert result["averages"]["probe"]["score"] == pytest.approx(expected) and result["averages"]["knn"] is None
    assert len(result["not_run"]) == 18
    assert result["not_run"]["esc50"] == "no archives in DIR/esc50"
    assert result["protocol"]["language_model"].startswith("small, 0000")
    json.dumps(result, allow_nan=False)


def test_what_is_lacking_is_said(data):
    result = evaluate(Judged(encode, TimedEncode(encode, HOP)), MODEL, only("desed", "clotho"), data)
    assert [task["name"] for task in result["tasks"]] == ["desed"]
    assert result["not_run"] == {"clotho": "no tokenizer of captions was given (--tokenizer)"}
    with pytest.raises(SuiteError, match="nothing that the protocol xares can run") as error:
        evaluate(Judged(encode), MODEL, only("desed", "clotho", "librispeech_asr", "gtzan"), data)
    for reason in ("how far apart its frames", "no tokenizer", "no frozen language model", "no archives in DIR/"):
        assert reason in error.value.got


def only(*names: str):
    from dataclasses import replace

    suite = load_suite("xares-22")
    return replace(suite, tasks=tuple(task for task in suite.tasks if task.name in names))


def test_an_interrupted_run_goes_on_with_the_same_numbers(result, judged, data, tmp_path):
    """The run dies in its third task; the next one encodes that one alone."""
    calls = []

    def counted(wave_BS):
        calls.append(len(wave_BS))
        if len(calls) == dies_at:
            raise KeyboardInterrupt
        return encode(wave_BS)

    again = Judged(counted, TimedEncode(counted, HOP), judged.tokenizer, judged.speech)
    suite, kept = only("librispeech_asr", "clotho", "desed"), Kept(tmp_path / "tasks")
    whole = [task for task in result["tasks"] if task["name"] != "maestro"]
    dies_at = 3 + 3 + 1  # speech and Clotho are three batches each; then DESED's first
    with pytest.raises(KeyboardInterrupt):
        evaluate(again, MODEL, suite, data, seeds=SEEDS, kept=kept)
    assert len(list((tmp_path / "tasks").glob("*.npz"))) == 2
    calls, dies_at = [], 0
    resumed = evaluate(again, MODEL, suite, data, seeds=SEEDS, kept=kept)
    assert resumed["tasks"] == whole and len(whole) == 3
    weighed = sum(task["weight"] * task["probe"]["score"] for task in whole) / sum(task["weight"] for task in whole)
    assert resumed["averages"]["probe"]["score"] == pytest.approx(weighed)
    assert sum(calls) == 300 + 30
    calls = []
    assert evaluate(again, MODEL, suite, data, seeds=SEEDS, kept=kept)["tasks"] == whole and not calls
    evaluate(again, MODEL | {"identity": {"weights": "another"}}, only("desed"), data, seeds=(0,), kept=kept)
    assert sum(calls) == 330


def test_the_result_stands_on_a_page(result, tmp_path):
    for name, score in (("spectrum", 0.0), ("other", 0.125)):
        model = MODEL | {"label": name, "identity": MODEL["identity"] | {"weights": name.encode().hex().ljust(64, "0")}}
        changed = json.loads(json.dumps(result | {"model": model}))
        task_of(changed, "desed")["probe"]["score"] += score
        (tmp_path / f"{name}.json").write_text(json.dumps(changed))
    done = CliRunner().invoke(app, ["report", str(tmp_path), "-o", str(tmp_path / "page.html"), "--json"])
    assert done.exit_code == 0, done.output
    page = parse((tmp_path / "page.html").read_text())
    scores = table(page, "task")
    assert [row[0] for row in scores[1:]] == [
        "librispeech_asr", "clotho", "desed", "maestro", "average by X-ARES's weights"
    ]  # fmt: skip
    assert scores[3][scores[0].index("spectrum")] == three_digits(task_of(result, "desed")["probe"]["score"])
    assert scores[5][scores[0].index("spectrum")] == three_digits(result["averages"]["probe"]["score"])
    # By domain: DESED and Clotho by their weights.
    weighed = [
        (task_of(result, name)["probe"]["score"], weight) for name, weight in (("desed", 1153), ("clotho", 1045))
    ]
    (row,) = [row for row in table(page, "domain") if row[0] == "environment"]
    domain = sum(score * weight for score, weight in weighed) / (1153 + 1045)
    assert row[scores[0].index("spectrum")] == three_digits(domain)
    text = " ".join(page.words)
    assert "esc50: no archives in DIR/esc50" in text and "weight 1,153" in text and "small, 000000000000" in text
    # What holds for every encoder stands once, in the table of tasks; a task without classes has not 0 of them.
    assert text.count("weight 1,153") == 1 and "other, desed" not in text
    what = next(each for each in page.tables if "what" in each[0])
    classes = {row[0]: row[what[0].index("classes")] for row in what[1:]}
    assert classes == {"librispeech_asr": "–", "clotho": "–", "desed": "10", "maestro": "87"}
    assert "bootstrap" not in text and "domains' means" not in text and "CTC" not in text
    rows = list(csv.DictReader((tmp_path / "page.csv").open()))
    assert {row["protocol"] for row in rows} == {"xares 2"} and len(rows) == 2 * 5
    assert "average by X-ARES's weights" in (tmp_path / "page.md").read_text()


def test_a_broken_result_is_refused_as_one_of_clean_is(result, tmp_path):
    desed = task_of(result, "desed")
    for message, change in (
        ("two tasks have one name", {"tasks": [desed, desed]}),
        ("a number that is nan", {"model": result["model"] | {"hop_seconds": float("nan")}}),
        ("299 used and 0 skipped of 330", {"tasks": [desed | {"clips": desed["clips"] | {"used": 299}}]}),
        ("a score of 1.3", {"tasks": [desed | {"probe": desed["probe"] | {"score": 1.3}}]}),
        ("holds no scores", {"tasks": [], "averages": {"probe": None, "knn": None}}),
        ("lacks 'weight'", {"tasks": [{name: value for name, value in desed.items() if name != "weight"}]}),
    ):
        averages = {"probe": {"score": desed["probe"]["score"], "tasks": ["desed"]}, "knn": None}
        (tmp_path / "broken.json").write_text(json.dumps(result | {"averages": averages} | change))
        with pytest.raises(ResultError) as error:
            read_result(tmp_path / "broken.json")
        assert message in error.value.got


def test_a_page_does_not_mix_it_with_clean(result, tmp_path):
    (tmp_path / "xares.json").write_text(json.dumps(result))
    write_result(tmp_path, "clean", *toy_result("default", suite=result["suite"]))
    run = partial(CliRunner().invoke, app)
    mixed = run(["report", str(tmp_path), "-o", str(tmp_path / "page.html")])
    assert isinstance(mixed.exception, ResultError) and "cannot mix protocols" in str(mixed.exception)
    chosen = ["report", str(tmp_path), "-o", str(tmp_path / "page.html"), "--protocol", "xares"]
    assert run(chosen).exit_code == 0


def test_a_trimmed_whisper_has_the_frames_of_its_audio(tiny_model):
    """The frames over the audio of each chunk, and only these: 20 ms from one to the next."""
    from uniwhisper.model.weights import load_encoder

    encoder = load_encoder(tiny_model).encoder
    wave_BS = torch.from_numpy(np.stack([tone(12.5, 300), tone(12.5, 700)]))
    with torch.inference_mode():
        full, trimmed = PaddedWhisper(encoder)(wave_BS), TimedEncode(PaddedWhisper(encoder, trimmed=True), HOP)(wave_BS)
    assert full.shape[1] == 3000 and trimmed.shape[1] == 625
    torch.testing.assert_close(trimmed, torch.cat([full[:, :500], full[:, 1500:1625]], dim=1))


def test_the_lists_of_the_suite_are_those_of_the_targets():
    classes = {task.name: task.label.classes for task in load_suite("xares-22").tasks}
    assert classes["desed"] == DESED_CLASSES and classes["maestro"] == PITCH_NAMES
