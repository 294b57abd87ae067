"""Results of protocol `clean` 1 in the form of version 2, so that old files can still be read, never mixed."""

from collections import defaultdict
from typing import Any

POOLING = "own"


def upgraded(content: dict[str, Any]) -> dict[str, Any]:
    """The content of a result file of version 1 as one of version 2 with a single pooling; scores are untouched.

    Raises:
        KeyError, TypeError, ValueError: it is incomplete.
    """
    measures = list(content["headline"])
    tasks = [
        {
            **task,
            "kind": "clip",
            "synthetic": False,
            "variant_of": None,
            "in_domain": content["suite"]["name"] == "dev",
            "grouped_by": None,
            "scores": {POOLING: task["scores"]},
        }
        for task in content["tasks"]
    ]
    averages = {POOLING: {m: _average(content["headline"][m], tasks, m) for m in measures}}
    side = "in_domain" if content["suite"]["name"] == "dev" else "headline"
    return content | {
        "format_version": 2,
        "poolings": [POOLING],
        "measures": measures,
        "averages": {"headline": {}, "in_domain": {}} | {side: averages},
        "tasks": tasks,
        "clips_file": content.get("clips_file", {"name": "", "sha256": ""}),
    }


def _average(headline: dict[str, Any], tasks: list[dict[str, Any]], measure: str) -> dict[str, Any]:
    by_domain = defaultdict(list)
    for task in tasks:
        by_domain[task["domain"]].append(task["scores"][POOLING][measure]["score"])
    clips = sum(task["clips"]["scored"] for task in tasks)
    weighted = sum(task["scores"][POOLING][measure]["score"] * task["clips"]["scored"] for task in tasks)
    return headline | {
        "clip_weighted": weighted / clips,
        "domains": {domain: sum(scores) / len(scores) for domain, scores in by_domain.items()},
        "tasks": [task["name"] for task in tasks],
    }
