"""Whisper's own decoder, against transformers; and the sequences it reads, against what is written out here."""

import pytest
import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration

from uniwhisper.baselines.whisper import Whisper
from uniwhisper.baselines.whisper_decoder import DecoderConfig, WhisperDecoder
from uniwhisper.baselines.whisper_text import OwnSequence, StartedInstructions, WhisperVocabulary
from uniwhisper.data.instructions import Question
from uniwhisper.model.config import EncoderConfig
from uniwhisper.model.encoder import WhisperEncoder

VOCABULARY, WIDTH, HEADS, LAYERS = 100, 32, 2, 2
PARTS = {
    "attention_norm": "self_attn_layer_norm",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.out": "self_attn.out_proj",
    "cross_norm": "encoder_attn_layer_norm",
    "cross.query": "encoder_attn.q_proj",
    "cross.key": "encoder_attn.k_proj",
    "cross.value": "encoder_attn.v_proj",
    "cross.out": "encoder_attn.out_proj",
    "mlp_norm": "final_layer_norm",
    "mlp.0": "fc1",
    "mlp.2": "fc2",
}


@pytest.fixture
def reference() -> WhisperForConditionalGeneration:
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=VOCABULARY, d_model=WIDTH, encoder_layers=LAYERS, decoder_layers=LAYERS,
        encoder_attention_heads=HEADS, decoder_attention_heads=HEADS, encoder_ffn_dim=4 * WIDTH,
        decoder_ffn_dim=4 * WIDTH, num_mel_bins=80, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=3,
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))  # biases and norms are not at rest either
    return model


def decoder_like(reference: WhisperForConditionalGeneration) -> WhisperDecoder:
    """Ours with the reference's weights."""
    theirs = reference.model.decoder.state_dict()
    decoder = WhisperDecoder(DecoderConfig(vocabulary=VOCABULARY, width=WIDTH, heads=HEADS, layers=LAYERS))
    state = {
        "embedding.weight": theirs["embed_tokens.weight"],
        "positions_LD": theirs["embed_positions.weight"],
        "final_norm.weight": theirs["layer_norm.weight"],
        "final_norm.bias": theirs["layer_norm.bias"],
    }
    for name in decoder.state_dict():
        if name.startswith("blocks."):
            _, index, rest = name.split(".", 2)
            part, kind = rest.rsplit(".", 1)
            state[name] = theirs[f"layers.{index}.{PARTS[part]}.{kind}"]
    decoder.load_state_dict(state)
    return decoder.eval()


@torch.no_grad()
def test_logits_are_those_of_transformers(reference):
    frames = torch.randn(2, 1500, WIDTH)
    tokens = torch.randint(0, VOCABULARY, (2, 17))
    expected = reference(encoder_outputs=(frames,), decoder_input_ids=tokens).logits
    decoder = decoder_like(reference)
    got = decoder.logits(decoder(tokens, frames, torch.tensor([1500, 1500])))
    assert expected.std() > 0.1
    assert (got - expected).abs().max() <= 1e-4


@torch.no_grad()
def test_the_loss_is_that_of_transformers(reference):
    """Encoder and decoder together on 30 s, where both see the same: labels where the mask is set, each row summed."""
    encoder = WhisperEncoder(EncoderConfig(mel_bins=80, width=WIDTH, heads=HEADS, layers=LAYERS)).eval()
    model = Whisper(encoder, decoder_like(reference))
    mel = torch.randn(2, 80, 3000)
    frames, _ = encoder(mel, torch.tensor([3000, 3000]))
    tokens = torch.randint(0, VOCABULARY, (2, 9))
    mask = torch.zeros(2, 9, dtype=torch.bool)
    mask[0, 1:6] = True
    mask[1, 4:9] = True
    logits = reference(encoder_outputs=(frames,), decoder_input_ids=tokens).logits
    log_likelihood = logits.log_softmax(-1)
    expected = [-sum(log_likelihood[r, j - 1, tokens[r, j]] for j in range(9) if mask[r, j]) for r in range(2)]
    losses = model(mel, torch.tensor([3000, 3000]), torch.tensor([0, 1]), tokens, torch.tensor([6, 9]), mask)
    assert losses.sums_R.tolist() == pytest.approx([float(x) for x in expected], abs=1e-3)
    assert losses.token_counts_R.tolist() == [5, 5]


@torch.no_grad()
def test_what_lies_beyond_a_clip_is_not_looked_at():
    torch.manual_seed(0)
    decoder = WhisperDecoder(DecoderConfig(vocabulary=VOCABULARY, width=WIDTH, heads=HEADS, layers=LAYERS)).eval()
    tokens, frames = torch.randint(0, VOCABULARY, (2, 5)), torch.randn(2, 40, WIDTH)
    counts = torch.tensor([40, 13])
    once = decoder(tokens, frames, counts)
    frames[1, 13:] = 100.0
    assert torch.equal(decoder(tokens, frames, counts), once)
    frames[1, 12] = 100.0
    assert not torch.allclose(decoder(tokens, frames, counts)[1], once[1])


class Letters:
    eos_token_id = 26

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        assert not add_special_tokens
        return [ord(letter) - ord("a") if letter.isalpha() else 30 for letter in text.lower()]


WORDS = WhisperVocabulary(text_tokens=31, languages=("English", "German"))


def test_own_sequence_is_start_language_transcribe_text_end():
    form = OwnSequence(Letters(), WORDS)
    asked = [Question("language", "Which language?", "German"), Question("transcription", "Write it.", "ab")]
    for questions in (asked, asked[::-1]):
        ((task, text),) = form.rows(questions)
        assert task == "transcription"
        assert text.ids == [31, 34, 32, 0, 1, 26]
        assert text.loss_mask == [False, True, True, True, True, True]
    ((task, text),) = form.rows(asked[:1])
    assert (task, text.ids, text.loss_mask) == ("language", [31, 34], [False, True])


def test_instructions_stand_behind_the_start_token():
    rows = StartedInstructions(Letters(), WORDS).rows([Question("sound_tag", "a", "bc")])
    assert [(task, text.ids, text.loss_mask) for task, text in rows] == [
        ("sound_tag", [31, 0, 30, 1, 2, 26], [False, False, False, True, True, True])
    ]
