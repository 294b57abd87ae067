"""The arithmetic the device is held to, and how it says that its memory does not suffice."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from uniwhisper import Embedder
from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.model.config import EncoderConfig
from uniwhisper.model.device_memory import is_out_of_memory
from uniwhisper.model.encoder import WhisperEncoder

CONFIG = EncoderConfig(mel_bins=80, width=32, heads=1, layers=1)


def test_float32_on_a_cpu_is_float32_whatever_the_caller_chose():
    """The products differ only on CPUs with bfloat16 units; the settings do everywhere."""
    script = """
import torch
from uniwhisper.embedding.device import full_float32
a, b = torch.randn(256, 256), torch.randn(256, 256)
exact = a.double() @ b.double()
operators = torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv
for precision in ("highest", "high", "medium"):
    torch.set_float32_matmul_precision(precision)
    before = [operator.fp32_precision for operator in operators]
    with full_float32(torch.device("cpu")):
        assert [operator.fp32_precision for operator in operators] == ["ieee", "ieee"], precision
        assert ((a @ b).double() - exact).norm() / exact.norm() < 1e-6, precision
    assert [operator.fp32_precision for operator in operators] == before, precision
    assert torch.get_float32_matmul_precision() == precision
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_cpu_allocators_own_words_are_understood():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 62, dtype=torch.uint8)
    assert not isinstance(caught.value, torch.OutOfMemoryError)
    assert is_out_of_memory(caught.value)


class FullEncoder(torch.nn.Module):
    """Fails with these words above one clip."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self.encoder, self.words = WhisperEncoder(CONFIG).eval(), words
        self.config = CONFIG

    def forward(self, mel_BMF, mel_counts_B, *, layer=None):
        if len(mel_BMF) > 1:
            raise RuntimeError(self.words)
        return self.encoder(mel_BMF, mel_counts_B, layer=layer)


def embed_with(words: str) -> np.ndarray:
    wave_S = np.sin(np.arange(SAMPLE_RATE_HZ) / 10).astype(np.float32)
    full = Embedder.from_encoder(FullEncoder(words), identity="f", source="f")
    with warnings.catch_warnings(action="ignore"):
        return full.embed([(wave_S, SAMPLE_RATE_HZ), (wave_S / 2, SAMPLE_RATE_HZ)]).vectors


@pytest.mark.parametrize(
    "words",
    [
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate 4611686018427387904 bytes. Error code 12 (Cannot allocate memory)",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ],
)
def test_running_out_of_memory_in_other_words_makes_smaller_batches(words):
    assert embed_with(words).shape == (2, CONFIG.width)


def test_another_error_of_the_encoder_is_not_hidden():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        embed_with("shapes cannot be multiplied")
