"""Scores of random answers by the field's libraries and by the real X-ARES. Runs in this folder's environment.

    python real_metrics.py IN.npz OUT.npz

IN.npz   as `agree_metrics.py` makes it; OUT.npz  one number per name
"""

import sys
import warnings

import numpy as np
import torch
from xares.metrics import ALL_METRICS

HOPS_MS = {"segmentf1_macro": (20, 1.0), "segmentf1_micro": (40, 0.1)}


def xares(name: str, *output, **arguments) -> float:
    """The real metric of X-ARES on one batch."""
    metric = ALL_METRICS[name].metric(**arguments)
    metric.reset()
    if hasattr(metric, "_output_transform"):
        output = metric._output_transform(output)
    metric.update(output)
    return float(metric.compute())


def sed_eval_scores(predicted_NSC: np.ndarray, targets_NSC: np.ndarray) -> dict[str, float]:
    """Segment-based F1 of sed_eval over 1 s segments; an event for every segment in which a class is there."""
    import dcase_util
    import sed_eval

    def events(segments_SC: np.ndarray):
        return dcase_util.containers.MetaDataContainer(
            [
                {"filename": "clip", "event_label": str(label), "onset": float(start), "offset": float(start + 1)}
                for start, label in np.argwhere(segments_SC)
            ]
        )

    labels = [str(label) for label in range(targets_NSC.shape[2])]
    metrics = sed_eval.sound_event.SegmentBasedMetrics(labels, time_resolution=1.0)
    for predicted_SC, targets_SC in zip(predicted_NSC, targets_NSC, strict=True):
        seconds = len(targets_SC)
        metrics.evaluate(events(targets_SC), events(predicted_SC), evaluated_length_seconds=seconds)
    return {
        "sed_eval macro": metrics.results_class_wise_average_metrics()["f_measure"]["f_measure"],
        "sed_eval micro": metrics.results_overall_metrics()["f_measure"]["f_measure"],
    }


def mir_eval_micro(predicted_SC: np.ndarray, targets_SC: np.ndarray) -> float:
    """F1 of mir_eval's multi-pitch precision and recall: a pitch is a MIDI note from 21 on."""
    import mir_eval

    def pitches(segments_SC: np.ndarray) -> list[np.ndarray]:
        return [440 * 2 ** ((21 + np.flatnonzero(row) - 69) / 12) for row in segments_SC]

    times = np.arange(len(targets_SC)) * 0.12
    scores = mir_eval.multipitch.evaluate(times, pitches(targets_SC), times, pitches(predicted_SC))
    precision, recall = scores["Precision"], scores["Recall"]
    return 2 * precision * recall / (precision + recall)


def main() -> None:
    warnings.simplefilter("ignore")
    given = dict(np.load(sys.argv[1]))
    logits_BTC, frames_BTC = torch.from_numpy(given["logits"]), torch.from_numpy(given["frames"])
    found = {
        f"xares {name}": xares(name, logits_BTC, frames_BTC, hop_size_in_ms=hop_ms, segment_length_in_s=seconds)
        for name, (hop_ms, seconds) in HOPS_MS.items()
    }
    found["xares recallatk_r1"] = xares(
        "recallatk_r1", torch.from_numpy(given["audio"]).repeat_interleave(5, 0), torch.from_numpy(given["texts"])
    )
    found["xares WER_inv"] = xares("WER_inv", given["hypotheses"].tolist(), given["references"].tolist())
    found["xares mAP"] = xares("mAP", torch.from_numpy(given["scores"]), torch.from_numpy(given["several"]))
    found |= sed_eval_scores(given["predicted"], given["targets"])
    found["mir_eval micro"] = mir_eval_micro(np.concatenate(given["predicted"]), np.concatenate(given["targets"]))
    np.savez(sys.argv[2], **{name: np.float64(value) for name, value in found.items()})


if __name__ == "__main__":
    main()
