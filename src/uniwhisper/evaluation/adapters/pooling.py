"""From a function of waves to an encoder that can be judged: decoding, windows, batches, pooling, frame times.

Notable: only windows of exactly equal length share a batch, so no encoder ever sees padding that its own feature
extraction does not add, and a clip's vector cannot depend on the clips beside it.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from uniwhisper.audio.load import AudioSource, read, read_windows
from uniwhisper.core.errors import AudioError
from uniwhisper.embedding.device import full_float32
from uniwhisper.embedding.table import EmbeddingTable, Failure, FrameVectors
from uniwhisper.evaluation.encoders import EncoderError

# Decoded audio that waits to be batched: enough to find clips of equal length, little enough for any memory.
_AHEAD_SECONDS = 300.0
_BATCH_CLIPS = 16


class FrameFunction(Protocol):
    """What an adapter has to be: about ten lines.

    Optional attributes: `window_seconds` (the longest wave it takes; without it, waves of any length),
    `shortest_seconds` (shorter waves are padded with zeros up to it; without it, 0), `batch_clips` (waves per call at
    most; without it, 16), `device` (a torch.device; without it, the CPU) and `every_layer(wave_BS)` (frames of each
    layer by name, a dict from the input to the output; without it, only the output is known).
    """

    sample_rate_hz: int
    width: int
    hop_seconds: float | None
    """Seconds from one frame to the next; None: it gives one vector per wave and no frames."""

    def __call__(self, wave_BS: Tensor) -> Tensor:
        """float32 mono waves of equal length (B, S), on the CPU -> frames (B, T, width), on any device."""


@dataclass(frozen=True, eq=False)
class _Window:
    index: int
    start_seconds: float
    seconds: float
    wave_S: np.ndarray


class ClipPooler:
    """A `ClipEncoder` made of a `FrameFunction`: a clip's vector is the mean of its frames.

    A clip longer than `window_seconds` is cut into consecutive windows; the mean is over the frames of all. Where a
    window gives one vector (no hop), windows weigh as much as the audio in them lasts.

    Args:
        function: see `FrameFunction`.
        identity: `weights`, `code`, `pooling` and `layer`: all that decides a vector.
    """

    def __init__(self, function: FrameFunction, *, identity: dict[str, str]) -> None:
        self.function = function
        self.identity = identity
        self.width = int(function.width)
        self.device = getattr(function, "device", torch.device("cpu"))

    def embed(self, sources: Sequence[AudioSource], *, on_error: str = "raise") -> EmbeddingTable:
        """One vector per clip, in the order of `sources`; with `on_error="skip"`, clips that cannot be read by index.

        Raises:
            AudioError: a clip cannot be read and `on_error` is `raise`.
            EncoderError: the function fails, or gives another shape than it says.
        """
        sums_ND = np.zeros((len(sources), self.width))
        weights_N, seconds_N = np.zeros(len(sources)), np.zeros(len(sources))
        failures: list[Failure] = []
        for batch in self._batches(self._windows(sources, on_error, failures)):
            for window, frames_TD in zip(batch, self._frames(batch), strict=True):
                frames_TD = frames_TD.astype(np.float64)
                weight = len(frames_TD) if self.function.hop_seconds else window.seconds
                sums_ND[window.index] += frames_TD.mean(axis=0) * weight
                weights_N[window.index] += weight
                seconds_N[window.index] += window.seconds
        failed = {failure.index for failure in failures}
        kept = [index for index in range(len(sources)) if index not in failed]
        return EmbeddingTable(
            names=[_name(index, sources[index]) for index in kept],
            seconds=seconds_N[kept],
            vectors=(sums_ND[kept] / weights_N[kept, None]).astype(np.float32),
            failures=failures,
            identity=dict(self.identity),
        )

    def _windows(self, sources: Sequence[AudioSource], on_error: str, failures: list[Failure]) -> Iterator[_Window]:
        for index, source in enumerate(sources):
            name = _name(index, source)
            try:
                yield from self._windows_of(index, source, name)
            except AudioError as error:
                if on_error == "raise":
                    raise
                failures.append(Failure(index, name, error.one_line))

    def _windows_of(self, index: int, source: AudioSource, name: str) -> Iterator[_Window]:
        rate_hz, start = self.function.sample_rate_hz, 0
        longest = getattr(self.function, "window_seconds", None)
        shortest = round(rate_hz * getattr(self.function, "shortest_seconds", 0))
        waves = (
            [read(source, name=name, sample_rate_hz=rate_hz)]
            if longest is None
            else read_windows(source, name=name, sample_rate_hz=rate_hz, window_samples=round(longest * rate_hz))
        )
        for wave_S in waves:
            padded_S = np.pad(wave_S, (0, max(0, shortest - len(wave_S))))
            yield _Window(index, start / rate_hz, len(wave_S) / rate_hz, padded_S)
            start += len(wave_S)

    def _batches(self, windows: Iterator[_Window]) -> Iterator[list[_Window]]:
        """Windows of equal length together, at most `batch_clips`; about `_AHEAD_SECONDS` of audio are looked over."""
        most = getattr(self.function, "batch_clips", _BATCH_CLIPS)
        waiting: dict[int, list[_Window]] = defaultdict(list)
        seconds = 0.0
        for window in windows:
            same = waiting[len(window.wave_S)]
            same.append(window)
            seconds += window.seconds
            if len(same) == most:
                yield waiting.pop(len(window.wave_S))
                seconds -= sum(each.seconds for each in same)
            elif seconds > _AHEAD_SECONDS:
                yield from waiting.values()
                waiting.clear()
                seconds = 0.0
        yield from waiting.values()

    def _frames(self, batch: list[_Window]) -> np.ndarray:
        """Frames (B, T, D) float32 of windows of equal length."""
        wave_BS = torch.from_numpy(np.stack([window.wave_S for window in batch]))
        try:
            with torch.inference_mode(), full_float32(self.device):
                frames_BTD = torch.as_tensor(self.function(wave_BS)).float().cpu().numpy()
        except Exception as error:
            raise EncoderError(
                f"the encoder fails on {len(batch)} waves of {batch[0].seconds:.3f} s",
                expected=f"frames of a float32 tensor {tuple(wave_BS.shape)} at {self.function.sample_rate_hz} Hz",
                got=f"{type(error).__name__}: {str(error).strip()[:300]}",
                fix="mend the adapter; `window_seconds` and `shortest_seconds` bound the lengths it is given",
            ) from error
        if frames_BTD.ndim != 3 or frames_BTD.shape[::2] != (len(batch), self.width) or not frames_BTD.shape[1]:
            raise EncoderError(
                "the encoder gives another shape than it says",
                expected=f"frames ({len(batch)}, T, {self.width}), T at least 1, of {len(batch)} waves",
                got=str(tuple(frames_BTD.shape)),
                fix="mend `width`, or what the adapter returns",
            )
        return frames_BTD


class FramePooler(ClipPooler):
    """A `ClipPooler` whose frames can be had as well: a `FrameEncoder`."""

    def frames(self, source: AudioSource) -> FrameVectors:
        """Every frame of one clip, each at the start of its window plus its place times the hop.

        Raises:
            AudioError, EncoderError: as `embed`.
        """
        hop_seconds = self.function.hop_seconds
        assert hop_seconds, "a function without a hop gives no frames"
        vectors, times = [], []
        for window in self._windows_of(0, source, _name(0, source)):
            frames_TD = self._frames([window])[0]
            vectors.append(frames_TD)
            times.append(window.start_seconds + hop_seconds * np.arange(len(frames_TD)))
        return FrameVectors(np.concatenate(vectors), np.concatenate(times), hop_seconds)

    def frame_batches(
        self, sources: Sequence[AudioSource], failures: list[Failure]
    ) -> Iterator[tuple[int, float, np.ndarray]]:
        """Index, seconds and frames (T, D) of every window, batched, in no order: for what only sums over frames.

        Clips that cannot be read are added to `failures`.

        Raises:
            EncoderError: as `embed`.
        """
        for batch in self._batches(self._windows(sources, "skip", failures)):
            for window, frames_TD in zip(batch, self._frames(batch), strict=True):
                yield window.index, window.seconds, frames_TD


def pooler(function: FrameFunction, *, weights: str, code: str, pooling: str, layer: str = "final") -> ClipPooler:
    """The encoder that a function makes; the four texts are its identity."""
    identity = {"weights": weights, "code": code, "pooling": pooling, "layer": layer}
    return (FramePooler if function.hop_seconds else ClipPooler)(function, identity=identity)


def _name(index: int, source: AudioSource) -> str:
    return str(source) if isinstance(source, str | Path) else f"clip {index}"
