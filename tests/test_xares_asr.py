"""Speech recognition through a frozen language model: on a small random one, and the loss against transformers' own."""

import numpy as np
import pytest
import torch

from uniwhisper.evaluation.xares import asr, order

WIDTH = 12
WORDS = ["red", "blue", "green", "stop", "go"]


@pytest.fixture(scope="module")
def language_model():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    vocabulary = {word: number for number, word in enumerate(["<end>", "<pad>", "<|vision_end|>", *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        eos_token="<end>",
        pad_token="<pad>",
        additional_special_tokens=["<|vision_end|>"],
    )
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        eos_token_id=0,
        pad_token_id=1,
        bos_token_id=None,
        # A random model with small embeddings hardly depends on its input; this one does.
        initializer_range=0.3,
        tie_word_embeddings=True,
    )
    return Qwen3ForCausalLM(config), tokenizer


def spoken(count: int, seed: int) -> asr.Transcribed:
    """Two words a clip, each three frames of its own direction: padding would move the positions (see `decode`)."""
    generator, directions = np.random.default_rng(seed), np.random.default_rng(9).normal(size=(len(WORDS), WIDTH))
    frames, texts = [], []
    for _ in range(count):
        said = generator.integers(0, len(WORDS), 2)
        frames.append(np.repeat(directions[said], 3, axis=0).astype(np.float32))
        texts.append(" ".join(WORDS[word] for word in said))
    return asr.Transcribed(frames, texts)


def recogniser(language_model) -> asr.Recogniser:
    torch.manual_seed(1)
    return asr.Recogniser(WIDTH, *language_model, asr.SEPARATOR)


def test_the_loss_is_that_of_transformers(language_model):
    causal_lm, tokenizer = language_model
    model = recogniser(language_model)
    frames_BTD, counts_B = torch.randn(2, 5, WIDTH), torch.tensor([5, 3])
    texts = ["red blue", "go"]
    loss, _ = model(frames_BTD, counts_B, texts)

    ids = [[2, 3, 4, 0], [2, 7, 0, 1]]  # separator, words, end, padding
    assert tokenizer(f"{asr.SEPARATOR}red blue")["input_ids"] == ids[0][:3]
    labels = torch.tensor([[-100] * 5 + ids[0], [-100] * 5 + [2, 7, 0, -100]])
    mask = torch.tensor([[1] * 9, [1, 1, 1, 0, 0, 1, 1, 1, 0]])
    inputs = torch.cat([model.adapt(frames_BTD), causal_lm.get_input_embeddings()(torch.tensor(ids))], dim=1)
    expected = causal_lm(inputs_embeds=inputs, attention_mask=mask, labels=labels).loss
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_only_the_adapter_learns_and_padding_changes_no_gradient(language_model):
    model = recogniser(language_model)
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"gate", "value", "project"}
    assert not any(weight.requires_grad for weight in language_model[0].parameters())
    frames_BTD = torch.randn(1, 4, WIDTH)
    loss, _ = model(frames_BTD, torch.tensor([4]), ["stop"])
    loss.backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in model.parameters())


def test_an_adapter_learns_to_steer_a_frozen_model(language_model):
    before = {name: weight.clone() for name, weight in language_model[0].state_dict().items()}
    training, scored = spoken(300, 0), spoken(10, 1)
    answer = asr.train_asr(
        training,
        scored,
        scored,
        causal_lm=language_model[0],
        tokenizer=language_model[1],
        width=WIDTH,
        orders=order.epoch_orders([np.arange(300)], epochs=10, seed=0),
    )
    assert len(answer.hypotheses) == 10
    assert max(answer.chosen_by) == answer.chosen_by[answer.epoch] > 0.6
    # A random model may talk on after a wrong word, and one such clip spoils the corpus's error rate.
    assert np.mean([said == true for said, true in zip(answer.hypotheses, scored.transcripts, strict=True)]) >= 0.4
    assert all((weight == before[name]).all() for name, weight in language_model[0].state_dict().items())
