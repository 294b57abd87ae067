"""Frame times measured: how many frames come per second, whether they end with the clip, and where a burst shows."""

from collections.abc import Callable

import numpy as np

from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.embedding.table import FrameVectors
from uniwhisper.evaluation.encoders import FrameEncoder

_LENGTHS_SECONDS = (2.0, 4.0, 6.0, 10.0)
_BURSTS_SECONDS = (1.0, 2.0, 3.0, 4.0, 5.0)
_HOP_TOLERANCE = 0.02


def check_frames(encoder: FrameEncoder, add: Callable[..., None], measured: dict[str, float | int | None]) -> None:
    """Measure the frames of an encoder.

    Args:
        add: called with each finding's name, whether it passed, level, expected, got and fix.
        measured: gets `hop_seconds` (from the growth of the number of frames), `declared_hop_seconds`, `frames_of_10_s`
            and `burst_error_seconds` (median distance between a burst and where the frames show it).
    """
    from uniwhisper.evaluation.check import encoded, noise

    try:
        given = [encoder.frames(encoded(noise(seconds, 6))) for seconds in _LENGTHS_SECONDS]
        error_seconds = _burst_error(encoder)
    except Exception as error:
        add("frames", False, "frames", "frames of a clip", f"{type(error).__name__}: {error}", "mend `frames`")
        return
    shapes = all(
        each.vectors.ndim == 2 and each.vectors.dtype == np.float32 and len(each.times) == len(each.vectors)
        for each in given
    ) and all(np.isfinite(each.vectors).all() for each in given)
    add("frames' shape", shapes, "frames", "finite float32 (T, D) and T times", _shape(given[0]), "mend `frames`")
    counts = [len(each.vectors) for each in given]
    slope = float(np.polyfit(_LENGTHS_SECONDS, counts, 1)[0])
    hop = 1 / slope if slope > 1e-6 else None
    declared = float(given[0].hop_seconds)
    measured |= {"hop_seconds": hop, "declared_hop_seconds": declared, "frames_of_10_s": counts[-1]}
    add(
        "hop",
        hop is not None and abs(hop / declared - 1) <= _HOP_TOLERANCE,
        "frames",
        f"a frame every {declared * 1000:g} ms, as it says: {1 / declared:g} more for each second of audio",
        f"{', '.join(map(str, counts))} frames for {', '.join(f'{seconds:g}' for seconds in _LENGTHS_SECONDS)} s"
        + ("" if hop is None else f": one every {hop * 1000:.1f} ms"),
        "mend the hop; a model that pads its input has to drop the frames over the padding",
    )
    ends = [float(each.times[-1]) for each in given]
    inside = all(
        -1e-6 <= seconds - end <= 2 * declared + 0.03 for seconds, end in zip(_LENGTHS_SECONDS, ends, strict=True)
    )
    add(
        "times",
        inside and all((np.diff(each.times) > 0).all() and each.times[0] >= 0 for each in given),
        "frames",
        "times that rise from 0 to the end of the clip",
        f"the last frames begin at {', '.join(f'{end:.3f}' for end in ends)} s of clips of "
        f"{', '.join(f'{seconds:g}' for seconds in _LENGTHS_SECONDS)} s",
        "drop the frames over padding, and mend the hop",
    )
    measured["burst_error_seconds"] = error_seconds
    add(
        "bursts are where they were",
        error_seconds <= max(0.1, 2 * declared),
        "note",
        f"frames that show bursts of 0.1 s within {max(0.1, 2 * declared):g} s of where they were added",
        f"off by {error_seconds:.3f} s (median of {len(_BURSTS_SECONDS)})",
        "look at the frames' order and hop; an encoder that mixes all times in every frame may be right",
    )


def _burst_error(encoder: FrameEncoder) -> float:
    """Median distance, in seconds, between a burst of noise and the frame that shows it.

    A frame's change is measured by its mean change over bursts at several times: some frames answer to everything.
    """
    from uniwhisper.evaluation.check import encoded, noise

    quiet_S = 0.02 * noise(6.0, 7)
    quiet = encoder.frames(encoded(quiet_S))
    changes = []
    for seconds in _BURSTS_SECONDS:
        loud_S = quiet_S.copy()
        start = round((seconds - 0.05) * SAMPLE_RATE_HZ)
        loud_S[start : start + 1600] += noise(0.1, 8)
        loud = encoder.frames(encoded(loud_S))
        changes.append(np.linalg.norm(loud.vectors.astype(np.float64) - quiet.vectors, axis=1))
    changes_KT = np.array(changes)
    shown_KT = changes_KT / (changes_KT.mean(axis=0) + 1e-9 * changes_KT.max() + np.finfo(np.float64).tiny)
    found_K = quiet.times[np.argmax(shown_KT, axis=1)]
    return float(np.median(np.abs(found_K - _BURSTS_SECONDS)))


def _shape(frames: FrameVectors) -> str:
    return f"{frames.vectors.dtype} {frames.vectors.shape} and {len(frames.times)} times"
