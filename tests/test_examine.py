"""Examinations: layers against encoders whose layers are known, altered clips against what was done to them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from command import uniwhisper
from conftest import SAMPLE_RATE_HZ, tone
from test_evaluation_run import clips_of_fold, suite_content, wav, write_tar
from uniwhisper.audio.load import read
from uniwhisper.core.errors import UserError
from uniwhisper.embedding.embedder import Embedder
from uniwhisper.evaluation import ladder, selection
from uniwhisper.evaluation.adapters.pooling import pooler
from uniwhisper.evaluation.cache import VectorCache
from uniwhisper.evaluation.clips import find_clips
from uniwhisper.evaluation.encoders import EncoderError, JudgedEncoder, open_encoder
from uniwhisper.evaluation.examine.alter import CODECS, DEFAULT, Altered, affects, alter, parse_condition
from uniwhisper.evaluation.examine.altered_scores import cosine_between_clips, cosines, score_altered
from uniwhisper.evaluation.examine.every_layer import every_layer
from uniwhisper.evaluation.examine.layers import examine_layers
from uniwhisper.evaluation.examine.robustness import examine_robustness
from uniwhisper.evaluation.kept import Kept
from uniwhisper.evaluation.runner import evaluate
from uniwhisper.evaluation.suites import SuiteError, load_suite, part_of
from uniwhisper.evaluation.vectors import Vectors


@pytest.fixture(autouse=True)
def hasty(request, monkeypatch):
    """Probes of a few steps, where the test does not ask how good they are."""
    if "peak" in request.node.name or "only_questions" in request.node.name:
        return
    monkeypatch.setattr(selection, "LEAST_STEPS", 8)
    monkeypatch.setattr(ladder, "DOUBLINGS", 0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for fold in (1, 2, 3):
        write_tar(tmp_path / "data" / "tones" / f"fold-{fold}.tar", clips_of_fold(fold))
    return tmp_path / "data"


@pytest.fixture
def suite_file(tmp_path: Path) -> Path:
    path = tmp_path / "toy.json"
    path.write_text(json.dumps(suite_content()))
    return path


def spectrum(wave_BS: torch.Tensor, gain: bool) -> torch.Tensor:
    """Frames (B, T, 9): loudness of bands per 20 ms; without `gain` each frame has length 1."""
    frames_BTS = wave_BS[:, : wave_BS.shape[1] // 320 * 320].unflatten(1, (-1, 320)).double()
    bands_BTD = torch.fft.rfft(frames_BTS).abs()[..., :153].unflatten(2, (9, 17)).sum(dim=3)
    return bands_BTD if gain else bands_BTD / bands_BTD.norm(dim=2, keepdim=True).clamp_min(1e-30)


class Informed:
    """Layer `2` hears; the others are noise that depends on the clip but not on its class."""

    sample_rate_hz, hop_seconds, width, shortest_seconds = SAMPLE_RATE_HZ, 0.02, 9, 0.02

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, wave_BS):
        return self.every_layer(wave_BS)["final"]

    def every_layer(self, wave_BS):
        self.calls += 1
        heard = spectrum(wave_BS, gain=False).float()
        seeds = [int(abs(float(wave_S.double().sum())) * 1e9) % 2**31 for wave_S in wave_BS]
        deaf = torch.stack(
            [torch.randn(heard.shape[2], generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        )[:, None].expand_as(heard)
        return {"1": deaf, "2": torch.cat([heard, heard], dim=2), "final": deaf.flip(2)}


def judged_function(function) -> JudgedEncoder:
    return JudgedEncoder(pooler(function, weights="w", code="c", pooling="p"), "toy", "toy.py")


def test_the_informed_layer_is_the_peak_and_the_audio_is_heard_once(data, suite_file, tmp_path):
    function = Informed()
    result = examine_layers(
        judged_function(function), load_suite(suite_file), data, cache=VectorCache(tmp_path / "cache")
    )
    assert [(layer["name"], layer["width"]) for layer in result["layers"]] == [("1", 9), ("2", 18), ("final", 9)]
    scores = result["tasks"][0]["scores"]
    for measure in ("knn", "linear"):
        assert scores["2"][measure]["score"] > 0.95
        assert scores["1"][measure]["score"] < 0.8 and scores["final"][measure]["score"] < 0.8
        difference = result["differences"]["mean"]["2"][measure]
        value = scores["2"][measure]["score"] - scores["final"][measure]["score"]
        assert difference["value"] == pytest.approx(value) and difference["low"] > 0
        assert result["averages"]["headline"]["2"][measure]["score"] == scores["2"][measure]["score"]
    assert "mlp" not in scores["2"]
    calls = function.calls
    again = examine_layers(
        judged_function(function), load_suite(suite_file), data, cache=VectorCache(tmp_path / "cache")
    )
    assert function.calls == calls + 1, "names and widths are asked for; all vectors are kept"
    assert again["tasks"] == result["tasks"]


def test_every_layer_of_ours_is_what_that_layer_alone_gives(tiny_model, data, suite_file):
    judged = open_encoder(str(tiny_model), device="cpu")
    layers = every_layer(judged)
    assert layers.names == ("0", "1", "2", "final") and layers.widths == (32,) * 4
    found = find_clips(load_suite(suite_file).tasks[0], data)
    found.clips.append(replace(found.clips[0], source=_Long()))  # two windows
    got = layers.split(Vectors(layers.encoder, None).of(found).vectors["mean"])
    sources = [clip.source.audio() for clip in found.clips]
    for name, vectors_ND in got.items():
        alone = Embedder.from_pretrained(tiny_model, device="cpu", layer=None if name == "final" else int(name))
        np.testing.assert_allclose(vectors_ND, alone.embed(sources).vectors, rtol=1e-5, atol=1e-5)
    assert layers.encoder.identity["layer"] != judged.encoder.identity["layer"]
    assert layers.encoder.identity["weights"] == judged.encoder.identity["weights"]


class _Long:
    content = "f" * 64

    def audio(self):
        return tone(31.0), SAMPLE_RATE_HZ


def test_the_last_layer_scores_what_evaluate_says(tiny_model, data, suite_file):
    judged, suite = open_encoder(str(tiny_model), device="cpu"), load_suite(suite_file)
    layers = examine_layers(judged, suite, data, cache=None)
    usual = evaluate(judged, suite, data, cache=None).result
    for measure in ("knn", "linear"):
        assert layers["tasks"][0]["scores"]["final"][measure] == usual["tasks"][0]["scores"]["mean"][measure]


@pytest.mark.parametrize("encoder", ["log-mel", "one-vector"])
def test_an_encoder_without_layers_is_named(encoder, data, suite_file):
    judged = open_encoder("log-mel") if encoder == "log-mel" else judged_function(_OneVector())
    with pytest.raises(EncoderError, match="gives no layers") as caught:
        examine_layers(judged, load_suite(suite_file), data, cache=None)
    assert "every_layer" in caught.value.fix and judged.source in caught.value.problem


class _OneVector:
    sample_rate_hz, hop_seconds, width = SAMPLE_RATE_HZ, None, 9

    def __call__(self, wave_BS):
        return spectrum(wave_BS, gain=True).mean(dim=1, keepdim=True).float()


@pytest.mark.parametrize(
    "layers",
    [{"final": torch.zeros(1, 5, 3)}, {"a/b": torch.zeros(1, 5, 3), "c": torch.zeros(1, 5, 3)}, [1, 2]],
)
def test_layers_that_cannot_be_used_are_refused(layers):
    function = Informed()
    function.every_layer = lambda _: layers  # type: ignore[method-assign]
    with pytest.raises(EncoderError, match="every_layer"):
        every_layer(judged_function(function))


class Level:
    """Frames of one band vector; `gain` decides whether loudness shows."""

    sample_rate_hz, hop_seconds, width, shortest_seconds = SAMPLE_RATE_HZ, 0.02, 9, 0.02

    def __init__(self, gain: bool) -> None:
        self.gain = gain

    def __call__(self, wave_BS):
        return spectrum(wave_BS, self.gain).float()


def test_an_encoder_deaf_to_gain_holds_exactly_and_is_not_changed_by_nothing(data, suite_file):
    conditions = [parse_condition(text) for text in ("decoded", "gain:-20", "noise:0")]
    result = examine_robustness(
        judged_function(Level(gain=False)), load_suite(suite_file), data, cache=None, conditions=conditions
    )
    task = result["tasks"][0]
    assert task["cosine"]["decoded"]["mean"] == pytest.approx(1, abs=1e-9)
    assert task["cosine"]["gain:-20"]["mean"] == pytest.approx(1, abs=1e-6)
    assert task["cosine"]["noise:0"]["mean"] < 0.999
    assert task["scores"]["decoded"] == task["scores"]["clean"] == task["scores"]["gain:-20"]
    assert result["differences"]["mean"]["gain:-20"]["knn"]["value"] == 0
    assert task["clips"]["scored"] == 36 and result["left_out"] == []


def test_only_questions_are_altered():
    """Every question becomes one of the other class; what is learned from must not follow."""
    clean_ND = np.array([[1, 0], [0, 1]] * 12, dtype=np.float32)
    labels = np.array([0, 1] * 12)
    folds = ["a"] * 8 + ["b"] * 8 + ["c"] * 8
    asked = np.array([0, 1, 2, 9, 10, 17, 20, 21])
    common = {
        "metric": "accuracy", "classes": 2, "split_by": [str(i) for i in range(24)], "reference": None,
        "measures": ["knn", "linear"], "seed": 0,
    }  # fmt: skip
    scores = score_altered(
        "toy", clean_ND, {"same": clean_ND[asked], "swapped": clean_ND[asked][:, ::-1]}, asked, labels, folds,
        [str(i) for i in range(24)], ["a", "b", "c"], **common,
    ).scores  # fmt: skip
    for measure in ("knn", "linear"):
        # Had the reference been swapped along with the questions, everything would be right again.
        assert scores["swapped"][measure]["score"] == 0
        assert scores["clean"][measure] == scores["same"][measure] and scores["same"][measure]["score"] == 1
        assert [fold["clips"] for fold in scores["same"][measure]["folds"]] == [3, 2, 3]


def test_clean_agrees_with_evaluate_where_all_clips_are_asked(tiny_model, data, suite_file):
    judged, suite = open_encoder(str(tiny_model), device="cpu"), load_suite(suite_file)
    result = examine_robustness(
        judged, suite, data, cache=None, conditions=[parse_condition("decoded")], most_clips=None,
        measures=["knn", "linear"],
    )  # fmt: skip
    usual = evaluate(judged, suite, data, cache=None).result["tasks"][0]["scores"]["mean"]
    for measure in ("knn", "linear"):
        for name in ("score", "low", "high", "seeds"):
            assert result["tasks"][0]["scores"]["clean"][measure][name] == usual[measure][name]


def test_fewer_clips_are_spread_over_folds_and_the_same_again(data, suite_file, tmp_path):
    def run(cache: Path) -> dict:
        return examine_robustness(
            judged_function(Level(gain=True)), load_suite(suite_file), data, cache=VectorCache(cache),
            kept=Kept(cache / "tasks"), conditions=[parse_condition("noise:10"), parse_condition("within:1")],
            most_clips=9,
        )  # fmt: skip

    first, again, elsewhere = run(tmp_path / "a"), run(tmp_path / "a"), run(tmp_path / "b")
    assert first["tasks"] == again["tasks"] == elsewhere["tasks"]
    assert [fold["clips"] for fold in first["tasks"][0]["scores"]["clean"]["knn"]["folds"]] == [3, 3, 3]


def test_a_clip_that_cannot_be_read_is_named(data, suite_file):
    clips = clips_of_fold(3) | {"broken": (b"RIFF", {"label": "low"})}
    write_tar(data / "tones" / "fold-3.tar", clips)
    result = examine_robustness(
        judged_function(Level(gain=True)), load_suite(suite_file), data, cache=None, conditions=DEFAULT[:1]
    )
    skipped = result["tasks"][0]["clips"]["skipped"]
    assert [skip["id"] for skip in skipped] == ["fold-3/broken"] and result["tasks"][0]["clips"]["scored"] == 36


def noise(seconds: float) -> np.ndarray:
    return (0.1 * np.random.default_rng(3).normal(size=round(seconds * SAMPLE_RATE_HZ))).astype(np.float32)


@pytest.mark.parametrize("snr_db", [20, 10, 0])
def test_noise_is_white_and_as_loud_as_it_says(snr_db):
    wave_S = tone(2.0)
    added_S = alter(wave_S, parse_condition(f"noise:{snr_db}"), 5) - wave_S
    assert 10 * np.log10(np.mean(wave_S**2) / np.mean(added_S**2)) == pytest.approx(snr_db, abs=0.01)
    low, high = np.split(np.abs(np.fft.rfft(added_S))[1:] ** 2, 2)
    assert low.mean() / high.mean() == pytest.approx(1, abs=0.1)


def test_gain_clips_at_full_scale():
    wave_S = tone(0.5, amplitude=0.5)
    np.testing.assert_allclose(alter(wave_S, parse_condition("gain:-20"), 0), 0.1 * wave_S, rtol=1e-6)
    louder_S = alter(wave_S, parse_condition("gain:+10"), 0)
    np.testing.assert_allclose(louder_S, np.clip(wave_S * 10**0.5, -1, 1), rtol=1e-6)
    assert affects(parse_condition("gain:10"), [0.5, 0.5], [0.5, 0.3]) == {"clipped": 1}


@pytest.mark.parametrize("name", list(CODECS))
def test_a_codec_keeps_length_and_time_but_not_the_samples(name):
    wave_S = tone(1.0, 300.0) + 0.1 * noise(1.0)
    heard_S = alter(wave_S, parse_condition(f"codec:{name}"), 0)
    assert len(heard_S) == len(wave_S) and heard_S.dtype == np.float32
    assert 0.9 < np.corrcoef(wave_S, heard_S)[0, 1] < 0.9999


def test_length_cuts_the_loudest_stretch_and_repeats_what_is_short():
    wave_S = np.concatenate([0.01 * noise(1.0), noise(1.0), 0.01 * noise(2.0)])
    loudest_S = alter(wave_S, parse_condition("length:1"), 0)
    np.testing.assert_array_equal(loudest_S, wave_S[SAMPLE_RATE_HZ : 2 * SAMPLE_RATE_HZ])
    long_S = alter(wave_S, parse_condition("length:10"), 0)
    np.testing.assert_array_equal(long_S, np.tile(wave_S, 3)[: 10 * SAMPLE_RATE_HZ])
    assert affects(parse_condition("length:2"), [1.0, 2.0, 3.0], [1, 1, 1]) == {"cut": 1, "repeated": 1}


def test_within_holds_the_clip_once_in_faint_noise():
    wave_S = noise(1.0)
    long_S = alter(wave_S, parse_condition("within:5"), 7)
    assert len(long_S) == 5 * SAMPLE_RATE_HZ
    # Where the clip lies, by correlation.
    size = len(long_S) + len(wave_S)
    start = int(np.argmax(np.fft.irfft(np.fft.rfft(long_S, size) * np.fft.rfft(wave_S, size).conj(), size)))
    rest_S = long_S.copy()
    rest_S[start : start + len(wave_S)] -= wave_S
    assert 10 * np.log10(np.mean(rest_S**2) / np.mean(wave_S**2)) == pytest.approx(-40, abs=0.2)
    np.testing.assert_array_equal(alter(long_S, parse_condition("within:1"), 0), long_S)


def test_what_is_altered_is_keyed_by_content_and_condition():
    one = Altered(_Long(), parse_condition("noise:10"))  # type: ignore[arg-type]
    assert one.content == Altered(_Long(), parse_condition("noise:10.0")).content  # type: ignore[arg-type]
    assert one.content != Altered(_Long(), parse_condition("noise:0")).content  # type: ignore[arg-type]
    assert len({condition.name for condition in DEFAULT}) == len(DEFAULT)
    assert all(parse_condition(condition.name) == condition for condition in DEFAULT)
    np.testing.assert_array_equal(read(one.audio()), read(one.audio()))


@pytest.mark.parametrize(
    "text", ["noise", "noise:loud", "codec:flac", "length:0", "length:1e9", "decoded:1", "", "gain:nan"]
)
def test_a_condition_that_is_none_is_refused(text):
    with pytest.raises(UserError, match="no condition"):
        parse_condition(text)


def test_cosines_by_hand():
    one_ND, other_ND = np.array([[1.0, 0], [1, 1], [0, 0]]), np.array([[0.0, 2], [3, 3], [1, 0]])
    np.testing.assert_allclose(cosines(one_ND, other_ND), [0, 1, 0], atol=1e-12)
    assert cosine_between_clips(np.array([[1.0, 0], [0, 1], [-2, 0]])) == pytest.approx(-1 / 3)
    assert cosine_between_clips(one_ND[:1]) is None


def test_a_task_that_cannot_be_examined_is_said(data):
    suite = load_suite("mini")
    assert [task.name for task in part_of(suite, ["fsdd"]).tasks] == ["fsdd"]
    assert part_of(suite, ["fsdd"]).hash != suite.hash == part_of(suite, []).hash
    # Else a page of one task calls itself twelve.
    assert part_of(suite, ["fsdd"]).description == f"{suite.description} Here 1 of its {len(suite.tasks)} tasks."
    names = [task.name for task in suite.tasks]
    assert part_of(suite, ["fsdd", "esc50"]).name == "mini-esc50-fsdd"
    many = {part_of(suite, [name for name in names if name != left_out]).name for left_out in names}
    assert len(many) == len(names) and max(map(len, many)) < 40
    with pytest.raises(SuiteError, match="no task 'fsd'"):
        part_of(suite, ["fsd"])
    with pytest.raises(SuiteError, match="nothing of suite mini") as caught:
        examine_layers(open_encoder("random:tiny"), part_of(suite, ["speechocean_asr"]), data, cache=None)
    assert "speechocean_asr: of the kind asr" in caught.value.got


ADAPTER = """
import torch

class Toy:
    sample_rate_hz, width, hop_seconds, shortest_seconds, weights = 16_000, 4, 0.02, 0.02, "none"

    def every_layer(self, wave_BS):
        frames = wave_BS[:, : wave_BS.shape[1] // 320 * 320].unflatten(1, (-1, 320))
        parts = torch.fft.rfft(frames).abs()[..., :160].unflatten(2, (4, 40)).mean(dim=3)
        return {"0": parts * 0 + 1, "final": parts}

    def __call__(self, wave_BS):
        return self.every_layer(wave_BS)["final"]
"""


def test_the_commands(data, suite_file, tmp_path):
    (tmp_path / "toy_encoder.py").write_text(ADAPTER)
    common = [
        "--model", tmp_path / "toy_encoder.py", "--suite", suite_file, "--data", data, "-o", tmp_path / "results",
        "--cache", tmp_path / "cache", "--device", "cpu",
    ]  # fmt: skip
    done = uniwhisper("examine", "layers", *common, "--measure", "knn")
    assert done.returncode == 0, done.stderr
    assert "minus final" in done.stdout and "1.000" in done.stdout
    done = uniwhisper("examine", "robustness", *common, "--condition", "noise:0", "--condition", "length:1", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [each["name"] for each in result["conditions"]] == ["noise:0", "length:1"]
    assert "--condition noise:0 --condition length:1" in result["command"] and str(tmp_path) not in result["command"]
    for kind in ("layers", "robustness"):
        (written,) = (tmp_path / "results").glob(f"*-{kind}.json")
        assert json.loads(written.read_text())["format"] == f"uniwhisper-{kind}"
        assert Image.open(written.with_suffix(".png")).size[0] > 500
        assert f"({written.with_suffix('.png').name})" in written.with_suffix(".md").read_text()
    done = uniwhisper("examine", "layers", *common)
    assert done.returncode == 2 and "exists" in done.stderr
    done = uniwhisper("report", tmp_path / "results", "-o", tmp_path / "page.html")
    assert done.returncode == 2 and "no result" in done.stderr, "examinations are not results of evaluate"


def test_a_measure_that_is_none_is_refused(data, suite_file):
    done = uniwhisper("examine", "layers", "--suite", suite_file, "--data", data, "--measure", "svm")
    assert done.returncode == 2 and "no measure 'svm'" in done.stderr
    assert wav(440.0)[:4] == b"RIFF"
