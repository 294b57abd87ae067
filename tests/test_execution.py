"""Compiled, and with activations computed again: the same steps, and one compilation for every batch."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from small import small_model, write_corpus, write_encoder, write_language_model
from test_training import figures, run, short_recipe
from uniwhisper.core.errors import RecipeError
from uniwhisper.data.prepare import prepare
from uniwhisper.model.uniwhisper import UniWhisper
from uniwhisper.recipes import load_recipe
from uniwhisper.training.execution import carry_out
from uniwhisper.training.overrides import override

# Of unequal length, of equal length, one alone: each is attended to in another way.
BATCHES = [([80, 124], [7, 9]), ([160, 12, 68], [8, 8, 9]), ([32] * 5, [8] * 5), ([40], [5])]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("place")
    write_corpus(root / "corpora")
    prepare(root / "corpora", root / "prepared")
    write_language_model(root)
    write_encoder(root / "start")
    return root


def gradients(model: UniWhisper, mels: list[int], texts: list[int]) -> list[Tensor]:
    """The loss and all gradients of a batch, always the same one for the same lengths."""
    generator = torch.Generator().manual_seed(len(mels))
    mel_BMF = torch.randn(len(mels), 80, max(mels), generator=generator)
    tokens_RL = torch.randint(0, 200, (len(mels), max(texts)), generator=generator)
    place_L, counts_R = torch.arange(max(texts)), torch.tensor(texts)
    mask_RL = (place_L < counts_R[:, None]) & (place_L >= counts_R[:, None] - 3)
    model.zero_grad()
    loss = model(mel_BMF, torch.tensor(mels), torch.arange(len(mels)), tokens_RL, counts_R, mask_RL).sums_R.sum()
    loss.backward()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [loss.detach(), *(parameter.grad.clone() for parameter in trained)]


@pytest.mark.usefixtures("traced_only")
def test_compiled_steps_equal_the_others_and_no_later_batch_compiles(place):
    model = small_model(place / "lm").train()
    expected = [gradients(model, *lengths) for lengths in BATCHES]
    carry_out(model, compiled=True, recompute=None)
    gradients(model, *BATCHES[0])
    compiled = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert compiled > 4, "both the encoder's and the language model's layers are compiled"
    with torch.compiler.set_stance("fail_on_recompile"):
        for lengths, before in zip(BATCHES, expected, strict=True):
            for got, want in zip(gradients(model, *lengths), before, strict=True):
                torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("what", "again"), [(None, (1, 1)), ("mlp", (1, 2)), ("layers", (2, 2))])
def test_what_is_computed_again_and_the_gradients_stay_bit_for_bit(place, what, again):
    model = small_model(place / "lm").train()
    expected = gradients(model, *BATCHES[1])
    calls = {"query": 0, "mlp": 0}
    block = model.encoder.blocks[0]
    for name, module in (("query", block.attention.query), ("mlp", block.mlp[0])):
        module.register_forward_pre_hook(lambda *_, name=name: calls.update({name: calls[name] + 1}))
    carry_out(model, compiled=False, recompute=what)
    for got, want in zip(gradients(model, *BATCHES[1]), expected, strict=True):
        assert torch.equal(got, want)
    assert (calls["query"], calls["mlp"]) == again
    with torch.no_grad():
        model.encoder(torch.randn(1, 80, 20), torch.tensor([20]))
    assert (calls["query"], calls["mlp"]) == tuple(count + 1 for count in again)


@pytest.mark.usefixtures("traced_only")
def test_a_run_is_resumed_compiled_and_computing_again(place, tmp_path):
    """Half the steps one way, half the other: the recipe is the same to a run that goes on."""
    usual = override(short_recipe(place / "lm"), ["steps=4"])
    run(usual, place / "prepared", tmp_path / "usual")
    shutil.copytree(tmp_path / "usual", tmp_path / "other")
    shutil.rmtree(tmp_path / "other/checkpoints/step-00000004")
    other = override(usual, ["loop.compiled=true", "loop.recompute=layers"])
    assert other.identity() == usual.identity()
    run(other, place / "prepared", tmp_path / "other", resume=True)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 4
    for (step, loss, norm, examples), expected in zip(
        figures(tmp_path / "other"), figures(tmp_path / "usual"), strict=True
    ):
        assert (step, examples) == (expected[0], expected[3])
        assert (loss, norm) == (pytest.approx(expected[1], rel=1e-5), pytest.approx(expected[2], rel=1e-4))


def test_where_nothing_compiles_the_run_says_so_at_its_start(place, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no C++ compiler\nand a long story")

    monkeypatch.setattr(torch, "compile", broken)
    recipe = override(short_recipe(place / "lm"), ["loop.compiled=true"])
    with pytest.raises(RecipeError, match=r"(?s)RuntimeError: no C\+\+ compiler\n.*loop.compiled=false"):
        run(recipe, place / "prepared", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("change", ["loop.compiled=yes", "loop.recompute=some", "loop.recompute=true"])
def test_other_values_are_refused(change):
    with pytest.raises(RecipeError, match=change.partition("=")[0]):
        override(load_recipe("mini"), [change])
