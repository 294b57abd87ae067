"""Speech recognition in the `clean` protocol: a CTC probe on frames, its budget chosen inside the training fold."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from uniwhisper.core.errors import MissingExtraError
from uniwhisper.evaluation import bootstrap
from uniwhisper.evaluation.averages import FRAMES, SPEECH_MEASURE
from uniwhisper.evaluation.clips import TaskClips
from uniwhisper.evaluation.ctc import BATCH_CLIPS, Alphabet, train_ctc
from uniwhisper.evaluation.folds import Fold, inner_split, make_folds
from uniwhisper.evaluation.kept import ScoredTask
from uniwhisper.evaluation.scoring import bootstrap_seed, rows_of, summary
from uniwhisper.evaluation.selection import INNER_SEED, INNER_SHARE, SEEDS
from uniwhisper.evaluation.spool import Frames, spool
from uniwhisper.evaluation.vectors import ClipVectors

LEARNING_RATES = (3e-3, 1e-2)
LADDER = (5, 10, 20, 40)
"""Epochs asked at, in units that make the last at least `LEAST_STEPS` steps."""
LEAST_STEPS = 600
PROTOCOL = {
    "model": "layer normalisation and one linear layer over characters, CTC, greedy decoding",
    "learning_rates": list(LEARNING_RATES),
    "epochs": {"ladder": list(LADDER), "least_steps": LEAST_STEPS},
    "chosen_by": "character errors on whole groups of the training fold, never scored",
    "text": "lower case, nothing else changed",
}


def score_speech(
    encoder: Any,
    found: TaskClips,
    pooled: ClipVectors,
    *,
    seed: int,
    device: torch.device | str,
    result: dict[str, Any],
) -> ScoredTask:
    """Scores of the probe on an encoder that gives frames; `result` is the task's entry without them, and is filled.

    Raises:
        MissingExtraError: jiwer is not installed.
    """
    clips = [found.clips[index] for index in pooled.indices]
    texts = [clip.label.lower() for clip in clips]
    folds = make_folds([clip.fold for clip in clips], found.task.folds.scored, found.task.folds.reference)
    split_by = [found.task.split_of(clip.id, clip.group) for clip in clips]
    with tempfile.TemporaryDirectory(prefix="uniwhisper-frames-") as folder:
        frames = spool(encoder, [clip.source.audio() for clip in clips], pooled.frames, Path(folder) / "frames")
        answered, details = [], []
        for fold in folds:
            alphabet = Alphabet([texts[clip] for clip in fold.reference])
            choice = _choose(frames, texts, alphabet, fold, split_by, device)
            (given,) = train_ctc(
                frames,
                texts,
                alphabet,
                reference=fold.reference.tolist(),
                queries=fold.scored.tolist(),
                learning_rate=choice["chosen"]["learning_rate"],
                checkpoints=(choice["chosen"]["epochs"],),
                seeds=range(seed, seed + SEEDS),
                device=device,
            )
            answered.append(given)
            details.append(choice)
    scored = np.concatenate([fold.scored for fold in folds])
    hypotheses = [[text for fold_texts in answered for text in fold_texts[s]] for s in range(SEEDS)]
    references = [texts[clip] for clip in scored]
    counts = [word_errors(references, each) for each in hypotheses]
    errors_SQ, words_Q = np.stack([errors for errors, _ in counts]), counts[0][1]
    groups = [clips[clip].group for clip in scored]
    scores, draws = _summary(found.task.name, folds, references, hypotheses, errors_SQ, words_Q, groups, details, seed)
    result["scores"] = {FRAMES: {SPEECH_MEASURE: scores}}
    result["clips"]["scored"] = len(scored)
    arrays = {
        "id": np.array([clips[clip].id for clip in scored]),
        "fold": np.array([clips[clip].fold for clip in scored]),
        "group": np.array(groups),
        "reference": np.array(references),
        "words": words_Q,
        f"{FRAMES}/{SPEECH_MEASURE}": np.array(hypotheses),
        f"{FRAMES}/{SPEECH_MEASURE}_errors": errors_SQ,
    }
    return ScoredTask(result, arrays, {FRAMES: {SPEECH_MEASURE: draws}})


def _choose(
    frames: Frames, texts: list[str], alphabet: Alphabet, fold: Fold, split_by: list[str], device: torch.device | str
) -> dict[str, Any]:
    """Learning rate and epochs of the lowest character error rate on held-out groups of the training fold."""
    labels = np.zeros(len(fold.reference), dtype=np.int64)
    groups = [split_by[clip] for clip in fold.reference]
    fitting, choosing = inner_split(labels, groups, share=INNER_SHARE, seed=INNER_SEED)
    steps = -(-len(fitting) // BATCH_CLIPS)
    unit = -(-LEAST_STEPS // (LADDER[-1] * steps))
    epochs = tuple(rung * unit for rung in LADDER)
    if not len(choosing):
        return {"chosen": {"learning_rate": LEARNING_RATES[0], "epochs": epochs[-1]}, "underfit": False}
    queries = fold.reference[choosing].tolist()
    rates = np.zeros((len(LEARNING_RATES), len(epochs)))
    for row, learning_rate in enumerate(LEARNING_RATES):
        answers = train_ctc(
            frames,
            texts,
            alphabet,
            reference=fold.reference[fitting].tolist(),
            queries=queries,
            learning_rate=learning_rate,
            checkpoints=epochs,
            seeds=(INNER_SEED,),
            device=device,
        )
        rates[row] = [character_error_rate([texts[clip] for clip in queries], given[0]) for given in answers]
    column = int(np.argmin(rates.min(axis=0)))
    row = int(np.argmin(rates[:, column]))
    curve = rates[row].tolist()
    return {
        "chosen": {"learning_rate": LEARNING_RATES[row], "epochs": epochs[column]},
        "curve": {
            "epochs": {"ladder": list(LADDER), "least_steps": LEAST_STEPS},
            "inner": [1 - rate for rate in curve],
        },
        # Character errors creep down for long: a rise of less than a hundredth changes no reader's mind.
        "underfit": column == len(epochs) - 1 and curve[-2] - curve[-1] > 0.01,
    }


def _summary(
    name: str,
    folds: Sequence[Fold],
    references: list[str],
    hypotheses: list[list[str]],
    errors_SQ: np.ndarray,
    words_Q: np.ndarray,
    groups: list[str],
    details: list[dict[str, Any]],
    seed: int,
) -> tuple[dict[str, Any], np.ndarray]:
    weights_RQ = bootstrap.clip_weights(groups, seed=bootstrap_seed(seed, name))
    draws = bootstrap.rate_draws(errors_SQ, words_Q, weights_RQ, seed=bootstrap_seed(seed, name))
    rates_S = errors_SQ.sum(axis=1) / words_Q.sum()
    each_FS = [
        np.maximum(0, 1 - errors_SQ[:, rows].sum(axis=1) / words_Q[rows].sum()).tolist() for rows in rows_of(folds)
    ]
    scores = summary(folds, each_FS, draws, details, together_S=np.maximum(0, 1 - rates_S))
    scores["wer"] = float(rates_S.mean())
    scores["cer"] = float(np.mean([character_error_rate(references, each) for each in hypotheses]))
    return scores, draws


def word_errors(references: Sequence[str], hypotheses: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Per clip word errors (substitutions, deletions, insertions) and words of the reference, int64, by jiwer."""
    jiwer = _jiwer()
    errors, words = [], []
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        counted = jiwer.process_words(reference, hypothesis)
        errors.append(counted.substitutions + counted.deletions + counted.insertions)
        words.append(counted.hits + counted.substitutions + counted.deletions)
    return np.array(errors, dtype=np.int64), np.array(words, dtype=np.int64)


def character_errors(references: Sequence[str], hypotheses: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """As `word_errors`, of characters, spaces among them."""
    jiwer = _jiwer()
    counted = [jiwer.process_characters(*pair) for pair in zip(references, hypotheses, strict=True)]
    errors = [one.substitutions + one.deletions + one.insertions for one in counted]
    characters = [one.hits + one.substitutions + one.deletions for one in counted]
    return np.array(errors, dtype=np.int64), np.array(characters, dtype=np.int64)


def character_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Over the whole corpus, by jiwer."""
    return float(_jiwer().cer(list(references), list(hypotheses)))


def _jiwer() -> Any:
    try:
        import jiwer
    except ModuleNotFoundError:
        raise MissingExtraError.of("jiwer", "eval", "speech recognition") from None
    return jiwer
