"""Adapter, frozen language model and the three parts joined, against plain transformers and hand computations."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from small import SMALL_ENCODER, small_model, write_language_model
from uniwhisper.core.errors import WeightsError
from uniwhisper.model import answer_loss
from uniwhisper.model.adapter import Adapter, AdapterConfig
from uniwhisper.model.language_model import FrozenLanguageModel
from uniwhisper.model.packing import Packing
from uniwhisper.model.uniwhisper import UniWhisper
from uniwhisper.model.weights import packaged_default


@pytest.fixture(scope="module")
def language_model_folder(tmp_path_factory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("lm"))


@pytest.fixture
def model(language_model_folder) -> UniWhisper:
    return small_model(language_model_folder)


def a_batch(seed: int = 0) -> dict[str, torch.Tensor]:
    """Three clips of unequal length, in mels and in text tokens, with garbage where padding is."""
    generator = torch.Generator().manual_seed(seed)
    mel_counts_B = torch.tensor([37, 100, 8])
    token_counts_R = torch.tensor([9, 5, 7])
    answer_starts = (6, 2, 3)
    tokens_RL = torch.randint(0, 250, (3, 9), generator=generator)
    loss_mask_RL = torch.zeros(3, 9, dtype=torch.bool)
    mel_BMF = torch.randn(3, SMALL_ENCODER.mel_bins, 100, generator=generator)
    for clip in range(3):
        loss_mask_RL[clip, answer_starts[clip] : token_counts_R[clip]] = True
        mel_BMF[clip, :, mel_counts_B[clip] :] = 0
    return {
        "mel_BMF": mel_BMF,
        "mel_counts_B": mel_counts_B,
        "clip_R": torch.arange(3),
        "tokens_RL": tokens_RL,
        "token_counts_R": token_counts_R,
        "loss_mask_RL": loss_mask_RL,
    }


def gradients(model) -> torch.Tensor:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in trained])


@pytest.mark.parametrize("clip_R, of_mean_R, mean_tokens", [
    ([0, 1, 2], None, 1), ([0, 0, 2], None, 1), ([1, 1, 1], None, 1), ([0, 1, 2], [False] * 3, 1),
    ([1, 1, 2], [False, True, True], 1), ([1, 1, 2], [False, True, True], 3), ([0, 1, 2], [True] * 3, 3),
])  # fmt: skip
def test_losses_and_gradients_equal_a_plain_forward_of_transformers_row_by_row(
    language_model_folder, clip_R, of_mean_R, mean_tokens
):
    model = small_model(language_model_folder, mean_tokens=mean_tokens)
    batch = a_batch() | {"clip_R": torch.tensor(clip_R)}
    batch["of_mean_R"] = None if of_mean_R is None else torch.tensor(of_mean_R)
    weights_R = torch.tensor([0.3, 1.0, 2.0])
    losses = model(**batch)
    (losses.sums_R * weights_R).sum().backward()
    packed = gradients(model)
    model.zero_grad()
    causal_lm = model.language_model.causal_lm
    for row, clip in enumerate(clip_R):
        mels, tokens = int(batch["mel_counts_B"][clip]), int(batch["token_counts_R"][row])
        frames_1TD, _ = model.encoder(batch["mel_BMF"][clip : clip + 1, :, :mels], torch.tensor([mels]))
        project = model.adapter.project
        if of_mean_R is not None and of_mean_R[row]:
            frames_1TD = frames_1TD.mean(dim=1, keepdim=True).expand(1, 4, 32)
            project = project if mean_tokens == 1 else model.adapter.project_means
        padded = torch.zeros(1, -(-frames_1TD.shape[1] // 4) * 4, 32)
        padded[:, : frames_1TD.shape[1]] = frames_1TD
        hidden = torch.nn.functional.gelu(
            padded.reshape(1, -1, 128) @ model.adapter.widen.weight.T + model.adapter.widen.bias
        )
        audio = (hidden @ project.weight.T + project.bias).reshape(1, -1, model.language_model.width)
        ids = batch["tokens_RL"][row : row + 1, :tokens]
        inputs = torch.cat([audio, causal_lm.get_input_embeddings()(ids)], dim=1)
        labels = torch.full((1, inputs.shape[1]), -100)
        answered = batch["loss_mask_RL"][row, :tokens]
        labels[0, audio.shape[1] :][answered] = ids[0][answered]
        mean = causal_lm(inputs_embeds=inputs, labels=labels).loss
        assert int(losses.token_counts_R[row]) == int(answered.sum())
        torch.testing.assert_close(losses.sums_R[row], mean * answered.sum(), rtol=1e-5, atol=1e-5)
        (mean * answered.sum() * weights_R[row]).backward()
    # A clip that no row is about has no gradient either way; the encoder's sums are over all clips.
    plain = gradients(model)
    assert (packed - plain).norm() <= 1e-5 * plain.norm()


def test_questions_about_one_clip_are_answered_as_if_each_had_the_clip_to_itself(model):
    """Two rows on the first clip, none on the second, one on the third; and the clips are encoded once."""
    batch = a_batch()
    clip_R = torch.tensor([0, 0, 2])
    apart = model(**batch | {
        "mel_BMF": batch["mel_BMF"][clip_R], "mel_counts_B": batch["mel_counts_B"][clip_R], "clip_R": torch.arange(3),
    })  # fmt: skip
    encoded = []
    model.encoder.final_norm.register_forward_hook(lambda _, inputs, __: encoded.append(len(inputs[0])))
    together = model(**batch | {"clip_R": clip_R})
    torch.testing.assert_close(together.sums_R, apart.sums_R, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(together.sums_R, model(**batch).sums_R), "which clip a row is about changes nothing"
    frames_of_three_clips = 19 + 50 + 4
    assert encoded == [frames_of_three_clips] * 2


def test_gradient_reaches_every_trained_weight_and_none_of_the_language_model(model):
    model(**a_batch()).sums_R.sum().backward()
    for name, parameter in [*model.encoder.named_parameters(), *model.adapter.named_parameters()]:
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    assert all(parameter.grad is None for parameter in model.language_model.parameters())


def test_language_model_is_frozen_by_construction(model):
    before = model.language_model.identity()
    model.train()
    assert model.encoder.training and model.adapter.training
    assert not any(module.training for module in model.language_model.modules())
    assert not any(parameter.requires_grad for parameter in model.language_model.parameters())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for seed in range(3):
        optimizer.zero_grad()
        model(**a_batch(seed)).sums_R.sum().backward()
        optimizer.step()
    assert model.language_model.identity() == before
    # The proof must be able to fail: one changed weight changes the identity.
    with torch.no_grad():
        next(model.language_model.parameters()).view(-1)[0] += 1
    assert model.language_model.identity() != before


def test_identity_is_that_of_the_weights_not_of_their_precision(language_model_folder):
    full = FrozenLanguageModel.load(language_model_folder, dtype=torch.float32)
    half = FrozenLanguageModel.load(language_model_folder, dtype=torch.bfloat16)
    assert full.identity() == half.identity()


@pytest.mark.parametrize("content", [None, "{}", '{"model_type": "whisper"}', "no json"])
def test_a_folder_that_is_no_language_model_says_what_to_pass(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(WeightsError, match=r"--set model\.language_model=FOLDER") as caught:
        FrozenLanguageModel.load(tmp_path)
    offered = caught.value.fix.rpartition("in the package: ")[2].split()[0]
    described = json.loads((packaged_default() / "config.json").read_text())
    assert FrozenLanguageModel.load(offered).identity() == described["language_model"]["identity"]


def test_the_folder_that_recipes_name_is_not_looked_for_at_the_hub(tmp_path, monkeypatch):
    def asked(*_, **__):
        raise AssertionError("the hub was asked")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", asked)
    with pytest.raises(WeightsError, match=r"pretrain-lm texts/ -o runs/lm; "):
        FrozenLanguageModel.load("runs/lm")
    with pytest.raises(AssertionError, match="the hub was asked"):
        FrozenLanguageModel.load("Qwen/Qwen3-0.6B")


def test_code_that_comes_with_a_language_model_is_not_run(language_model_folder, tmp_path):
    """transformers would ask on standard input; a program that answers everything with yes must not run it either."""
    folder = tmp_path / "lm"
    shutil.copytree(language_model_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine", "AutoModelForCausalLM": "mine.Mine"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    code = f"from uniwhisper.model.language_model import *; FrozenLanguageModel.load({str(folder)!r})"
    done = subprocess.run([sys.executable, "-c", code], input="y\n" * 9, capture_output=True, text=True)
    assert done.returncode != 0 and "WeightsError" in done.stderr
    assert not (tmp_path / "ran").exists()


def test_an_audio_token_depends_on_its_own_frames_only():
    adapter = Adapter(AdapterConfig(frame_width=6, stack=4, hidden_width=10, token_width=5))
    frames_BTD = torch.randn(1, 10, 6, requires_grad=True)
    audio_BAH, counts_B = adapter(frames_BTD, torch.tensor([10]))
    assert audio_BAH.shape == (1, 3, 5) and counts_B.tolist() == [3]
    audio_BAH[0, 1].sum().backward()
    touched = frames_BTD.grad[0].abs().sum(dim=1) > 0
    assert touched.tolist() == [False] * 4 + [True] * 4 + [False] * 2


def test_audio_tokens_start_with_the_spread_of_text_tokens():
    adapter = Adapter(AdapterConfig(frame_width=64, stack=4, hidden_width=512, token_width=128))
    adapter.initialise(token_std=0.02, generator=torch.Generator().manual_seed(0))
    audio_BAH, _ = adapter(torch.randn(8, 100, 64), torch.full((8,), 100))
    assert audio_BAH.std().item() == pytest.approx(0.02, rel=0.05)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 11), min_size=1, max_size=5))
def test_packed_audio_tokens_are_those_of_each_clip_alone(counts):
    adapter = Adapter(AdapterConfig(frame_width=6, stack=4, hidden_width=10, token_width=5)).double()
    clips = [torch.randn(count, 6, dtype=torch.float64) for count in counts]
    audio_NH, audio = adapter.packed(torch.cat(clips), Packing.of(counts, torch.device("cpu")))
    for got, clip in zip(audio_NH.split(audio.counts), clips, strict=True):
        alone_BAH, counts_B = adapter(clip[None], torch.tensor([len(clip)]))
        assert len(got) == counts_B.item()
        torch.testing.assert_close(got, alone_BAH[0])


@pytest.mark.parametrize("rows_at_once", [1, 2, 100])
def test_projected_loss_and_gradient_equal_the_plain_ones(rows_at_once, monkeypatch):
    monkeypatch.setattr(answer_loss, "ROWS_AT_ONCE", rows_at_once)
    weight_VH, targets_N = torch.randn(7, 4, dtype=torch.float64), torch.tensor([0, 6, 3, 3, 1])
    outward_N = torch.rand(5)
    results = []
    for project in (
        answer_loss.projected_cross_entropy,
        lambda h, w, t: torch.nn.functional.cross_entropy(h @ w.T, t, reduction="none").float(),
    ):
        hidden_NH = torch.linspace(-3, 3, 20, dtype=torch.float64).view(5, 4).requires_grad_()
        losses_N = project(hidden_NH, weight_VH, targets_N)
        (losses_N * outward_N).sum().backward()
        results.append((losses_N.detach(), hidden_NH.grad))
    torch.testing.assert_close(results[0], results[1], rtol=1e-6, atol=1e-6)


def test_no_answer_token_means_no_loss():
    hidden_NH = torch.zeros(0, 4, requires_grad=True)
    losses_N = answer_loss.projected_cross_entropy(hidden_NH, torch.randn(7, 4), torch.zeros(0, dtype=torch.int64))
    losses_N.sum().backward()
    assert losses_N.shape == (0,) and hidden_NH.grad.shape == (0, 4)
