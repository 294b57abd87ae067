"""How a classifier did on clips it was not trained on: numbers, a table and a picture."""

from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np

from uniwhisper.core.errors import MissingExtraError


@dataclass(frozen=True, eq=False)
class Scores:
    classes: list[str]
    confusion: np.ndarray
    """(C, C) int64: row the true class, column the answer."""

    @property
    def accuracy(self) -> float:
        return float(np.trace(self.confusion) / self.confusion.sum())

    @property
    def most_common(self) -> float:
        """Accuracy of always answering the most common class of the clips that were held out."""
        return float(self.confusion.sum(axis=1).max() / self.confusion.sum())

    def per_class(self) -> list[dict[str, Any]]:
        """Per class: `clips`, `precision` and `recall`; None where there is nothing to divide by."""
        rows = []
        for place, name in enumerate(self.classes):
            right, clips, answers = (
                int(self.confusion[place, place]),
                int(self.confusion[place].sum()),
                int(self.confusion[:, place].sum()),
            )
            rows.append(
                {
                    "class": name,
                    "clips": clips,
                    "precision": right / answers if answers else None,
                    "recall": right / clips if clips else None,
                }
            )
        return rows

    def to_json(self) -> dict[str, Any]:
        return {
            "clips": int(self.confusion.sum()),
            "accuracy": self.accuracy,
            "most_common": self.most_common,
            "per_class": self.per_class(),
            "confusion": self.confusion.tolist(),
        }

    def to_csv(self) -> str:
        """The confusion matrix, true classes down, answers across."""
        import csv
        from io import StringIO

        text = StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["true \\ answered", *self.classes])
        for name, row in zip(self.classes, self.confusion.tolist(), strict=True):
            writer.writerow([name, *row])
        return text.getvalue()


def score(classes: list[str], truth_N: np.ndarray, probabilities_NC: np.ndarray) -> Scores:
    """Count answers: `truth_N` int64 classes, `probabilities_NC` float, the largest is the answer."""
    confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(confusion, (truth_N, probabilities_NC.argmax(axis=1)), 1)
    return Scores(classes, confusion)


def confusion_picture(scores: Scores) -> bytes:
    """PNG of the confusion matrix; rows are shares of their class, cells say how many clips.

    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise MissingExtraError.of("matplotlib", "eval", "the confusion matrix") from None
    count = len(scores.classes)
    side = min(20.0, 2.2 + 0.42 * count)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.subplots()
    totals = scores.confusion.sum(axis=1, keepdims=True)
    shares = np.divide(scores.confusion, totals, out=np.zeros(scores.confusion.shape), where=totals > 0)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(count), scores.classes, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(count), scores.classes)
    axes.set_xlabel("answered")
    axes.set_ylabel("true")
    axes.set_title(f"{scores.accuracy:.0%} of {int(totals.sum())} clips right", fontsize=10)
    axes.tick_params(length=0, labelsize=8)
    axes.spines[:].set_visible(False)
    for row, column in zip(*np.nonzero(scores.confusion), strict=True):
        colour = "white" if shares[row, column] > 0.6 else "#23211e"
        axes.text(column, row, str(scores.confusion[row, column]), ha="center", va="center", color=colour, fontsize=8)
    file = BytesIO()
    figure.savefig(file, format="png", dpi=150, metadata={"Software": None})
    return file.getvalue()


def page(scores: Scores, made: dict[str, Any]) -> str:
    """The classifier's README.md."""
    lines = [
        "# Classifier",
        "",
        f"{len(scores.classes)} classes; {made['method']}, from `{made['from']}`; trained on {made['trained_on']} "
        "clips.",
        "",
        *([f"**Warning:** {made['warning']}.", ""] if "warning" in made else []),
        f"On the {made['held_out']} clips that were held out: **{scores.accuracy:.1%}** right. Always answering the "
        f"most common class would give {scores.most_common:.1%}.",
        "",
        "```",
        "uniwhisper classify recording.wav --classifier THIS-FOLDER",
        "```",
        "",
        "![confusion matrix](confusion.png)",
        "",
        "| class | clips | precision | recall |",
        "|---|---|---|---|",
    ]
    for row in scores.per_class():
        precision, recall = ("–" if row[key] is None else f"{row[key]:.2f}" for key in ("precision", "recall"))
        name = str(row["class"]).replace("|", "\\|")
        lines.append(f"| {name} | {row['clips']} | {precision} | {recall} |")
    if made["not_read"]:
        lines += ["", f"{len(made['not_read'])} files could not be read; classifier.json names them."]
    return "\n".join(lines) + "\n"
