"""Score against size: the tables of one experiment at several encoder sizes, each in a folder of its own, as a curve.

DIR/tiny/table.json, DIR/base/table.json  ->  DIR/sizes.json, DIR/sizes.md, DIR/sizes.png
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from uniwhisper.core.errors import OutputError
from uniwhisper.core.files import atomic_output
from uniwhisper.evaluation.words import MEASURE_NAMES, with_interval
from uniwhisper.reproduce.differences import MEASURES
from uniwhisper.reproduce.efficiency import millions
from uniwhisper.training.checkpoint import write_json

ROWS = ("U", "S", "random", "log-mel")
"""Those of the curve; log-mel statistics have no size."""
TABLE_NAME = "table.json"
JSON_NAME, PAGE_NAME, PICTURE_NAME = "sizes.json", "sizes.md", "sizes.png"
SAME = ("suite", "suite_hash", "protocol", "manifest", "steps")
"""What a table must have like the one it is put beside; `steps` are N and M of the plan."""


def gather(folder: Path, sizes: Sequence[str]) -> dict[str, Any] | None:
    """The curve from the tables below `folder`, smallest encoder first; None: there is no table.

    A table of another suite, protocol, training set or number of steps than that of the smallest size is not compared;
    `left_out` says which and why.

    Args:
        sizes: names of the folders, smallest encoder first.

    Raises:
        OutputError: a table cannot be read, or is of another size than its folder says.
    """
    tables = {size: _read(folder / size / TABLE_NAME, size) for size in sizes if (folder / size / TABLE_NAME).is_file()}
    if not tables:
        return None
    first, *others = tables
    left_out = []
    for size in others:
        unlike = [name for name in SAME if tables[size]["plan"][name] != tables[first]["plan"][name]]
        if unlike:
            left_out.append({"size": size, "reason": f"another {', '.join(unlike)} than {first}"})
    dropped = {one["size"] for one in left_out}
    points = []
    for size, table in tables.items():
        for row in table["rows"] if size not in dropped else ():
            if row["row"] in ROWS:
                points.append(
                    {
                        "row": row["row"],
                        "size": size,
                        "encoder_parameters": table["encoder_parameters"],
                        "trained_parameters": row["trained_parameters"],
                        "seeds": [run["seed"] for run in row["runs"]],
                        "scores": row["levels"],
                    }
                )
    compared = [size for size in tables if size not in dropped]
    return {"plan": tables[first]["plan"], "sizes": compared, "points": points, "left_out": left_out}


def write(folder: Path, found: Mapping[str, Any]) -> Path:
    """Write the curve as JSON, Markdown and a picture; returns the page's path."""
    write_json(folder / JSON_NAME, found)
    picture = draw(found, folder / PICTURE_NAME)
    page = folder / PAGE_NAME
    with atomic_output(page, overwrite=True) as temporary:
        temporary.write_text(markdown(found, picture=picture), encoding="utf-8")
    return page


def rows(found: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Columns, and one row for each point of the curve, by row and then by size."""
    columns = ["row", "size", "encoder", "trained", *(MEASURE_NAMES[measure] for measure in MEASURES), "seeds"]
    body = []
    for row in ROWS:
        for point in found["points"]:
            if point["row"] == row:
                scores = [with_interval(point["scores"][measure], absent="–") for measure in MEASURES]
                sized = row != "log-mel"
                body.append(
                    [
                        row,
                        point["size"],
                        millions(point["encoder_parameters"]) if sized else "–",
                        millions(point["trained_parameters"]) if sized else "–",
                        *scores,
                        str(len(point["seeds"])),
                    ]
                )
    return columns, body


def markdown(found: Mapping[str, Any], *, picture: bool) -> str:
    """The page.

    Args:
        picture: whether the picture lies beside it.
    """
    columns, body = rows(found)
    tables = ", ".join(f"[{size}]({size}/table.md)" for size in found["sizes"])
    plan = found["plan"]
    lines = [
        "# Score against size",
        "",
        f"The same experiment with encoders of several sizes ({tables}): suite `{plan['suite']}`, protocol "
        f"{plan['protocol']}, training manifest `{plan['manifest'][:16]}`, the same plan of steps and audio. Headline, "
        "mean over training seeds; 95 % intervals over seeds, groups, clips. Parameters: of the encoder, which is all "
        "that is judged, and of everything that the row's own run trained.",
        "",
        f"| {' | '.join(columns)} |",
        f"|---|---|{'---:|' * (len(columns) - 2)}",
        *(f"| {' | '.join(row)} |" for row in body),
    ]
    if picture:
        lines += ["", f"![score against the encoder's parameters]({PICTURE_NAME})"]
    if len(found["sizes"]) < 2:
        lines += ["", "One size so far: `uniwhisper reproduce miniature --size …` with the same -o adds another."]
    lines += [f"\nLeft out: {one['size']}, {one['reason']}." for one in found["left_out"]]
    return "\n".join(lines) + "\n"


def draw(found: Mapping[str, Any], path: Path) -> bool:
    """Draw the headline against the encoder's parameters; False: fewer than two sizes, or no Matplotlib."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import FixedLocator, NullLocator
    except ImportError:
        return False
    if len(found["sizes"]) < 2:
        return False
    figure = Figure(figsize=(8.4, 3.8), layout="constrained")
    axes = figure.subplots(1, len(MEASURES), squeeze=False)[0]
    ticks = {point["encoder_parameters"]: point["size"] for point in found["points"]}
    for panel, measure in zip(axes, MEASURES, strict=True):
        for number, row in enumerate(ROWS):
            points = [p for p in found["points"] if p["row"] == row and p["scores"][measure]]
            at = [point["encoder_parameters"] for point in points]
            scores = [point["scores"][measure] for point in points]
            spread = [[one["score"] - one["low"] for one in scores], [one["high"] - one["score"] for one in scores]]
            style = {"color": f"C{number}", "label": row, "capsize": 3, "marker": "o"}
            if row == "log-mel":
                style |= {"linestyle": ":", "marker": ""}
            if points:
                panel.errorbar(at, [one["score"] for one in scores], yerr=spread, **style)
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(FixedLocator(list(ticks)))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.set_xticklabels([f"{size}\n{millions(count)}" for count, size in ticks.items()])
        panel.set(title=MEASURE_NAMES[measure], xlabel="encoder parameters")
        panel.grid(alpha=0.2)
        panel.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("headline: mean of domains")
    handles, labels = axes[-1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    with atomic_output(path, overwrite=True) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
    return True


def _read(path: Path, size: str) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        got, missing = table["size"], set(SAME) - set(table["plan"])
        if missing or not {"rows", "encoder_parameters"} <= set(table):
            raise ValueError(f"it lacks {', '.join(sorted(missing)) or 'rows'}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(
            f"{path} cannot be read", expected="the table of this version's chain", got=repr(error),
            fix="run the chain of that size again: what is done stays done",
        ) from None  # fmt: skip
    if got != size:
        raise OutputError(
            f"{path} is of another size", expected=size, got=str(got), fix="keep each size in the folder of its name"
        )
    return table
