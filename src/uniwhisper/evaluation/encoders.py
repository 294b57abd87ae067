"""What can be judged: anything with an identity, a width and `embed`.

`embedding.Embedder` is a `ClipEncoder` as it stands; another encoder needs an adapter of about ten lines like
`LogMelStatistics` below.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from uniwhisper.audio.load import AudioSource
from uniwhisper.core.errors import AudioError, UserError
from uniwhisper.core.identity import code_identity, hash_file, hash_json
from uniwhisper.core.units import HOP_SECONDS
from uniwhisper.embedding.table import EmbeddingTable, Failure, FrameVectors

FLOOR = "log-mel"


class ClipEncoder(Protocol):
    """One vector per clip, the same whatever else is embedded with it."""

    @property
    def identity(self) -> dict[str, str]:
        """All that decides a vector: `weights` (SHA-256), `code`, `pooling`, `layer`."""

    @property
    def width(self) -> int: ...

    def embed(self, sources: Sequence[AudioSource], *, on_error: str) -> EmbeddingTable:
        """Vectors float32 (n, width) in the order of `sources`; with `on_error="skip"`, failures by index."""


@dataclass(frozen=True)
class JudgedEncoder:
    """A `ClipEncoder` under the name that files and tables show."""

    encoder: ClipEncoder
    label: str
    """Safe in a file name."""
    source: str
    """What to type after --model to get it again, except that a folder or file is named without its path."""


def open_encoder(model: str, *, device: str = "auto") -> JudgedEncoder:
    """Encoder by what the user typed: `default`, a folder, a hub id, a `.pt` file, or `log-mel`.

    Raises:
        WeightsError: there is no such model, or it does not fit.
    """
    from uniwhisper.embedding.embedder import Embedder

    if model == FLOOR:
        return JudgedEncoder(LogMelStatistics(), FLOOR, FLOOR)
    if model == "default":
        return JudgedEncoder(Embedder.from_pretrained(device=device), "default", "default")
    is_path = Path(model).exists()
    source = Path(model).resolve().name if is_path else model
    label = re.sub(r"[^A-Za-z0-9_.-]+", "--", Path(source).stem if is_path and Path(model).is_file() else source)
    return JudgedEncoder(Embedder.from_pretrained(model, device=device), label.strip(".-") or "model", source)


class LogMelStatistics:
    """Mean and deviation over time of each log-mel channel: the floor every learned encoder must clear.

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
        """One frame (160,) per 20 ms: two consecutive mels side by side; a last one without a partner stands twice."""
        import torch

        from uniwhisper.audio.load import read_windows
        from uniwhisper.features.logmel import log_mel

        frames = []
        for wave_S in read_windows(source):
            wave_BS = torch.from_numpy(np.ascontiguousarray(wave_S))[None]
            mel_BMF, mel_counts_B = log_mel(wave_BS, torch.tensor([wave_BS.shape[1]]), mel_bins=self.mel_bins)
            mel_FM = mel_BMF[0, :, : int(mel_counts_B[0])].T.numpy()
            mel_FM = np.concatenate([mel_FM, mel_FM[-1:]]) if len(mel_FM) % 2 else mel_FM
            frames.append(mel_FM.reshape(-1, self.width))
        vectors_TD = np.concatenate(frames)
        return FrameVectors(vectors_TD, HOP_SECONDS * np.arange(len(vectors_TD)))

    def _statistics(self, source: AudioSource, name: str) -> tuple[float, np.ndarray]:
        import torch

        from uniwhisper.audio.load import read_windows
        from uniwhisper.core.units import SAMPLE_RATE_HZ
        from uniwhisper.features.logmel import log_mel

        samples = columns = 0
        sum_M, squares_M = np.zeros(self.mel_bins), np.zeros(self.mel_bins)
        for wave_S in read_windows(source, name=name):
            wave_BS = torch.from_numpy(np.ascontiguousarray(wave_S))[None]
            mel_BMF, mel_counts_B = log_mel(wave_BS, torch.tensor([wave_BS.shape[1]]), mel_bins=self.mel_bins)
            mel_MF = mel_BMF[0, :, : int(mel_counts_B[0])].double().numpy()
            samples, columns = samples + len(wave_S), columns + mel_MF.shape[1]
            sum_M += mel_MF.sum(axis=1)
            squares_M += np.square(mel_MF).sum(axis=1)
        mean_M = sum_M / columns
        deviation_M = np.sqrt(np.maximum(squares_M / columns - mean_M**2, 0))
        return samples / SAMPLE_RATE_HZ, np.concatenate([mean_M, deviation_M])


def require_identity(encoder: ClipEncoder) -> dict[str, str]:
    """The encoder's identity, complete.

    Raises:
        UserError: a part is missing, so its vectors could be taken for another encoder's.
    """
    identity = dict(encoder.identity)
    missing = [part for part in ("weights", "code", "pooling", "layer") if not identity.get(part)]
    if missing:
        raise UserError(
            "the encoder does not say what it is",
            expected="an identity with weights, code, pooling and layer",
            got=f"no {', '.join(missing)}",
            fix="fill in `identity` in the encoder's adapter",
        )
    return identity
