"""One CPU core, Whisper tiny, 5 s clips: this encoder beside transformers and CTranslate2 (faster-whisper's engine).

    make bench            (installs the peers from benchmarks/peers/uv.lock)

Processor seconds of one thread, so that other work on the machine changes them little; all take turns in one process.
The peers' encoders take 30 s windows only, so that a short clip costs them 30 s. Random weights: speed only.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from measure import Report
from uniwhisper.model.config import WHISPER_SIZES
from uniwhisper.model.weights import random_encoder

ROUNDS = 7
MELS = 500


def transformers_model(size: str):
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    config = WHISPER_SIZES[size]
    shape = WhisperConfig(
        num_mel_bins=config.mel_bins,
        d_model=config.width,
        encoder_layers=config.layers,
        decoder_layers=1,
        encoder_attention_heads=config.heads,
        decoder_attention_heads=config.heads,
        encoder_ffn_dim=4 * config.width,
        decoder_ffn_dim=4 * config.width,
    )
    return WhisperForConditionalGeneration(shape).eval()


def ctranslate2_encoders(model, folder: Path) -> dict[str, Callable]:
    """float32 and int8; empty where CTranslate2 is not installed."""
    try:
        import ctranslate2
        from ctranslate2.converters.transformers import WhisperLoader
    except ImportError:
        return {}
    loader = WhisperLoader()
    spec = loader.get_model_spec(model)
    spec.register_vocabulary([f"<{index}>" for index in range(model.config.vocab_size)])
    spec.validate()
    spec.optimize()
    spec.save(str(folder))
    features = ctranslate2.StorageView.from_array(
        np.random.randn(1, model.config.num_mel_bins, 3000).astype(np.float32)
    )
    encoders = {}
    for kind in ("float32", "int8"):
        whisper = ctranslate2.models.Whisper(
            str(folder), device="cpu", compute_type=kind, intra_threads=1, inter_threads=1
        )
        encoders[f"CTranslate2 {kind}, padded to 30 s"] = lambda whisper=whisper: np.asarray(whisper.encode(features))
    return encoders


def int8_linears(encoder):
    """PyTorch's dynamic int8 for linear layers; None where this PyTorch has it no more."""
    try:
        from torch.ao.quantization import quantize_dynamic

        return quantize_dynamic(encoder, {torch.nn.Linear}, dtype=torch.qint8)
    except (ImportError, RuntimeError, AttributeError):
        return None


def main() -> None:
    size = sys.argv[1] if len(sys.argv) > 1 else "tiny"
    torch.set_num_threads(1)
    config = WHISPER_SIZES[size]
    facts = {"size": size, "torch": torch.__version__, "capability": torch.backends.cpu.get_cpu_capability()}
    report = Report("cpu_embedding", facts)
    encoder = random_encoder(size, seed=0).encoder
    theirs = transformers_model(size)
    mel, counts = torch.randn(1, config.mel_bins, MELS), torch.tensor([MELS])
    window = torch.randn(1, config.mel_bins, 3000)
    works: dict[str, Callable] = {
        "uniwhisper float32, 5 s": lambda: encoder(mel, counts),
        "transformers, padded to 30 s": lambda: theirs.model.encoder(window),
        "uniwhisper float32, 30 s": lambda: encoder(window, torch.tensor([3000])),
    }
    if (small := int8_linears(encoder)) is not None:
        works["uniwhisper int8 linears, 5 s"] = lambda: small(mel, counts)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        works |= ctranslate2_encoders(theirs, Path(folder))
        seconds = {name: [] for name in works}
        for _ in range(ROUNDS):
            for name, work in works.items():
                start = time.process_time()
                work()
                seconds[name].append(time.process_time() - start)
        if small is not None:
            vectors = [model(mel, counts)[0].mean(dim=1) for model in (encoder, small)]
            report.add("int8 linears against float32", cosine=torch.cosine_similarity(*vectors).item())
    best = {name: min(values[1:]) for name, values in seconds.items()}
    ours = best["uniwhisper float32, 5 s"]
    for name, value in best.items():
        report.add(name, cost_over_ours=value / ours, _core_seconds=value)
    print(report.write())


if __name__ == "__main__":
    main()
