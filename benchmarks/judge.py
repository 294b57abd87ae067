"""How long the judge takes once the vectors are there: `python benchmarks/judge.py --width 384 --threads 2`.

Vectors are drawn around class centres, in the numbers, classes and folds of the suite `mini`; no audio is needed. First
the neighbours of a large task, for vectors with the spectrum of real ones and without any (`--neighbours`: only these).
"""

import argparse
import time

import numpy as np
import torch

from uniwhisper.evaluation import pruned
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


# Kind: exponents of the eigenvalues' decay up to the 30th and from there, common offset over deviation. The first two
# decay as a trained encoder's mean and deviation do in `mini`, raw and standardised (docs/decisions/0036); its mean
# alone decays faster.
SPECTRA = {"raw": (1.2, 1.7, 1.0), "standardised": (0.95, 1.3, 0.0), "isotropic": (0.0, 0.0, 0.0)}


def decaying(clips: int, width: int, first: float, then: float, offset: float) -> np.ndarray:
    """Vectors float32 (clips, width) of 50 classes with 40 sources each, their spectrum as in SPECTRA."""
    generator = np.random.default_rng(0)
    axis = np.arange(1, width + 1)
    deviation = np.sqrt(axis**-first * np.maximum(axis / 30, 1) ** (first - then))
    deviation = (deviation / np.linalg.norm(deviation)).astype(np.float32)
    source = generator.integers(2000, size=clips)
    parts = (
        [(0.3, 50, source % 50), (0.4, 2000, source), (0.3, clips, slice(None))] if first else [(1, clips, slice(None))]
    )
    vectors = sum(
        share**0.5 * generator.standard_normal((many, width), dtype=np.float32)[which] for share, many, which in parts
    )
    common = generator.standard_normal(width, dtype=np.float32)
    return vectors * deviation + offset * common / np.linalg.norm(common)


def time_neighbours(device: str) -> None:
    """Prints, per spectrum, kNN of 10,000 queries against 50,000 vectors of 1,280 and its share of the full product."""
    labels = np.arange(50_000) % 50
    for kind, spectrum in SPECTRA.items():
        vectors = decaying(60_000, 1280, *spectrum)
        start, cpu = time.perf_counter(), time.process_time()
        knn_predict(vectors[:50_000], labels, vectors[50_000:], device=device)
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
        unit_ND = torch.nn.functional.normalize(torch.from_numpy(vectors)).to(device)
        start, cpu = time.perf_counter(), time.process_time()
        pruned.full(unit_ND[:50_000], unit_ND[50_000:], 10)[0].cpu()
        whole, cpu_whole = time.perf_counter() - start, time.process_time() - cpu
        print(
            f"kNN 10,000 x 50,000 x 1,280, {kind:<12} {seconds:6.1f} s   {cpu_seconds:6.1f} s of the processor   "
            f"of the full product {seconds / whole:.2f}, {cpu_seconds / cpu_whole:.2f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--neighbours", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    time_neighbours(options.device)
    if options.neighbours:
        return

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
