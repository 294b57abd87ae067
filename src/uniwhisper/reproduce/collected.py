"""Rows that were judged here or elsewhere and lie in one folder: their table is made without running anything."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from uniwhisper.core.errors import OutputError
from uniwhisper.core.identity import hash_file
from uniwhisper.evaluation.suites import load_suite
from uniwhisper.reproduce.chain import Chain
from uniwhisper.reproduce.job import Done, Job
from uniwhisper.reproduce.rows import ROWS, available_rows, steps_of
from uniwhisper.reproduce.state import read_row, read_written

_BEFORE = {"model": {"adapter_mean_tokens": 1, "adapter_unit_means": None}, "optimizer": {"ema_decay": None}}
"""By part of the recipe: what a run had that was written down before the field was there."""
_NO_LONGER_SAID = (("adapter_mean_linear", False),)
"""Fields that recipes had for a time, with the value that all have now."""


def collect(chain: Chain) -> list[Done]:
    """All that is judged in a chain's folder, in the order of `ROWS`. Models need not be there.

    Each row must have been trained by this chain's recipe on its manifest, and judged on its suite; all by one
    protocol. What cannot be seen without the models: that rows went on from the same weights.

    Raises:
        OutputError: nothing is judged there; a file is missing or not the one that was written; another plan.
    """
    found: list[Done] = []
    protocols: dict[str, Path] = {}
    for row in available_rows(chain.scale):
        folders = {path.name.removeprefix(f"{row}-seed"): path for path in chain.output.glob(f"{row}-seed*")}
        for number in sorted(filter(str.isdecimal, folders), key=int):
            folder = folders[number]
            state = read_row(folder)
            if "judged" not in state:
                continue
            one = _done(Job(row, int(number)), folder, state)
            _require_plan(chain, one, folder)
            result = json.loads(one.result.read_text("utf-8"))
            protocols.setdefault(f"{result['protocol']['name']} {result['protocol']['version']}", folder)
            _require(folder, "suite", load_suite(chain.scale.suite).hash, result["suite"]["hash"])
            found.append(one)
    if not found:
        raise OutputError(
            f"nothing is judged in {chain.output}",
            expected="folders ROW-seedN with row.json, the result and its .npz",
            got="none",
            fix="give the folder of an experiment with -o, or leave out --collect",
        )
    if len(protocols) > 1:
        first, second, *_ = protocols
        _require(protocols[second], "protocol", first, second)
    return found


def _done(job: Job, folder: Path, state: dict[str, Any]) -> Done:
    judged = state["judged"]
    for name, digest in judged["files"].items():
        path = folder / name
        _require(folder, name, digest, hash_file(path) if path.is_file() else "no such file")
    facts = state.get("chosen") or state["trained"]
    return Done(
        job=job,
        result=folder / judged["result"],
        commit=judged["commit"],
        **{name: facts[name] for name in ("model", "steps", "audio_seconds", "train_seconds")},
    )


def _require_plan(chain: Chain, one: Done, folder: Path) -> None:
    row = ROWS[one.job.row]
    if row.objective is None or not one.steps:
        return
    written = read_written(folder / "run" / "run.json")
    if not written:
        _require(folder, "run/run.json", "what training wrote there", "no such file")
    _require(folder, "training manifest", chain.manifest.hash, written["manifest_hash"])
    scale = chain.scale
    if row.name != "S" and "N" in row.steps:
        scale = replace(scale, start_steps=one.steps - steps_of(row, replace(scale, start_steps=0)))
    recipe = chain.recipe(one.job, scale, "start" if row.after else None)
    assert recipe is not None, "a row of steps has a recipe"
    expected, got = recipe.to_json(), written["recipe"]
    for part, before in _BEFORE.items():
        got[part] = before | {name: value for name, value in got[part].items() if (name, value) not in _NO_LONGER_SAID}
    for part in sorted(expected.keys() | got.keys()):
        _require(folder, f"recipe's {part}", _placeless(expected.get(part)), _placeless(got.get(part)))
    _require(folder, "learner", _placeless(chain.learners.of(row).describe()), _placeless(written.get("learner")))
    if row.objective == "instructions":
        asked = written.get("language_model_identity")
        _require(folder, "language model's weights", chain.learners.language_model_identity, str(asked))


def _placeless(part: Any) -> str:
    """A recipe's part without where models lie, which differs between machines."""
    if isinstance(part, dict):
        part = {name: value for name, value in part.items() if name not in ("start", "language_model", "workers")}
    return json.dumps(part, sort_keys=True)


def _require(folder: Path, what: str, expected: str, got: str) -> None:
    if expected != got:
        raise OutputError(
            f"{folder} is not of this experiment",
            expected=f"{what}: {expected[:300]}",
            got=got[:300],
            fix="move that folder away, or give the data and sizes it was made with",
        )
