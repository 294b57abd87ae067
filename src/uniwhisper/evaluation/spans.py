"""Labels with times: from a clip's JSON to frames to learn from and segments to be scored by.

    frame t      lasts from t h to (t + 1) h, h the measured hop; it belongs to what goes on at its middle
    segment s    lasts from s g to (s + 1) g; a class is in it where one of its spans overlaps it, however little

as sed_eval's segment-based scores define it (Mesaros et al. 2016, "Metrics for polyphonic sound event detection").
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Times are decimal: 0.3 s / 0.1 s must not be 2.9999999999999996 segments.
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Span:
    name: str
    """Of the class."""
    start_seconds: float
    end_seconds: float


def read_spans(events: Sequence[Mapping[str, Any]]) -> list[Span]:
    """Spans of `events`: `{label, onset, offset}` (several labels share a span with commas) or `{note, start, end}`.

    Raises:
        ValueError: an event is of neither kind, or ends before it starts.
    """
    spans = []
    for event in events:
        if isinstance(event, Mapping) and {"label", "onset", "offset"} <= event.keys():
            names, start, end = str(event["label"]).split(","), event["onset"], event["offset"]
        elif isinstance(event, Mapping) and {"note", "start", "end"} <= event.keys():
            names, start, end = [f"{int(event['note']):03d}"], event["start"], event["end"]
        else:
            raise ValueError(f"an event is {event!r}")
        start, end = float(start), float(end)
        if not 0 <= start <= end:
            raise ValueError(f"an event lasts from {start} s to {end} s")
        spans += [Span(name, start, end) for name in names]
    return spans


def frame_targets(spans: Sequence[Span], classes: Sequence[str], *, frames: int, hop_seconds: float) -> np.ndarray:
    """Uint8 (frames, C): 1 where a frame's middle lies in a span of the class. Every span's name is in `classes`."""
    target_TC = np.zeros((frames, len(classes)), dtype=np.uint8)
    for span in spans:
        # The first frame whose middle is not before a time: (t + 1/2) h >= time.
        first, end = (
            max(0, math.ceil(time / hop_seconds - 0.5 - _TOLERANCE)) for time in (span.start_seconds, span.end_seconds)
        )
        target_TC[first:end, classes.index(span.name)] = 1
    return target_TC


def segment_count(seconds: float, segment_seconds: float) -> int:
    """Segments of a clip, the last one shorter where the clip ends in it; at least 1."""
    return max(1, math.ceil(seconds / segment_seconds - _TOLERANCE))


def segment_targets(
    spans: Sequence[Span], classes: Sequence[str], *, segments: int, segment_seconds: float
) -> np.ndarray:
    """Uint8 (segments, C): 1 where a span of the class overlaps the segment."""
    target_SC = np.zeros((segments, len(classes)), dtype=np.uint8)
    for span in spans:
        first = math.floor(span.start_seconds / segment_seconds + _TOLERANCE)
        end = math.ceil(span.end_seconds / segment_seconds - _TOLERANCE)
        target_SC[first:end, classes.index(span.name)] = 1
    return target_SC


def segment_maxima(scores_TC: np.ndarray, *, segments: int, segment_seconds: float, hop_seconds: float) -> np.ndarray:
    """(segments, C): the largest score of the frames whose middle lies in each segment.

    `scores_TC` is float, a row per frame. A segment with no frame's middle in it (an encoder's hop may be longer) has
    the score of the frame at its middle.
    Frames after the last segment are left out.
    """
    place_T = np.floor((np.arange(len(scores_TC)) + 0.5) * hop_seconds / segment_seconds + _TOLERANCE).astype(np.int64)
    inside = place_T < segments
    maxima_SC = np.full((segments, scores_TC.shape[1]), -np.inf, dtype=scores_TC.dtype)
    np.maximum.at(maxima_SC, place_T[inside], scores_TC[inside])
    empty_S = np.setdiff1d(np.arange(segments), place_T)
    middles = np.floor((empty_S + 0.5) * segment_seconds / hop_seconds).astype(np.int64)
    maxima_SC[empty_S] = scores_TC[np.minimum(middles, len(scores_TC) - 1)]
    return maxima_SC
