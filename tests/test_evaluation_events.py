"""Events in time under the protocol `clean`: cutting, counting, choosing, comparing."""

import io
import json

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from conftest import SAMPLE_RATE_HZ, tone
from test_evaluation_run import IDENTITY, write_tar
from uniwhisper.embedding.table import FrameVectors
from uniwhisper.evaluation import bootstrap, events
from uniwhisper.evaluation.compare import Opened, compare
from uniwhisper.evaluation.encoders import JudgedEncoder
from uniwhisper.evaluation.metrics import f1_of_counts
from uniwhisper.evaluation.runner import evaluate
from uniwhisper.evaluation.spans import (
    Span,
    frame_targets,
    read_spans,
    segment_count,
    segment_maxima,
    segment_targets,
)
from uniwhisper.evaluation.suites import SuiteError, load_suite


def test_spans_are_read_from_events_and_notes():
    events = [{"label": "Dog,Cat", "onset": 0, "offset": 1.5}, {"note": 60, "start": 0.25, "end": 0.5}]
    assert read_spans(events) == [Span("Dog", 0, 1.5), Span("Cat", 0, 1.5), Span("060", 0.25, 0.5)]
    for broken in ([{"label": "Dog"}], [{"label": "Dog", "onset": 2, "offset": 1}], ["Dog"]):
        with pytest.raises(ValueError, match="event"):
            read_spans(broken)


def test_frames_and_segments_by_hand():
    # Frames of 0.5 s have their middles at 0.25, 0.75, 1.25, 1.75; segments last 1 s.
    spans = [Span("a", 0.3, 1.25), Span("b", 1.0, 2.0)]
    given_TC = frame_targets(spans, ["a", "b"], frames=4, hop_seconds=0.5)
    np.testing.assert_array_equal(given_TC, [[0, 0], [1, 0], [0, 1], [0, 1]])
    np.testing.assert_array_equal(segment_targets(spans, ["a", "b"], segments=2, segment_seconds=1), [[1, 0], [1, 1]])
    assert [segment_count(seconds, 1.0) for seconds in (0.01, 1.0, 2.0, 2.01)] == [1, 1, 2, 3]
    # Decimal times: 0.3 / 0.1 is a little less than 3 in binary.
    assert segment_targets([Span("a", 0.3, 0.6)], ["a"], segments=8, segment_seconds=0.1).ravel().tolist() == [
        0, 0, 0, 1, 1, 1, 0, 0,
    ]  # fmt: skip


@given(
    hop=st.sampled_from([0.01, 0.02, 0.04, 0.16, 0.5]),
    segment=st.sampled_from([0.1, 1.0]),
    frames=st.integers(1, 80),
    seed=st.integers(0, 10**6),
)
def test_segments_take_the_largest_of_their_frames(hop, segment, frames, seed):
    scores_TC = np.random.default_rng(seed).normal(size=(frames, 3)).astype(np.float32)
    segments = segment_count(frames * hop, segment)
    maxima_SC = segment_maxima(scores_TC, segments=segments, segment_seconds=segment, hop_seconds=hop)
    for place in range(segments):
        inside = [t for t in range(frames) if place <= round((t + 0.5) * hop / segment, 6) < place + 1]
        if inside:
            np.testing.assert_array_equal(maxima_SC[place], scores_TC[inside].max(axis=0))
    assert np.isfinite(maxima_SC).all()


@pytest.mark.parametrize("average", ["micro", "macro"])
def test_f1_is_scikit_learns(average):
    generator = np.random.default_rng(0)
    truth_SC, found_SC = generator.random((2, 200, 5)) < 0.3
    truth_SC[0] = True  # every class is there
    counts_C3 = np.stack(
        [(truth_SC & found_SC).sum(0), (~truth_SC & found_SC).sum(0), (truth_SC & ~found_SC).sum(0)], axis=1
    )
    assert f1_of_counts(counts_C3, average=average) == pytest.approx(f1_score(truth_SC, found_SC, average=average))
    # Drawing every clip once is the score itself.
    counts_SQC3 = generator.integers(0, 5, (3, 7, 5, 3)) + 1
    draws = bootstrap.f1_draws(counts_SQC3[:1], np.ones((1, 7)), average=average, seed=0)
    assert draws[0] == pytest.approx(f1_of_counts(counts_SQC3[0].sum(axis=0), average=average))


def test_a_class_found_only_wrongly_is_in_no_macro_mean():
    assert f1_of_counts(np.array([[2, 0, 0], [0, 9, 0]]), average="macro") == 1
    assert f1_of_counts(np.array([[2, 0, 0], [0, 9, 0]]), average="micro") == pytest.approx(4 / 13)
    assert f1_of_counts(np.zeros((2, 3)), average="macro") == 0


class Spectrum:
    """Magnitudes of 20 ms pieces; `late` frames too late, as an encoder with wrong times would have them."""

    width = 40

    def __init__(self, late: int = 0) -> None:
        self.late = late
        self.identity = IDENTITY | {"late": str(late)}

    def frames(self, source) -> FrameVectors:
        wave, _ = soundfile.read(io.BytesIO(source), dtype="float32")
        pieces = wave[: len(wave) // 320 * 320].reshape(-1, 320)
        vectors = np.log(np.abs(np.fft.rfft(pieces, axis=1))[:, :40] + 1e-3).astype(np.float32)
        return FrameVectors(np.roll(vectors, self.late, axis=0), 0.02 * np.arange(len(vectors)))


@pytest.fixture
def scenes(tmp_path):
    """24 scenes of 2 s with tones of two pitches at known times, in two splits."""
    generator = np.random.default_rng(0)
    for split in ("train", "eval"):
        clips = {}
        for number in range(12):
            wave = generator.normal(0, 0.01, 2 * SAMPLE_RATE_HZ).astype(np.float32)
            events = []
            for label, pitch_hz in (("low", 300), ("high", 1200)):
                if generator.random() < 0.8:
                    onset = round(float(generator.uniform(0, 1.5)), 2)
                    sound = tone(0.3, pitch_hz)
                    at = int(onset * SAMPLE_RATE_HZ)
                    wave[at : at + len(sound)] += sound
                    events.append({"label": label, "onset": onset, "offset": round(onset + 0.3, 2)})
            stream = io.BytesIO()
            soundfile.write(stream, wave, SAMPLE_RATE_HZ, format="WAV")
            clips[f"{number:02d}"] = (stream.getvalue(), {"events": events})
        write_tar(tmp_path / "data" / "scenes" / f"{split}.tar", clips)
    task = {
        "name": "scenes", "description": "tones in time", "domain": "environment", "kind": "frame", "folder": "scenes",
        "label": {"field": "events"}, "metric": "segment_f1_macro", "metric_arguments": {"segment_seconds": 0.1},
        "folds": {"by": "archive", "pattern": "(train|eval)[.]tar", "names": ["train", "eval"], "scored": ["eval"],
                  "reference": ["train"]},
    }  # fmt: skip
    suite = {"format": "uniwhisper-suite", "format_version": 2, "name": "s", "description": "S.", "tasks": [task]}
    (tmp_path / "s.json").write_text(json.dumps(suite))
    return tmp_path


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    """Tones are easily told apart."""
    monkeypatch.setattr(events, "LEAST_STEPS", {"linear": 128, "mlp": 64})


def judge(scenes, encoder) -> Opened:
    judged = JudgedEncoder(encoder, "spectrum", "spectrum")
    judgement = evaluate(judged, load_suite(scenes / "s.json"), scenes / "data", cache=None)
    return Opened("r.json", judgement.result, judgement.clips)


def test_events_are_found_where_they_are(scenes):
    right, late = judge(scenes, Spectrum()), judge(scenes, Spectrum(late=25))
    (task,) = right.result["tasks"]
    assert task["clips"]["scored"] == 12 and task["classes"] == 2
    for measure in ("linear", "mlp"):
        scores = task["scores"]["frames"][measure]
        assert scores["score"] > 0.85 and scores["low"] <= scores["score"] <= scores["high"]
        assert len(scores["seeds"]) == 5
        assert right.result["averages"]["headline"]["mean"][measure]["score"] == pytest.approx(scores["score"])
        counts_SQC3 = right.clips[f"scenes/frames/{measure}_counts"]
        # Every segment that holds an event is found or missed, whatever the seed.
        there_S = (counts_SQC3[..., 0] + counts_SQC3[..., 2]).sum(axis=(1, 2))
        assert len(set(there_S.tolist())) == 1 and there_S[0] > 0
    # Frames half a second late cannot be right.
    difference = compare(right, late)
    assert difference.tasks["scenes", "frames", "linear"].high < 0
    assert compare(right, right).averages["headline", "mean", "mlp"].difference == 0


def test_an_event_that_cannot_be_read_is_named(scenes):
    stream = io.BytesIO()
    soundfile.write(stream, tone(1, 300), SAMPLE_RATE_HZ, format="WAV")
    write_tar(scenes / "data" / "scenes" / "eval.tar", {"x": (stream.getvalue(), {"events": [{"label": "low"}]})})
    untouched = Spectrum()
    untouched.frames = lambda _: pytest.fail("embedded before all labels were read")
    with pytest.raises(SuiteError, match="eval/x has a label of another kind"):
        judge(scenes, untouched)
