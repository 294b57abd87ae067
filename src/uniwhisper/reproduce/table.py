"""The table: scores of every row over its seeds, differences with their intervals, and what made each number."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from uniwhisper.core.files import atomic_output
from uniwhisper.evaluation.compare import Opened, open_result
from uniwhisper.reproduce import answered, efficiency, growth_table
from uniwhisper.reproduce.chain import Chain, Done, Job
from uniwhisper.reproduce.differences import MEASURES, differences
from uniwhisper.reproduce.equal import equalities
from uniwhisper.reproduce.rows import COMPARED, ROWS
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
            {
                "row": name,
                "what": ROWS[name].what,
                "steps": runs[0].steps,
                "audio_seconds": float(np.mean([one.audio_seconds for one in runs])),
                "train_seconds": float(np.mean([one.train_seconds for one in runs])),
                "scores": {measure: _mean(averages, measure) for measure in MEASURES},
                "runs": [_provenance(chain, one) for one in runs],
            }
        )
    found = []
    for first, second in COMPARED:
        seeds = sorted({one.job.seed for one in done if Job(first, one.job.seed) in results}
                       & {one.job.seed for one in done if Job(second, one.job.seed) in results})  # fmt: skip
        if seeds:
            pairs = [(results[Job(first, seed)], results[Job(second, seed)]) for seed in seeds]
            compared = [{"of": of, "measure": m} | asdict(one) for (of, m), one in differences(pairs).items()]
            found.append({"first": first, "second": second, "seeds": seeds, "differences": compared})
    protocol = results[done[0].job].result["protocol"]
    return {
        "scale": chain.scale.name,
        "suite": chain.scale.suite if "/" not in chain.scale.suite else Path(chain.scale.suite).name,
        "protocol": {"name": protocol["name"], "version": protocol["version"]},
        "manifest": chain.manifest.hash,
        "rows": rows,
        "compared": found,
        "equal": [asdict(one) | {"holds": one.holds} for one in equalities(done)],
        "growth": growth_table.growth_of(_headlines(results)),
        "efficiency": efficiency.efficiency(chain.output, done, results),
        "answers": answered.read_answered(
            [(one.job.seed, chain.output / one.job.folder_name) for one in done if one.job.row == answered.ROW],
            chain.output,
        ),
    }


def write(chain: Chain, summary: dict[str, Any]) -> Path:
    """Write the table as JSON and as Markdown; returns the page's path."""
    write_json(chain.output / JSON_NAME, summary)
    page = chain.output / PAGE_NAME
    picture = efficiency.draw(summary["efficiency"], chain.output / efficiency.PICTURE_NAME)
    with atomic_output(page, overwrite=True) as temporary:
        temporary.write_text(markdown(summary, picture=picture), encoding="utf-8")
    return page


def markdown(summary: dict[str, Any], *, picture: bool = False) -> str:
    """The table as Markdown; each row links its commands, commits and result files.

    Args:
        picture: whether the picture of what scores cost lies beside the page.
    """
    protocol = summary["protocol"]
    lines = [
        f"# {summary['scale']}",
        "",
        f"Suite `{summary['suite']}`, protocol {protocol['name']} {protocol['version']}, "
        f"training manifest `{summary['manifest'][:16]}`. Means over seeds; audio and time per seed.",
        "",
        "| row | MLP | kNN | steps | audio, h | training, min | seeds | results |",
        "|---|---:|---:|---:|---:|---:|---|---|",
    ]
    for row in summary["rows"]:
        results = ", ".join(f"[{run['seed']}]({run['result']})" for run in row["runs"])
        lines.append(
            f"| {row['row']} | {_score(row, 'mlp')} | {_score(row, 'knn')} | {row['steps']:,} | "
            f"{row['audio_seconds'] / 3600:.2f} | {row['train_seconds'] / 60:.1f} | {len(row['runs'])} | {results} |"
        )
    lines += ["", "| difference | of | MLP | kNN |", "|---|---|---:|---:|"]
    for compared in summary["compared"]:
        cells = {(one["of"], one["measure"]): _interval(one) for one in compared["differences"]}
        for of in dict.fromkeys(of for of, _ in cells):
            values = [cells.get((of, measure), "–") for measure in MEASURES]
            lines.append(f"| {compared['second']} − {compared['first']} | {of} | {' | '.join(values)} |")
    if summary["equal"]:
        lines += ["", "| equal | seed | steps | audio, s | within 1 % |", "|---|---|---:|---:|---|"]
    for one in summary["equal"]:
        steps = " / ".join(f"{value:,}" for value in one["steps"])
        audio = " / ".join(f"{value:,.0f}" for value in one["audio_seconds"])
        verdict = "yes" if one["holds"] else "NO"
        lines.append(f"| {one['first']}, {one['second']} | {one['seed']} | {steps} | {audio} | {verdict} |")
    lines += growth_table.markdown(summary["growth"])
    lines += efficiency.markdown(summary["efficiency"], picture=picture)
    lines += answered.markdown(summary["answers"])
    lines += ["", "| row | seed | commit | command |", "|---|---|---|---|"]
    for row in summary["rows"]:
        lines += [
            f"| {row['row']} | {run['seed']} | {(run['commit'] or 'no checkout')[:18]} | `{run['command']}` |"
            for run in row["runs"]
        ]
    return "\n".join(lines) + "\n"


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
