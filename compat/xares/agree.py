"""Does our protocol `xares` agree with the real X-ARES 0.1.3 on the same vectors of the same real clips?

    make compat-xares DATA=folder

Runs in the project's environment and starts `real.py` in this folder's; the two exchange .npz files only.
For every set and encoder:

kNN      the real score of every fold, in every run, and ours
replay   the real probe's first run again in ours: its own initial weights, its own order of clips; the accuracy after
         every epoch, which chooses the epoch, and the score of every fold
spread   the mean score over folds of `--runs` runs of each: X-ARES draws its order anew, ours draws from seeds
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from uniwhisper.data.archive import index_archive, read_member
from uniwhisper.evaluation.encoders import open_encoder
from uniwhisper.evaluation.xares import probe
from uniwhisper.evaluation.xares.metrics import accuracy
from uniwhisper.evaluation.xares.scoring import BATCH_CLIPS, score_clips

HERE = Path(__file__).parent
LABELS = {"esc50": "label", "fsdd": "label", "ravdess": "label"}


def vectors_of(model: str, folder: Path, field: str) -> dict[str, np.ndarray]:
    """One vector per clip; a fold per archive, in the order of the archives' names."""
    archives = sorted(folder.glob("*.tar"))
    if not archives:
        sys.exit(f"{folder} holds no .tar; type DATA=FOLDER, the one that holds esc50, fsdd and ravdess")
    encoder = open_encoder(model, device="cpu").encoder
    sources, labels, folds = [], [], []
    for fold, archive in enumerate(archives):
        for clip in index_archive(archive):
            sources.append(read_member(archive, clip.offset, clip.size))
            labels.append(str(clip.fields[field]))
            folds.append(fold)
    vectors_ND = encoder.embed(sources, on_error="raise").vectors
    labels_N = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    return {"vectors": vectors_ND, "labels": labels_N, "folds": np.array(folds, dtype=np.int64)}


def real(arrays: dict[str, np.ndarray], runs: int, work: Path, name: str) -> dict[str, np.ndarray]:
    np.savez(work / "in.npz", **arrays)
    environment = os.environ | {"TQDM_DISABLE": "1"}
    log = work / f"{name}.log"
    with log.open("w") as stream:
        ended = subprocess.run(
            [HERE / ".venv/bin/python", HERE / "real.py", work / "in.npz", work / "out.npz", "--runs", str(runs)],
            stdout=stream,
            stderr=stream,
            env=environment,
        )
    if ended.returncode:
        sys.exit(f"X-ARES failed on {name}:\n{log.read_text()[-3000:]}")
    return dict(np.load(work / "out.npz"))


def folds_of(arrays: dict[str, np.ndarray]) -> list[tuple[list[np.ndarray], np.ndarray]]:
    """Shards to train on and rows to score, for each fold."""
    shards = [np.flatnonzero(arrays["folds"] == fold) for fold in range(arrays["folds"].max() + 1)]
    return [([*shards[:fold], *shards[fold + 1 :]], shards[fold]) for fold in range(len(shards))]


def replay(arrays: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> dict[str, float]:
    runs = [
        probe.ProbeRun([epoch[epoch >= 0] for epoch in theirs["order"][fold]], scored, scored)
        for fold, (_, scored) in enumerate(folds_of(arrays))
    ]
    weights = [tuple(map(torch.from_numpy, pair)) for pair in zip(theirs["weight"], theirs["bias"], strict=True)]
    answers = probe.train_probes(
        arrays["vectors"], arrays["labels"], runs, weights=weights, batch_clips=BATCH_CLIPS, score=accuracy
    )
    chosen_by = np.array([answer.chosen_by for answer in answers])
    scores = np.array([max(answer.chosen_by) for answer in answers])
    return {
        "epochs": chosen_by.size,
        "equal_epochs": int((np.abs(chosen_by - theirs["chosen_by"]) < 1e-6).sum()),
        "largest_epoch_difference": float(np.abs(chosen_by - theirs["chosen_by"]).max()),
        "largest_fold_difference": float(np.abs(scores - theirs["probe"][0]).max()),
    }


def compare(arrays: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> dict:
    real_runs = theirs["probe"].mean(axis=1)
    scores = score_clips(arrays["vectors"], arrays["labels"], arrays["folds"].tolist(), seeds=range(len(real_runs)))
    our = np.array(scores.probe)
    return {
        "clips": len(arrays["labels"]),
        "knn": {
            "real": float(theirs["knn"].mean()),
            "ours": scores.knn,
            "folds_equal": bool((np.abs(theirs["knn"] - scores.knn_folds) < 1e-9).all()),
        },
        "replay": replay(arrays, theirs),
        "probe": {
            "runs": len(real_runs),
            "real": _spread(real_runs),
            "ours": _spread(our),
            "difference": float(our.mean() - real_runs.mean()),
            "within_spread": bool(real_runs.min() <= our.mean() <= real_runs.max()),
        },
    }


def _spread(scores: np.ndarray) -> dict:
    return {
        "mean": float(scores.mean()),
        "deviation": float(scores.std(ddof=1)),
        "range": [float(scores.min()), float(scores.max())],
    }


def table(results: dict[str, dict]) -> str:
    lines = [
        "| set, encoder | clips | kNN real | kNN ours | probe real, mean ± deviation (range) | probe ours | difference "
        "| epochs replayed alike | largest difference of a fold, replayed |",
        "|---|---:|---:|---:|---|---|---:|---:|---:|",
    ]
    for name, result in results.items():
        probes, again = result["probe"], result["replay"]
        cells = [
            f"{side['mean']:.4f} ± {side['deviation']:.4f} ({side['range'][0]:.4f}–{side['range'][1]:.4f})"
            for side in (probes["real"], probes["ours"])
        ]
        lines.append(
            f"| {name} | {result['clips']:,} | {result['knn']['real']:.4f} | {result['knn']['ours']:.4f} "
            f"| {cells[0]} | {cells[1]} | {probes['difference']:+.4f} "
            f"| {again['equal_epochs']} of {again['epochs']} | {again['largest_fold_difference']:.4f} |"
        )
    return "\n".join(lines)


def failures(results: dict[str, dict]) -> list[str]:
    found = []
    for name, result in results.items():
        if not result["knn"]["folds_equal"]:
            found.append(f"{name}: kNN differs: {result['knn']}")
        if not result["probe"]["within_spread"]:
            found.append(f"{name}: the probe's mean lies outside the real runs: {result['probe']}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds esc50, fsdd and ravdess")
    parser.add_argument("--sets", nargs="+", default=list(LABELS), choices=list(LABELS))
    parser.add_argument("--models", nargs="+", default=["default", "log-mel"])
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--output", type=Path, help="write the figures there as JSON")
    options = parser.parse_args()
    torch.set_num_threads(2)  # as X-ARES does
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.sets:
            for model in options.models:
                arrays = vectors_of(model, options.data / name, LABELS[name])
                theirs = real(arrays, options.runs, Path(folder), f"{name}-{model}")
                results[f"{name}, {model}"] = compare(arrays, theirs)
                if options.output:
                    options.output.write_text(json.dumps(results, indent=2) + "\n")
                print(f"{name}, {model}: done", file=sys.stderr, flush=True)
    print(table(results))
    broken = failures(results)
    print("\n".join(broken) or "agreed: every kNN score is the same, every probe's mean lies within the real runs")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
