"""Embedder: audio in, vectors out.

Notable: a clip's vector is the mean of its own frames, summed in float64 over every window of the clip, so it does not
depend on what else is in the batch, on the batch size or on the order. Audio longer than 30 s runs in windows of 30 s,
each with its own log-mel maximum, and the windows' frames follow each other without overlap.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from uniwhisper.audio.load import AudioSource
from uniwhisper.core.errors import AudioError, UserError
from uniwhisper.core.identity import code_identity
from uniwhisper.core.units import FRAMES_PER_SECOND
from uniwhisper.embedding.batches import Budget, default_batch_seconds, pack
from uniwhisper.embedding.clips import Encoded, clip_blocks, not_finite
from uniwhisper.embedding.decode import Inputs, Window
from uniwhisper.embedding.device import Precision, arithmetic, in_precision
from uniwhisper.embedding.launched import Launched, launch
from uniwhisper.embedding.segments import cut, segment_blocks, segment_samples
from uniwhisper.embedding.table import (
    ClipBlock,
    EmbeddingTable,
    FrameBlock,
    FrameVectors,
    SegmentBlock,
    SegmentVectors,
)
from uniwhisper.model.device import choose_device
from uniwhisper.model.device_memory import device_memory_error, is_out_of_memory
from uniwhisper.model.encoder import WhisperEncoder
from uniwhisper.model.weights import load_encoder

OnError = Literal["raise", "skip"]
Progress = Callable[[float, float], None]
"""Called with the seconds of audio done and the seconds in total (from the files' headers)."""

POOLING = "mean of all real frames"
_SUMS = partial(torch.sum, dim=1, dtype=torch.float64)
"""Of frames_BTD. Frames in padding are zero, so the sum over all is the sum over the real ones."""


class Embedder:
    """A Whisper-shaped encoder that turns audio into vectors; made by `from_pretrained` or `from_encoder`."""

    def __init__(
        self,
        encoder: WhisperEncoder,
        *,
        weights: str,
        source: str,
        device: torch.device,
        layer: int | None,
        precision: Precision,
    ):
        whole = isinstance(layer, Integral) and not isinstance(layer, bool)
        if layer is not None and not (whole and 0 <= layer <= encoder.config.layers):
            raise UserError(
                f"{source} has no layer {layer!r}",
                expected=f"an integer from 0 (before the first block) to {encoder.config.layers} (after the last)",
                got=str(layer),
                fix="choose a layer in this range, or leave it out for the encoder's normal output",
            )
        self.encoder = in_precision(encoder, precision, device)
        self.precision = precision
        self.device = device
        self.layer = layer
        self.source = source
        """What the user named: for people to read, never an identity."""
        self.identity = {
            "weights": weights,
            "code": code_identity(),
            "pooling": POOLING,
            "layer": "final" if layer is None else str(layer),
            "precision": precision,
        }

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path | None = None,
        *,
        device: str = "auto",
        layer: int | None = None,
        precision: Precision = "float32",
        compiled: bool = False,
    ) -> "Embedder":
        """Load weights and place them on a device.

        Args:
            source: a folder of this project or of Hugging Face, an OpenAI `.pt` file, or a hub id such as
                `openai/whisper-base`. None: the model that comes with this package.
            device: `auto` (a GPU if there is one), `cpu` or `cuda`.
            layer: 0 is the input of the first block, k the output of block k without the final normalisation. None:
                the encoder's normal output, after the last block and the final normalisation.
            precision: `bf16` is several times as fast on a GPU, `int8` half as fast again on a CPU; both are close to
                float32, not equal (docs/performance.md).
            compiled: compile the encoder at the first call. Costs a minute once, gains from hours of audio on.

        Raises:
            UserError: the weights cannot be found or fitted, the device is absent, or there is no such layer.
        """
        place = choose_device(device)
        loaded = load_encoder(source)
        embedder = cls(
            loaded.encoder.to(place),
            weights=loaded.identity,
            source=loaded.source,
            device=place,
            layer=layer,
            precision=precision,
        )
        if compiled:
            embedder.encoder.compile()
        return embedder

    @classmethod
    def from_encoder(
        cls,
        encoder: WhisperEncoder,
        *,
        identity: str,
        source: str,
        layer: int | None = None,
        precision: Precision = "float32",
    ) -> "Embedder":
        """Use an encoder that is already in memory, where it is: never moved, and copied for less precision only.

        Args:
            encoder: float32.
            identity: hash of its weights. It does not follow later changes of the weights.
            source: what to call it.
            layer, precision: as in `from_pretrained`.
        """
        device = next(encoder.parameters()).device
        return cls(encoder, weights=identity, source=source, device=device, layer=layer, precision=precision)

    def __repr__(self) -> str:
        return f"Embedder({self.source!r}, width={self.width}, device={str(self.device)!r})"

    @property
    def width(self) -> int:
        """D: numbers per vector."""
        return self.encoder.config.width

    def embed(
        self,
        sources: Sequence[AudioSource],
        *,
        on_error: OnError = "raise",
        batch_seconds: float | None = None,
        progress: Progress | None = None,
    ) -> EmbeddingTable:
        """One vector per clip, in the order of `sources`.

        Args:
            sources: paths, bytes of files, or (array, sample_rate_hz) with an array of (S,) or (S, channels): floats
                within [-1, 1], or int16, int32, uint8.
            on_error: `raise` stops at the first bad input: what the headers show is raised in the order of the input
                before anything is computed, damage inside a file when it is met. `skip` leaves bad inputs out of the
                rows and names them in `failures`.
            batch_seconds: audio per batch, padding included. None: a default for the device. Halved, with a warning,
                when the device runs out of memory. In int8 every window is a batch of its own.
            progress: called after every batch. None: nothing is called.

        Raises:
            AudioError: an input is bad and `on_error` is `raise`, or it is of no accepted type.
            UserError: the device's memory does not suffice for one clip.
        """
        with _inputs(sources, on_error) as inputs:
            return self.table(inputs, batch_seconds=batch_seconds, progress=progress)

    def table(
        self, inputs: Inputs, *, batch_seconds: float | None = None, progress: Progress | None = None
    ) -> EmbeddingTable:
        """`embed` for inputs that were opened before, with the same settings."""
        # One array from the start, filled as blocks come: joining them at the end would hold everything twice.
        vectors_ND, seconds_N = np.empty((len(inputs), self.width), dtype=np.float32), np.empty(len(inputs))
        names: list[str] = []
        for block in self.clip_blocks(inputs, batch_seconds=batch_seconds, progress=progress):
            rows = slice(len(names), len(names) + len(block.names))
            vectors_ND[rows], seconds_N[rows] = block.vectors, block.seconds
            names += block.names
        return EmbeddingTable(
            names=names,
            seconds=seconds_N[: len(names)],
            vectors=vectors_ND[: len(names)],
            failures=list(inputs.failures),
            identity=dict(self.identity),
        )

    def clip_blocks(
        self, inputs: Inputs, *, batch_seconds: float | None = None, progress: Progress | None = None
    ) -> Iterator[ClipBlock]:
        """`embed` block by block in the order of the input, with bounded memory.

        Args:
            inputs: the sources; with `skip`, `inputs.failures` is complete when the iterator is exhausted.
            batch_seconds: as in `embed`.
            progress: as in `embed`.
        """
        # Windows of like length meet in a batch, so little of it is padding.
        windows = inputs.windows(sort=True, whole_only=False, ahead_seconds=self._batch_seconds(batch_seconds))
        encoded = _metered(self._encoded(windows, batch_seconds, _SUMS), inputs, progress)
        return clip_blocks(encoded, inputs, self.width)

    def segments(self, source: AudioSource, *, every_seconds: float) -> SegmentVectors:
        """One vector every so many seconds: where in a recording something is.

        Args:
            source: as one of `embed`'s.
            every_seconds: length of a segment, 30 over a whole number: 1, 2.5, 5, 10, 30. The last may be shorter.

        Raises:
            AudioError: the input is bad.
            UserError: there are no such segments.
        """
        with Inputs([source], skip=False) as inputs:
            blocks = list(self.segment_blocks(inputs, every_seconds=every_seconds))
        return SegmentVectors(
            vectors=np.concatenate([block.vectors for block in blocks]),
            start_seconds=np.concatenate([block.start_seconds for block in blocks]),
            seconds=np.concatenate([block.seconds for block in blocks]),
        )

    def segment_blocks(
        self,
        inputs: Inputs,
        *,
        every_seconds: float,
        batch_seconds: float | None = None,
        progress: Progress | None = None,
    ) -> Iterator[SegmentBlock]:
        """`segments` of many clips in the order of the input, with bounded memory.

        Args:
            inputs: as in `frame_blocks`.
            every_seconds: as in `segments`.
            batch_seconds: as in `embed`.
            progress: as in `embed`.

        Raises:
            AudioError: a vector is not finite, with `skip` too; without it, an input is bad.
            UserError: there are no such segments.
        """
        samples = segment_samples(every_seconds)
        windows = inputs.windows(sort=False, whole_only=True, ahead_seconds=self._batch_seconds(batch_seconds))
        return segment_blocks(_metered(self._encoded(cut(windows, samples), batch_seconds, _SUMS), inputs, progress))

    def frames(self, source: AudioSource) -> FrameVectors:
        """Every frame of one clip, all in memory at once: `frame_blocks` is for recordings of hours.

        Args:
            source: as one of `embed`'s.

        Raises:
            AudioError: the input is bad.
        """
        with Inputs([source], skip=False) as inputs:
            vectors_TD = np.concatenate([block.vectors for block in self.frame_blocks(inputs)])
        return FrameVectors(vectors_TD, frame_times(0, len(vectors_TD)))

    def frame_blocks(
        self, inputs: Inputs, *, batch_seconds: float | None = None, progress: Progress | None = None
    ) -> Iterator[FrameBlock]:
        """Frames of many clips in the order of the input, window by window, with bounded memory.

        Args:
            inputs: the sources; with `skip`, `inputs.failures` is complete when the iterator is exhausted. No block
                of an input that cannot be decoded to its end is given out.
            batch_seconds: as in `embed`.
            progress: as in `embed`.
        """
        windows = inputs.windows(sort=False, whole_only=True, ahead_seconds=self._batch_seconds(batch_seconds))
        encoded = self._encoded(windows, batch_seconds, lambda frames_BTD: frames_BTD)
        index, first_frame = -1, 0
        for batch, frames_BTD, frame_counts in _metered(encoded, inputs, progress):
            for window, frames_TD, frames in zip(batch, frames_BTD, frame_counts, strict=True):
                if window.planned.index != index:
                    index, first_frame = window.planned.index, 0
                vectors_TD = frames_TD[:frames].numpy()
                if not np.isfinite(vectors_TD).all():
                    raise not_finite(window.planned.name)
                yield FrameBlock(index, window.planned.name, first_frame, window.seconds, vectors_TD)
                first_frame += frames

    def _batch_seconds(self, asked: float | None) -> float:
        if asked is not None and not asked > 0:
            raise UserError(
                "batch_seconds is not usable", expected="a number above 0", got=repr(asked), fix="leave it out"
            )
        return default_batch_seconds(self.device, self.width) if asked is None else asked

    def _encoded(
        self, windows: Iterator[Window], batch_seconds: float | None, reduce: Callable[[Tensor], Tensor]
    ) -> Iterator[tuple[list[Window], Tensor, list[int]]]:
        """(windows, `reduce` of their frames_BTD on the CPU, frame counts) batch by batch, in the order of `windows`.

        A GPU is given the next batch before the results of the last are waited for, so it is never idle in between.
        """
        # In int8 all that is multiplied at once shares one scale: only alone is a window free of its neighbours.
        budget = Budget(0.0 if self.precision == "int8" else self._batch_seconds(batch_seconds))
        waiting: Launched | None = None
        for batch in pack(windows, budget):
            for launched in self._encode(batch, budget, reduce):
                if waiting is not None:
                    yield waiting.windows, waiting.take(), waiting.frame_counts
                waiting = launched
                if self.device.type == "cpu":  # nothing runs beside it
                    yield waiting.windows, waiting.take(), waiting.frame_counts
                    waiting = None
        if waiting is not None:
            yield waiting.windows, waiting.take(), waiting.frame_counts

    def _encode(self, batch: list[Window], budget: Budget, reduce: Callable[[Tensor], Tensor]) -> Iterator[Launched]:
        launched = self._try(batch, reduce)
        if launched is not None:
            yield launched
            return
        if len(batch) == 1:
            raise device_memory_error(
                batch[0].planned.name,
                self.device,
                needs=f"{batch[0].seconds:.1f} s of audio with nothing else in the batch",
                fix="free the device's memory, use device 'cpu', or a smaller model",
            )
        budget.halve_below(batch)
        warnings.warn(
            f"out of memory on {self.device}: going on with batches of {budget.seconds:g} s of audio",
            RuntimeWarning,
            stacklevel=2,
        )
        # Packed as they are taken: what one part teaches about the memory holds for the next.
        for part in pack(iter(batch), budget):
            yield from self._encode(part, budget, reduce)

    def _try(self, batch: list[Window], reduce: Callable[[Tensor], Tensor]) -> Launched | None:
        """Start a batch; None if the device's memory did not suffice, with everything freed again."""
        try:
            with torch.inference_mode(), arithmetic(self.device, self.precision):
                return launch(self.encoder, batch, reduce, device=self.device, layer=self.layer)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        # Outside the handler: the exception's traceback would keep the tensors alive.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return None


def frame_times(first_frame: int, frames: int) -> np.ndarray:
    """(T,) float64: seconds from the start of the clip to the start of each frame, T = `frames`."""
    return np.arange(first_frame, first_frame + frames) / FRAMES_PER_SECOND


def _metered(encoded: Encoded, inputs: Inputs, progress: Progress | None) -> Encoded:
    """The same batches; after each, the audio done so far is reported."""
    done, total = 0.0, inputs.seconds
    for batch in encoded:
        yield batch
        done += sum(window.seconds for window in batch[0])
        if progress is not None:
            # Headers can be wrong: the total is never less than what was done.
            progress(done, max(total, done))


def _inputs(sources: Sequence[AudioSource], on_error: str) -> Inputs:
    if isinstance(sources, str | bytes | Path):
        raise AudioError(
            "embed takes a list of inputs",
            expected='a list, e.g. embed(["dog.wav"])',
            got=f"one {type(sources).__name__}",
            fix="put it into a list",
        )
    if on_error not in ("raise", "skip"):
        raise UserError("on_error is not usable", expected="'raise' or 'skip'", got=repr(on_error), fix="choose one")
    return Inputs(sources, skip=on_error == "skip")
