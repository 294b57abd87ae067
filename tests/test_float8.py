"""Products of 8-bit floats: against the exact layers, against a hand-rounded product, and compiled."""

import pytest
import torch
from torch import nn

from small import small_model, write_language_model
from test_execution import BATCHES, gradients
from uniwhisper.core.errors import RecipeError
from uniwhisper.model.config import EncoderConfig
from uniwhisper.model.encoder import WhisperEncoder
from uniwhisper.model.float8 import Float8Linear, Float8Mlp, _weights_gradient, float8_linear, require_float8
from uniwhisper.recipes import load_recipe
from uniwhisper.training.execution import carry_out
from uniwhisper.training.overrides import override
from uniwhisper.training.recipe import LoopConfig


def distance(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got.double() - expected.double()).norm() / expected.double().norm())


def by_hand(x_NC: torch.Tensor) -> torch.Tensor:
    """Each row to 448 at most, rounded to three bits behind the first (E4M3), and back."""
    factor_N1 = 448 / x_NC.abs().amax(dim=1, keepdim=True)
    mantissa, exponent = torch.frexp((x_NC * factor_N1).double())
    # Below 2^-6 the steps stay 2^-9.
    step = torch.maximum(exponent - 4, torch.tensor(-9))
    return torch.ldexp(torch.round(torch.ldexp(mantissa, exponent - step)), step) / factor_N1


def test_the_product_is_that_of_operands_rounded_by_hand():
    torch.manual_seed(0)
    x_NC, weight_DC = torch.randn(37, 64).bfloat16().float(), torch.randn(48, 64)
    weight_DC *= torch.logspace(-3, 3, 48)[:, None]  # rows of very different size: one scale would lose the small
    got_ND = float8_linear(x_NC, weight_DC)
    expected_ND = by_hand(x_NC) @ by_hand(weight_DC).T
    for column in (0, 20, 47):
        assert distance(got_ND[:, column], expected_ND[:, column]) < 3e-3  # bfloat16's rounding of the result
    assert 0.02 < distance(got_ND[:, 0], (x_NC @ weight_DC.T)[:, 0]) < 0.06  # float8's of the operands


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e4])
def test_gradients_of_a_layer_are_those_of_the_exact_one_up_to_rounding(size):
    torch.manual_seed(1)
    exact = nn.Linear(64, 48)
    layer = Float8Linear.of(exact)
    assert layer.weight is exact.weight
    assert layer.bias is exact.bias
    found = []
    for each in (layer, exact):
        x_NC = (size * torch.randn(5, 9, 64, generator=torch.Generator().manual_seed(2))).requires_grad_()
        exact.zero_grad()
        out = each(x_NC)
        out.backward(torch.randn(5, 9, 48, generator=torch.Generator().manual_seed(3)).to(out.dtype))
        found.append([x_NC.grad, exact.weight.grad.clone(), exact.bias.grad.clone()])
    for got, expected, most in zip(*found, (0.06, 5e-3, 5e-3), strict=True):
        assert got.dtype == torch.float32
        assert distance(got, expected) < most


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_the_wide_layer_scaled_by_a_bound_is_as_near_as_products_are(scale):
    """Also where a few features are a hundred times the others, as in trained transformers."""
    torch.manual_seed(4)
    exact = nn.Sequential(nn.Linear(64, 256), nn.GELU(approximate="tanh"), nn.Linear(256, 64))
    mlp = Float8Mlp(*exact)
    x_NC = scale * torch.randn(50, 64)
    x_NC[:, :2] *= 100
    found = []
    for each in (mlp, exact):
        inputs = x_NC.clone().requires_grad_()
        exact.zero_grad()
        out = each(inputs)
        out.backward(torch.randn(50, 64, generator=torch.Generator().manual_seed(5)).to(out.dtype))
        found.append([out.detach(), inputs.grad, *(parameter.grad.clone() for parameter in exact.parameters())])
    for got, expected in zip(*found, strict=True):
        assert torch.isfinite(got).all()
        assert distance(got, expected) < 0.12


def test_rounding_of_the_wide_layer_averages_out():
    """Where errors of single numbers cancel, what is left would be a wrong formula."""
    torch.manual_seed(6)
    exact = nn.Sequential(nn.Linear(128, 512), nn.GELU(approximate="tanh"), nn.Linear(512, 128))
    outward_C = torch.randn(128)
    found = []
    for each in (Float8Mlp(*exact), exact):
        inputs = (2 * torch.randn(2000, 128, generator=torch.Generator().manual_seed(7))).requires_grad_()
        exact.zero_grad()
        out = each(inputs)
        out.backward(outward_C.expand(2000, 128).to(out.dtype))
        found.append([out.detach(), inputs.grad, *(parameter.grad.clone() for parameter in exact.parameters())])
    for got, expected in zip(*found, strict=True):
        share = float((got.double() * expected.double()).sum() / expected.double().square().sum())
        assert share == pytest.approx(1, abs=5e-3)


@pytest.mark.parametrize("widths", [(5120, 48), (48, 5120), (4096, 32)])
def test_gradients_of_wide_weights_are_those_of_one_product(widths):
    torch.manual_seed(8)
    outward_ND, x_NC = (torch.randn(24, width) for width in widths)
    torch.testing.assert_close(_weights_gradient(outward_ND, x_NC), outward_ND.T @ x_NC, rtol=1e-5, atol=1e-4)


def test_rows_of_zeros_and_what_is_not_finite():
    layer = Float8Linear.of(nn.Linear(32, 16))
    torch.testing.assert_close(layer(torch.zeros(3, 32)).float(), layer.bias.expand(3, 16), atol=1e-2, rtol=1e-2)
    for bad in (torch.nan, torch.inf):
        x_NC = torch.zeros(2, 32)
        x_NC[1, 3] = bad
        out_ND = layer(x_NC)
        assert torch.isfinite(out_ND[0]).all()
        assert not torch.isfinite(out_ND[1]).any(), "a step must see it, to be skipped"


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    root = tmp_path_factory.mktemp("place")
    write_language_model(root)
    return root / "lm"


def halved(model: nn.Module, lengths: tuple[list[int], list[int]]) -> list[torch.Tensor]:
    """`gradients` as on a GPU: float8 is for steps under autocast."""
    with torch.autocast("cpu", torch.bfloat16):
        return gradients(model, *lengths)


def in_float8(language_model) -> nn.Module:
    model = small_model(language_model).train()
    model.encoder.to_float8()
    model.language_model.to_float8()
    return model


def test_encoder_and_language_model_keep_their_names_and_what_is_frozen(language_model):
    plain, model = small_model(language_model).train(), in_float8(language_model)
    assert list(model.state_dict()) == list(plain.state_dict())
    assert model.language_model.identity() == plain.language_model.identity()
    layers = [module for module in model.modules() if isinstance(module, Float8Linear | Float8Mlp)]
    assert {type(layer) for layer in layers} == {Float8Linear, Float8Mlp}
    assert any(isinstance(module, Float8Linear) for module in model.language_model.modules())
    for got, expected in zip(halved(model, BATCHES[1]), halved(plain, BATCHES[1]), strict=True):
        assert got.dtype == torch.float32
        if expected.norm() > 1e-6:
            assert distance(got, expected) < 0.35
    assert all(parameter.grad is None for parameter in model.language_model.parameters())


def test_widths_that_float8_cannot_take_stay_as_they_are():
    encoder = WhisperEncoder(EncoderConfig(mel_bins=80, width=24, layers=1, heads=2, max_frames=50))
    encoder.to_float8()
    assert not any(isinstance(module, Float8Linear | Float8Mlp) for module in encoder.modules())


@pytest.mark.usefixtures("traced_only")
def test_compiled_float8_steps_equal_the_others_and_no_later_batch_compiles(language_model):
    model = in_float8(language_model)
    expected = [halved(model, lengths) for lengths in BATCHES]
    carry_out(model, compiled=True, recompute=None)
    halved(model, BATCHES[0])
    with torch.compiler.set_stance("fail_on_recompile"):
        for lengths, before in zip(BATCHES, expected, strict=True):
            for got, want in zip(halved(model, lengths), before, strict=True):
                torch.testing.assert_close(got, want, atol=1e-3, rtol=1e-2)


def test_a_device_without_such_products_is_named():
    with pytest.raises(RecipeError, match=r"(?s)compute capability 8.9.*got.*cpu.*loop.precision=bf16"):
        require_float8(torch.device("cpu"))


def test_the_recipe_takes_float8_and_runs_it_under_bfloat16_on_a_gpu_alone():
    loop: LoopConfig = override(load_recipe("mini"), ["loop.precision=float8"]).loop
    assert loop.precision == "float8"
    assert (loop.half_on("cuda"), loop.half_on("cpu")) == (True, False)
    with pytest.raises(RecipeError, match=r"loop.precision"):
        override(load_recipe("mini"), ["loop.precision=float4"])


@pytest.mark.gpu
def test_on_a_gpu_the_product_is_that_of_operands_rounded_by_hand():
    torch.manual_seed(0)
    for rows in (1, 17, 4913):
        x_NC, weight_DC = torch.randn(rows, 64).bfloat16().float(), torch.randn(48, 64)
        got_ND = float8_linear(x_NC.cuda(), weight_DC.cuda()).cpu()
        assert distance(got_ND, by_hand(x_NC) @ by_hand(weight_DC).T) < 5e-3
