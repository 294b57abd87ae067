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
MOST_ERRORS = 0.25
"""Share of voting bits that may differ. Unrelated sounds differ in about half."""

_LOWEST_HZ, _HIGHEST_HZ = 250.0, 3600.0
_LAG_FRAMES = 8
_FLOOR = 1e-5  # of the energy of its frame: -50 dB
_SILENT_POWER = 1e-7  # -70 dB of full scale
_VOTING_CHANGE = 0.6  # of log energy: 2.6 dB
_FLIPPED_BITS = 3
_COMMON_WORD = 64
_CANDIDATES = 6
_FEWEST_FRAMES = round((SHORTEST_SECONDS - (WINDOW_SAMPLES + _LAG_FRAMES * HOP_SAMPLES) / RATE_HZ) / HOP_SECONDS) - 4
_FEWEST_VOTING_BITS = 400


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Of one clip: F frames of 16 ms."""

    words_F: np.ndarray
    """uint32, one bit for each pair of bands."""
    voting_F: np.ndarray
    """uint32, which of these bits count; 0 where the clip is silent."""
    probes_FP: np.ndarray
    """uint32, (F, P): the word itself, then with its least certain bits turned."""


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
    heard_F = np.minimum(power_F[_LAG_FRAMES:], power_F[:-_LAG_FRAMES]) > _SILENT_POWER
    certain_FB = np.abs(changes_FB)
    words_F = _pack(changes_FB > 0)
    voting_F = np.where(heard_F, _pack(certain_FB > _VOTING_CHANGE), 0).astype(np.uint32)
    weakest_FK = np.argpartition(certain_FB, _FLIPPED_BITS, axis=1)[:, :_FLIPPED_BITS].astype(np.uint32)
    turned_FK = np.uint32(1) << weakest_FK
    probes = [words_F]
    for k in range(_FLIPPED_BITS):
        probes += [probe ^ turned_FK[:, k] for probe in probes]
    return Fingerprint(words_F, voting_F, np.stack(probes, axis=1))


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

    Memory: about 20 bytes a frame, 4.5 MB for an hour of clips. Time for one training clip does not depend on the
    number of training clips, and only through common words on that of the indexed ones.
    """

    def __init__(self, entries: Iterable[tuple[str, Fingerprint]]) -> None:
        self.names: list[str] = []
        self._prints: list[Fingerprint] = []
        for name, entry in entries:
            self.names.append(name)
            self._prints.append(Fingerprint(entry.words_F, entry.voting_F, entry.words_F[:0, None]))
        lengths = [len(entry.words_F) for entry in self._prints]
        heard = [np.flatnonzero(entry.voting_F) for entry in self._prints]
        words = np.concatenate(
            [e.words_F[at] for e, at in zip(self._prints, heard, strict=True)] or [np.zeros(0, "u4")]
        )
        clips = np.repeat(np.arange(len(lengths), dtype=np.int32), [len(at) for at in heard])
        frames = np.concatenate(heard or [np.zeros(0, int)]).astype(np.int32)
        order = np.argsort(words, kind="stable")
        self._words, self._clips, self._frames = words[order], clips[order], frames[order]

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
        """(clip, frames by which the asked clip begins later than it), the most often proposed first."""
        heard = np.flatnonzero(asked.voting_F)
        probes = asked.probes_FP[heard]
        first = np.searchsorted(self._words, probes.ravel(), side="left")
        count = np.searchsorted(self._words, probes.ravel(), side="right") - first
        count[count > _COMMON_WORD] = 0
        at = np.repeat(np.repeat(heard, probes.shape[1]), count)
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        hits = np.repeat(first, count) + within
        if not len(hits):
            return []
        keys = self._clips[hits].astype(np.int64) << 32 | (self._frames[hits] - at + (1 << 30)).astype(np.int64)
        pairs, votes = np.unique(keys, return_counts=True)
        # A cut between two frames spreads the votes over two neighbouring offsets.
        both = votes + np.where(np.append(pairs[1:] - pairs[:-1] == 1, False), np.append(votes[1:], 0), 0)
        strongest = np.argsort(-both, kind="stable")[: 4 * _CANDIDATES]
        chosen: dict[int, int] = {}
        for pair in pairs[strongest]:
            chosen.setdefault(int(pair >> 32), int(pair & 0xFFFFFFFF) - (1 << 30))
        return list(chosen.items())[:_CANDIDATES]

    def _compare(self, asked: Fingerprint, clip: int, offset: int) -> Match | None:
        known, best = self._prints[clip], None
        for shift in (offset - 1, offset, offset + 1, offset + 2):
            begin, end = max(0, shift), min(len(known.words_F), shift + len(asked.words_F))
            if end - begin < _FEWEST_FRAMES:
                continue
            here, there = slice(begin, end), slice(begin - shift, end - shift)
            voting_F = known.voting_F[here] & asked.voting_F[there]
            votes = _count(voting_F)
            if votes < _FEWEST_VOTING_BITS:
                continue
            errors = _count((known.words_F[here] ^ asked.words_F[there]) & voting_F) / votes
            if errors <= MOST_ERRORS and (best is None or errors < best.error_rate):
                shared = (end - begin + _LAG_FRAMES) * HOP_SECONDS + WINDOW_SAMPLES / RATE_HZ
                best = Match(self.names[clip], errors, shift * HOP_SECONDS, shared)
        return best


def _count(words_F: np.ndarray) -> int:
    return int(np.unpackbits(words_F.view(np.uint8)).sum())
