"""The gate before the long runs: does a frozen language model cost anything, on held-out training clips?

Two short runs from S, alike but that one trains its language model along; both are judged on the development suite.
U with the frozen one must come within a stated distance of the other, by MLP and by kNN; else the chain stops.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniwhisper.core.errors import RecipeError
from uniwhisper.evaluation.compare import Opened, open_result
from uniwhisper.evaluation.suites import load_suite
from uniwhisper.evaluation.words import MEASURE_NAMES
from uniwhisper.reproduce import stages
from uniwhisper.reproduce.differences import HEADLINE, MEASURES, differences
from uniwhisper.reproduce.job import Job, Made
from uniwhisper.reproduce.start import require_development
from uniwhisper.training.checkpoint import write_json

if TYPE_CHECKING:
    from uniwhisper.reproduce.chain import Chain

FOLDER_NAME, JSON_NAME = "gate", "gate.json"
FROZEN, TRAINED = "U", "LM-pretrained-trained"


def pass_or_refuse(chain: "Chain", seed: int, start_of: Callable[[int], Made], say: Callable[[str], None]) -> None:
    """Run the gate unless it was run, write `gate.json`, and refuse to go on if it is not passed.

    Args:
        seed: of the gate's rows, unless it was run with another in this folder.
        start_of: gives S of a seed.

    Raises:
        RecipeError: not passed, and the chain was not told to go on.
    """
    steps = chain.scale.gate_steps
    if steps is None:
        return
    written = read_gate(chain.output)
    seed = seed if written is None else written["seed"]
    start = chain.found(start_of(seed).model)
    require_development(chain.scale, chain.development, chain.manifest)
    assert chain.development is not None, "required above"
    scale = replace(chain.scale, name=f"{chain.scale.name} gate", steps=steps, suite=chain.scale.development)
    short = replace(chain, scale=scale, output=chain.output / FOLDER_NAME, evaluation=chain.development)
    made, results = {}, {}

    def aside(text: str) -> None:
        say(f"gate: {text}")

    for row in (FROZEN, TRAINED):
        job = Job(row, seed)
        made[row] = short.make(job, scale, start, aside)
        judged = made[row].state.done("judged") or stages.judge(short, job, made[row], aside)
        results[row] = made[row].state.folder / judged["result"]
    found = _outcome(chain, seed, made, results)
    before = written is not None and written["went_on"]
    found["went_on"] = not found["passed"] and (chain.despite_gate or before)
    write_json(chain.output / JSON_NAME, found)
    for line in sentences(found):
        say(f"gate: {line}")
    if not found["passed"] and not chain.despite_gate:
        raise RecipeError(
            "the gate before the long runs is not passed",
            expected=f"U with the frozen language model at most {found['within']:g} below U with a trained one",
            got="; ".join(sentences(found)[1:]),
            fix="pretrain a better language model (uniwhisper pretrain-lm), or --despite-gate to go on anyway",
        )


def read_gate(output: Path) -> dict[str, Any] | None:
    """What the gate gave in a chain's folder, with those of its results that are there; None: it was not run."""
    path = output / JSON_NAME
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    return found | {"results": {row: one for row, one in found["results"].items() if (output / one).is_file()}}


def sentences(found: Mapping[str, Any]) -> list[str]:
    """What the gate gave, in words."""
    verdict = "Passed" if found["passed"] else "NOT passed"
    if found["went_on"]:
        verdict += "; the chain went on because it was told to (--despite-gate)"
    lines = [
        f"{verdict}: after {found['steps']:,} steps from S, seed {found['seed']}, on suite {found['suite']['name']}, "
        f"the frozen language model may be at most {found['within']:g} below the trained one"
    ]
    for measure, one in found["measures"].items():
        lines.append(
            f"{MEASURE_NAMES[measure]}: frozen {one['frozen']:.3f}, trained {one['trained']:.3f}, frozen minus trained "
            f"{one['difference']:+.3f} [{one['low']:+.3f}, {one['high']:+.3f}]"
        )
    return lines


def markdown(found: Mapping[str, Any] | None) -> list[str]:
    """The gate's outcome, line by line; nothing where it was not run."""
    if found is None:
        return []
    first, *figures = sentences(found)
    results = found["results"]
    links = ", ".join(f"[{row}]({results[row]})" if row in results else row for row in found["audio_seconds"])
    audio = " and ".join(f"{value:,.0f}" for value in found["audio_seconds"].values())
    return [
        "", "## The gate before the long runs", "", f"**{first}.** Results: {links}; {audio} s of audio.", "",
        *(f"- {line}" for line in figures),
    ]  # fmt: skip


def _outcome(chain: "Chain", seed: int, made: Mapping[str, Made], results: Mapping[str, Path]) -> dict[str, Any]:
    opened = {row: open_result(path) for row, path in results.items()}
    compared = differences([(opened[TRAINED], opened[FROZEN])])
    measures = {}
    for measure in MEASURES:
        one = compared[HEADLINE, measure]
        scores = {name: _headline(opened[row], measure) for name, row in (("frozen", FROZEN), ("trained", TRAINED))}
        measures[measure] = scores | {"difference": one.difference, "low": one.low, "high": one.high}
    suite = load_suite(chain.scale.development)
    return {
        "passed": all(one["difference"] >= -chain.scale.gate_within for one in measures.values()),
        "within": chain.scale.gate_within,
        "steps": chain.scale.gate_steps,
        "seed": seed,
        "suite": {"name": suite.name, "hash": suite.hash},
        "measures": measures,
        "audio_seconds": {row: one.audio_seconds for row, one in made.items()},
        "results": {row: path.relative_to(chain.output).as_posix() for row, path in results.items()},
        "command": f"{chain.command} --row {FROZEN} --seed {seed}",
    }


def _headline(opened: Opened, measure: str) -> float:
    return opened.result["averages"]["headline"][opened.result["poolings"][0]][measure]["score"]
