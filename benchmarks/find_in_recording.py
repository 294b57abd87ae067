"""A short sound in a minute of quiet: is its class found by the vector of the minute, or by the nearest segment's?

    python benchmarks/find_in_recording.py evaluation/ --every 5 --every 2.5

Clips of ESC-50, each once at a drawn place in a minute of noise 40 dB below it (`examine robustness`' `within:60`), are
asked for their class: that of the most similar clip of the other folds, by cosine. With segments the most similar pair
of a segment and a clip decides. In brackets 95 % bootstrap intervals over clips; nothing is tuned or trained.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from uniwhisper import Embedder
from uniwhisper.evaluation.bootstrap import interval
from uniwhisper.evaluation.clips import TaskClips, find_clips
from uniwhisper.evaluation.examine.alter import Altered, Condition
from uniwhisper.evaluation.suites import load_suite

TASK = "esc50"
HIDDEN = Condition("within", 60.0)


def unit(vectors_ND: np.ndarray) -> np.ndarray:
    return vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True)


def nearest(found: TaskClips, library_ND: np.ndarray, clip: int, asked_QD: np.ndarray) -> bool:
    """Whether the clip of another fold that is most similar to any of `asked_QD` has the class of `clip`."""
    similar_N = (unit(asked_QD) @ library_ND.T).max(axis=0)
    similar_N[[other.fold == found.clips[clip].fold for other in found.clips]] = -np.inf
    return found.clips[int(similar_N.argmax())].label == found.clips[clip].label


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder that holds ESC-50 as suite `mini` has it")
    parser.add_argument("--model", help="folder, file or hub id; else the packaged one")
    parser.add_argument("--clips", type=int, default=200, help="that are asked, drawn with seed 0")
    parser.add_argument("--every", type=float, action="append", required=True, help="seconds of a segment")
    given = parser.parse_args()
    (task,) = (task for task in load_suite("mini").tasks if task.name == TASK)
    found = find_clips(task, given.data)
    embedder = Embedder.from_pretrained(given.model, device="cpu")
    library_ND = unit(embedder.embed([clip.source.audio() for clip in found.clips]).vectors)
    generator = np.random.default_rng(0)
    asked = generator.choice(len(found.clips), size=given.clips, replace=False)
    right: dict[str, list[bool]] = {"the clip itself": [], "the minute's vector": []}
    right |= {f"nearest segment of {every:g} s": [] for every in given.every}
    for clip in asked:
        minute = Altered(found.clips[clip].source, HIDDEN).audio()
        vectors = [library_ND[[clip]], embedder.embed([minute]).vectors]
        vectors += [embedder.segments(minute, every_seconds=every).vectors for every in given.every]
        for name, asked_QD in zip(right, vectors, strict=True):
            right[name].append(nearest(found, library_ND, int(clip), asked_QD))
    drawn_RQ = generator.integers(given.clips, size=(2_000, given.clips))
    shares = {
        name: (float(np.mean(each)), *interval(np.array(each)[drawn_RQ].mean(axis=1))) for name, each in right.items()
    }
    print(json.dumps({"weights": embedder.identity["weights"], "clips": given.clips, "right": shares}))
    for name, (share, low, high) in shares.items():
        print(f"{name:26} {share:.3f} [{low:.3f}, {high:.3f}]")


if __name__ == "__main__":
    main()
