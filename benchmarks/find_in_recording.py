"""A sound in a minute of quiet: is its class found by the vector of the minute, or by the nearest segment's?

    python benchmarks/find_in_recording.py evaluation/
    python benchmarks/find_in_recording.py evaluation/ --task fsdd

Clips of a task, each once at a drawn place in a minute of noise 40 dB below it (`examine robustness`' `within:60`), are
asked for their class: that of the most similar clip of the other folds, by cosine. With segments the most similar pair
of a segment and a clip decides; *frames* are the means of as many frames of the minute, which the encoder hears in
windows of 30 s. In brackets 95 % bootstrap intervals over groups and clips; nothing is tuned or trained.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from uniwhisper import Embedder
from uniwhisper.core.units import FRAMES_PER_SECOND
from uniwhisper.evaluation.bootstrap import clip_weights, interval, mean_draws
from uniwhisper.evaluation.clips import TaskClips, find_clips
from uniwhisper.evaluation.examine.alter import Altered, Condition
from uniwhisper.evaluation.suites import load_suite

EVERY_SECONDS = (2.5, 5.0)
HIDDEN = Condition("within", 60.0)


def unit(vectors_ND: np.ndarray) -> np.ndarray:
    return vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True)


def nearest(found: TaskClips, library_ND: np.ndarray, clip: int, asked_QD: np.ndarray) -> bool:
    """Whether the clip of another fold that is most similar to any of `asked_QD` has the class of `clip`."""
    similar_N = (unit(asked_QD) @ library_ND.T).max(axis=0)
    similar_N[[other.fold == found.clips[clip].fold for other in found.clips]] = -np.inf
    return found.clips[int(similar_N.argmax())].label == found.clips[clip].label


def of_frames(frames_TD: np.ndarray, every_seconds: float) -> np.ndarray:
    """Means of as many of the minute's frames as a segment has."""
    return frames_TD.reshape(-1, round(every_seconds * FRAMES_PER_SECOND), frames_TD.shape[1]).mean(axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder that holds the task as suite `mini` has it")
    tasks = {task.name: task for task in load_suite("mini").tasks if task.kind == "clip"}
    parser.add_argument("--task", default="esc50", choices=tasks)
    parser.add_argument("--model", help="folder, file or hub id; else the packaged one")
    parser.add_argument("--clips", type=int, default=200, help="that are asked, drawn with seed 0")
    given = parser.parse_args()
    found = find_clips(tasks[given.task], given.data)
    embedder = Embedder.from_pretrained(given.model, device="cpu")
    library_ND = unit(embedder.embed([clip.source.audio() for clip in found.clips]).vectors)
    asked = np.random.default_rng(0).choice(len(found.clips), size=given.clips, replace=False)
    right: dict[str, list[bool]] = defaultdict(list)
    for clip in track(asked.tolist(), "asking", console=Console(stderr=True)):
        minute = Altered(found.clips[clip].source, HIDDEN).audio()
        frames_TD = embedder.frames(minute).vectors
        vectors = {"the clip itself": library_ND[[clip]], "the minute's vector": of_frames(frames_TD, 60.0)}
        for every in EVERY_SECONDS:
            vectors[f"nearest segment of {every:g} s"] = embedder.segments(minute, every_seconds=every).vectors
            vectors[f"nearest {every:g} s of frames"] = of_frames(frames_TD, every)
        for name, asked_QD in vectors.items():
            right[name].append(nearest(found, library_ND, clip, asked_QD))
    weights_RQ = clip_weights([found.clips[clip].group for clip in asked], seed=0)
    base_Q = np.array(right["the clip itself"], dtype=float)
    rows = {}
    for name, each in right.items():
        right_Q = np.array(each, dtype=float)
        minus_Q = right_Q - base_Q
        rows[name] = {
            "right": [right_Q.mean(), *interval(mean_draws(right_Q[None], weights_RQ, seed=0))],
            "minus_clip": [minus_Q.mean(), *interval(mean_draws(minus_Q[None], weights_RQ, seed=0))],
        }
    print(json.dumps({"weights": embedder.identity["weights"], "task": given.task, "clips": given.clips, "rows": rows}))
    for name, row in rows.items():
        print(
            f"{name:26}",
            "{:.3f} [{:.3f}, {:.3f}]   {:+.3f} [{:+.3f}, {:+.3f}]".format(*row["right"], *row["minus_clip"]),
        )


if __name__ == "__main__":
    main()
