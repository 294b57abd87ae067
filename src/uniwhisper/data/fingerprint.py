"""Acoustic fingerprints: the same recording is found again after re-encoding, resampling, a change of level or a cut.

After J. Haitsma, T. Kalker, "A Highly Robust Audio Fingerprinting System", ISMIR 2002: each frame gives 32 bits, the
sign of how the difference between neighbouring bands changes over time; words find candidates in an inverted index, and
the bit error rate over the whole overlap decides. Three things differ, because clips here are short and not all music:
the change is taken over half a window instead of one hop (neighbouring frames hardly differ), bits whose change is
small do not vote (a codec turns them), and quiet bands are lifted to a floor relative to their frame (a codec empties
them), which keeps level and cuts out of the bits.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import soxr

from uniwhisper.core.units import SAMPLE_RATE_HZ

RATE_HZ = 8_000
"""Bits lie below 4 kHz, so that telephone speech still has them."""
WINDOW_SAMPLES, HOP_SAMPLES = 2048, 128
HOP_SECONDS = HOP_SAMPLES / RATE_HZ
SHORTEST_SECONDS = 2.0
"""Sound that two clips must share to be compared: shorter ones say too little."""
BITS = 32
MOST_ERRORS = 0.2
"""Share of voting bits that may differ. Unrelated sounds differ in about half."""

_LOWEST_HZ, _HIGHEST_HZ = 250.0, 3600.0
_LAG_FRAMES = 8
_FLOOR = 1e-5  # of the energy of its frame: -50 dB
_SILENT_POWER, _SILENT_SHARE = 1e-11, 1e-6  # -110 dB of full scale; -60 dB of the clip's loudest frame
_VOTING_CHANGE = 0.4  # of log energy: 1.7 dB
_LARGEST, _NEARLY_LARGEST = 4, 6
_INDEXED, _ASKED_EVERY = 3, 2
_CHOICES = sorted(combinations(range(_NEARLY_LARGEST), _LARGEST), key=sum)
_COMMON_KEY = 256
_CANDIDATES = 32
_OFFSET_ZERO = 1 << 30
_FEWEST_FRAMES = round((SHORTEST_SECONDS - (WINDOW_SAMPLES + _LAG_FRAMES * HOP_SAMPLES) / RATE_HZ) / HOP_SECONDS) - 4
_FEWEST_VOTING_BITS = (120, 400)  # with half the errors, with all of them


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Of one clip: F frames of 16 ms."""

    words_F: np.ndarray
    """uint32, one bit for each pair of bands."""
    voting_F: np.ndarray
    """uint32, which of these bits count; 0 where the clip is silent."""
    keys_FP: np.ndarray
    """uint64, (F, P): which of the bits are those of the largest changes, and their values. Each column chooses other
    four of the six largest, since re-encoding swaps neighbours in that order; the index holds the first few."""
    keyed_F: np.ndarray
    """bool: enough bits vote for the keys to say something."""


@dataclass(frozen=True, slots=True)
class Match:
    """A clip of the index that shares at least two seconds of sound with the one asked about."""

    name: str
    error_rate: float
    """Of the voting bits."""
    offset_seconds: float
    """Where the asked clip begins in the found one; negative if it begins before."""
    shared_seconds: float


def fingerprint(wave_S: np.ndarray) -> Fingerprint | None:
    """Fingerprint of a clip; None if it is shorter than `SHORTEST_SECONDS`.

    Args:
        wave_S: (S,) float32, 16 kHz.
    """
    if len(wave_S) < SHORTEST_SECONDS * SAMPLE_RATE_HZ * 0.99:
        return None
    wave_S = soxr.resample(np.asarray(wave_S, np.float32), SAMPLE_RATE_HZ, RATE_HZ, quality="LQ")
    frames_FN = np.lib.stride_tricks.sliding_window_view(wave_S, WINDOW_SAMPLES)[::HOP_SAMPLES]
    energies_FM = np.concatenate([_band_energies(frames_FN[at : at + 1024]) for at in range(0, len(frames_FN), 1024)])
    power_F = energies_FM.sum(axis=1)
    logs_FM = np.log(energies_FM + _FLOOR * power_F[:, None] + 1e-20)
    slopes_FB = logs_FM[:, :-1] - logs_FM[:, 1:]
    changes_FB = slopes_FB[_LAG_FRAMES:] - slopes_FB[:-_LAG_FRAMES]
    audible_F = power_F > max(_SILENT_POWER, _SILENT_SHARE * float(power_F.max()))
    heard_F = audible_F[_LAG_FRAMES:] & audible_F[:-_LAG_FRAMES]
    sizes_FB = np.abs(changes_FB)
    words_F = _pack(changes_FB > 0)
    voting_F = np.where(heard_F, _pack(sizes_FB > _VOTING_CHANGE), 0).astype(np.uint32)
    largest_FK = np.argpartition(-sizes_FB, _NEARLY_LARGEST, axis=1)[:, :_NEARLY_LARGEST]
    order_FK = np.argsort(-np.take_along_axis(sizes_FB, largest_FK, axis=1), axis=1, kind="stable")
    bits_FK = np.uint32(1) << np.take_along_axis(largest_FK, order_FK, axis=1).astype(np.uint32)
    masks_FP = np.stack([bits_FK[:, list(chosen)].sum(axis=1, dtype=np.uint32) for chosen in _CHOICES], axis=1)
    keys_FP = masks_FP.astype(np.uint64) << np.uint64(32) | (masks_FP & words_F[:, None])
    enough_F = heard_F & (np.sort(sizes_FB, axis=1)[:, -_LARGEST] > _VOTING_CHANGE)
    return Fingerprint(words_F, voting_F, keys_FP, enough_F)


def _band_energies(frames_FN: np.ndarray) -> np.ndarray:
    """(F, 33) mean power of logarithmically spaced bands."""
    spectrum = np.fft.rfft(frames_FN * _WINDOW, axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    return np.add.reduceat(power, _EDGES, axis=1)[:, :-1] * _SCALE


_WINDOW = np.hanning(WINDOW_SAMPLES).astype(np.float32)
_SCALE = np.float32(2.0 / (WINDOW_SAMPLES * (_WINDOW**2).sum()))
_EDGES = np.round(
    np.geomspace(_LOWEST_HZ, _HIGHEST_HZ, BITS + 2) * WINDOW_SAMPLES / RATE_HZ
).astype(int)  # fmt: skip


def _pack(bits_FB: np.ndarray) -> np.ndarray:
    return np.packbits(bits_FB, axis=1, bitorder="little").view("<u4")[:, 0].astype(np.uint32)


class FingerprintIndex:
    """Fingerprints to look in: the evaluation sets, which are small. Training clips pass by one at a time.

    Memory: 56 bytes a frame, 13 MB for an hour of clips. Time for one training clip does not depend on the
    number of training clips, and only through common words on that of the indexed ones.
    """

    def __init__(self, entries: Iterable[tuple[str, Fingerprint]]) -> None:
        self.names: list[str] = []
        self._prints: list[tuple[np.ndarray, np.ndarray]] = []
        clips, frames, keys = [], [], []
        for clip, (name, entry) in enumerate(entries):
            self.names.append(name)
            self._prints.append((entry.words_F, entry.voting_F))
            at = np.flatnonzero(entry.keyed_F).astype(np.int32)
            frames.append(at)
            clips.append(np.full(len(at), clip, np.int32))
            keys.append(entry.keys_FP[at, :_INDEXED])
        joined = np.concatenate([np.zeros((0, _INDEXED), np.uint64), *keys]).ravel()
        order = np.argsort(joined, kind="stable")
        self._keys = joined[order]
        self._clips = np.concatenate([np.zeros(0, np.int32), *clips])[order // _INDEXED]
        self._frames = np.concatenate([np.zeros(0, np.int32), *frames])[order // _INDEXED]

    def __len__(self) -> int:
        return len(self.names)

    def search(self, asked: Fingerprint) -> list[Match]:
        """Every clip of the index that holds the same sound, the surest first."""
        found = [match for clip, offset in self._candidates(asked) if (match := self._compare(asked, clip, offset))]
        best: dict[str, Match] = {}
        for match in sorted(found, key=lambda match: match.error_rate):
            best.setdefault(match.name, match)
        return list(best.values())

    def _candidates(self, asked: Fingerprint) -> list[tuple[int, int]]:
        """(clip, frames by which the asked clip begins later than it), the most often proposed first.

        A key proposes every place it stands at, each by the less the more there are: what all steady tones share says
        little. A clip may be proposed at several offsets, because a repeating sound fits at the wrong ones too.
        """
        keyed = np.flatnonzero(asked.keyed_F)[::_ASKED_EVERY]
        probes = asked.keys_FP[keyed]
        first = np.searchsorted(self._keys, probes.ravel(), side="left")
        count = np.searchsorted(self._keys, probes.ravel(), side="right") - first
        count[count > _COMMON_KEY] = 0
        at = np.repeat(np.repeat(keyed, probes.shape[1]), count)
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        hits = np.repeat(first, count) + within
        if not len(hits):
            return []
        keys = self._clips[hits].astype(np.int64) << 32 | (self._frames[hits] - at + _OFFSET_ZERO).astype(np.int64)
        pairs, place = np.unique(keys, return_inverse=True)
        votes = np.bincount(place, weights=np.repeat(1.0 / np.maximum(count, 1), count))
        strongest = np.argsort(-votes, kind="stable")[:_CANDIDATES]
        return [(int(pair >> 32), int(pair & 0xFFFFFFFF) - _OFFSET_ZERO) for pair in pairs[strongest]]

    def _compare(self, asked: Fingerprint, clip: int, offset: int) -> Match | None:
        (words_F, voting_F), best = self._prints[clip], None
        for shift in (offset - 1, offset, offset + 1):
            begin, end = max(0, shift), min(len(words_F), shift + len(asked.words_F))
            if end - begin < _FEWEST_FRAMES:
                continue
            here, there = slice(begin, end), slice(begin - shift, end - shift)
            common_F = voting_F[here] & asked.voting_F[there]
            votes = _count(common_F)
            if votes < _FEWEST_VOTING_BITS[0]:
                continue
            errors = _count((words_F[here] ^ asked.words_F[there]) & common_F) / votes
            most = MOST_ERRORS if votes >= _FEWEST_VOTING_BITS[1] else MOST_ERRORS / 2
            if errors <= most and (best is None or errors < best.error_rate):
                shared = (end - begin + _LAG_FRAMES) * HOP_SECONDS + WINDOW_SAMPLES / RATE_HZ
                best = Match(self.names[clip], errors, shift * HOP_SECONDS, shared)
        return best


def _count(words_F: np.ndarray) -> int:
    return int(np.unpackbits(words_F.view(np.uint8)).sum())
