"""What a score costs: trained parameters, steps, audio and time of rows that start from the same encoder.

From what their runs wrote (`run.json`, `metrics.jsonl`): nothing is counted again.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uniwhisper.core.files import atomic_output
from uniwhisper.evaluation.compare import Opened
from uniwhisper.evaluation.words import MEASURE_NAMES, with_interval
from uniwhisper.reproduce.differences import MEASURES, levels
from uniwhisper.reproduce.job import Done, Job

ROWS = {
    "U": "frozen language model",
    "LM-pretrained-trained": "full fine-tuning of everything",
    "multi-head": "a head for each task",
}
PICTURE_NAME = "efficiency.png"


def efficiency(folder: Path, done: Sequence[Done], results: Mapping[Job, Opened]) -> list[dict[str, Any]]:
    """A JSON object for each of `ROWS` that was run; what a run did not write down is None.

    Args:
        folder: the chain's.
        results: of the jobs in `done`.
    """
    found = []
    for row, what in ROWS.items():
        runs = [one for one in done if one.job.row == row]
        if not runs:
            continue
        written = [_written(folder, one) for one in runs]
        parts = written[0].get("parameters")
        scores = levels([results[one.job] for one in runs])
        found.append(
            {
                "row": row,
                "what": what,
                "seeds": [one.job.seed for one in runs],
                "parameters": parts,
                "trained_parameters": trained_parameters(folder, runs[0]),
                "frozen_parameters": None if parts is None else sum(part["frozen"] for part in parts.values()),
                "steps": runs[0].steps,
                "audio_seconds": float(np.mean([one.audio_seconds for one in runs])),
                "device_seconds": float(np.mean([one.train_seconds for one in runs])),
                "devices": sorted({name for one in written if (name := one.get("device")) is not None}),
                "scores": {
                    measure: None if one is None else dict(zip(("score", "low", "high"), one, strict=True))
                    for measure, one in scores.items()
                },
            }
        )
    return found


def markdown(rows: Sequence[Mapping[str, Any]], *, picture: bool) -> list[str]:
    """The table, line by line; nothing where no row was run."""
    if not rows:
        return []
    lines = [
        "",
        "## Cost",
        "",
        "What a score costs, each row from the same start; time and audio of one seed's own run. 95 % intervals over "
        "seeds, groups, clips.",
        "",
        "| row | what | MLP | kNN | trained | of which | frozen | steps | audio, h | device, min | device |",
        "|---|---|---:|---:|---:|---|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        parts = row["parameters"] or {}
        split = ", ".join(
            f"{name.replace('_', ' ')} {millions(n['trained'])}" for name, n in parts.items() if n["trained"]
        )
        lines.append(
            f"| {row['row']} | {row['what']} | {score(row, 'mlp')} | {score(row, 'knn')} | "
            f"{millions(row['trained_parameters'])} | {split or '–'} | {millions(row['frozen_parameters'])} | "
            f"{row['steps']:,} | {row['audio_seconds'] / 3600:.2f} | {row['device_seconds'] / 60:.1f} | "
            f"{', '.join(row['devices']) or '–'} |"
        )
    return [*lines, "", f"![score against parameters and time]({PICTURE_NAME})"] if picture else lines


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> bool:
    """Draw score against trained parameters and device minutes; False: nothing to draw, or no Matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    known = [row for row in rows if row["trained_parameters"] is not None]
    if not known:
        return False
    figure = Figure(figsize=(8.4, 5.2), layout="constrained")
    axes = figure.subplots(2, 2, sharey="row", squeeze=False)
    for line, measure in enumerate(MEASURES):
        for column in (0, 1):
            panel = axes[line][column]
            for number, row in enumerate(known):
                found = row["scores"][measure]
                if found is None:
                    continue
                at = row["trained_parameters"] / 1e6 if column == 0 else row["device_seconds"] / 60
                spread = [[found["score"] - found["low"]], [found["high"] - found["score"]]]
                style = {"fmt": "o", "capsize": 3, "color": f"C{number}", "label": row["row"]}
                panel.errorbar([at], [found["score"]], yerr=spread, **style)
            panel.set_xlim(0, 1.12 * panel.get_xlim()[1])
            panel.grid(alpha=0.2)
            panel.spines[["top", "right"]].set_visible(False)
        axes[line][0].set_ylabel(MEASURE_NAMES[measure])
    axes[1][0].set_xlabel("trained parameters, millions")
    axes[1][1].set_xlabel("device minutes")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(known), frameon=False)
    with atomic_output(path, overwrite=True) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
    return True


def millions(count: int | None) -> str:
    """`8.2 M`."""
    return "–" if count is None else f"{count / 1e6:.1f} M"


def trained_parameters(folder: Path, one: Done) -> int | None:
    """Parameters that a job's run trained; None: it did not write it down.

    Args:
        folder: the chain's.
    """
    parts = _written(folder, one).get("parameters")
    return None if parts is None else sum(part["trained"] for part in parts.values())


def _written(folder: Path, one: Done) -> dict[str, Any]:
    path = folder / one.job.folder_name / "run" / "run.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def score(row: Mapping[str, Any], measure: str) -> str:
    """`0.500 [0.400, 0.600]`."""
    return with_interval(row["scores"][measure], absent="–")
