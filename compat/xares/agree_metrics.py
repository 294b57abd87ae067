"""Our metrics of the protocol `xares` against the real ones, sed_eval and mir_eval, on random answers.

Started by `make compat-xares`; runs in the project's environment and `real_metrics.py` in this folder's.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from uniwhisper.evaluation.xares import metrics

HERE = Path(__file__).parent
TOLERANCE = 1e-6


def random_answers(seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    words = np.array(["ONE", "two", "Three", "four"])
    sentences = [" ".join(generator.choice(words, size)) for size in generator.integers(1, 8, 60)]
    return {
        "logits": generator.normal(-1.5, 1, (6, 523, 8)).astype(np.float32),
        "frames": (generator.random((6, 523, 8)) < 0.02).astype(np.float32),
        "predicted": (generator.random((5, 30, 8)) < 0.3).astype(np.int8),
        "targets": (generator.random((5, 30, 8)) < 0.3).astype(np.int8),
        "audio": generator.normal(size=(40, 6)).astype(np.float32),
        "texts": generator.normal(size=(200, 6)).astype(np.float32),
        "references": np.array(sentences[:30]),
        "hypotheses": np.array(
            [first if number % 3 else sentences[30 + number] for number, first in enumerate(sentences[:30])]
        ),
        "scores": generator.normal(size=(200, 12)).astype(np.float32),
        "several": (generator.random((200, 12)) < 0.2).astype(np.float32),
    }


def segment_score(given: dict[str, np.ndarray], hop_seconds: float, seconds: float, average: str) -> float:
    cut = [
        np.concatenate([metrics.segments(clip, hop_seconds=hop_seconds, segment_seconds=seconds) for clip in clips])
        for clips in (metrics.decide(given["logits"]), given["frames"].astype(np.int8))
    ]
    return metrics.segment_f1(*cut, average=average)


def ours(given: dict[str, np.ndarray]) -> dict[str, float]:
    predicted, targets = np.concatenate(given["predicted"]), np.concatenate(given["targets"])
    micro = metrics.segment_f1(predicted, targets, average="micro")
    return {
        "xares segmentf1_macro": segment_score(given, 0.02, 1.0, "macro"),
        "xares segmentf1_micro": segment_score(given, 0.04, 0.1, "micro"),
        "xares recallatk_r1": metrics.recall_at_1(given["audio"], given["texts"]),
        "xares WER_inv": metrics.inverse_word_error_rate(given["references"].tolist(), given["hypotheses"].tolist()),
        "xares mAP": metrics.mean_average_precision(given["scores"], given["several"]),
        "sed_eval macro": metrics.segment_f1(predicted, targets, average="macro"),
        "sed_eval micro": micro,
        "mir_eval micro": micro,
    }


def main() -> None:
    given = random_answers(0)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        np.savez(work / "in.npz", **given)
        subprocess.run(
            [HERE / ".venv/bin/python", HERE / "real_metrics.py", work / "in.npz", work / "out.npz"], check=True
        )
        theirs = {name: float(value) for name, value in np.load(work / "out.npz").items()}
    print("| metric of random answers | theirs | ours |\n|---|---:|---:|")
    mine = ours(given)
    assert mine.keys() == theirs.keys()
    for name, value in theirs.items():
        print(f"| {name} | {value:.6f} | {mine[name]:.6f} |")
    different = [name for name, value in theirs.items() if not abs(value - mine[name]) <= TOLERANCE]
    print(f"differ: {', '.join(different)}" if different else "every metric is the same")
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
