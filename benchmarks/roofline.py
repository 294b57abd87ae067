"""docs/roofline.svg from a run of gpu_embedding.py: how far each version is from the two ceilings of the card.

PYTHONPATH=src python benchmarks/roofline.py [benchmarks/baselines/gpu_embedding.json]
"""

import json
import re
import sys
from pathlib import Path

from matplotlib.figure import Figure

from measure import encoder_bytes, encoder_operations
from uniwhisper.core.units import frame_count
from uniwhisper.model.config import WHISPER_SIZES

HERE = Path(__file__).parent
STYLES = {
    "transformers eager": ("o", "0.6"),
    "transformers, layers compiled": ("o", "0.3"),
    "packed, eager": ("^", "C1"),
    "packed, compiled": ("^", "C3"),
}


def points(rows: list[dict]):
    """(style, size, kind, operations a byte, TFLOP/s) of the rows that measured an encoder."""
    for row in rows:
        size = row["what"].split()[0]
        if size not in WHISPER_SIZES or "TFLOPs" not in row or "bfloat16" in row["what"] or "mixture" in row["what"]:
            continue
        kind = re.search(r", (30|5) s", row["what"])
        seconds = int(kind.group(1)) if kind else 30
        config, frames = WHISPER_SIZES[size], frame_count(100 * seconds)
        clips = 960 // seconds
        intensity = encoder_operations(config, [frames] * clips) / encoder_bytes(config, frames * clips)
        if "transformers" in row["what"]:
            style = row["what"].removeprefix(f"{size} ")
        else:
            style = "packed, compiled" if "compiled" in row["what"] else "packed, eager"
        yield style, size, seconds, intensity, row["TFLOPs"]


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "baselines" / "gpu_embedding.json"
    run = json.loads(path.read_text())
    peak, bandwidth = run["facts"]["matrix_TFLOPs"], run["facts"]["copy_TB_per_s"]
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    knee = peak / bandwidth
    axes.loglog([40, knee, 3000], [40 * bandwidth, peak, peak], color="black", linewidth=1.5)
    axes.text(60, 60 * bandwidth * 1.22, f"copy {bandwidth:.2f} TB/s", rotation=42, fontsize=9)
    axes.text(3000, peak * 1.04, f"8192³ product {peak:.0f} TFLOP/s", ha="right", fontsize=9)
    named = set()
    for style, size, seconds, intensity, rate in points(run["rows"]):
        marker, colour = STYLES[style]
        axes.plot(
            intensity,
            rate,
            marker,
            color=colour,
            markersize=8 if seconds == 30 else 6,
            fillstyle="full" if seconds == 30 else "none",
            label=None if style in named else style,
        )
        named.add(style)
        if style == "transformers eager":  # the lowest of its size: beneath it there is room
            axes.annotate(size, (intensity, rate), (0, -18), textcoords="offset points", fontsize=9, ha="center")
    axes.plot([], [], "^", color="0.3", label="30 s windows", linestyle="none")
    axes.plot([], [], "^", color="0.3", fillstyle="none", label="5 s clips", linestyle="none")
    axes.set(xlabel="operations per byte that must be moved", ylabel="TFLOP/s", xlim=(40, 3000), ylim=(80, 1100))
    axes.set_title(f"Encoder in bfloat16 on one {run['facts']['device']}", fontsize=11)
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.2, which="both")
    figure.savefig(HERE.parent / "docs" / "roofline.svg", metadata={"Date": None})
    if len(sys.argv) > 2:
        figure.savefig(sys.argv[2], dpi=100)


if __name__ == "__main__":
    main()
