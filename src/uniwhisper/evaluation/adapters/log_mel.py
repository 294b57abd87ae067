"""The floor: log-mel statistics, which every learned encoder must beat."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from uniwhisper.audio.load import AudioSource, read_windows
from uniwhisper.core.errors import AudioError
from uniwhisper.core.identity import code_identity, hash_file, hash_json
from uniwhisper.core.units import FRAME_MELS, HOP_SECONDS, SAMPLE_RATE_HZ
from uniwhisper.embedding.table import EmbeddingTable, Failure, FrameVectors

FLOOR = "log-mel"


class LogMelStatistics:
    """Mean and deviation over time of each log-mel channel; for frames, the two mels of each 20 ms side by side.

    Real columns only; a clip longer than a window is normalised per window, as the encoder's input is.
    """

    mel_bins = 80
    width = 2 * mel_bins

    def __init__(self) -> None:
        description = {"features": FLOOR, "mel_bins": self.mel_bins}
        self.identity = {
            "weights": hash_json(description),
            # The adapter's own source counts too: it lies outside the layers that `code_identity` covers.
            "code": f"{code_identity()}+{hash_file(Path(__file__))[:12]}",
            "pooling": "mean and deviation",
            "layer": FLOOR,
        }

    def embed(self, sources: Sequence[AudioSource], *, on_error: str = "raise") -> EmbeddingTable:
        """One vector (160,) per clip: 80 means, then 80 deviations; see `ClipEncoder`."""
        names, seconds, vectors, failures = [], [], [], []
        for index, source in enumerate(sources):
            name = str(source) if isinstance(source, str | Path) else f"clip {index}"
            try:
                duration, vector_D = self._statistics(source, name)
            except AudioError as error:
                if on_error == "raise":
                    raise
                failures.append(Failure(index, name, error.one_line))
                continue
            names.append(name)
            seconds.append(duration)
            vectors.append(vector_D)
        vectors_ND = np.array(vectors, dtype=np.float32).reshape(len(vectors), self.width)
        return EmbeddingTable(names, np.array(seconds, dtype=np.float64), vectors_ND, failures, self.identity)

    def frames(self, source: AudioSource) -> FrameVectors:
        """One frame (160,) per 20 ms: two consecutive mels; a last mel without a partner stands in for it."""
        frames = []
        for _, mel_FM in _mels(source, "the clip", self.mel_bins):
            odd = len(mel_FM) % FRAME_MELS
            mel_FM = np.concatenate([mel_FM, mel_FM[-1:]]) if odd else mel_FM
            frames.append(mel_FM.reshape(-1, self.width))
        vectors_TD = np.concatenate(frames).astype(np.float32)
        return FrameVectors(vectors_TD, HOP_SECONDS * np.arange(len(vectors_TD)), HOP_SECONDS)

    def _statistics(self, source: AudioSource, name: str) -> tuple[float, np.ndarray]:
        samples = columns = 0
        sum_M, squares_M = np.zeros(self.mel_bins), np.zeros(self.mel_bins)
        for length, mel_FM in _mels(source, name, self.mel_bins):
            samples, columns = samples + length, columns + len(mel_FM)
            sum_M += mel_FM.sum(axis=0)
            squares_M += np.square(mel_FM).sum(axis=0)
        mean_M = sum_M / columns
        deviation_M = np.sqrt(np.maximum(squares_M / columns - mean_M**2, 0))
        return samples / SAMPLE_RATE_HZ, np.concatenate([mean_M, deviation_M])


def _mels(source: AudioSource, name: str, mel_bins: int) -> Iterator[tuple[int, np.ndarray]]:
    """Per window its samples and its mels (F, M), float64, real columns only."""
    import torch

    from uniwhisper.features.logmel import log_mel

    for wave_S in read_windows(source, name=name):
        wave_BS = torch.from_numpy(np.ascontiguousarray(wave_S))[None]
        mel_BMF, mel_counts_B = log_mel(wave_BS, torch.tensor([wave_BS.shape[1]]), mel_bins=mel_bins)
        yield len(wave_S), mel_BMF[0, :, : int(mel_counts_B[0])].double().numpy().T
