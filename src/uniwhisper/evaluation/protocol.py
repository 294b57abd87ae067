"""What a number means. Results are compared only where all of this agrees; a change of method changes the version."""

from dataclasses import asdict
from typing import Any

from uniwhisper.evaluation import axes, bootstrap, events, knn, ladder, linear, probe, selection, speech
from uniwhisper.evaluation.retrieval import scoring as retrieval
from uniwhisper.evaluation.retrieval.texts import WORDS, TextSide
from uniwhisper.evaluation.suites import Suite

PROTOCOL: dict[str, Any] = {
    "name": "clean",
    "version": 4,
    "vectors": "one per clip, real frames only: mean, and mean with deviation",
    "knn": {"similarity": "cosine", "k": knn.NEIGHBOURS, "temperature": knn.TEMPERATURE, "vectors": "raw"},
    "knn_standardised": {
        "similarity": "cosine",
        "k": knn.NEIGHBOURS,
        "temperature": knn.TEMPERATURE,
        "vectors": "standardised on the training fold",
    },
    "probes": {
        "vectors": "standardised on the training fold",
        "axes": f"its principal axes with {axes.KEPT:.2%} of the variance, each divided by the root of its variance "
        f"plus {axes.SHRINK:g}",
        "chosen_on": f"{selection.INNER_SHARE:.0%} of the training fold, whole groups, never scored",
        "linear": {
            "model": "linear, L2 penalty on the weights",
            "vectors": "along the axes",
            "optimiser": f"L-BFGS on all clips to gradients of {linear.TOLERANCE:g}, {selection.ROUGH:g} when choosing",
            "penalties": list(selection.PENALTIES),
            "patience": selection.PATIENCE,
            "seeds": 1,
        },
        "mlp": {
            "model": f"one hidden layer of {probe.HIDDEN}, gelu",
            "vectors": "along the axes or not, as the grid says",
            "optimiser": f"AdamW, constant learning rate, batches of {probe.BATCH_CLIPS}; weights averaged by "
            f"polynomial decay, {probe.AVERAGING}",
            "grid": [asdict(setting) for setting in selection.GRID],
            "epochs": {
                "ladder": [2**rung for rung in range(ladder.RUNGS)],
                "least_steps": selection.LEAST_STEPS,
                "doublings": ladder.DOUBLINGS,
            },
            "seeds": selection.SEEDS,
        },
    },
    "ctc": speech.PROTOCOL,
    "score": "mean over folds and seeds",
    "interval": {
        "resampled": "seeds, then groups, then clips",
        "level": bootstrap.LEVEL,
        "resamples": bootstrap.RESAMPLES,
    },
}


def protocol_of(suite: Suite, texts: TextSide = WORDS) -> dict[str, Any]:
    """`PROTOCOL`, with what is said of events in time and of retrieval where the suite has them."""
    kinds = {task.kind for task in suite.tasks}
    protocol = dict(PROTOCOL)
    if "frame" in kinds:
        protocol["events"] = events.PROTOCOL
    if "retrieval" in kinds:
        protocol["retrieval"] = retrieval.PROTOCOL | {"texts": texts.description}
    return protocol
