"""Some clips of a task with their places on a map and a short sound each: what a report's map is drawn from."""

import io
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from uniwhisper.core.errors import AudioError, MissingExtraError
from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.evaluation.clips import TaskClips
from uniwhisper.evaluation.encoders import ClipEncoder, EncoderError
from uniwhisper.evaluation.places import places_on_map

MEDIA_TYPE = "audio/mpeg"
_LONGEST_SECONDS = 3.0
_FADE_SECONDS = 0.03


@dataclass(frozen=True)
class MapClip:
    x: float
    y: float
    """Both between 0 and 1."""
    label: str
    id: str
    sound: bytes | None
    """MP3, mono, 16 kHz, its first three seconds; None: none was wanted."""


@dataclass(frozen=True)
class TaskMap:
    clips: list[MapClip]
    method: str
    """How the places were found, for the reader."""


def task_map(encoder: ClipEncoder, found: TaskClips, *, most: int, sounds: bool) -> TaskMap:
    """Embed up to `most` clips, as many of each class as of another, and place them.

    Args:
        encoder: any that `evaluate` takes; its clip vectors are placed.
        sounds: with the start of each clip.

    Raises:
        EncoderError: fewer than three clips could be embedded.
        MissingExtraError: scikit-learn is not installed.
    """
    chosen = [found.clips[index] for index in _evenly([clip.label for clip in found.clips], most)]
    sources = [clip.source.audio() for clip in chosen]
    table = encoder.embed(sources, on_error="skip")
    failed = {failure.index for failure in table.failures}
    kept = [index for index in range(len(chosen)) if index not in failed]
    if len(kept) < 3:
        raise EncoderError(
            f"no map of {found.task.name}",
            expected="three clips or more that can be embedded",
            got=f"{len(kept)} of {len(chosen)}" + (f": {table.failures[0].reason}" if failed else ""),
            fix="mend the clips, or leave the map out",
        )
    try:
        points_N2, method = places_on_map(table.vectors)
    except ModuleNotFoundError:
        raise MissingExtraError.of("scikit-learn", "eval", "a map") from None
    low_2, span_2 = points_N2.min(axis=0), np.ptp(points_N2, axis=0)
    unit_N2 = (points_N2 - low_2) / np.where(span_2 > 0, span_2, 1)
    clips = [
        MapClip(float(x), float(y), chosen[index].label, chosen[index].id, _sound(sources[index]) if sounds else None)
        for index, (x, y) in zip(kept, unit_N2, strict=True)
    ]
    return TaskMap(clips, method)


def _evenly(labels: list[str], most: int) -> list[int]:
    """Places of at most `most` labels, drawn in turn from every label, in ascending order."""
    generator = np.random.default_rng(0)
    waiting: dict[str, list[int]] = defaultdict(list)
    for index in generator.permutation(len(labels)).tolist():
        waiting[labels[index]].append(index)
    order = sorted(waiting)
    chosen: list[int] = []
    while len(chosen) < min(most, len(labels)):
        for label in order:
            if waiting[label] and len(chosen) < most:
                chosen.append(waiting[label].pop())
    return sorted(chosen)


def _sound(source: Any) -> bytes | None:
    """The start of a clip as a small MP3."""
    import soundfile

    from uniwhisper.audio.load import read_windows

    try:
        wave_S = next(iter(read_windows(source, window_samples=round(_LONGEST_SECONDS * SAMPLE_RATE_HZ)))).copy()
    except AudioError:
        return None
    fade = min(len(wave_S), round(_FADE_SECONDS * SAMPLE_RATE_HZ))
    wave_S[len(wave_S) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    wave_S /= max(1.0, float(np.abs(wave_S).max()))
    stream = io.BytesIO()
    soundfile.write(
        stream,
        wave_S,
        SAMPLE_RATE_HZ,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode="CONSTANT",
        compression_level=0.9,
    )
    return stream.getvalue()
