"""Result files of version 2 with answers drawn here: scores are counted from the answers, so that all fits together."""

import copy
import hashlib
import io
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np

MEASURES = ("knn", "knn_standardised", "linear", "mlp")
POOLINGS = ("mean", "mean_deviation")
FOLDS = ("a", "b")


def toy_task(name: str, domain: str = "music", classes: int = 4, clips: int = 40, **changes: Any) -> dict[str, Any]:
    """What a task's entry says besides scores."""
    return {
        "name": name,
        "description": f"what {name} is",
        "domain": domain,
        "kind": "clip",
        "metric": "accuracy",
        "synthetic": False,
        "variant_of": None,
        "folder": name,
        "in_domain": False,
        "in_domain_corpora": [],
        "trained_on": None,
        "classes": classes,
        "most_common": 0.277,
        "data": f"data of {name}",
        "grouped_by": None,
        "clips": {"expected": clips, "used": clips, "scored": clips, "skipped": [], "left_out": {}},
        "notes": [],
        **changes,
    }


TASKS = (toy_task("one", "music", 4), toy_task("two", "speech", 3, 60))


def toy_result(
    label: str = "log-mel", accuracy: float = 0.5, tasks: tuple[dict[str, Any], ...] = TASKS, **changes: Any
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A result file's content and the arrays beside it."""
    arrays: dict[str, np.ndarray] = {}
    scored = []
    for task in copy.deepcopy(tasks):
        name, clips = task["name"], task["clips"]["scored"]
        labels_N = np.arange(clips) % task["classes"]
        folds = np.array([FOLDS[2 * place // clips] for place in range(clips)])
        arrays |= {
            f"{name}/id": np.array([f"clip-{place}" for place in range(clips)]),
            f"{name}/fold": folds,
            f"{name}/group": np.array([f"group-{place // 4}" for place in range(clips)]),
            f"{name}/label": labels_N,
            f"{name}/classes": np.array([f"class {place}" for place in range(task["classes"])]),
        }
        scores: dict[str, dict[str, Any]] = {}
        for pooling in POOLINGS:
            scores[pooling] = {}
            for measure in MEASURES:
                generator = np.random.default_rng(zlib.crc32(f"{label}/{name}/{pooling}/{measure}".encode()))
                seeds = 1 if measure.startswith("knn") else 2
                right_SN = generator.random((seeds, clips)) < accuracy
                answers_SN = np.where(right_SN, labels_N, (labels_N + 1) % task["classes"]).astype(np.int64)
                arrays[f"{name}/{pooling}/{measure}"] = answers_SN
                scores[pooling][measure] = _score(answers_SN == labels_N, folds)
        scored.append(task | {"scores": scores})
    content = {
        "format": "uniwhisper-result",
        "format_version": 2,
        "protocol": {"name": "clean", "version": 4, "interval": {"level": 0.95}, "knn": {"k": 10}},
        "suite": {"name": "toy", "hash": "5" * 64, "description": "A toy."},
        "model": {
            "label": label,
            "source": label,
            "width": 160,
            "identity": {"weights": label.encode().hex().ljust(64, "0"), "code": "0.1+c", "layer": "1"},
            "trained_on": None,
            "hop_seconds": 0.02,
        },
        "encoder_check": {"version": 1, "passed": True, "measured": {"hop_seconds": 0.02}, "findings": []},
        "command": f"uniwhisper evaluate --model {label} --suite toy --data DIR",
        "poolings": list(POOLINGS),
        "measures": list(MEASURES),
        "averages": {side: _averages(scored, side == "in_domain") for side in ("headline", "in_domain")},
        "tasks": scored,
        "seeds": {"first": 0},
        "seconds": {"total": 12.3, "vectors": 4.5},
        "provenance": {"commit": "abc", "code": "0.1+c", "python": "3.11", "packages": {"torch": "2.15"}},
    }
    return content | changes, arrays


def write_result(folder: Path, name: str, content: dict[str, Any], arrays: dict[str, np.ndarray] | None = None) -> Path:
    """Write `name`.json, and the arrays beside it unless they are None."""
    folder.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    np.savez_compressed(stream, **(arrays or {}))
    if arrays is not None:
        (folder / f"{name}.npz").write_bytes(stream.getvalue())
    clips_file = {"name": f"{name}.npz", "sha256": hashlib.sha256(stream.getvalue()).hexdigest()}
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"clips_file": clips_file} | content))
    return path


def _score(right_SN: np.ndarray, folds: np.ndarray) -> dict[str, Any]:
    by_fold = [right_SN[:, folds == fold].mean() for fold in FOLDS]
    value = float(np.mean(by_fold))
    return {
        "score": value,
        "low": max(0.0, value - 0.0456),
        "high": min(1.0, value + 0.0321),
        "spread": float(np.std(by_fold, ddof=1)),
        "seeds": [value] * len(right_SN),
        "seed_spread": None if len(right_SN) == 1 else 0.0141,
        "folds": [
            {"fold": fold, "score": float(score), "clips": int((folds == fold).sum())}
            for fold, score in zip(FOLDS, by_fold, strict=True)
        ],
    }


def _averages(tasks: list[dict[str, Any]], in_domain: bool) -> dict[str, Any]:
    inside = [task for task in tasks if task["in_domain"] == in_domain and task["variant_of"] is None]
    found: dict[str, Any] = {pooling: {} for pooling in POOLINGS}
    for pooling in POOLINGS if inside else ():
        for measure in MEASURES:
            values = [task["scores"][pooling][measure]["score"] for task in inside]
            clips = [task["clips"]["scored"] for task in inside]
            names = dict.fromkeys(task["domain"] for task in inside)
            domains = {
                name: float(np.mean([v for v, task in zip(values, inside, strict=True) if task["domain"] == name]))
                for name in names
            }
            value = float(np.mean(list(domains.values())))
            found[pooling][measure] = {
                "score": value,
                "low": max(0.0, value - 0.03),
                "high": min(1.0, value + 0.03),
                "clip_weighted": float(np.average(values, weights=clips)),
                "domains": domains,
                "tasks": [task["name"] for task in inside],
            }
    return found
