"""U layer by layer, and how it holds on altered clips: the tables of `uniwhisper examine`, for one seed."""

import json
from pathlib import Path
from typing import Any

import torch

from uniwhisper.evaluation.cache import VectorCache
from uniwhisper.evaluation.check import checked
from uniwhisper.evaluation.encoders import JudgedEncoder
from uniwhisper.evaluation.examine.alter import DEFAULT, parse_condition
from uniwhisper.evaluation.examine.layers import examine_layers
from uniwhisper.evaluation.examine.output import write_examination
from uniwhisper.evaluation.examine.robustness import examine_robustness
from uniwhisper.evaluation.examine.tables import MEAN, table
from uniwhisper.evaluation.kept import Kept
from uniwhisper.evaluation.suites import load_suite
from uniwhisper.evaluation.words import MEASURE_NAMES
from uniwhisper.reproduce.job import Job
from uniwhisper.reproduce.scale import Scale

KINDS = ("layers", "robustness")
_ABOUT = {
    "layers": "Where in the encoder it lies: every layer scored like the last (0 enters the first block)",
    "robustness": "How it holds: altered clips asked against clean references",
}


def job_of(scale: Scale) -> Job:
    """The one job that is examined."""
    return Job("U", scale.seeds[0])


def examine_row(
    judged: JudgedEncoder,
    scale: Scale,
    data: Path,
    folder: Path,
    *,
    cache: VectorCache,
    model_folder: Path | None,
    device: torch.device,
) -> list[Path]:
    """Examine a row's encoder on the scale's suite; writes JSON, page and picture of both kinds; returns the files.

    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    suite = load_suite(scale.suite)
    common: dict[str, Any] = {
        "cache": cache, "kept": Kept(cache.folder / "tasks"), "model_folder": model_folder, "device": device,
        "check": checked(judged.encoder, cache.folder),
    }  # fmt: skip
    conditions = DEFAULT if scale.conditions is None else tuple(map(parse_condition, scale.conditions))
    typed = f"--model {judged.source} --suite {suite.name} --data DIR"
    altered = "".join(f" --condition {each.name}" for each in conditions) if scale.conditions else ""
    results = {
        "layers": examine_layers(judged, suite, data, command=f"uniwhisper examine layers {typed}", **common),
        "robustness": examine_robustness(
            judged, suite, data, conditions=conditions, most_clips=scale.examined_clips,
            command=f"uniwhisper examine robustness {typed}{altered} --clips {scale.examined_clips or 0}", **common,
        ),
    }  # fmt: skip
    files = []
    for kind, result in results.items():
        json_path, md_path, png_path = (folder / "examined" / f"{kind}{suffix}" for suffix in (".json", ".md", ".png"))
        json_path.parent.mkdir(parents=True, exist_ok=True)
        write_examination((json_path, md_path, png_path), result, overwrite=True)
        files += [json_path, md_path, png_path]
    return files


def read_examined(scale: Scale, output: Path) -> list[dict[str, Any]]:
    """A JSON object for each kind that was made: where its page lies, and its tables without single tasks.

    Args:
        output: the chain's folder, which the page's path is relative to.
    """
    found = []
    for kind in KINDS:
        path = output / job_of(scale).folder_name / "examined" / f"{kind}.json"
        if path.is_file():
            result = json.loads(path.read_text(encoding="utf-8"))
            tables = {measure: _without_tasks(table(result, measure)) for measure in result["measures"]}
            page = path.with_suffix(".md").relative_to(output).as_posix()
            found.append({"kind": kind, "seed": job_of(scale).seed, "page": page, "tables": tables})
    return found


def markdown(examined: list[dict[str, Any]]) -> list[str]:
    """The tables, line by line; nothing where nothing was examined."""
    lines = []
    for one in examined:
        picture = Path(one["page"]).with_suffix(".png").as_posix()
        lines += [
            "", f"## {one['kind'].capitalize()}", "",
            f"{_ABOUT[one['kind']]}. U, seed {one['seed']}; by task and in a picture: [page]({one['page']}).", "",
            f"![{one['kind']}]({picture})",
        ]  # fmt: skip
        for measure, (header, *rows) in one["tables"].items():
            header = [header[0], f"{MEASURE_NAMES[measure]}, {header[1]}", *header[2:]]
            lines += ["", f"| {' | '.join(header)} |", f"|---|{'---:|' * (len(header) - 1)}"]
            lines += [f"| {' | '.join(row)} |" for row in rows]
    return lines


def _without_tasks(rows: list[list[str]]) -> list[list[str]]:
    """First column, the mean and what follows it."""
    mean = rows[0].index(MEAN)
    return [[row[0], *row[mean:]] for row in rows]
