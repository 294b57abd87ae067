"""The judge judges the encoder first: each broken promise is found, and only that one."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from command import uniwhisper
from uniwhisper.embedding.embedder import Embedder
from uniwhisper.embedding.table import EmbeddingTable, Failure, FrameVectors
from uniwhisper.evaluation.adapters.log_mel import LogMelStatistics
from uniwhisper.evaluation.check import EncoderCheck, check_encoder, checked
from uniwhisper.evaluation.encoders import EncoderError

IDENTITY = {"weights": "w", "code": "c", "pooling": "p", "layer": "final"}
RATE_HZ = 16_000


class Honest:
    """Four numbers per frame of 10 ms, and their mean per clip."""

    width, hop_seconds = 4, 0.01

    def __init__(self, **identity: str) -> None:
        self.identity, self.calls = IDENTITY | identity, 0

    def frames_of(self, wave_S: np.ndarray) -> np.ndarray:
        blocks = np.pad(wave_S, (0, -len(wave_S) % 160)).reshape(-1, 160)
        columns = [blocks.mean(1), blocks.std(1), np.abs(blocks).max(1), np.abs(np.diff(blocks)).mean(1)]
        return np.stack(columns, axis=1).astype(np.float32)

    def vector_of(self, wave_S: np.ndarray, longest: int) -> np.ndarray:  # noqa: ARG002
        return self.frames_of(wave_S).mean(axis=0)

    def embed(self, sources, *, on_error: str) -> EmbeddingTable:
        self.calls += 1
        waves, failures = [], []
        for index, source in enumerate(sources):
            try:
                waves.append(soundfile.read(io.BytesIO(source), dtype="float32")[0])
            except soundfile.LibsndfileError as error:
                if on_error == "raise":
                    raise
                failures.append(Failure(index, f"clip {index}", str(error)))
        longest = max(map(len, waves), default=0)
        vectors = np.array([self.vector_of(wave, longest) for wave in waves]).reshape(len(waves), -1)
        return EmbeddingTable(["?"] * len(waves), np.zeros(len(waves)), vectors, failures, self.identity)

    def frames(self, source) -> FrameVectors:
        vectors = self.frames_of(soundfile.read(io.BytesIO(source), dtype="float32")[0])
        return FrameVectors(vectors, self.hop_seconds * np.arange(len(vectors)), self.hop_seconds)


class Wide(Honest):
    width = 5


class Double(Honest):
    def vector_of(self, wave_S, longest):
        return super().vector_of(wave_S, longest).astype(np.float64)


class NotANumber(Honest):
    def vector_of(self, wave_S, longest):
        return super().vector_of(wave_S, longest) * np.float32(np.nan)


class Deaf(Honest):
    def vector_of(self, wave_S, longest):  # noqa: ARG002
        return np.ones(4, np.float32)


class NothingInNoise(Honest):
    """A vector of zeros is far from any other: infinitely, by the length of the first."""

    def vector_of(self, wave_S, longest):  # noqa: ARG002
        spectrum = np.abs(np.fft.rfft(wave_S, 32_000))
        return np.full(4, max(0.0, spectrum.max() / (spectrum.sum() + 1e-9) - 0.1), np.float32)


class Padding(Honest):
    """X-ARES's way: the mean over the padding as well."""

    def vector_of(self, wave_S, longest):
        return super().vector_of(np.pad(wave_S, (0, longest - len(wave_S))), longest)


class Dice(Honest):
    """Another vector at every call; not drawn, so that no two calls can agree by chance."""

    def vector_of(self, wave_S, longest):
        return super().vector_of(wave_S, longest) * np.float32(1 + 0.1 * self.calls)


class Short(Honest):
    def vector_of(self, wave_S, longest):
        if len(wave_S) > 20 * RATE_HZ:
            raise MemoryError("too long")
        return super().vector_of(wave_S, longest)


class Raises(Honest):
    def embed(self, sources, *, on_error):  # noqa: ARG002
        return super().embed(sources, on_error="raise")


class SilentNaN(Honest):
    def vector_of(self, wave_S, longest):
        vector = super().vector_of(wave_S, longest)
        return vector / np.float32(np.abs(wave_S).max()) if len(wave_S) > 1 else vector


class WrongHop(Honest):
    """Says 20 ms and gives a frame every 10 ms, as the Whisper of X-ARES is out by two."""

    hop_seconds = 0.02


class PaddedFrames(Honest):
    """1,000 frames whatever the clip."""

    def frames(self, source) -> FrameVectors:
        given = super().frames(source).vectors
        vectors = np.concatenate([given, np.zeros((1000 - len(given), 4), np.float32)])
        return FrameVectors(vectors, 0.01 * np.arange(1000), 0.01)


class Backwards(Honest):
    def frames(self, source) -> FrameVectors:
        given = super().frames(source)
        return FrameVectors(np.ascontiguousarray(given.vectors[::-1]), given.times, 0.01)


@pytest.mark.parametrize(
    ("kind", "refused", "frames", "noted"),
    [
        (Honest, set(), set(), set()),
        (Wide, {"width"}, set(), set()),
        (Double, {"dtype"}, set(), set()),
        (NotANumber, {"finite"}, set(), set()),
        (Deaf, {"it hears"}, set(), set()),
        (Padding, {"alone as in a batch"}, set(), set()),
        (Dice, {"the same twice", "alone as in a batch"}, set(), set()),
        (Short, {"a clip of 30.5 s", "a clip of 40 s"}, set(), set()),
        (Raises, {"bad input is named"}, set(), set()),
        (SilentNaN, set(), set(), {"digital silence"}),
        (WrongHop, set(), {"hop", "times"}, {"bursts are where they were"}),
        (PaddedFrames, set(), {"hop", "times"}, set()),
        (Backwards, set(), set(), {"bursts are where they were"}),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_each_broken_promise_is_found(kind, refused, frames, noted):
    check = check_encoder(kind(), long_seconds=40.0)
    found = {level: {finding.name for finding in check.failed(level)} for level in ("refuse", "frames", "note")}
    assert found == {"refuse": refused, "frames": frames, "note": noted}
    if refused:
        with pytest.raises(EncoderError, match="fails its check"):
            check.require()
    else:
        check.require()
    if refused | frames:
        with pytest.raises(EncoderError):
            check.require(frames=True)
    else:
        check.require(frames=True)


def test_what_is_measured():
    measured = check_encoder(Honest(), long_seconds=31.0).measured
    assert measured["width"] == 4 and measured["longest_seconds"] == 31.0
    assert measured["twice_difference"] == 0 == measured["alone_to_batched_difference"]
    assert measured["hop_seconds"] == pytest.approx(0.01) and measured["frames_of_10_s"] == 1000
    padding = check_encoder(Padding(), long_seconds=31.0).measured["alone_to_batched_difference"]
    # A clip of 0.4 s beside one of 12 s keeps a thirtieth of its mean.
    assert padding == pytest.approx(1 - 0.4 / 12, abs=1e-3)
    assert check_encoder(WrongHop(), long_seconds=31.0).measured["hop_seconds"] == pytest.approx(0.01)
    assert check_encoder(PaddedFrames(), long_seconds=31.0).measured["hop_seconds"] is None
    deaf_to_noise = check_encoder(NothingInNoise(), long_seconds=31.0)
    deaf_to_noise.require()
    assert deaf_to_noise.measured["noise_to_tone"] is None
    json.dumps(deaf_to_noise.to_json(), allow_nan=False)  # else the result it goes into could not be written


def test_our_own_encoders_pass(tiny_model):
    for encoder in (LogMelStatistics(), Embedder.from_pretrained(tiny_model, device="cpu")):
        check = check_encoder(encoder, long_seconds=65.0)
        check.require(frames=True)
        assert not check.failed("refuse", "frames", "note")
        assert check.measured["hop_seconds"] == pytest.approx(0.02)
        assert check.measured["alone_to_batched_difference"] < 1e-5


def test_a_check_is_kept_for_its_identity_and_read_back(tmp_path: Path):
    encoder = Honest()
    first = checked(encoder, tmp_path)
    calls = encoder.calls
    again = checked(encoder, tmp_path)
    assert encoder.calls == calls and again == first
    assert EncoderCheck.from_json(json.loads(json.dumps(first.to_json()))) == first
    (kept,) = tmp_path.iterdir()
    kept.write_text(kept.read_text()[:100])
    assert checked(encoder, tmp_path) == first and encoder.calls == 2 * calls
    checked(Honest(weights="other"), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(EncoderError, match="does not say what it is"):
        checked(Honest(weights=""), None)


GOOD = """
class Mean:
    sample_rate_hz, width, hop_seconds, weights = 16000, 2, 0.01, "none"

    def __call__(self, wave_BS):
        import torch
        blocks = torch.nn.functional.pad(wave_BS, (0, -wave_BS.shape[1] % 160)).unfold(1, 160, 160)
        return torch.stack([blocks.mean(-1), blocks.std(-1)], dim=-1)
"""


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        (GOOD, 0, "it can be judged"),
        (GOOD.replace("0.01", "0.02"), 0, "tasks that need frame times would refuse it"),
        (GOOD.replace("0.01", "None"), 0, "it can be judged on clips; it gives no frames"),
        (GOOD.replace("blocks = ", "assert wave_BS.shape[1] > 400; blocks = "), 0, "`shortest_seconds`"),
        (GOOD.replace("return torch.stack", "return float('nan') * torch.stack"), 1, "REFUSED"),
    ],
)
def test_the_verb_says_whether_an_encoder_can_be_judged(tmp_path, text, status, words):
    (tmp_path / "mine.py").write_text(text)
    done = uniwhisper("check-encoder", "--model", "mine.py", "--device", "cpu", "--long", "31", cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert words in done.stdout


def test_the_encoder_of_the_documentation_can_be_judged(tmp_path):
    page = (Path(__file__).parent.parent / "docs" / "how-to" / "judge.md").read_text()
    (example,) = (code for code in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL) if "class " in code)
    (tmp_path / "loudness.py").write_text(example.rpartition("\nprint(")[0])
    done = uniwhisper("check-encoder", "--model", tmp_path / "loudness.py", "--device", "cpu", "--long", 1)
    assert done.returncode == 0 and "it can be judged" in done.stdout, done.stdout + done.stderr


def test_an_evaluation_refuses_an_encoder_that_fails(tmp_path):
    from test_evaluation_run import clips_of_fold, suite_content, write_tar
    from uniwhisper.evaluation.encoders import JudgedEncoder
    from uniwhisper.evaluation.runner import evaluate
    from uniwhisper.evaluation.suites import load_suite

    for fold in (1, 2, 3):
        write_tar(tmp_path / "data" / "tones" / f"fold-{fold}.tar", clips_of_fold(fold))
    (tmp_path / "toy.json").write_text(json.dumps(suite_content()))
    suite = load_suite(tmp_path / "toy.json")
    data = tmp_path / "data"
    padding, honest = (JudgedEncoder(encoder, "toy", "toy") for encoder in (Padding(), Honest()))
    with pytest.raises(EncoderError, match=r"alone as in a batch[\s\S]*batch only clips of equal length"):
        evaluate(padding, suite, data, cache=None, check=check_encoder(padding.encoder, long_seconds=31.0))
    check = check_encoder(honest.encoder, long_seconds=31.0)
    judged = evaluate(honest, suite, data, cache=None, check=check)
    assert judged.result["encoder_check"]["passed"] and judged.result["encoder_check"]["measured"]["width"] == 4
    assert evaluate(honest, suite, data, cache=None).result["encoder_check"] is None
