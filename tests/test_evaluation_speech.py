"""Speech recognition by a CTC probe: decoding by hand, the loss against its definition, errors against jiwer."""

import io
import itertools
import json
import math
import re

import numpy as np
import pytest
import soundfile
import torch

from conftest import SAMPLE_RATE_HZ, tone
from test_evaluation_run import IDENTITY, TwoNumbers, write_tar
from uniwhisper.embedding.table import FrameVectors
from uniwhisper.evaluation import speech
from uniwhisper.evaluation.ctc import Alphabet, _ctc_loss, train_ctc
from uniwhisper.evaluation.encoders import JudgedEncoder
from uniwhisper.evaluation.runner import evaluate
from uniwhisper.evaluation.speech import character_error_rate, word_errors
from uniwhisper.evaluation.spool import Frames
from uniwhisper.evaluation.suites import SuiteError, load_suite


def test_greedy_decoding_by_hand():
    alphabet = Alphabet(["AB ", "c"])
    assert alphabet.characters == [" ", "a", "b", "c"] and alphabet.size == 5
    # a a - a b b - ' ' - ' ' c - c : repeats join, a blank between repeats keeps both, spaces become single
    assert alphabet.decode([2, 2, 0, 2, 3, 3, 0, 1, 0, 1, 4, 0, 4]) == "aab cc"
    assert alphabet.decode([0, 0, 1, 0]) == ""
    assert alphabet.encode("Ab!") == [2, 3]


def test_the_loss_is_the_sum_over_all_paths():
    """Every path of 4 steps over {blank, a, b} that reads "ab", summed in plain Python."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 4, 3, generator=generator)
    log_p = logits[0].log_softmax(dim=1).tolist()

    def reads(path) -> list[int]:
        return [label for place, label in enumerate(path) if label and (place == 0 or label != path[place - 1])]

    paths = [path for path in itertools.product(range(3), repeat=4) if reads(path) == [1, 2]]
    expected = -math.log(sum(math.exp(sum(log_p[t][label] for t, label in enumerate(path))) for path in paths))
    loss = _ctc_loss(logits, np.array([4]), [[1, 2]], (1, 1))
    assert float(loss) == pytest.approx(expected / 2, rel=1e-5)


def test_a_text_that_does_not_fit_its_frames_adds_nothing():
    logits = torch.randn(1, 2, 3, generator=torch.Generator().manual_seed(0))
    assert float(_ctc_loss(logits, np.array([2]), [[1, 1, 1]], (1, 1))) == 0.0


def spoken(text: str, generator) -> np.ndarray:
    """Frames of a language whose letters are directions: three frames a letter, one of silence between."""
    directions = {"a": 0, "b": 1, "c": 2, " ": 3}
    rows = []
    for letter in text:
        row = np.zeros(6)
        row[directions[letter]] = 3
        rows += [row, row, row, np.eye(6)[5] * 3]
    return (np.array(rows) + generator.normal(0, 0.3, (len(rows), 6))).astype(np.float32)


def test_the_probe_learns_to_spell():
    generator = np.random.default_rng(0)
    texts = [
        "".join(generator.choice(list("abc"), 4)) + " " + "".join(generator.choice(list("abc"), 3)) for _ in range(60)
    ]
    parts = [spoken(text, generator) for text in texts]
    frames = Frames(np.concatenate(parts), np.concatenate([[0], np.cumsum([len(part) for part in parts])]))
    before, after = train_ctc(
        frames, texts, Alphabet(texts), reference=range(50), queries=range(50, 60), learning_rate=1e-2,
        checkpoints=(1, 60), seeds=(0, 1),
    )  # fmt: skip
    rates = [[character_error_rate(texts[50:], each) for each in given] for given in (before, after)]
    assert max(rates[1]) < 0.05 < min(rates[0])


def test_statistics_and_batches_are_those_of_the_real_frames():
    generator = np.random.default_rng(0)
    parts = [generator.normal(size=(count, 3)).astype(np.float32) + 5 for count in (4, 1, 7)]
    frames = Frames(np.concatenate(parts), np.array([0, 4, 5, 12]))
    mean, deviation = frames.statistics([0, 2])
    both = np.concatenate([parts[0], parts[2]])
    np.testing.assert_allclose(mean, both.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(deviation, both.std(axis=0), rtol=1e-4)
    padded, counts = frames.batch([2, 1])
    assert counts.tolist() == [7, 1] and (padded[1, 1:] == 0).all()
    np.testing.assert_array_equal(padded[0], parts[2])


def test_word_errors_are_those_of_jiwer_over_the_corpus():
    import jiwer

    references = ["the cat sat", "on a mat", "yes"]
    hypotheses = ["the bat sat down", "a mat", ""]
    errors, words = word_errors(references, hypotheses)
    assert errors.tolist() == [2, 1, 1] and words.tolist() == [3, 3, 1]
    assert errors.sum() / words.sum() == pytest.approx(jiwer.wer(references, hypotheses))
    assert character_error_rate(["abcd"], ["abd"]) == 0.25


class Spectrum:
    """Magnitudes of 20 ms pieces: enough to read a text of tones."""

    width, identity = 40, IDENTITY

    def frames(self, source) -> FrameVectors:
        wave, _ = soundfile.read(io.BytesIO(source), dtype="float32")
        pieces = wave[: len(wave) // 320 * 320].reshape(-1, 320)
        vectors = np.log(np.abs(np.fft.rfft(pieces, axis=1))[:, :40] + 1e-3).astype(np.float32)
        return FrameVectors(vectors, 0.02 * np.arange(len(vectors)))


def sung(text: str) -> bytes:
    parts = [np.concatenate([tone(0.1, {"a": 300, "b": 700, " ": 1200}[c]), np.zeros(960, np.float32)]) for c in text]
    # As in speech, silence before and after, and noise: without them a probe can settle on silence being a letter.
    around = np.zeros(4800, np.float32)
    stream = io.BytesIO()
    wave = np.concatenate([around, *parts, around])
    wave += np.random.default_rng(len(wave)).normal(0, 0.02, len(wave)).astype(np.float32)
    soundfile.write(stream, wave, SAMPLE_RATE_HZ, format="WAV")
    return stream.getvalue()


@pytest.fixture
def songs(tmp_path):
    generator = np.random.default_rng(0)
    clips = {}
    for speaker in range(6):
        for number in range(20):
            text = " ".join("".join(generator.choice(["a", "b"], count)) for count in generator.integers(1, 5, 3))
            clips[f"{speaker}-{number:02d}"] = (sung(text), {"text": text.upper(), "speaker": speaker})
    write_tar(tmp_path / "data" / "songs" / "all.tar", clips)
    task = {
        "name": "songs", "description": "texts of tones", "domain": "speech", "kind": "asr", "folder": "songs",
        "label": {"field": "text"}, "group": {"field": "speaker"}, "metric": "wer_inv",
        "folds": {"by": "group", "of": {"field": "speaker"}, "count": 2, "scored": ["0"]},
    }  # fmt: skip
    suite = {"format": "uniwhisper-suite", "format_version": 2, "name": "s", "description": "S.", "tasks": [task]}
    (tmp_path / "s.json").write_text(json.dumps(suite))
    return tmp_path


def test_a_task_of_speech_recognition(songs, monkeypatch):
    monkeypatch.setattr(speech, "LEAST_STEPS", 200)  # three letters of tones are easily told apart
    judged = JudgedEncoder(Spectrum(), "spectrum", "spectrum")
    judgement = evaluate(judged, load_suite(songs / "s.json"), songs / "data", cache=None)
    (task,) = judgement.result["tasks"]
    scores = task["scores"]["frames"]["ctc"]
    assert task["classes"] == 0 and task["clips"]["scored"] == 60 and len(scores["seeds"]) == 5
    assert scores["cer"] < 0.2 and scores["wer"] == pytest.approx(1 - scores["score"], abs=1e-9)
    assert scores["low"] <= scores["score"] <= scores["high"]
    errors, words = judgement.clips["songs/frames/ctc_errors"], judgement.clips["songs/words"]
    assert scores["seeds"] == pytest.approx((1 - errors.sum(axis=1) / words.sum()).tolist())
    assert set(judgement.clips["songs/group"]) <= set("012345") and len(set(judgement.clips["songs/group"])) == 3
    headline = judgement.result["averages"]["headline"]["mean"]
    assert set(headline) == {"linear", "mlp"} and headline["linear"]["score"] == pytest.approx(scores["score"])
    assert judgement.result["model"]["hop_seconds"] == pytest.approx(0.02, rel=0.02)


def test_an_encoder_without_frames_is_not_scored_and_says_so(songs):
    judgement = evaluate(
        JudgedEncoder(TwoNumbers(), "x", "x"), load_suite(songs / "s.json"), songs / "data", cache=None
    )
    (task,) = judgement.result["tasks"]
    assert (
        task["scores"] == {} and task["clips"]["scored"] == 0 and any("needs frames" in note for note in task["notes"])
    )
    assert judgement.result["averages"]["headline"]["own"] == {}


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (False, "fold 1 cannot be scored, there is nothing said in it\n  expected: words in the field 'text'"),
        (True, "too few clips could be embedded to score fold 1\n  expected: clips with words in the fold"),
    ],
    ids=["none", "lost"],
)
def test_a_fold_in_which_nothing_is_said_is_refused(songs, broken, message):
    said = {text: (sung(text), {"text": text}) for text in ("a", "b", "ab", "ba")}
    silent = {"still": (sung("a"), {"text": ""}), "blank": (sung("b"), {"text": " \t"})}
    write_tar(songs / "data" / "songs" / "fold-0.tar", said)
    last = {"lost": (b"no audio", {"text": "a b"})} if broken else {}
    write_tar(songs / "data" / "songs" / "fold-1.tar", silent | last)
    suite = json.loads((songs / "s.json").read_text())
    rule = {"by": "archive", "pattern": r"fold-(\d)\.tar", "names": ["0", "1"], "scored": ["1"]}
    suite["tasks"][0] |= {"folds": rule, "group": None}
    (songs / "s.json").write_text(json.dumps(suite))
    with pytest.raises(SuiteError, match=re.escape(message)):
        evaluate(JudgedEncoder(Spectrum(), "x", "x"), load_suite(songs / "s.json"), songs / "data", cache=None)
