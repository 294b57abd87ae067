"""A result of the protocol `xares` in the shape of one of `clean`: one pooling, weighted averages, no intervals."""

from collections.abc import Mapping
from statistics import stdev
from typing import Any

FORMAT = "uniwhisper-xares-result"
POOLING = "padded"
MEASURES = {"knn_xares": "knn", "probe": "probe"}
"""Measures of the page, kNN first as everywhere, by their names in the file."""
_NO_INTERVAL = {"low": None, "high": None}


def as_clean(content: Mapping[str, Any]) -> dict[str, Any]:
    """`content` of a result file, where what clean alone knows is None or empty; nothing is checked here.

    Raises:
        KeyError, TypeError, ValueError: it is incomplete.
    """
    averages = {
        measure: _average(content, key) for measure, key in MEASURES.items() if content["averages"][key] is not None
    }
    seeds = list(content["seeds"])
    return dict(content) | {
        "poolings": [POOLING],
        "measures": list(averages),
        "averages": {"headline": {POOLING: averages}, "in_domain": {}},
        "tasks": [_task(task) for task in content["tasks"]],
        "not_run": content["not_run"].items(),
        "seeds": {"first": seeds[0], "runs": len(seeds)},
        "clips_file": None,
    }


def _task(content: Mapping[str, Any]) -> dict[str, Any]:
    measures = {measure: content[key] for measure, key in MEASURES.items() if content[key] is not None}
    return dict(content) | {
        "synthetic": False,
        "variant_of": None,
        "in_domain": False,
        "most_common": None,
        "grouped_by": None,
        "clips": content["clips"] | {"scored": content["clips"]["used"]},
        "scores": {POOLING: {measure: _score(each, content["splits"]) for measure, each in measures.items()}},
        "notes": [f"weight {content['weight']:,}"],
    }


def _score(content: Mapping[str, Any], splits: list[str]) -> dict[str, Any]:
    by_run = content["folds"] if "seeds" in content else [content["folds"]]
    by_split = [sum(each) / len(each) for each in zip(*by_run, strict=True)]
    seeds = content.get("seeds", ())
    return _NO_INTERVAL | {
        "score": content["score"],
        "spread": stdev(by_split) if len(by_split) > 1 else None,
        "seed_spread": stdev(seeds) if len(seeds) > 1 else None,
        "folds": [{"fold": name, "score": value} for name, value in zip(splits, by_split, strict=True)],
    }


def _average(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The file's own average; domains are weighted as it is."""
    found = content["averages"][key]
    inside = [task for task in content["tasks"] if task["name"] in found["tasks"]]
    domains = {}
    for domain in dict.fromkeys(task["domain"] for task in inside):
        tasks = [task for task in inside if task["domain"] == domain]
        weight = sum(task["weight"] for task in tasks)
        domains[domain] = sum(task[key]["score"] * task["weight"] for task in tasks) / weight
    return _NO_INTERVAL | {
        "score": found["score"], "clip_weighted": None, "domains": domains, "tasks": found["tasks"]
    }  # fmt: skip
