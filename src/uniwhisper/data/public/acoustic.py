"""Is this recording already somewhere else? Spectral fingerprints that survive re-encoding, level and cutting.

J. Haitsma and T. Kalker, "A Highly Robust Audio Fingerprinting System", ISMIR 2002: each frame gives 32 bits, the
signs of the differences between neighbouring bands and neighbouring frames. Two recordings match when, at some
offset, the bit error rate over their overlap is low. Frames are shorter here than in the paper, so that clips of half
a second can match; frames below the noise floor give no bits.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from uniwhisper.core.units import SAMPLE_RATE_HZ

HOP_SAMPLES = 512
FRAME_SAMPLES = 2048
_BANDS = 33
_LOWEST_HZ, _HIGHEST_HZ = 300.0, 6500.0
SHORTEST_OVERLAP_FRAMES = 12
HIGHEST_ERROR_RATE = 0.22
"""Two different recordings agree in half the bits by chance; unrelated real ones came no lower than about 0.3."""
_ENERGY_FLOOR = 1e-7
_CANDIDATES = 12
_COMMON_WORD = 1000
"""Half words that more frames than this share say nothing (steady tones); they propose no candidates."""
_HALF_BITS = 16
# The upper half words follow the lower ones, so that one table holds both.
_HALF_WORDS = 2 << _HALF_BITS
_OFFSETS = 1 << 24


@dataclass(frozen=True, slots=True)
class Match:
    """A known recording that holds the same sound."""

    name: str
    error_rate: float
    overlap_seconds: float


def fingerprint(wave_S: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bits of each frame, and whether the frame is loud enough to count.

    Args:
        wave_S: (S,) float32, 16 kHz.

    Returns:
        (F,) uint32 and (F,) bool, one frame each 32 ms; F is 0 for less than two frames.
    """
    if len(wave_S) < FRAME_SAMPLES + HOP_SAMPLES:
        wave_S = np.pad(wave_S, (0, FRAME_SAMPLES + 8 * HOP_SAMPLES - len(wave_S)))
    frames_FN = np.lib.stride_tricks.sliding_window_view(wave_S, FRAME_SAMPLES)[::HOP_SAMPLES]
    energies_FB = np.concatenate([_band_energies(block) for block in _blocks(frames_FN)])
    steps_FB = np.diff(np.log(energies_FB + _ENERGY_FLOOR), axis=1)
    bits = np.diff(steps_FB, axis=0) > 0
    words = (bits.astype(np.uint32) << np.arange(_BANDS - 1, dtype=np.uint32)).sum(axis=1, dtype=np.uint32)
    return words, energies_FB.sum(axis=1)[1:] > _BANDS * _ENERGY_FLOOR * 10


class Known:
    """Recordings to compare with."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._prints: list[tuple[np.ndarray, np.ndarray]] = []
        self._sorted: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self._names)

    def add(self, name: str, wave_S: np.ndarray) -> None:
        """Remember `wave_S` ((S,) float32, 16 kHz) under `name`."""
        self._names.append(name)
        self._prints.append(fingerprint(wave_S))
        self._sorted = None

    def find(self, wave_S: np.ndarray) -> Match | None:
        """The best match of `wave_S` ((S,) float32, 16 kHz); None if it is new."""
        if not self._names:
            return None
        # The frames of the two rarely start at the same sample: a second set, half a hop later, is never far off.
        matches = [
            match
            for start in (0, HOP_SAMPLES // 2)
            for words_F, loud_F in (fingerprint(wave_S[start:]),)
            for owner, offset in self._candidates(words_F, loud_F)
            if (match := self._compare(owner, offset, words_F, loud_F)) is not None
        ]
        return min(matches, key=lambda match: match.error_rate, default=None)

    def _candidates(self, words_F: np.ndarray, loud_F: np.ndarray) -> list[tuple[int, int]]:
        """(known recording, its frame at frame 0 here), those with most half words in common first."""
        starts, owners, positions = self._index()
        frames = np.flatnonzero(loud_F)
        halves = _half_words(words_F[frames])
        begin, end = starts[halves], starts[halves + 1]
        count = np.where(end - begin <= _COMMON_WORD, end - begin, 0)
        entries = np.repeat(begin - np.cumsum(count) + count, count) + np.arange(count.sum())
        offsets = positions[entries] - np.repeat(np.tile(frames, 2), count)
        votes, counts = np.unique(owners[entries] * _OFFSETS + (offsets + _OFFSETS // 2), return_counts=True)
        best = votes[np.argsort(-counts, kind="stable")[:_CANDIDATES]]
        return [(int(vote // _OFFSETS), int(vote % _OFFSETS) - _OFFSETS // 2) for vote in best]

    def _index(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where each half word's entries start, and the entries: recording and frame."""
        if self._sorted is None:
            kept = [np.flatnonzero(loud) for _, loud in self._prints]
            words = np.concatenate([words[at] for (words, _), at in zip(self._prints, kept, strict=True)])
            owners = np.repeat(np.arange(len(kept)), [len(at) for at in kept])
            halves, positions = _half_words(words), np.concatenate(kept)
            order = np.argsort(halves, kind="stable")
            starts = np.searchsorted(halves[order], np.arange(_HALF_WORDS + 1))
            self._sorted = starts, np.tile(owners, 2)[order], np.tile(positions, 2)[order]
        return self._sorted

    def _compare(self, owner: int, offset: int, words_F: np.ndarray, loud_F: np.ndarray) -> Match | None:
        known_words, known_loud = self._prints[owner]
        start, end = max(0, -offset), min(len(words_F), len(known_words) - offset)
        both = loud_F[start:end] & known_loud[start + offset : end + offset]
        count = int(both.sum())
        needed = min(SHORTEST_OVERLAP_FRAMES, int(loud_F.sum()), int(known_loud.sum()))
        if count < max(needed, 4):
            return None
        different = words_F[start:end][both] ^ known_words[start + offset : end + offset][both]
        rate = float(np.bitwise_count(different).sum()) / (count * (_BANDS - 1))
        if rate > HIGHEST_ERROR_RATE:
            return None
        return Match(self._names[owner], rate, count * HOP_SAMPLES / SAMPLE_RATE_HZ)


def _half_words(words_F: np.ndarray) -> np.ndarray:
    low = (words_F & ((1 << _HALF_BITS) - 1)).astype(np.int64)
    return np.concatenate([low, (words_F >> _HALF_BITS).astype(np.int64) + (1 << _HALF_BITS)])


def _blocks(frames_FN: np.ndarray, size: int = 256) -> Iterator[np.ndarray]:
    for start in range(0, len(frames_FN), size):
        yield frames_FN[start : start + size]


def _band_energies(frames_FN: np.ndarray) -> np.ndarray:
    spectrum = np.abs(np.fft.rfft(frames_FN * _WINDOW, axis=1)) ** 2 / np.float32(FRAME_SAMPLES)
    return np.add.reduceat(spectrum[:, : _EDGES[-1]], _EDGES[:-1], axis=1)


_WINDOW = np.hanning(FRAME_SAMPLES).astype(np.float32)
_EDGES = np.round(
    np.geomspace(_LOWEST_HZ, _HIGHEST_HZ, _BANDS + 1) * FRAME_SAMPLES / SAMPLE_RATE_HZ
).astype(int)
