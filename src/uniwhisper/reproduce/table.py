"""The table: scores of every row over its seeds, differences with their intervals, and what made each number."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from uniwhisper.core.files import atomic_output
from uniwhisper.evaluation.compare import Opened, open_result
from uniwhisper.evaluation.suites import load_suite
from uniwhisper.model.config import WHISPER_SIZES
from uniwhisper.model.encoder import WhisperEncoder
from uniwhisper.reproduce import (
    answered,
    content,
    efficiency,
    examined,
    floors,
    gate,
    growth_table,
    overview,
    sizes,
    start,
)
from uniwhisper.reproduce.by_seed import pairs_of
from uniwhisper.reproduce.chain import Chain
from uniwhisper.reproduce.compared import COMPARED
from uniwhisper.reproduce.differences import MEASURES, differences, levels
from uniwhisper.reproduce.equal import equalities
from uniwhisper.reproduce.job import Done, Job
from uniwhisper.reproduce.rows import ROWS
from uniwhisper.training.checkpoint import write_json

JSON_NAME, PAGE_NAME = "table.json", "table.md"


def summarise(chain: Chain, done: Sequence[Done]) -> dict[str, Any]:
    """Everything the table shows, as a JSON object; paths are relative to the chain's folder."""
    results = {one.job: open_result(one.result) for one in done}
    names = list(dict.fromkeys(one.job.row for one in done))
    rows = []
    for name in names:
        runs = [one for one in done if one.job.row == name]
        averages = [_headline(results[one.job].result) for one in runs]
        rows.append(
            _levels(chain, runs, results)
            | {
                "row": name,
                "what": ROWS[name].what,
                "steps": sorted({one.steps for one in runs}),
                "audio_seconds": float(np.mean([one.audio_seconds for one in runs])),
                "train_seconds": float(np.mean([one.train_seconds for one in runs])),
                "scores": {measure: _mean(averages, measure) for measure in MEASURES},
                "runs": [_provenance(chain, one) for one in runs],
            }
        )
    found = []
    for first, second in COMPARED:
        pairs = pairs_of(results, first, second)
        if pairs:
            compared = [
                {"of": of, "measure": m} | asdict(one) for (of, m), one in differences([*pairs.values()]).items()
            ]
            found.append({"first": first, "second": second, "seeds": [*pairs], "differences": compared})
    protocol = results[done[0].job].result["protocol"]
    suite = load_suite(chain.scale.suite)
    return {
        "scale": chain.scale.name,
        "size": chain.scale.size,
        "encoder_parameters": _parameters(chain.scale.size),
        "sizes_page": f"../{sizes.PAGE_NAME}" if chain.output.name == chain.scale.size else None,
        "plan": {
            "suite": suite.name,
            "suite_hash": suite.hash,
            "protocol": f"{protocol['name']} {protocol['version']}",
            "manifest": chain.manifest.hash,
            "steps": [chain.scale.start_steps, chain.scale.steps],
        },
        "suite": chain.scale.suite if "/" not in chain.scale.suite else Path(chain.scale.suite).name,
        "protocol": {"name": protocol["name"], "version": protocol["version"]},
        "manifest": chain.manifest.hash,
        "rows": rows,
        "compared": found,
        "gate": gate.read_gate(chain.output),
        "start": start.read_choices(_folders(chain, done, "S"), chain.scale.start_steps),
        "content": content.content(results, chain.scale.content_tasks),
        "floors": floors.floors(results),
        "equal": [asdict(one) | {"holds": one.holds} for one in equalities(done)],
        "growth": growth_table.growth_of(_headlines(results)),
        "efficiency": efficiency.efficiency(chain.output, done, results),
        "answers": answered.read_answered(_folders(chain, done, answered.ROW), chain.output),
        "examined": examined.read_examined(chain.scale, chain.output),
    }


def write(chain: Chain, summary: dict[str, Any]) -> Path:
    """Write the table as JSON and as Markdown; returns the page's path."""
    write_json(chain.output / JSON_NAME, summary)
    page = chain.output / PAGE_NAME
    drawn = {
        name
        for name, is_drawn in (
            (efficiency.PICTURE_NAME, efficiency.draw(summary["efficiency"], chain.output / efficiency.PICTURE_NAME)),
            (overview.PICTURE_NAME, overview.draw(summary["rows"], chain.output / overview.PICTURE_NAME)),
        )
        if is_drawn
    }
    with atomic_output(page, overwrite=True) as temporary:
        temporary.write_text(markdown(summary, drawn), encoding="utf-8")
    return page


def markdown(summary: dict[str, Any], pictures: Collection[str] = ()) -> str:
    """The table as Markdown; each row links its commands, commits and result files.

    Args:
        pictures: names of those that lie beside the page.
    """
    protocol = summary["protocol"]
    size = (
        ""
        if summary["encoder_parameters"] is None
        else f" Encoder: {efficiency.millions(summary['encoder_parameters'])} parameters."
    )
    lines = [
        f"# {summary['scale']}",
        "",
        f"Suite `{summary['suite']}`, protocol {protocol['name']} {protocol['version']}, "
        f"training manifest `{summary['manifest'][:16]}`. Means over seeds, of the domains' means; in brackets "
        f"weighted by test clips. Audio and time per seed.{size}",
        "",
        "| row | MLP | kNN | steps | audio, h | training, min | seeds | results |",
        "|---|---:|---:|---:|---:|---:|---|---|",
    ]
    for row in summary["rows"]:
        results = ", ".join(f"[{run['seed']}]({run['result']})" for run in row["runs"])
        lines.append(
            f"| {row['row']} | {_score(row, 'mlp')} | {_score(row, 'knn')} | {steps_in_words(row)} | "
            f"{row['audio_seconds'] / 3600:.2f} | {row['train_seconds'] / 60:.1f} | {len(row['runs'])} | {results} |"
        )
    if overview.PICTURE_NAME in pictures:
        lines += ["", f"![every row's headline]({overview.PICTURE_NAME})", "", "Bars: 95 % intervals; marks: seeds."]
    if summary["sizes_page"] is not None:
        lines += ["", f"Beside encoders of other sizes: [score against size]({summary['sizes_page']})."]
    lines += ["", "## Differences", "", "95 % intervals over training seeds, speakers or source groups, clips.", ""]
    lines += ["| difference | of | MLP | kNN | seeds |", "|---|---|---:|---:|---:|"]
    for compared in summary["compared"]:
        cells = {(one["of"], one["measure"]): _interval(one) for one in compared["differences"]}
        for of in dict.fromkeys(of for of, _ in cells):
            values = [cells.get((of, measure), "–") for measure in MEASURES]
            pair = f"{compared['second']} − {compared['first']}"
            lines.append(f"| {pair} | {of} | {' | '.join(values)} | {len(compared['seeds'])} |")
    if summary["equal"]:
        lines += [
            "",
            "## Equal steps, equal audio",
            "",
            "| equal | seed | steps | audio, s | within 1 % |",
            "|---|---|---:|---:|---|",
        ]
    for one in summary["equal"]:
        steps = " / ".join(f"{value:,}" for value in one["steps"])
        audio = " / ".join(f"{value:,.0f}" for value in one["audio_seconds"])
        verdict = "yes" if one["holds"] else "NO"
        lines.append(f"| {one['first']}, {one['second']} | {one['seed']} | {steps} | {audio} | {verdict} |")
    lines += gate.markdown(summary["gate"])
    lines += start.markdown(summary["start"])
    lines += content.markdown(summary["content"])
    lines += floors.markdown(summary["floors"])
    lines += growth_table.markdown(summary["growth"])
    lines += efficiency.markdown(summary["efficiency"], picture=efficiency.PICTURE_NAME in pictures)
    lines += answered.markdown(summary["answers"])
    lines += examined.markdown(summary["examined"])
    lines += ["", "## Commands", "", "| row | seed | commit | command |", "|---|---|---|---|"]
    for row in summary["rows"]:
        lines += [
            f"| {row['row']} | {run['seed']} | {(run['commit'] or 'no checkout')[:18]} | `{run['command']}` |"
            for run in row["runs"]
        ]
    return "\n".join(lines) + "\n"


def _folders(chain: Chain, done: Sequence[Done], row: str) -> list[tuple[int, Path]]:
    return [(one.job.seed, chain.output / one.job.folder_name) for one in done if one.job.row == row]


def _levels(chain: Chain, runs: Sequence[Done], results: Mapping[Job, Opened]) -> dict[str, Any]:
    """For pictures: headline with interval and of each seed, and parameters that the row's run trained."""
    found = levels([results[one.job] for one in runs])
    return {
        "levels": {
            measure: None if one is None else dict(zip(("score", "low", "high"), one, strict=True))
            for measure, one in found.items()
        },
        "by_seed": {
            measure: [one[measure]["score"] for run in runs if measure in (one := _headline(results[run.job].result))]
            for measure in MEASURES
        },
        "trained_parameters": efficiency.trained_parameters(chain.output, runs[0]) if runs[0].steps else 0,
    }


def _parameters(size: str | None) -> int | None:
    """Parameters of an encoder of one of Whisper's sizes."""
    if size is None:
        return None
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in WhisperEncoder(WHISPER_SIZES[size]).parameters())


def steps_in_words(row: Mapping[str, Any]) -> str:
    """`6,000`; seeds of a row can differ where steps are counted with S's."""
    return " / ".join(f"{steps:,}" for steps in row["steps"])


def _headline(result: dict[str, Any]) -> dict[str, Any]:
    return result["averages"]["headline"][result["poolings"][0]]


def _headlines(results: dict[Job, Opened]) -> dict[str, dict[Job, float]]:
    """Measure -> job -> score of the headline, of the jobs that have one."""
    found: dict[str, dict[Job, float]] = {}
    for job, opened in results.items():
        average = _headline(opened.result)
        for measure in MEASURES:
            if measure in average:
                found.setdefault(measure, {})[job] = average[measure]["score"]
    return found


def _mean(averages: list[dict[str, Any]], measure: str) -> dict[str, Any] | None:
    if not all(measure in one for one in averages):
        return None
    domains = averages[0][measure]["domains"]
    return {
        "score": float(np.mean([one[measure]["score"] for one in averages])),
        "clip_weighted": float(np.mean([one[measure]["clip_weighted"] for one in averages])),
        "domains": {name: float(np.mean([one[measure]["domains"][name] for one in averages])) for name in domains},
    }


def _provenance(chain: Chain, one: Done) -> dict[str, Any]:
    return {
        "seed": one.job.seed,
        "model": one.model,
        "result": one.result.relative_to(chain.output).as_posix(),
        "commit": one.commit,
        "command": f"{chain.command} --row {one.job.row} --seed {one.job.seed}",
    }


def _score(row: dict[str, Any], measure: str) -> str:
    found = row["scores"][measure]
    return "–" if found is None else f"{found['score']:.3f} ({found['clip_weighted']:.3f})"


def _interval(one: dict[str, Any]) -> str:
    return f"{one['difference']:+.3f} [{one['low']:+.3f}, {one['high']:+.3f}]"
