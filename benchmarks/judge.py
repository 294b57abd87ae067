"""How long the judge takes once the vectors are there: `python benchmarks/judge.py --width 384 --threads 2`.

Vectors are drawn around class centres, in the numbers, classes and folds of the suite `mini`; no audio is needed.
"""

import argparse
import time

import numpy as np
import torch

from uniwhisper.evaluation.knn import knn_predict
from uniwhisper.evaluation.scoring import score_task

# Task: clips, classes, folds, clips of a group.
MINI = {
    "esc50": (2000, 50, 5, 1),
    "fsd_instrument10": (300, 10, 5, 1),
    "philharmonia_instrument": (1324, 15, 5, 16),
    "philharmonia_pitch": (1218, 53, 5, 1),
    "philharmonia_pitch_new_instrument": (1218, 53, 5, 81),
    "fsdd": (1500, 10, 6, 250),
    "speech_commands_v2_testset": (2100, 12, 3, 7),
    "ravdess": (1439, 8, 4, 60),
    "speechocean_speaker": (840, 70, 4, 1),
    "speechocean_speaker_any_channel": (840, 70, 4, 1),
    "speechocean_sex": (840, 2, 5, 12),
    "speechocean_child": (840, 2, 5, 12),
    "speaker_count_synthetic": (640, 4, 5, 64),
}


def drawn(clips: int, classes: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors float32 (clips, width) with overlapping classes, and their classes."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(clips) % classes)
    centres = generator.normal(size=(classes, width)) * 0.3
    return (centres[labels] + generator.normal(size=(clips, width))).astype(np.float32), labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    vectors, labels = drawn(60_000, 50, 1280, 0)
    start = time.perf_counter()
    knn_predict(vectors[:50_000], labels[:50_000], vectors[50_000:], device=options.device)
    print(f"kNN, 10,000 queries against 50,000 vectors of 1,280: {time.perf_counter() - start:.1f} s")

    total = 0.0
    for place, (name, (clips, classes, folds, group)) in enumerate(MINI.items()):
        vectors, labels = drawn(clips, classes, 2 * options.width, place)
        groups = [str(clip // group) for clip in range(clips)]
        fold_of = [str(int(each) % folds) for each in groups]
        poolings = {"mean": vectors[:, : options.width], "mean_deviation": vectors}
        start, cpu = time.perf_counter(), time.process_time()
        score_task(
            name, poolings, labels, fold_of, groups, [str(fold) for fold in range(folds)],
            metric="accuracy", classes=classes, split_by=groups, seed=0, device=options.device,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        total += seconds
        print(f"{name:<34} {seconds:6.1f} s   {time.process_time() - cpu:6.1f} s of the processor", flush=True)
    print(
        f"{'clip tasks of mini, both poolings':<34} {total:6.1f} s   width {options.width}, {options.threads} threads"
    )


if __name__ == "__main__":
    main()
