"""What the protocol does with a task of each kind: check its labels, encode its clips, score."""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from uniwhisper.evaluation.clips import Clip
from uniwhisper.evaluation.events import average_of, spans_of
from uniwhisper.evaluation.suites import SuiteError, Task
from uniwhisper.evaluation.xares import asr, frame, order, pooling, probe, retrieval
from uniwhisper.evaluation.xares.frames import StoredFrames, store_frames
from uniwhisper.evaluation.xares.language import CaptionTokenizer, SpeechModel
from uniwhisper.evaluation.xares.metrics import CAPTIONS
from uniwhisper.evaluation.xares.scoring import score_clips
from uniwhisper.evaluation.xares.stored import StoredClips
from uniwhisper.evaluation.xares.targets import PITCH_NAMES, EventTargets

Scores = dict[str, Any]
"""`probe` {score, seeds, folds (per seed, per fold), epochs (chosen, per seed; None in tasks of clips)}, `knn`."""


@dataclass(frozen=True)
class Judged:
    """The encoder, and what else a kind of task needs."""

    encode: pooling.Encode
    timed: pooling.TimedEncode | None = None
    """For events in time; None: the encoder does not say its hop."""
    tokenizer: CaptionTokenizer | None = None
    speech: SpeechModel | None = None

    def lacks(self, task: Task) -> str | None:
        """Why a task cannot be run; None: it can."""
        if task.xares is None:
            return "X-ARES has no such task"
        if task.kind == "frame" and self.timed is None:
            return "the encoder does not say how far apart its frames are"
        if task.kind == "retrieval" and self.tokenizer is None:
            return "no tokenizer of captions was given (--tokenizer)"
        if task.kind == "asr" and self.speech is None:
            return "no frozen language model was given (--language-model)"
        return None


def check(stored: StoredClips) -> None:
    """See that every label can be used, before anything is encoded.

    Raises:
        SuiteError: it names the clip.
    """
    task, splits = stored.task, stored.settings.splits
    if task.kind in _ON_SPLITS and not {"train", "valid", "test"} <= splits.keys():
        raise SuiteError(
            f"task {task.name}: no splits to train, choose and score on",
            expected="xares.splits with train, valid and test in the suite",
            got=", ".join(splits) or "none",
            fix="mend the suite file",
        )
    if empty := [split for split in splits.values() if not stored.splits.get(split)]:
        raise SuiteError(
            f"task {task.name}: a split has no clips",
            expected=f"clips in each of {', '.join(dict.fromkeys(splits.values()))}",
            got=f"none in {', '.join(dict.fromkeys(empty))}",
            fix="unpack the set again, all of it",
        )
    for clip in stored.found.clips:
        if task.kind == "frame":
            spans = spans_of(stored.found, clip)
            if spans and "note" in clip.fields[task.label.field][0] and task.label.classes != PITCH_NAMES:
                raise _bad_label(task, clip, f"notes of the {len(PITCH_NAMES)} pitches of X-ARES", "another list")
        elif task.kind == "retrieval":
            texts = [value for value in clip.fields.values() if isinstance(value, str) and value.strip()]
            if len(texts) != CAPTIONS or len(clip.fields) != CAPTIONS:
                got = f"{len(clip.fields)} fields, {len(texts)} of them text"
                raise _bad_label(task, clip, f"{CAPTIONS} captions and nothing else in its JSON", got)
        elif task.kind == "asr" and not clip.label.strip():
            raise _bad_label(task, clip, f"words in the field {task.label.field!r}", "none")


def score(judged: Judged, stored: StoredClips, seeds: Sequence[int], device: torch.device | str) -> Scores:
    """Encode the clips of a checked task and score it, once per seed.

    Raises:
        SuiteError: a split in which no clip can be decoded, or is long enough.
        EncoderError: the encoder's frames are not finite, or not as far apart as it says.
        OutputError: there is no room for the frames.
    """
    if stored.task.kind not in _ON_SPLITS:
        return _clips(judged, stored, seeds, device)
    with tempfile.TemporaryDirectory(prefix="uniwhisper-xares-") as folder:
        run = _ON_SPLITS[stored.task.kind](judged, stored, Path(folder), device)
        answers = [run(seed) for seed in seeds]
    scores = [answer.score for answer in answers]
    return {
        "probe": {
            "score": float(np.mean(scores)),
            "seeds": scores,
            "folds": [[each] for each in scores],
            "epochs": [answer.epoch + 1 for answer in answers],
        },
        "knn": None,
    }


def _clips(judged: Judged, stored: StoredClips, seeds: Sequence[int], device: torch.device | str) -> Scores:
    task, settings = stored.task, stored.settings
    parts = [
        pooling.pooled(judged.encode, stored.waves(split), batch_clips=settings.encode_batch) for split in stored.splits
    ]
    used = [clip for clips in stored.used.values() for clip in clips]
    scores = score_clips(
        np.concatenate([vectors_ND for vectors_ND, _ in parts]),
        _targets(task, stored.found.classes, [clip.label for clip in used]),
        [clip.fold for clip in used],
        splits=settings.splits or None,
        batch_clips=settings.batch,
        epochs=settings.epochs,
        with_knn=settings.knn,
        seeds=seeds,
        classes=len(stored.found.classes),
        frame_bytes_N=np.concatenate([sizes_N for _, sizes_N in parts]),
        device=device,
    )
    return {
        "probe": {
            "score": float(np.mean(scores.probe)), "seeds": scores.probe, "folds": scores.probe_folds, "epochs": None,
        },
        "knn": None if scores.knn is None else {"score": scores.knn, "folds": scores.knn_folds},
    }  # fmt: skip


Answer = frame.FrameAnswer | retrieval.RetrievalAnswer | asr.AsrAnswer
Run = Callable[[int], Answer]
"""One run of X-ARES, by its seed."""


def _events(judged: Judged, stored: StoredClips, folder: Path, device: torch.device | str) -> Run:
    assert judged.timed is not None, "`lacks` said so"
    task, settings, hop_seconds = stored.task, stored.settings, judged.timed.hop_seconds
    frames = _stored_frames(judged.timed, stored, folder)
    spans = {split: [spans_of(stored.found, clip) for clip in stored.used[split]] for split in frames}
    names = {span.name for clips in spans.values() for clip in clips for span in clip}
    classes = task.label.classes or tuple(sorted(names))
    how = frame.FrameTask(
        classes=len(classes),
        segment_seconds=task.metric_arguments["segment_seconds"],
        average=average_of(task.metric),
        batch_clips=settings.batch,
        epochs=settings.epochs,
        positive_weight=task.metric_arguments.get("positive_weight", 1.0),
    )
    for split in dict.fromkeys((settings.splits["valid"], settings.splits["test"])):
        needed, longest = math.ceil(how.segment_seconds / hop_seconds), int(frames[split].counts_N.max())
        if longest < needed:
            raise SuiteError(
                f"task {task.name}: no clip of {split} fills a segment",
                expected=f"{needed} frames of {1000 * hop_seconds:g} ms",
                got=f"at most {longest}",
                fix="unpack the set again, or use an encoder with more frames",
            )
    clips = {
        split: frame.FrameClips(frames[split], EventTargets(spans[split], classes, hop_seconds=hop_seconds))
        for split in frames
    }
    training, choosing, scored = (settings.splits[part] for part in ("train", "valid", "test"))
    weights = probe.initial_weights(1, frames[training].width, len(classes), epochs=settings.epochs)[0]
    shards = order.stored_shards(frames[training].bytes_N)
    return lambda seed: frame.frame_probe(
        how,
        clips[training],
        clips[choosing],
        clips[scored],
        orders=order.epoch_orders(shards, epochs=settings.epochs, seed=seed),
        hop_seconds=hop_seconds,
        weights=weights,
        device=device,
    )


def _retrieval(judged: Judged, stored: StoredClips, folder: Path, device: torch.device | str) -> Run:  # noqa: ARG001
    assert judged.tokenizer is not None, "`lacks` said so"
    settings, sides, sizes = stored.settings, {}, {}
    for split in dict.fromkeys(settings.splits.values()):
        vectors_ND, sizes[split] = pooling.pooled(judged.encode, stored.waves(split), batch_clips=settings.encode_batch)
        captions = [text for clip in stored.used[split] for text in clip.fields.values()]
        sides[split] = retrieval.CaptionedClips(vectors_ND, judged.tokenizer.tokenize(captions))
    shards = order.stored_shards(sizes[settings.splits["train"]], most_clips=retrieval.SHARD_CLIPS)
    return lambda seed: retrieval.train_retrieval(
        *(sides[settings.splits[part]] for part in ("train", "valid", "test")),
        orders=order.epoch_orders(shards, epochs=settings.epochs, seed=seed, captions=CAPTIONS),
        vocabulary=judged.tokenizer.vocabulary,
        batch_pairs=settings.batch,
        device=device,
    )


def _speech(judged: Judged, stored: StoredClips, folder: Path, device: torch.device | str) -> Run:
    assert judged.speech is not None, "`lacks` said so"
    settings, frames = stored.settings, _stored_frames(judged.encode, stored, folder)
    sides = {split: asr.Transcribed(frames[split], [clip.label for clip in stored.used[split]]) for split in frames}
    shards = order.stored_shards(frames[settings.splits["train"]].bytes_N)
    return lambda seed: asr.train_asr(
        *(sides[settings.splits[part]] for part in ("train", "valid", "test")),
        causal_lm=judged.speech.causal_lm,
        tokenizer=judged.speech.tokenizer,
        width=frames[settings.splits["train"]].width,
        orders=order.epoch_orders(shards, epochs=settings.epochs, seed=seed),
        batch_clips=settings.batch,
        device=device,
    )


_ON_SPLITS = {"frame": _events, "retrieval": _retrieval, "asr": _speech}


def _stored_frames(encode: pooling.Encode, stored: StoredClips, folder: Path) -> dict[str, StoredFrames]:
    batches = partial(pooling.padded_batches, batch_clips=stored.settings.encode_batch)
    splits = dict.fromkeys(stored.settings.splits.values())
    return {
        split: store_frames(encode, batches(stored.waves(split)), folder / str(place))
        for place, split in enumerate(splits)
    }


def _targets(task: Task, classes: list[str], labels: list[str]) -> np.ndarray:
    index_of = {name: index for index, name in enumerate(classes)}
    if task.kind == "clip":
        return np.array([index_of[label] for label in labels], dtype=np.int64)
    targets_NC = np.zeros((len(labels), len(classes)), dtype=np.float32)
    for row_C, label in zip(targets_NC, labels, strict=True):
        row_C[[index_of[name] for name in label.split(task.label.separator)]] = 1
    return targets_NC


def _bad_label(task: Task, clip: Clip, expected: str, got: str) -> SuiteError:
    fix = "mend the clip's JSON, or the suite's label rule"
    return SuiteError(f"task {task.name}: clip {clip.id} has another label", expected=expected, got=got, fix=fix)
