"""The whole path on sounds made of formulas: synthesise, prepare, train, embed, judge, show."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.demo.corpus import flac_bytes, variants, write_corpus
from uniwhisper.demo.neighbours import nearest
from uniwhisper.demo.output import Steps, fresh_folder, write_facts, write_page
from uniwhisper.demo.pictures import loss_picture, map_picture, spectrograms_picture
from uniwhisper.demo.synth import KINDS, Sound
from uniwhisper.evaluation.places import places_on_map

if TYPE_CHECKING:
    from rich.console import Console

    from uniwhisper.training.recipe import Recipe


@dataclass(frozen=True)
class Judged:
    """Held-out sounds as one model sees them."""

    vectors_ND: np.ndarray
    """float32, one row per held-out sound."""
    answers: list[str]
    """The label that kNN gives each of them, from the training sounds."""
    accuracy: float
    """Share of answers that are right."""


def run_demo(
    output: Path,
    recipe: "Recipe",
    *,
    say: Callable[[str], None],
    console: "Console",
    training_variants: int = 24,
    held_out_variants: int = 10,
) -> Path:
    """Run every step below `output` and return the path of the page.

    Args:
        output: emptied first if an earlier demo made it.
        recipe: what to train, from which start.
        say: told what happens, a line at a time.
        console: shows the progress of training.
        training_variants: sounds of each kind to train on, and to vote about the others.
        held_out_variants: sounds of each kind to judge.

    Raises:
        OutputError: `output` holds something else.
        UserError: the model cannot be used, or an extra is missing.
    """
    import torch

    from uniwhisper.data.prepare import prepare
    from uniwhisper.training.loop import train
    from uniwhisper.training.record import read_metrics

    fresh_folder(output)
    steps = Steps(say)
    with steps.step("synthesise"):
        training = variants(0, training_variants)
        held_out = variants(training_variants, held_out_variants)
        write_corpus(training, output / "corpora" / "synthetic")
    with steps.step("prepare"):
        manifest = prepare(output / "corpora", output / "prepared")
    with steps.step("embed and judge before training"):
        before = judge(None if recipe.model.start == "default" else recipe.model.start, training, held_out)
    with steps.step(f"train {recipe.steps} steps"):
        trained = train(
            recipe,
            manifest,
            output / "training",
            resume=False,
            device=torch.device("cpu"),
            cache=output / "decoded",
            console=console,
        )
    with steps.step("embed and judge after training"):
        after = judge(trained, training, held_out)
    with steps.step("draw the page"):
        metrics = [line for line in read_metrics(output / "training") if "loss" in line]
        html = page(training, held_out, before, after, metrics, steps.seconds)
    facts = {
        "kind": "synthetic",
        "finished": True,
        "training_clips": len(training),
        "held_out_clips": len(held_out),
        "manifest": manifest.hash,
        "recipe": recipe.identity(),
        "knn_accuracy": {"before": before.accuracy, "after": after.accuracy},
        "seconds": steps.seconds,
    }
    path = write_page(output, html)
    write_facts(output, facts)
    say(f"kNN accuracy on {len(held_out)} held-out sounds: {before.accuracy:.1%} before, {after.accuracy:.1%} after")
    return path


def judge(model: str | Path | None, training: list[Sound], held_out: list[Sound]) -> Judged:
    """Embed both sets and let the training sounds vote about each held-out one (the kNN of `uniwhisper evaluate`)."""
    from uniwhisper.embedding.embedder import Embedder
    from uniwhisper.evaluation.knn import knn_predict

    embedder = Embedder.from_pretrained(model, device="cpu")
    sounds = [*training, *held_out]
    vectors_ND = embedder.embed([(sound.wave_S, SAMPLE_RATE_HZ) for sound in sounds]).vectors
    reference_ND, queries_ND = np.split(vectors_ND, [len(training)])
    labels = list(KINDS)
    predicted = knn_predict(reference_ND, np.array([labels.index(sound.label) for sound in training]), queries_ND)
    answers = [labels[index] for index in predicted]
    right = [answer == sound.label for answer, sound in zip(answers, held_out, strict=True)]
    return Judged(queries_ND, answers, sum(right) / len(right))


def page(
    training: list[Sound],
    held_out: list[Sound],
    before: Judged,
    after: Judged,
    metrics: list[dict],
    seconds: dict[str, float],
) -> str:
    """The report as HTML."""
    from uniwhisper.report.page import Cell, Page

    page = Page(
        "UniWhisper, end to end on synthetic sounds",
        summary=f"{len(KINDS)} kinds of sound, all made by formulas; {len(training)} to train on, {len(held_out)} held "
        f"out. kNN names {before.accuracy:.0%} of the held-out sounds right with the model as it came, and "
        f"{after.accuracy:.0%} after {metrics[-1]['step']} training steps on this machine.",
    )
    page.heading("The held-out sounds on a map")
    points, method = zip(*(places_on_map(judged.vectors_ND) for judged in (before, after)), strict=True)
    labels = [sound.label for sound in held_out]
    panels = [
        (f"{moment}: {judged.accuracy:.0%} recognised", place)
        for moment, judged, place in zip(("before", "after"), (before, after), points, strict=True)
    ]
    page.image(
        map_picture(panels, labels),
        alt="Two scatter plots of the held-out sounds, before and after training, coloured by kind",
        caption=f"Each point is one held-out sound, placed by {method[0]}. The model never heard these variants.",
        narrow=map_picture(panels[1:], labels, narrow=True),
    )
    page.heading("What is recognised")
    rows = []
    for label in KINDS:
        members = [index for index, sound in enumerate(held_out) if sound.label == label]
        shares = [f"{np.mean([judged.answers[i] == label for i in members]):.0%}" for judged in (before, after)]
        mistakes = Counter(after.answers[index] for index in members if after.answers[index] != label)
        rows.append(
            [
                Cell(label, KINDS[label][1]),
                *shares,
                ", ".join(mistake for mistake, _ in mistakes.most_common(3)) or "nothing",
            ]
        )
    rows.append([Cell("all", strong=True), f"{before.accuracy:.1%}", f"{after.accuracy:.1%}", ""])
    page.table(["kind", "right before", "right after", "still most often taken for"], rows, numeric=False)
    page.text(
        "Held-out sounds are other draws of the same formulas, so these figures say that the path from sound to score "
        "works on this machine. How good the model is on real sound is what uniwhisper evaluate measures."
    )

    page.heading("Nearest neighbours after training")
    indices, similarities = nearest(after.vectors_ND, 3)
    rows = []
    firsts = [labels.index(label) for label in KINDS]
    for index in firsts:
        found = [
            Cell(labels[other], f"cosine {similarity:.3f}")
            for other, similarity in zip(indices[index], similarities[index], strict=True)
        ]
        rows.append([labels[index], *found])
    page.table(["held-out sound", "nearest", "second", "third"], rows, numeric=False)

    page.heading("How training went")
    page.image(
        loss_picture([line["step"] for line in metrics], [line["loss"] for line in metrics]),
        alt="Training loss over steps",
        caption="The frozen language model reads the audio through the encoder and answers questions about it; the "
        "loss is its surprise at the right answers.",
    )
    page.table(["step", "seconds"], [[name, f"{value:.1f}"] for name, value in seconds.items()], caption="Time taken")

    page.heading("What the sounds are like")
    shown = [held_out[index] for index in firsts]
    waves = [(sound.label, sound.wave_S) for sound in shown]
    page.image(
        spectrograms_picture(waves),
        alt="Spectrograms of one sound of each kind",
        caption="One held-out sound of each kind: seconds across, 0 to 8 kHz upwards.",
        narrow=spectrograms_picture(waves, in_a_row=2),
    )
    with page.folded("Listen to them"):
        for sound in shown:
            page.audio(flac_bytes(sound), media_type="audio/flac", caption=f"{sound.label}: {sound.caption}")
    page.heading("The same with your own files")
    page.code("make demo AUDIO=folder\nuniwhisper embed folder -o vectors.parquet")
    return page.render()
