"""The metrics of X-ARES 0.1.3. All lie in 0..1, higher is better. Source: `xares/metrics.py`.

scikit-learn and jiwer compute what they define alike; what is X-ARES's own is the cutting into segments, the pairing
of captions, and the lower case.
"""

import math
from collections.abc import Sequence

import numpy as np

from uniwhisper.core.errors import MissingExtraError

CAPTIONS = 5


def accuracy(logits_QC: np.ndarray, labels_Q: np.ndarray) -> float:
    """Share of rows whose largest logit (`logits_QC`, float) is that of their class (`labels_Q`, int)."""
    return float(np.mean(logits_QC.argmax(axis=1) == labels_Q))


def mean_average_precision(logits_QC: np.ndarray, targets_QC: np.ndarray) -> float:
    """Average precision, macro over classes.

    Args:
        logits_QC: float scores.
        targets_QC: 0/1. A class without a positive counts 0, with scikit-learn's warning.
    """
    return float(_sklearn("average_precision_score")(targets_QC, logits_QC, average="macro"))


def segments(frames_TC: np.ndarray, *, hop_seconds: float, segment_seconds: float) -> np.ndarray:
    """0/1 frames to segments: 1 where any frame of a segment is 1.

    A segment is ceil(segment / hop) frames, so it lasts longer than `segment_seconds` unless the hop divides it
    (40 ms frames: 0.1 s become 120 ms); frames after the last whole segment are dropped.

    Args:
        frames_TC: 0/1, one row per frame.
        hop_seconds: between frames.
        segment_seconds: length asked for.
    """
    frames = math.ceil(segment_seconds / hop_seconds)
    whole = len(frames_TC) // frames
    return frames_TC[: whole * frames].reshape(whole, frames, frames_TC.shape[1]).max(axis=1)


def decide(logits_TC: np.ndarray) -> np.ndarray:
    """0/1 int8 of float `logits_TC` of any shape: probability above one half; exactly one half is 0."""
    return (np.asarray(logits_TC) > 0).astype(np.int8)


def segment_f1(predicted_SC: np.ndarray, targets_SC: np.ndarray, *, average: str) -> float:
    """F1 over the segments of all clips together.

    Args:
        predicted_SC: 0/1.
        targets_SC: 0/1. With `macro`, a class that is neither there nor predicted counts 0.
        average: `macro` (DESED) or `micro` (MAESTRO).
    """
    return float(_sklearn("f1_score")(targets_SC, predicted_SC, average=average, zero_division=0))


def recall_at_1(audio_ND: np.ndarray, texts_MD: np.ndarray) -> float:
    """Mean of audio-to-text and text-to-audio recall at 1 by cosine.

    Args:
        audio_ND: one vector per clip.
        texts_MD: `CAPTIONS` vectors per clip, those of a clip one after the other, so M = CAPTIONS N. A clip is found
            if any of its captions is the nearest text.
    """
    assert len(texts_MD) == CAPTIONS * len(audio_ND), f"{CAPTIONS} captions per clip"
    audio_ND, texts_MD = _unit(audio_ND), _unit(texts_MD)
    similarity_NM = audio_ND @ texts_MD.T
    clips_N = np.arange(len(audio_ND))
    audio_to_text = np.mean(similarity_NM.argmax(axis=1) // CAPTIONS == clips_N)
    text_to_audio = np.mean(similarity_NM.argmax(axis=0) == np.repeat(clips_N, CAPTIONS))
    return float((audio_to_text + text_to_audio) / 2)


def inverse_word_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """max(0, 1 - WER) over all words of the corpus, in lower case and otherwise as written."""
    try:
        import jiwer
    except ModuleNotFoundError:
        raise MissingExtraError.of("jiwer", "eval", "the word error rate") from None
    lower = [[text.lower() for text in texts] for texts in (references, hypotheses)]
    return max(0.0, 1.0 - float(jiwer.wer(*lower)))


def _unit(vectors_ND: np.ndarray) -> np.ndarray:
    return vectors_ND / np.maximum(np.linalg.norm(vectors_ND, axis=1, keepdims=True), 1e-12)


def _sklearn(name: str):
    try:
        from sklearn import metrics
    except ModuleNotFoundError:
        raise MissingExtraError.of("scikit-learn", "eval", "this metric") from None
    return getattr(metrics, name)
