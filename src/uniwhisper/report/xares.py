"""A result of the protocol `xares` as the page's tables want it: one pooling, weighted averages, no intervals."""

from collections.abc import Mapping
from pathlib import Path
from statistics import stdev
from typing import Any

from uniwhisper.report.results import Average, Result, Score, TaskResult, share

FORMAT = "uniwhisper-xares-result"
POOLING = "padded"
MEASURES = {"knn_xares": "knn", "probe": "probe"}
"""Measures of the page, kNN first as everywhere, by their names in the file."""


def read_xares(file: Path, content: Mapping[str, Any]) -> Result:
    """`content` of a result file.

    Raises:
        KeyError, TypeError, ValueError: it is incomplete, or a number is none.
    """
    model = content["model"]
    tasks = tuple(map(_task, content["tasks"]))
    if not tasks:
        raise ValueError("it holds no scores")
    if not {"weights", "code", "layer"} <= model["identity"].keys():
        raise ValueError("the model's identity is incomplete")
    averages = {
        measure: _average(content, key) for measure, key in MEASURES.items() if content["averages"][key] is not None
    }
    seeds = list(content["seeds"])
    return Result(
        file=file,
        label=str(model["label"]),
        source=str(model["source"]),
        width=int(model["width"]),
        identity={str(key): str(value) for key, value in model["identity"].items()},
        trained_on=None,
        hop_seconds=model.get("hop_seconds"),
        check=None,
        protocol=dict(content["protocol"]),
        suite={key: str(content["suite"][key]) for key in ("name", "hash", "description")},
        seeds={"first": seeds[0], "runs": len(seeds)},
        seconds=dict(content["seconds"]),
        command=str(content["command"]),
        provenance=dict(content["provenance"]),
        poolings=(POOLING,),
        measures=tuple(averages),
        averages={"headline": {POOLING: averages}, "in_domain": {}},
        tasks=tasks,
        not_run=tuple((str(name), str(reason)) for name, reason in content["not_run"].items()),
        clips_file=None,
    )


def _task(content: Mapping[str, Any]) -> TaskResult:
    clips = content["clips"]
    skipped = tuple((str(skip["id"]), str(skip["reason"])) for skip in clips["skipped"])
    if clips["used"] + len(skipped) != clips["expected"]:
        raise ValueError(f"task {content['name']}: {clips['used']} used and {len(skipped)} skipped of its clips")
    measures = {measure: content[key] for measure, key in MEASURES.items() if content[key] is not None}
    return TaskResult(
        name=str(content["name"]),
        description=str(content["description"]),
        domain=str(content["domain"]),
        kind=str(content["kind"]),
        metric=str(content["metric"]),
        synthetic=False,
        variant_of=None,
        in_domain=False,
        classes=int(content["classes"]),
        most_common=None,
        data=str(content["data"]),
        grouped_by=None,
        expected=int(clips["expected"]),
        used=int(clips["used"]),
        scored=int(clips["used"]),
        skipped=skipped,
        left_out={str(reason): int(count) for reason, count in clips["left_out"].items()},
        scores={POOLING: {measure: _score(each, content["splits"]) for measure, each in measures.items()}},
        notes=(f"weight {content['weight']:,}",),
    )


def _score(content: Mapping[str, Any], splits: list[str]) -> Score:
    by_run = content["folds"] if "seeds" in content else [content["folds"]]
    by_split = [sum(each) / len(each) for each in zip(*by_run, strict=True)]
    seeds = content.get("seeds", ())
    return Score(
        value=share(content["score"]),
        low=None,
        high=None,
        spread=stdev(by_split) if len(by_split) > 1 else None,
        seed_spread=stdev(seeds) if len(seeds) > 1 else None,
        folds=tuple((str(name), share(value)) for name, value in zip(splits, by_split, strict=True)),
    )


def _average(content: Mapping[str, Any], key: str) -> Average:
    """The file's own average; domains are weighted as it is."""
    found = content["averages"][key]
    inside = [task for task in content["tasks"] if task["name"] in found["tasks"]]
    domains = {}
    for domain in dict.fromkeys(task["domain"] for task in inside):
        tasks = [task for task in inside if task["domain"] == domain]
        weight = sum(task["weight"] for task in tasks)
        domains[str(domain)] = share(sum(task[key]["score"] * task["weight"] for task in tasks) / weight)
    return Average(share(found["score"]), None, None, None, domains, tuple(map(str, found["tasks"])))
