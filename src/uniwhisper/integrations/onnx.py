"""ONNX: samples (or log-mel) to vectors and frames, any batch and any length up to 30 s, in one file.

Exported is a second way to compute the same: padded and masked where `WhisperEncoder` packs, and a Fourier transform
written as a product with cosines and sines in float64 where `log_mel` calls a library. `compat/main/test_onnx.py` holds
onnxruntime to PyTorch within 1e-4. Audio longer than 30 s is for the caller to cut into windows of 30 s; a recording's
vector is the mean over its windows' vectors, weighed by their frames.

Needs onnx and onnxscript to export, onnxruntime for int8.
"""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uniwhisper.core.errors import MissingExtraError
from uniwhisper.core.files import atomic_output
from uniwhisper.core.units import FFT_SAMPLES, FRAME_MELS, MEL_HOP_SAMPLES, WINDOW_MELS, WINDOW_SAMPLES
from uniwhisper.features.logmel import mel_filters
from uniwhisper.model.block import Block
from uniwhisper.model.encoder import WhisperEncoder

OPSET = 20


def export_onnx(encoder: WhisperEncoder, path: Path, *, from_samples: bool = True, overwrite: bool = False) -> None:
    """Write one `.onnx` file, weights included.

    Inputs: `samples` (B, S) float32 at 16 kHz, padded on the right, and `sample_counts` (B,) int64; or, with
    `from_samples=False`, `mels` (B, M, F) float32 and `mel_counts` (B,) int64.
    Outputs: `vectors` (B, D) float32, the mean of the real frames; `frames` (B, T, D) float32, zeros in the padding;
    `frame_counts` (B,) int64.

    Args:
        encoder: in float32 on the CPU.
        path: what to write.
        from_samples: whether the log-mel spectrogram is part of the graph.
        overwrite: whether an existing file is replaced.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
        OutputError: `path` exists and is not replaced, or cannot be written.
    """
    _require("onnx", "onnxscript")
    if from_samples:
        graph: nn.Module = SamplesGraph(encoder)
        inputs = {"samples": torch.zeros(3, 16_123), "sample_counts": torch.tensor([16_123, 5_000, 900])}
    else:
        graph = MelsGraph(encoder)
        inputs = {"mels": torch.zeros(3, encoder.config.mel_bins, 101), "mel_counts": torch.tensor([101, 32, 6])}
    dynamic = torch.export.Dim.DYNAMIC
    last_axis = 1 if from_samples else 2
    shapes = dict(zip(inputs, ({0: dynamic, last_axis: dynamic}, {0: dynamic}), strict=True))
    with _without_advice():
        program = torch.onnx.export(
            graph.eval(),
            kwargs=inputs,
            output_names=["vectors", "frames", "frame_counts"],
            dynamic_shapes=shapes,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    with atomic_output(Path(path), overwrite=overwrite) as temporary:
        program.save(temporary, external_data=False)


def quantise_int8(path: Path, output: Path, *, overwrite: bool = False) -> None:
    """Weights of all layers but the first and the last as int8, activations quantised on the fly; for CPUs.

    Activations of a batch share one scale, so a clip's vector depends on its neighbours: run it one clip at a time.

    Args:
        path: from `export_onnx`.
        output: what to write.
        overwrite: whether an existing file is replaced.

    Raises:
        MissingExtraError: onnx or onnxruntime is not installed.
        OutputError: as `export_onnx`.
    """
    _require("onnx", "onnxruntime")
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(path)
    weights = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    products = {
        node.name: {weights[name] for name in node.input if name in weights}
        for node in model.graph.node
        if node.op_type in ("Conv", "MatMul", "Gemm")
    }
    # The products of the spectrogram stay in float64: their range is what log-mel lives on.
    kept = [name for name, types in products.items() if onnx.TensorProto.DOUBLE in types]
    # Log-mel in eight bits, and the last product's outliers, cost more than all layers between them.
    layers = [name for name, types in products.items() if onnx.TensorProto.FLOAT in types]
    kept += [layers[0], layers[-1]]
    with atomic_output(Path(output), overwrite=overwrite) as temporary, _without_advice():
        quantize_dynamic(model, temporary, weight_type=QuantType.QInt8, per_channel=True, nodes_to_exclude=kept)


class MelsGraph(nn.Module):
    """The encoder on padded log-mel."""

    def __init__(self, encoder: WhisperEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, mels: Tensor, mel_counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Vectors, frames and frame counts of `mels` (B, M, F), of which `mel_counts` (B,) are real."""
        encoder = self.encoder
        position_F = torch.arange(mels.shape[2], device=mels.device)
        real_B1F = (position_F < mel_counts[:, None])[:, None]
        x_BDF = F.gelu(encoder.conv1(torch.where(real_B1F, mels, 0.0)))
        x_BTD = F.gelu(encoder.conv2(torch.where(real_B1F, x_BDF, 0.0))).transpose(1, 2)
        x_BTD = x_BTD + encoder.positions_TD[: x_BTD.shape[1]]

        frame_counts = (mel_counts + FRAME_MELS - 1) // FRAME_MELS
        real_BT = torch.arange(x_BTD.shape[1], device=mels.device) < frame_counts[:, None]
        hidden_B11T = torch.where(real_BT, 0.0, -torch.inf)[:, None, None]
        for block in encoder.blocks:
            x_BTD = _through(block, x_BTD, hidden_B11T)
        # onnxruntime's optimiser fuses a sum and the norm behind it, and frames are then twice as far from float64, as
        # the last norm's weights are large. Behind a centring it does not; the norm takes that out anyway.
        x_BTD = x_BTD - x_BTD.mean(dim=2, keepdim=True)
        frames = torch.where(real_BT[..., None], encoder.final_norm(x_BTD), 0.0)
        return frames.sum(dim=1) / frame_counts[:, None], frames, frame_counts


class SamplesGraph(nn.Module):
    """Log-mel and encoder on padded samples."""

    def __init__(self, encoder: WhisperEncoder) -> None:
        super().__init__()
        self.mels = MelsGraph(encoder)
        self.register_buffer("transform_SK", _windowed_transform())
        self.register_buffer("filters_KM", mel_filters(encoder.config.mel_bins, torch.device("cpu")).T.contiguous())

    def forward(self, samples: Tensor, sample_counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `MelsGraph`, from `samples` (B, S), of which `sample_counts` (B,) are real."""
        return self.mels(*self.log_mel(samples, sample_counts))

    def log_mel(self, samples: Tensor, sample_counts: Tensor) -> tuple[Tensor, Tensor]:
        """What `features.logmel.log_mel` gives for the same `samples` and `sample_counts`."""
        length = samples.shape[1]
        # Every column that can touch the clip, also those beyond the clip's own: the maximum is taken over them too.
        columns = length // MEL_HOP_SAMPLES + 3
        start_F1 = torch.arange(columns)[:, None] * MEL_HOP_SAMPLES - FFT_SAMPLES // 2
        place_FS = (start_F1 + torch.arange(FFT_SAMPLES)).abs()
        place_FS = torch.where(place_FS < WINDOW_SAMPLES, place_FS, 2 * (WINDOW_SAMPLES - 1) - place_FS)
        taken_BFS = samples[:, place_FS.clamp(max=length - 1).reshape(-1)].reshape(-1, columns, FFT_SAMPLES)
        taken_BFS = torch.where(place_FS < sample_counts[:, None, None], taken_BFS, 0.0)

        # One product for real and imaginary parts; float64, because weak bands lie far below a loud tone.
        real_BFK, imaginary_BFK = (taken_BFS.double() @ self.transform_SK).chunk(2, dim=2)
        power_BFK = real_BFK * real_BFK + imaginary_BFK * imaginary_BFK
        log_BFM = (power_BFK @ self.filters_KM).clamp(min=1e-10).log() / math.log(10)
        inside_F1 = (torch.arange(columns) < WINDOW_MELS)[:, None]
        log_BFM = torch.where(inside_F1, log_BFM, -10.0)
        log_BFM = torch.maximum(log_BFM, log_BFM.amax(dim=(1, 2), keepdim=True) - 8)
        mel_counts = (sample_counts + MEL_HOP_SAMPLES - 1) // MEL_HOP_SAMPLES
        mels = ((log_BFM + 4) / 4).float().transpose(1, 2)
        return mels[:, :, : (length + MEL_HOP_SAMPLES - 1) // MEL_HOP_SAMPLES], mel_counts


def _through(block: Block, x_BTD: Tensor, hidden_B11T: Tensor) -> Tensor:
    attention = block.attention
    normed = block.attention_norm(x_BTD)
    query, key, value = (
        layer(normed).unflatten(2, (attention.heads, -1)).transpose(1, 2)
        for layer in (attention.query, attention.key, attention.value)
    )
    weights_BJTT = (query * query.shape[-1] ** -0.5 @ key.transpose(2, 3) + hidden_B11T).softmax(dim=-1)
    x_BTD = x_BTD + attention.out((weights_BJTT @ value).transpose(1, 2).flatten(2))
    return x_BTD + block.mlp(block.mlp_norm(x_BTD))


def _windowed_transform() -> Tensor:
    """(400, 2 · 201) float64: Hann window times cosines, then times sines."""
    angle_SK = torch.outer(torch.arange(FFT_SAMPLES), torch.arange(FFT_SAMPLES // 2 + 1)) % FFT_SAMPLES
    angle_SK = angle_SK.double() * (2 * math.pi / FFT_SAMPLES)
    window_S1 = torch.hann_window(FFT_SAMPLES, dtype=torch.float32).double()[:, None]
    return torch.cat([window_S1 * angle_SK.cos(), window_S1 * angle_SK.sin()], dim=1)


@contextmanager
def _without_advice() -> Iterator[None]:
    """No log lines below errors: the exporters give advice that nobody here can follow (torchvision, preprocessing)."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _require(*packages: str) -> None:
    from importlib.util import find_spec

    for package in packages:
        if find_spec(package) is None:
            raise MissingExtraError.of(package, "onnx", "the ONNX export")
