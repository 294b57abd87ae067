"""Averages over a suite's tasks. A task trained on in the same corpus never meets one that was not."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from uniwhisper.evaluation.bootstrap import interval
from uniwhisper.evaluation.kept import ScoredTask
from uniwhisper.evaluation.scoring import MEASURES, PROBE_MEASURES
from uniwhisper.evaluation.suites import Suite

FRAMES = "frames"
"""Where scores of probes on frames stand, beside the poolings."""
SPEECH_MEASURE = "ctc"


def averages(suite: Suite, scored: Sequence[ScoredTask], poolings: Sequence[str]) -> dict[str, Any]:
    """`headline`: tasks that no training corpus shares; `in_domain`: the others. Variants are in neither.

    Per pooling and measure the mean of the domains' means, so that a domain of many tasks does not decide alone, and
    beside it the mean weighted by the clips of each task. A task without the measure is left out, and `tasks` says
    which are in.
    """
    sides = {"headline": False, "in_domain": True}
    result: dict[str, Any] = {}
    for side, in_domain in sides.items():
        tasks = [t for t in scored if t.result["variant_of"] is None and t.result["in_domain"] == in_domain]
        result[side] = {}
        for pooling in poolings:
            result[side][pooling] = {}
            for measure in MEASURES:
                parts = [(task, *place) for task in tasks if (place := place_of(task.result, pooling, measure))]
                if parts:
                    result[side][pooling][measure] = _average(suite, parts)
    return result


def place_of(task: dict[str, Any], pooling: str, measure: str) -> tuple[str, str] | None:
    """Pooling and measure under which a task's result stands in a column; None: it has nothing to say there.

    Probes on frames stand in the columns of trained probes whatever the pooling; speech recognition, which is one of
    them, in both.
    """
    scores = task["scores"]
    if measure in scores.get(pooling, {}):
        return pooling, measure
    on_frames = scores.get(FRAMES, {})
    if measure in on_frames:
        return FRAMES, measure
    if measure in PROBE_MEASURES and SPEECH_MEASURE in on_frames:
        return FRAMES, SPEECH_MEASURE
    return None


def weights_of(tasks: Sequence[dict[str, Any]]) -> list[float]:
    """Weight of each task in the mean of the domains' means; they sum to one."""
    inside = {task["domain"] for task in tasks}
    return [1 / (len(inside) * sum(other["domain"] == task["domain"] for other in tasks)) for task in tasks]


def _average(suite: Suite, parts: list[tuple[ScoredTask, str, str]]) -> dict[str, Any]:
    scores = np.array([task.result["scores"][pooling][measure]["score"] for task, pooling, measure in parts])
    weights = np.array(weights_of([task.result for task, _, _ in parts]))
    clips = np.array([task.result["clips"]["scored"] for task, _, _ in parts])
    draws = [task.draws.get(pooling, {}).get(measure) for task, pooling, measure in parts]
    low, high = None, None
    if all(each is not None for each in draws):
        low, high = interval(weights @ np.stack(draws))
    domains = {
        domain: float(np.mean([s for (t, _, _), s in zip(parts, scores, strict=True) if t.result["domain"] == domain]))
        for domain in suite.domains
        if any(task.result["domain"] == domain for task, _, _ in parts)
    }
    return {
        "score": float(weights @ scores),
        "low": low,
        "high": high,
        "clip_weighted": float(scores @ clips / clips.sum()),
        "domains": domains,
        "tasks": [task.result["name"] for task, _, _ in parts],
    }
