"""The encoder in bfloat16 is the same encoder: close to float32, the original untouched, compiled once for all."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import gelu

from test_encoder import MINIATURE, batch, largest_differences, miniature, relative
from uniwhisper.core.units import WINDOW_MELS
from uniwhisper.embedding.batches import default_batch_seconds
from uniwhisper.model.half import in_half, linear_gelu
from uniwhisper.model.pooling import masked_mean
from uniwhisper.model.weights import random_encoder

CLIPS = [40, 3, 17]


def in_bfloat16(encoder, *clips: Tensor, layer: int | None = None) -> Tensor:
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        return encoder(*clips, layer=layer)[0]


@torch.inference_mode()
@pytest.mark.parametrize("layer", [None, 0, 1, 2, 3])
def test_every_layer_is_close_to_float32(layer):
    encoder = miniature()
    clips = batch(CLIPS, MINIATURE.mel_bins)
    exact_BTD, counts_B = encoder(*clips, layer=layer)
    half_BTD = in_bfloat16(in_half(encoder), *clips, layer=layer)
    assert half_BTD.dtype == torch.float32
    assert (half_BTD - exact_BTD).norm() <= 2e-2 * exact_BTD.norm()
    assert torch.cosine_similarity(masked_mean(exact_BTD, counts_B), masked_mean(half_BTD, counts_B)).min() > 0.999


def test_joined_blocks_are_the_blocks_one_after_the_other():
    """In float32, where no rounding hides a wrong order: the pieces against `WhisperEncoder`'s own way."""
    encoder = miniature()
    half = in_half(encoder).float()
    clips = batch(CLIPS, MINIATURE.mel_bins)
    rounded = {name: tensor.bfloat16().float() for name, tensor in encoder.state_dict().items() if "norm" not in name}
    encoder.load_state_dict({**encoder.state_dict(), **rounded, "positions_TD": encoder.positions_TD})
    with torch.inference_mode():
        for layer in (None, 0, 1, 3):
            torch.testing.assert_close(half(*clips, layer=layer)[0], encoder(*clips, layer=layer)[0], atol=1e-5, rtol=0)


@torch.inference_mode()
def test_the_original_stays_as_it_was():
    encoder = miniature()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    half = in_half(encoder)
    half.final_norm.weight.zero_()
    assert half.blocks[0].mlp[0].weight.dtype == torch.bfloat16
    assert half.final_norm.weight.dtype == half.positions_TD.dtype == torch.float32
    assert not half.training and not any(parameter.requires_grad for parameter in half.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
    assert all(parameter.requires_grad for parameter in encoder.parameters())


@pytest.mark.usefixtures("traced_only")
def test_other_batch_shapes_compile_nothing_anew():
    encoder = miniature()
    plain, compiled = in_half(encoder), in_half(encoder)
    compiled.compile()
    in_bfloat16(compiled, *batch([20, 31], MINIATURE.mel_bins))
    # Stem, first half, between two blocks, and the end with its norm; the end alone is for whoever asks for a layer.
    assert torch._dynamo.utils.counters["frames"]["ok"] == 4
    with torch.compiler.set_stance("fail_on_recompile"):
        for counts in ([40, 3, 17], [8] * 5, [7], [40] * 2, [3, 2]):
            clips = batch(counts, MINIATURE.mel_bins)
            got, expected = (in_bfloat16(each, *clips).flatten(0, 1) for each in (compiled, plain))
            assert relative(got + 1, expected + 1) <= 1e-6


@given(rows=st.integers(1, 9), inner=st.integers(1, 9), outer=st.integers(1, 9))
@settings(deadline=None)
def test_the_fused_operator_is_a_product_and_a_gelu(rows, inner, outer):
    x_NC, weight_DC, bias_D = torch.randn(rows, inner), torch.randn(outer, inner), torch.randn(outer)
    exact_ND = gelu(x_NC @ weight_DC.T + bias_D)
    torch.testing.assert_close(linear_gelu(x_NC, weight_DC, bias_D), exact_ND, atol=6e-4, rtol=0)


def test_the_compiler_is_told_the_truth_about_the_fused_operator():
    torch.library.opcheck(linear_gelu, (torch.randn(5, 3), torch.randn(4, 3), torch.randn(4)))


def test_a_narrower_encoder_takes_more_audio_at_once_on_a_gpu_only():
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert default_batch_seconds(gpu, 1280) == 960
    assert default_batch_seconds(gpu, 640) == 1920
    assert default_batch_seconds(gpu, 384) == default_batch_seconds(gpu, 16) == 3200
    assert default_batch_seconds(cpu, 384) == default_batch_seconds(cpu, 1280) == 120


@pytest.mark.gpu
def test_the_fused_operator_on_gpu():
    x_NC, weight_DC = torch.randn(3000, 384, device="cuda"), torch.randn(1536, 384, device="cuda") / 20
    bias_D = torch.randn(1536, device="cuda")
    exact_ND = gelu(x_NC @ weight_DC.T + bias_D, approximate="tanh")
    got_ND = linear_gelu(x_NC.bfloat16(), weight_DC.bfloat16(), bias_D.bfloat16()).float()
    assert (got_ND - exact_ND).norm() <= 5e-3 * exact_ND.norm()


@pytest.mark.gpu
@torch.inference_mode()
@pytest.mark.parametrize("compiled", [False, True])
def test_alone_and_beside_others_on_gpu(compiled):
    encoder = random_encoder("base", seed=0).encoder.cuda()
    half = in_half(encoder)
    if compiled:
        half.compile()
    mel_BMF, counts_B = batch([WINDOW_MELS, 37, 2, 499, 500, 1601], 80, garbage=0.0)
    exact = masked_mean(*encoder(mel_BMF.cuda(), counts_B))
    with torch.autocast("cuda", torch.bfloat16):
        per_frame, per_vector = largest_differences(half, mel_BMF.cuda(), counts_B)
        vectors = masked_mean(*half(mel_BMF.cuda(), counts_B))
    assert per_frame <= 1e-2 and per_vector <= 3e-3
    assert torch.cosine_similarity(exact, vectors).min() >= 0.9999
