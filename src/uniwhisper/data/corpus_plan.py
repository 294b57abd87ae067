"""A plan: which corpora, how often each is drawn, and what that costs before a single hour was downloaded.

Everything is arithmetic on `corpus_plan.json`. Hours are those that publishers state; cost is computed from the number
of parameters, not measured, and every assumption is an argument.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from uniwhisper.core.errors import ManifestError
from uniwhisper.data.corpora import DOMAINS
from uniwhisper.data.named import describe_recipe
from uniwhisper.data.published.registry import published_corpora

OPEN = "open"
TERMS = (OPEN, "nc", "nd", "unstated")

# Floating-point operations to train on a second of audio, Whisper large-v3 with Qwen3-0.6B: 2 for each parameter and
# position forward, twice that backward (once in the frozen language model, whose weights need no gradient), plus the
# attention of 1,500 frames. 635 M encoder parameters at 50 frames a second; 440 M parameters of the language model,
# without its embeddings, at 12.5 audio tokens and about 2 text tokens a second.
_ENCODER_FLOPS = 50 * (2 * 635e6 + 32 * 4 * 1500 * 1280) * 3
_LANGUAGE_MODEL_FLOPS = 14.5 * 2 * 440e6 * 2
FLOPS_PER_AUDIO_SECOND = _ENCODER_FLOPS + _LANGUAGE_MODEL_FLOPS
H100_FLOPS = 989e12
"""Dense bfloat16 peak of one H100 SXM, as its data sheet says."""


@dataclass(frozen=True, slots=True)
class PlannedCorpus:
    """A row of the plan."""

    name: str
    domain: str
    hours: float
    licence: str
    terms: str
    tasks: tuple[str, ...]
    reader: str
    """own, lhotse, table or hub: how `data prepare` reads it."""
    kbps: float
    """Bit rate as distributed, kilobits per second of audio."""
    note: str
    weight: float
    """Probability that a clip is drawn from it."""
    steps: float
    """Its share of the optimizer steps."""
    gpu_hours: float
    disk_gib: float
    passes: float
    """How often each of its hours is heard on average."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A mixture with its cost."""

    name: str
    about: str
    corpora: tuple[PlannedCorpus, ...]
    """By domain, then as in the table."""

    @property
    def total_hours(self) -> float:
        return sum(corpus.hours for corpus in self.corpora)

    def of(self, domain: str) -> tuple[PlannedCorpus, ...]:
        """The corpora of one domain."""
        return tuple(corpus for corpus in self.corpora if corpus.domain == domain)

    @property
    def tasks(self) -> set[str]:
        """Every task that some corpus answers."""
        return {task for corpus in self.corpora for task in corpus.tasks}


def plan_names() -> list[str]:
    """The plans that are shipped."""
    return list(_table()["plans"])


def make_plan(
    name: str,
    *,
    permissive_only: bool = False,
    passes: float = 1.0,
    step_seconds: float = 3840.0,
    utilisation: float = 0.3,
) -> Plan:
    """The plan `name`.

    Args:
        permissive_only: leave out corpora whose audio may not be used commercially or changed, or has no stated terms.
        passes: hours heard in training over hours of the full plan.
        step_seconds: audio in one optimizer step, all ranks together.
        utilisation: share of an H100's peak that training reaches.

    Raises:
        ManifestError: no such plan.
    """
    if name not in _table()["plans"]:
        raise ManifestError(
            f"no plan is called {name!r}", expected=f"one of {plan_names()}", got=repr(name), fix="name one of these"
        )
    described = _table()["plans"][name]
    every = [_filled_in(entry) for entry in described["corpora"]]
    kept = [entry for entry in every if entry["terms"] == OPEN] if permissive_only else every
    domains = [domain for domain in DOMAINS if any(entry["domain"] == domain for entry in kept)]
    heard_hours = passes * sum(entry["hours"] for entry in kept)
    gpu_hours_per_hour = FLOPS_PER_AUDIO_SECOND / (utilisation * H100_FLOPS)
    weights = described["domain_weights"]
    total = sum(weights[domain] for domain in domains)
    rows = []
    for domain in domains:
        entries = [entry for entry in kept if entry["domain"] == domain]
        # As the mixture draws: a corpus by size ** temperature, within its domain.
        shares = [entry["hours"] ** described["corpus_temperature"] for entry in entries]
        for entry, share in zip(entries, shares, strict=True):
            weight = weights[domain] / total * share / sum(shares)
            hours = weight * heard_hours
            rows.append(
                PlannedCorpus(
                    **entry,
                    weight=weight,
                    steps=hours * 3600 / step_seconds,
                    gpu_hours=hours * gpu_hours_per_hour,
                    disk_gib=entry["hours"] * 3600 * entry["kbps"] * 1000 / 8 / 2**30,
                    passes=hours / entry["hours"],
                )
            )
    return Plan(name, described["about"], tuple(rows))


@dataclass(frozen=True, slots=True)
class Cost:
    """What leaving corpora out costs."""

    left_out: tuple[PlannedCorpus, ...]
    hours_by_terms: dict[str, float]
    hours_by_domain: dict[str, tuple[float, float]]
    """Domain -> hours before and after."""
    tasks_lost: tuple[str, ...]
    most_repeated: PlannedCorpus
    """Of the smaller plan: the corpus whose hours are heard most often, among those of ten hours and more."""


def cost_of(full: Plan, smaller: Plan) -> Cost:
    """What `smaller` lacks of `full`."""
    kept = {corpus.name for corpus in smaller.corpora}
    left_out = tuple(corpus for corpus in full.corpora if corpus.name not in kept)
    by_terms = {terms: _hours(row for row in left_out if row.terms == terms) for terms in TERMS if terms != OPEN}
    by_domain = {domain: (_hours(full.of(domain)), _hours(smaller.of(domain))) for domain in DOMAINS}
    large = [corpus for corpus in smaller.corpora if corpus.hours >= 10]
    repeated = max(large or smaller.corpora, key=lambda corpus: corpus.passes)
    return Cost(left_out, by_terms, by_domain, tuple(sorted(full.tasks - smaller.tasks)), repeated)


def _hours(corpora: Iterable[PlannedCorpus]) -> float:
    return sum(corpus.hours for corpus in corpora)


def _filled_in(entry: dict[str, Any]) -> dict[str, Any]:
    known: dict[str, Any] = {}
    if entry["reader"] == "own":
        own = published_corpora()[entry["name"]]
        known = {"domain": own.domain, "hours": own.hours, "licence": own.licence, "tasks": list(own.tasks)}
    elif entry["reader"] == "lhotse":
        recipe = describe_recipe(entry["name"])
        known = {"licence": recipe["licence"], "tasks": list(recipe["tasks"])}
    entry = {**known, **entry}
    tasks: Sequence[str] = entry["tasks"]
    return {"note": "", **entry, "tasks": tuple(tasks)}


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    return json.loads(files("uniwhisper.data").joinpath("corpus_plan.json").read_text(encoding="utf-8"))
