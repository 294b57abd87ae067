"""Encoder on one GPU: 30 s windows, 5 s clips, a mixture of 1 to 30 s, beside transformers in the same run.

    PYTHONPATH=src python3 benchmarks/gpu_embedding.py [size …]

Log-mel is given (as in the peers' figures); `gpu_files.py` measures from files on.
"""

import random
import sys
from contextlib import contextmanager

import torch

from measure import Report, copy_peak, encoder_bytes, encoder_operations, matrix_peak, median_seconds
from uniwhisper.core.units import frame_count
from uniwhisper.embedding.batches import default_batch_seconds
from uniwhisper.model.attention import attend_packed
from uniwhisper.model.config import WHISPER_SIZES, EncoderConfig
from uniwhisper.model.encoder import WhisperEncoder
from uniwhisper.model.half import in_half
from uniwhisper.model.packing import Packing

CUDA = torch.device("cuda")


@contextmanager
def bf16():
    with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
        yield


def lengths(kind: str, mels: int, seed: int = 0) -> list[int]:
    """Mels of the clips of one batch of about `mels` in all."""
    if kind != "mixture":
        each = {"30 s": 3000, "5 s": 500}[kind]
        return [each] * (mels // each)
    draw, counts = random.Random(seed), []
    while sum(counts) < mels:
        counts.append(draw.randint(100, 3000))
    return counts


def mels_of(config: EncoderConfig, counts: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(len(counts), config.mel_bins, max(counts), device=CUDA), torch.tensor(counts)


def figures(config: EncoderConfig, counts: list[int], seconds: float, peak: float) -> dict:
    operations = encoder_operations(config, [frame_count(count) for count in counts])
    return {
        "clips_per_s": len(counts) / seconds,
        "audio_h_per_s": sum(counts) / 100 / 3600 / seconds,
        "TFLOPs": operations / seconds / 1e12,
        "of_peak": operations / seconds / peak,
    }


def transformers_encoder(config: EncoderConfig):
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder as Theirs

    with torch.device("cuda"):
        return (
            Theirs(
                WhisperConfig(
                    num_mel_bins=config.mel_bins,
                    d_model=config.width,
                    encoder_layers=config.layers,
                    encoder_attention_heads=config.heads,
                    encoder_ffn_dim=4 * config.width,
                    attn_implementation="sdpa",
                )
            )
            .to(torch.bfloat16)
            .eval()
        )


def peers(report: Report, size: str, config: EncoderConfig, peak: float) -> float:
    """Windows a second of transformers, eager; every clip is a window to it."""
    model = transformers_encoder(config)
    windows = {"large-v3": 32, "small": 64}.get(size, 128)
    mel = torch.randn(windows, config.mel_bins, 3000, device=CUDA, dtype=torch.bfloat16)
    counts = [3000] * windows

    def run() -> float:
        with torch.inference_mode():
            return median_seconds(lambda: model(mel))

    eager = report.attempt(f"{size} transformers eager", lambda: figures(config, counts, run(), peak))
    for layer in model.layers:
        layer.compile()
    report.attempt(f"{size} transformers, layers compiled", lambda: figures(config, counts, run(), peak))
    return eager.get("clips_per_s", float("nan"))


def ours(report: Report, size: str, config: EncoderConfig, peak: float, bandwidth: float, theirs: float) -> None:
    with torch.device("cuda"):
        exact = WhisperEncoder(config).cuda().eval()
    encoder = in_half(exact)
    seconds = default_batch_seconds(CUDA, config.width)
    for form in ("eager", "compiled"):
        if form == "compiled":
            encoder.compile()
        uniform = 0.0
        for kind in ("30 s", "5 s", "mixture"):
            counts = lengths(kind, int(100 * seconds))

            def measure(counts=counts, kind=kind) -> dict:
                mel, mel_counts = mels_of(config, counts)
                with bf16():
                    once = median_seconds(lambda: encoder.packed(mel, mel_counts))
                got = figures(config, counts, once, peak)
                frames = [frame_count(count) for count in counts]
                floor = max(encoder_operations(config, frames) / peak, encoder_bytes(config, sum(frames)) / bandwidth)
                got["floor_share"] = floor / once
                if kind != "mixture":
                    got["times_transformers"] = got["clips_per_s"] / theirs
                return got

            got = report.attempt(f"{size} bf16, {form}, {kind}, {seconds:.0f} s", measure)
            if kind == "30 s":
                uniform = got.get("audio_h_per_s", float("nan"))
            elif kind == "mixture" and "audio_h_per_s" in got:
                report.add("    mixture over 30 s windows, audio rate", ratio=got["audio_h_per_s"] / uniform)
    recompiles(report, encoder, config)
    differences(report, f"{size} bf16", encoder, exact, config)
    if size == "large-v3":
        attention(report, config)


def recompiles(report: Report, encoder: WhisperEncoder, config: EncoderConfig) -> None:
    """New batch shapes, none of which may compile again."""

    def run() -> dict:
        with bf16(), torch.compiler.set_stance("fail_on_recompile"):
            for seed in range(8):
                encoder.packed(*mels_of(config, lengths("mixture", 10_000 + 700 * seed, seed)))
        return {"batches": 8, "recompiled": 0}

    report.attempt("    other batch shapes", run)


def differences(report: Report, label: str, encoder, exact, config: EncoderConfig) -> None:
    """bfloat16 in a batch against alone, and against float32; 1 to 30 s, with sound-like mels."""
    counts = [3000, 100, 500, 1601, 37, 2222, 800, 3000]
    mel, mel_counts = mels_of(config, counts)
    mel = mel.cumsum(dim=2).div(mel.shape[2] ** 0.5).tanh()

    def run() -> dict:
        frame, vector, cosine = 0.0, 0.0, 1.0
        with torch.inference_mode():
            with torch.autocast("cuda", torch.bfloat16):
                batch = encoder.packed(mel, mel_counts)[0].float().split([frame_count(c) for c in counts])
            for index, count in enumerate(counts):
                one = mel[index : index + 1, :, :count]
                with torch.autocast("cuda", torch.bfloat16):
                    alone = encoder.packed(one, mel_counts[index : index + 1])[0].float()
                truth = exact.packed(one, mel_counts[index : index + 1])[0]
                got = batch[index]
                frame = max(frame, float(((got - alone).norm(dim=1) / alone.norm(dim=1)).max()))
                mean, mean_alone, mean_truth = got.mean(0), alone.mean(0), truth.mean(0)
                vector = max(vector, float((mean - mean_alone).norm() / mean_alone.norm()))
                cosine = min(cosine, float(torch.cosine_similarity(mean, mean_truth, dim=0)))
        return {"frames_vs_alone": frame, "vectors_vs_alone": vector, "cosine_to_float32": f"{cosine:.6f}"}

    report.attempt(f"    {label}: differences", run)


def attention(report: Report, config: EncoderConfig) -> None:
    """The kernels that could be taken, on 32 windows; and the products, at the sizes of a block."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import gelu, linear, scaled_dot_product_attention

    heads, width = config.heads, config.width // config.heads
    qkv = torch.randn(32 * 1500, 3 * heads * width, device=CUDA, dtype=torch.bfloat16)
    query, key, value = (part.unflatten(1, (heads, width)) for part in qkv.chunk(3, dim=1))
    operations = 4 * 1500**2 * config.width * 32
    for name in ("FLASH_ATTENTION", "CUDNN_ATTENTION"):

        def dense(name=name) -> dict:
            padded = [x.unflatten(0, (32, 1500)).transpose(1, 2) for x in (query, key, value)]
            with torch.inference_mode(), sdpa_kernel(getattr(SDPBackend, name)):
                seconds = median_seconds(lambda: scaled_dot_product_attention(*padded), budget=0.4)
            return {"TFLOPs": operations / seconds / 1e12}

        report.attempt(f"    attention, 32 × 1500, {name}", dense)

    def packed() -> dict:
        packing = Packing.of([1500] * 32, CUDA)
        with torch.inference_mode():
            seconds = median_seconds(lambda: attend_packed(query, key, value, packing), budget=0.4)
        return {"TFLOPs": operations / seconds / 1e12}

    report.attempt("    attention, 32 × 1500, packed kernel", packed)
    rows = 48_000
    for inner, outer in ((1280, 3840), (1280, 1280), (1280, 5120), (5120, 1280)):
        x = torch.randn(rows, inner, device=CUDA, dtype=torch.bfloat16)
        w = torch.randn(outer, inner, device=CUDA, dtype=torch.bfloat16) / inner**0.5
        b = torch.randn(outer, device=CUDA, dtype=torch.bfloat16)
        count = 2 * rows * inner * outer
        with torch.inference_mode():
            plain = median_seconds(lambda x=x, w=w, b=b: linear(x, w, b), budget=0.3)
            bare = median_seconds(lambda x=x, w=w: x @ w.T, budget=0.3)
            report.add(f"    product {inner} to {outer}", with_bias=count / plain / 1e12, without=count / bare / 1e12)
            if outer == 5120:
                later = median_seconds(lambda x=x, w=w, b=b: gelu(linear(x, w, b)), budget=0.3)
                inside = median_seconds(
                    lambda x=x, w=w, b=b: torch._addmm_activation(b, x, w.T, use_gelu=True), budget=0.3
                )
                report.add("    product and GELU", apart=count / later / 1e12, in_one=count / inside / 1e12)


def main() -> None:
    torch.manual_seed(0)
    peak, bandwidth = matrix_peak(), copy_peak()
    report = Report(
        "gpu_embedding",
        {
            "device": torch.cuda.get_device_name(),
            "torch": torch.__version__,
            "matrix_TFLOPs": round(peak / 1e12, 1),
            "copy_TB_per_s": round(bandwidth / 1e12, 2),
        },
    )
    for size in sys.argv[1:] or ["large-v3", "tiny", "small"]:
        config = WHISPER_SIZES[size]
        theirs = peers(report, size, config, peak)
        torch._dynamo.reset()
        ours(report, size, config, peak, bandwidth, theirs)
        torch.cuda.empty_cache()
    print(report.write())


if __name__ == "__main__":
    main()
