"""Where the right ones come: ranks of captions for a clip and of clips for a caption, and the metrics of them.

    recall at k     1 if one of the right ones is among the first k
    AP at 10        sum over the right ones among the first 10 of (right ones so far / rank), over min(right ones, 10)

A clip is asked for its captions, of which any is right; a caption for its clip. Caption's results are averaged over the
captions of a clip first, so every clip weighs the same. What would be right as well, because two clips share the words
of a caption, is taken out of the list before ranks are counted. Equal similarities: the earlier one comes first.
"""

import numpy as np

from uniwhisper.evaluation.places import unit
from uniwhisper.evaluation.retrieval.captions import Pairs

DIRECTIONS = ("audio_to_text", "text_to_audio")
WITHIN = (1, 5, 10)
METRICS = (*(f"recall_at_{most}" for most in WITHIN), "map_at_10")
_BLOCK = 512

Ranks = dict[str, np.ndarray]
"""By direction, of each pair int32, counted from 1: of the caption in its clip's list, of the clip in its caption's."""


def ranks(audio_QK: np.ndarray, texts_MK: np.ndarray, pairs: Pairs) -> Ranks:
    """Ranks by cosine; all clips and all captions of `pairs` are the gallery.

    Args:
        audio_QK: one float vector per clip.
        texts_MK: one per text.
        pairs: of these clips, int32 (P,) ranks in their order.
    """
    clip_P, text_P = pairs.clip_P, pairs.text_P
    similarity_QP = unit(audio_QK) @ unit(texts_MK)[text_P].T
    has_QM = np.zeros((len(audio_QK), len(texts_MK)), dtype=bool)
    has_QM[clip_P, text_P] = True
    own_P = similarity_QP[clip_P, np.arange(len(clip_P))]
    to_text, to_audio = [], []
    for start in range(0, len(clip_P), _BLOCK):
        block = np.arange(start, min(start + _BLOCK, len(clip_P)))
        clip_B, own_B1 = clip_P[block], own_P[block, None]
        also_BP = has_QM[clip_B][:, text_P] & (clip_P != clip_B[:, None])
        to_text.append(_rank(similarity_QP[clip_B], own_B1, block, also_BP))
        to_audio.append(_rank(similarity_QP[:, block].T, own_B1, clip_B, has_QM[:, text_P[block]].T))
    return {"audio_to_text": np.concatenate(to_text), "text_to_audio": np.concatenate(to_audio)}


def _rank(similarity_BG: np.ndarray, own_B1: np.ndarray, place_B: np.ndarray, also_BG: np.ndarray) -> np.ndarray:
    earlier_BG = np.arange(similarity_BG.shape[1]) < place_B[:, None]
    before_BG = (similarity_BG > own_B1) | ((similarity_BG == own_B1) & earlier_BG)
    return (1 + (before_BG & ~also_BG).sum(axis=1)).astype(np.int32)


def of_clips(ranks_SP: Ranks, clip_P: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """By direction and metric what each clip scores, float64 (seeds, Q), from 0 to 1.

    Args:
        ranks_SP: int (seeds, P), of pairs clip by clip.
        clip_P: the pairs' clips, int64 ascending from 0.
    """
    starts_Q = np.flatnonzero(np.diff(clip_P, prepend=-1))
    counts_Q = np.diff(np.append(starts_Q, len(clip_P)))
    to_text_SP, to_audio_SP = (ranks_SP[direction] for direction in DIRECTIONS)
    first_SQ = np.minimum.reduceat(to_text_SP, starts_Q, axis=1)
    of_each = np.split(to_text_SP, starts_Q[1:], axis=1)
    precision_SQ = np.stack([_average_precision(ranks_SC) for ranks_SC in of_each], axis=1)
    within = {f"recall_at_{most}": (to_audio_SP <= most).astype(np.float64) for most in WITHIN}
    within["map_at_10"] = np.where(to_audio_SP <= 10, 1 / to_audio_SP, 0.0)
    return {
        "audio_to_text": {f"recall_at_{most}": (first_SQ <= most).astype(np.float64) for most in WITHIN}
        | {"map_at_10": precision_SQ},
        "text_to_audio": {
            metric: np.add.reduceat(values_SP, starts_Q, axis=1) / counts_Q for metric, values_SP in within.items()
        },
    }


def _average_precision(ranks_SC: np.ndarray) -> np.ndarray:
    """(seeds,) of the ranks of one clip's captions."""
    ranks_SC, count = np.sort(ranks_SC, axis=1), ranks_SC.shape[1]
    return np.where(ranks_SC <= 10, np.arange(1, count + 1) / ranks_SC, 0.0).sum(axis=1) / min(count, 10)


def score_of_clips(values: dict[str, dict[str, np.ndarray]]) -> np.ndarray:
    """The task's metric, X-ARES's: recall at 1, the mean of both directions. Float64 (seeds, Q).

    `values`: float64 (seeds, Q) by direction and metric, from `of_clips`.
    """
    one, other = (values[direction]["recall_at_1"] for direction in DIRECTIONS)
    return (one + other) / 2
