"""An encoder is judged itself before its vectors are: what it promises is measured on sounds made here.

A finding of level `refuse` makes every score meaningless and stops an evaluation; one of level `frames` stops the
tasks that need frame times; a `note` is written into the result for the reader to see.
"""

import io
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from uniwhisper.core.errors import UserError
from uniwhisper.core.files import atomic_output
from uniwhisper.core.identity import hash_json
from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.evaluation.encoders import ClipEncoder, EncoderError, require_identity

Level = Literal["refuse", "frames", "note"]
Progress = Callable[[str, int, int], None]
"""Called with the measurement to come, how many are done and how many there are."""

VERSION = 1
LONG_SECONDS = 600.0
"""What X-ARES asks of an encoder."""
# Relative distance between two vectors of one clip: float32 in another order of summation stays far below it, a
# half-precision encoder just below, an encoder that sees its neighbours' padding far above.
SAME = 1e-2
_PAD = "pad short clips with zeros; with `shortest_seconds` in an adapter of frames that is done for it"


@dataclass(frozen=True)
class Finding:
    """One measurement and what was expected of it."""

    name: str
    passed: bool
    level: Level
    expected: str
    got: str
    fix: str


@dataclass(frozen=True)
class EncoderCheck:
    """What was measured of one encoder."""

    findings: tuple[Finding, ...]
    measured: dict[str, float | int | None]
    """Finite numbers by name, with their unit in it; None: not measured, or not finite."""

    def failed(self, *levels: Level) -> list[Finding]:
        """Findings of these levels that did not pass."""
        return [finding for finding in self.findings if not finding.passed and finding.level in levels]

    def require(self, *, frames: bool = False) -> None:
        """Refuse an encoder that failed.

        Args:
            frames: also where only its frame times are wrong.

        Raises:
            EncoderError: names the first failure of the level that counts.
        """
        failed = self.failed("refuse", "frames") if frames else self.failed("refuse")
        if failed:
            first = failed[0]
            others = f" (and {len(failed) - 1} more: uniwhisper check-encoder shows all)" if failed[1:] else ""
            raise EncoderError(
                f"the encoder fails its check: {first.name}{others}",
                expected=first.expected,
                got=first.got,
                fix=first.fix,
            )

    def to_json(self) -> dict[str, Any]:
        """What goes into a result file."""
        return {
            "version": VERSION,
            "passed": not self.failed("refuse"),
            "frames_usable": not self.failed("refuse", "frames") and "hop_seconds" in self.measured,
            "measured": dict(self.measured),
            "findings": [asdict(finding) for finding in self.findings],
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "EncoderCheck":
        """What `to_json` gave.

        Raises:
            ValueError, KeyError, TypeError: it is something else.
        """
        if content["version"] != VERSION:
            raise ValueError(f"version {content['version']!r}")
        return cls(tuple(Finding(**finding) for finding in content["findings"]), dict(content["measured"]))


def check_encoder(
    encoder: ClipEncoder, *, long_seconds: float = LONG_SECONDS, on_progress: Progress = lambda *_: None
) -> EncoderCheck:
    """Measure width, dtype, lengths, alone against batched, determinism, silence, bad and long input, and frames.

    Args:
        encoder: any; what it raises becomes a finding.
        long_seconds: of the longest clip it is given.

    Raises:
        EncoderError: its identity is incomplete.
    """
    require_identity(encoder)
    probe = _Probe(encoder)
    steps: list[tuple[str, Callable[[], None]]] = [
        ("vectors", probe.vectors),
        ("lengths", probe.lengths),
        ("determinism", probe.determinism),
        ("alone against batched", probe.batching),
        ("silence", probe.silence),
        ("bad input", probe.bad_input),
        ("long input", lambda: probe.long_input(long_seconds)),
    ]
    if hasattr(encoder, "frames"):
        from uniwhisper.evaluation.frame_check import check_frames

        steps.append(("frames", lambda: check_frames(encoder, probe.add, probe.measured)))
    for done, (name, step) in enumerate(steps):
        on_progress(name, done, len(steps))
        step()
        if probe.stopped:
            break
    on_progress("done", len(steps), len(steps))
    finite = {name: value if value is None or math.isfinite(value) else None for name, value in probe.measured.items()}
    return EncoderCheck(tuple(probe.findings), finite)


class _Probe:
    """Collects findings; each method is one measurement."""

    def __init__(self, encoder: ClipEncoder) -> None:
        self.encoder = encoder
        self.findings: list[Finding] = []
        self.measured: dict[str, float | int | None] = {}
        self.stopped = False
        """Nothing more can be learned."""

    def add(self, name: str, passed: bool, level: Level, expected: str, got: str, fix: str) -> None:
        self.findings.append(Finding(name, bool(passed), level, expected, got, fix))

    def vectors(self) -> None:
        two = [encoded(noise(2.0, 0)), encoded(tone(2.0, 440.0))]
        vectors_ND, error = self._embed(two)
        width = int(self.encoder.width)
        self.measured["width"] = width
        if vectors_ND is None:
            self.stopped = True
            self.add("it embeds two clips of 2 s", False, "refuse", "two vectors", error, "mend the adapter")
            return
        self.add(
            "width",
            vectors_ND.shape == (2, width),
            "refuse",
            f"vectors (2, {width}) of two clips, as `width` says",
            f"{vectors_ND.shape}",
            "mend `width`, or what `embed` returns: one row per clip",
        )
        self.add(
            "dtype",
            vectors_ND.dtype == np.float32,
            "refuse",
            "float32",
            str(vectors_ND.dtype),
            "return vectors.astype(numpy.float32)",
        )
        self.stopped = vectors_ND.ndim != 2 or len(vectors_ND) != 2
        if self.stopped:
            return
        finite = bool(np.isfinite(vectors_ND).all())
        got = "finite numbers" if finite else "NaN or infinity"
        self.add("finite", finite, "refuse", "finite numbers", got, "mend the encoder")
        if finite:
            difference = relative(vectors_ND[0], vectors_ND[1])
            self.measured["noise_to_tone"] = difference
            self.add(
                "it hears",
                difference > 1e-6,
                "refuse",
                "another vector for noise than for a tone",
                f"a relative difference of {difference:.1e}",
                "see that the audio reaches the encoder",
            )
        self.stopped = not finite

    def lengths(self) -> None:
        for seconds in (0.1, 1.0, 10.0, 30.5):
            self._one(f"a clip of {seconds:g} s", noise(seconds, 1), "refuse")
        self._one("a clip of 10 ms", noise(0.01, 1), "note")
        self._one("a clip of one sample", noise(1 / SAMPLE_RATE_HZ, 1), "note")

    def determinism(self) -> None:
        clip = encoded(noise(3.0, 2))
        first, error = self._embed([clip])
        second, _ = self._embed([clip])
        difference = None if first is None or second is None else relative(first[0], second[0])
        self.measured["twice_difference"] = difference
        self.add(
            "the same twice",
            difference is not None and difference <= SAME,
            "refuse",
            f"one clip embedded twice: a relative difference of at most {SAME:g}",
            error if difference is None else f"{difference:.1e}",
            "put the encoder into eval mode, and draw no random crops or masks",
        )

    def batching(self) -> None:
        clips = [encoded(noise(seconds, 3)) for seconds in (1.0, 5.0, 0.4, 1.0, 12.0)]
        together, error = self._embed(clips)
        alone = [self._embed([clip])[0] for clip in clips]
        difference = None
        if together is not None and all(each is not None for each in alone):
            difference = max(relative(each[0], row) for each, row in zip(alone, together, strict=True))
        self.measured["alone_to_batched_difference"] = difference
        self.add(
            "alone as in a batch",
            difference is not None and difference <= SAME,
            "refuse",
            f"a clip alone and with longer ones: a relative difference of at most {SAME:g}",
            error if difference is None else f"{difference:.1e}",
            "mask padding in attention, convolutions, normalisation and pooling, or batch only clips of equal length",
        )

    def silence(self) -> None:
        self._one("digital silence", np.zeros(2 * SAMPLE_RATE_HZ, np.float32), "note")

    def bad_input(self) -> None:
        good = encoded(noise(1.0, 4))
        try:
            table = self.encoder.embed([good, b"this is no audio", good], on_error="skip")
            got = f"{len(table.vectors)} vectors, failures {[failure.index for failure in table.failures]}"
            passed = len(table.vectors) == 2 and [failure.index for failure in table.failures] == [1]
        except Exception as error:
            passed, got = False, _said(error)
        self.add(
            "bad input is named",
            passed,
            "refuse",
            'with on_error="skip": vectors of clips 0 and 2, and a failure with index 1',
            got,
            "catch AudioError per clip, and append Failure(index, name, reason)",
        )

    def long_input(self, seconds: float) -> None:
        self._one(f"a clip of {seconds:g} s", noise(seconds, 5), "refuse", "cut long audio into windows")
        self.measured["longest_seconds"] = seconds

    def _one(self, name: str, wave_S: np.ndarray, level: Level, fix: str = _PAD) -> None:
        vectors_ND, got = self._embed([encoded(wave_S)])
        if vectors_ND is not None:
            finite = bool(np.isfinite(vectors_ND).all())
            got = f"{len(vectors_ND)} vector" if finite else "NaN or infinity"
            self.add(name, len(vectors_ND) == 1 and finite, level, "one finite vector", got, fix)
        else:
            self.add(name, False, level, "one finite vector", got, fix)

    def _embed(self, clips: list[bytes]) -> tuple[np.ndarray | None, str]:
        """Vectors as they come; None and what was said where there are none."""
        try:
            table = self.encoder.embed(clips, on_error="skip")
        except Exception as error:
            return None, _said(error)
        if table.failures:
            return None, table.failures[0].reason
        return np.asarray(table.vectors), ""


def checked(encoder: ClipEncoder, folder: Path | None, *, on_progress: Progress = lambda *_: None) -> EncoderCheck:
    """`check_encoder`, once for each identity: what was found is kept in `folder`.

    Args:
        folder: None keeps nothing.
    """
    key = hash_json({"check": VERSION, "encoder": require_identity(encoder)})
    path = None if folder is None else Path(folder) / f"check-{key}.json"
    if path is not None and path.is_file():
        try:
            return EncoderCheck.from_json(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError):
            pass  # cut off or of an earlier version: measured again
    check = check_encoder(encoder, on_progress=on_progress)
    if path is not None:
        with atomic_output(path, overwrite=True) as temporary:
            temporary.write_text(json.dumps(check.to_json(), indent=2) + "\n", encoding="utf-8")
    return check


def noise(seconds: float, seed: int) -> np.ndarray:
    """Pink-like noise, (S,) float32 at 16 kHz, at least one sample."""
    samples = max(1, round(seconds * SAMPLE_RATE_HZ))
    white = np.random.default_rng(seed).normal(size=samples)
    smooth = np.convolve(white, np.ones(8) / 8, mode="same") if samples > 8 else white
    return (0.05 * white + 0.1 * smooth).astype(np.float32)


def tone(seconds: float, frequency_hz: float) -> np.ndarray:
    """A sine, (S,) float32 at 16 kHz."""
    time_S = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (0.3 * np.sin(2 * np.pi * frequency_hz * time_S)).astype(np.float32)


def encoded(wave_S: np.ndarray) -> bytes:
    """`wave_S`, float32 at 16 kHz, as the bytes of a 16-bit WAV file: what an evaluation hands to an encoder."""
    import soundfile

    stream = io.BytesIO()
    soundfile.write(stream, wave_S, SAMPLE_RATE_HZ, format="WAV", subtype="PCM_16")
    return stream.getvalue()


def relative(one_D: np.ndarray, other_D: np.ndarray) -> float:
    """Length of the difference of `one_D` and `other_D` by the length of the first, float64; inf where that is 0."""
    one_D, other_D = np.asarray(one_D, np.float64), np.asarray(other_D, np.float64)
    length = float(np.linalg.norm(one_D))
    difference = float(np.linalg.norm(one_D - other_D))
    return difference / length if length else (0.0 if difference == 0 else float("inf"))


def _said(error: Exception) -> str:
    if isinstance(error, UserError):
        return error.one_line
    return f"{type(error).__name__}: {str(error).strip()[:300]}"
