"""Other objectives: the contrastive loss and the heads against hand computation, what is frozen against hashes."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from small import QUIET, SMALL_ENCODER, write_encoder, write_language_model
from toy_corpora import write_three_corpora
from uniwhisper.baselines.contrastive import TASKS, Contrastive, ContrastiveLearner, Projections, both_ways
from uniwhisper.baselines.heads import Head, HeadTargets, MultiHead, MultiHeadLearner, ctc, heads_of, several
from uniwhisper.baselines.language_models import LanguageModelLearner
from uniwhisper.baselines.whisper import WhisperLearner
from uniwhisper.core.identity import hash_tensors
from uniwhisper.data.config import NO_AUGMENTATION, DataConfig
from uniwhisper.data.instructions import Question
from uniwhisper.data.manifest import Manifest
from uniwhisper.data.prepare import prepare
from uniwhisper.model.encoder import WhisperEncoder
from uniwhisper.model.language_model import FrozenLanguageModel
from uniwhisper.model.weights import load_encoder
from uniwhisper.training.loop import train
from uniwhisper.training.recipe import LoopConfig, ModelConfig, OptimizerConfig, Recipe
from uniwhisper.training.record import read_metrics


@pytest.fixture(scope="module")
def lm(tmp_path_factory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("lm"))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Manifest:
    folder = tmp_path_factory.mktemp("corpora")
    return prepare(write_three_corpora(folder / "in", clips=9), folder / "prepared")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder") / "small")


def recipe(encoder: Path, lm: Path, **data) -> Recipe:
    return Recipe(
        name="test",
        seed=3,
        steps=4,
        model=ModelConfig(start=str(encoder), encoder_size=None, language_model=str(lm), adapter_hidden_width=48),
        data=DataConfig(
            **{"audio_seconds_per_step": 3.0, "group_steps": 2, "holdout_folds": None, "augment": NO_AUGMENTATION}
            | data
        ),
        optimizer=OptimizerConfig(encoder_learning_rate=1e-3, adapter_learning_rate=1e-3, warmup_steps=1),
        loop=LoopConfig(
            precision="float32", loss_normalisation="example", log_every_steps=1, checkpoint_every_steps=2, workers=0
        ),
    )


def run(made: Recipe, manifest: Manifest, output: Path, learner) -> Path:
    return train(
        made, manifest, output, resume=False, device=torch.device("cpu"), cache=None, console=QUIET, learner=learner
    )


def test_the_contrastive_loss_by_hand():
    audio = torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]])
    text = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 5.0]])
    alike = torch.eye(3, dtype=torch.bool)
    alike[1, 2] = alike[2, 1] = True
    half = math.sqrt(0.5)
    # Cosines of audio (rows) and text (columns). Pair (1, 2) is of one text: neither is the other's wrong answer.
    cosine = [[1, 0, 0], [0, 1, None], [half, None, half]]

    def nats(own: float, others: list) -> float:
        return -math.log(math.exp(2 * own) / sum(math.exp(2 * other) for other in others if other is not None))

    columns = list(zip(*cosine, strict=True))
    expected = [(nats(cosine[i][i], cosine[i]) + nats(cosine[i][i], columns[i])) / 2 for i in range(3)]
    assert both_ways(audio, text, alike, torch.tensor(2.0)).tolist() == pytest.approx(expected, abs=1e-6)


def test_rows_of_one_text_or_one_clip_do_not_repel(lm):
    torch.manual_seed(0)
    language_model = FrozenLanguageModel.load(lm)
    model = Contrastive(WhisperEncoder(SMALL_ENCODER), Projections(32, language_model.width), language_model).eval()
    mel, counts = torch.randn(2, 80, 40), torch.tensor([40, 31])

    def losses(tokens: list[list[int]], clips: list[int]) -> list[float]:
        lengths = torch.tensor([len(row) for row in tokens])
        padded = torch.tensor([row + [0] * (int(lengths.max()) - len(row)) for row in tokens])
        return model(mel, counts, torch.tensor(clips), padded, lengths, padded > 0).sums_R.tolist()

    assert losses([[5, 6], [5, 6]], [0, 1]) == pytest.approx([0, 0], abs=1e-6)  # nothing is left to confuse
    assert losses([[5, 6], [7]], [0, 0]) == pytest.approx([0, 0], abs=1e-6)
    assert min(losses([[5, 6], [7, 8, 9]], [0, 1])) > 1e-3
    assert min(losses([[5], [5, 0]], [0, 1])) > 1e-5  # token 0 is a text, padding is none


def test_ctc_by_hand():
    """Two frames, one target: blank-a, a-blank or a-a."""
    probability = torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.6, 0.3]])  # a, b, blank
    by_hand = 0.5 * 0.3 + 0.3 * 0.1 + 0.5 * 0.1
    got = ctc(probability.log()[None], torch.tensor([2]), torch.tensor([[0]]), torch.tensor([1]))
    assert got.tolist() == pytest.approx([-math.log(by_hand)], abs=1e-6)
    assert ctc(probability.log()[None], torch.tensor([2]), torch.tensor([[0, 1, 0]]), torch.tensor([3])).tolist() == [0]


def test_several_labels_by_hand():
    logits = torch.tensor([[0.3, -1.0, 2.0]])
    sigmoid = 1 / (1 + np.exp(-logits.numpy()[0]))
    expected = -(math.log(sigmoid[0]) + math.log(1 - sigmoid[1]) + math.log(sigmoid[2]))
    got = several(logits, torch.tensor([[2, 0, 1]]), torch.tensor([2]))
    assert got.tolist() == pytest.approx([expected], abs=1e-5)


def test_each_row_is_answered_by_its_own_head(manifest):
    torch.manual_seed(0)
    heads = (Head("instrument", "one", ("flute", "piano")), Head("sound_tag", "one", ("door", "rain", "dog bark")))
    model = MultiHead(WhisperEncoder(SMALL_ENCODER), heads, text_tokens=9).eval()
    rows = HeadTargets(heads, None).rows([Question("sound_tag", "?", "rain"), Question("instrument", "?", "piano")])
    assert [(task, text.ids) for task, text in rows] == [("sound_tag", [1, 1]), ("instrument", [0, 1])]
    mel, counts = torch.randn(1, 80, 40), torch.tensor([40])
    tokens = torch.tensor([text.ids for _, text in rows])
    got = model(mel, counts, torch.tensor([0, 0]), tokens, torch.tensor([2, 2]), tokens > 0)
    vector = model.encoder(mel, counts)[0].mean(dim=1)
    expected = [-model.heads.layers[head](vector)[0].log_softmax(0)[1].item() for head in (1, 0)]
    assert got.sums_R.tolist() == pytest.approx(expected, abs=1e-5)
    assert {head.task: head.kind for head in heads_of(manifest)} == {
        "transcription": "text", "speaker_sex": "one", "caption": "several", "sound_tag": "one",
        "instrument": "one", "note": "one",
    }  # fmt: skip


def test_heads_read_directions_and_the_encoder_they_leave_gives_them(encoder, lm, tmp_path):
    """The loss by hand, from the standard and the vectors; then vectors of the exported encoder are standard."""
    torch.manual_seed(0)
    heads = (Head("instrument", "one", ("flute", "piano")), Head("transcription", "text", None))
    model = MultiHead(WhisperEncoder(SMALL_ENCODER), heads, text_tokens=9, unit_means=True).train()
    mel, counts = torch.randn(3, 80, 40), torch.tensor([40, 26, 40])
    tokens = torch.tensor([[0, 0], [1, 4], [0, 1]])
    asked = (torch.tensor([0, 1, 2]), tokens, torch.tensor([2, 2, 2]), tokens > 0)
    model(mel, counts, *asked)
    model.heads.standard.end_step(applied=True)
    frames, frame_counts = model.encoder(mel, counts)
    vectors = torch.stack([one[:count].mean(0) for one, count in zip(frames, frame_counts.tolist(), strict=True)])
    mean, deviation = vectors.mean(0), vectors.std(0, correction=0)
    standard = (vectors - mean) / deviation
    unit = standard / standard.square().mean(dim=1, keepdim=True).sqrt()
    got = model.eval()(mel, counts, *asked).sums_R
    instrument, text = model.heads.layers
    expected = [-instrument(unit[clip]).log_softmax(0)[right].item() for clip, right in ((0, 0), (2, 1))]
    assert got[[0, 2]].tolist() == pytest.approx(expected, abs=1e-4)
    heard = (frames[1:2, : frame_counts[1]] - mean) / deviation
    by_hand = ctc(text(heard), frame_counts[1:2], torch.tensor([[4]]), torch.tensor([1]))
    assert got[1].item() == pytest.approx(by_hand.item(), abs=1e-4)

    tokenizer = FrozenLanguageModel.load(lm).tokenizer
    learner = MultiHeadLearner(heads, tokenizer, 9, unit_means=True)
    before = hash_tensors(model.state_dict())
    learner.export(model, tmp_path / "made", recipe(encoder, lm), card="")
    assert hash_tensors(model.state_dict()) == before
    made = load_encoder(tmp_path / "made").encoder(mel, counts)[0]
    of_made = torch.stack([one[:count].mean(0) for one, count in zip(made, frame_counts.tolist(), strict=True)])
    torch.testing.assert_close(of_made, standard, atol=5e-3, rtol=5e-3)  # weights are kept in half precision


def test_a_trained_language_model_leaves_standard_vectors_too(encoder, lm, tmp_path):
    """What its adapter standardises by goes into the encoder, as it does for U."""
    directions = recipe(encoder, lm, mean_share=0.5)
    directions = replace(directions, model=replace(directions.model, adapter_unit_means=True))
    learner = LanguageModelLearner(pretrained=True, trained=True)
    model = learner.build(directions, torch.device("cpu"))
    model.adapter.standard.count(3 + 2 * torch.randn(50, model.encoder.config.width))
    model.adapter.standard.end_step(applied=True)
    mel, counts = torch.randn(1, 80, 40), torch.tensor([40])
    learner.export(model, tmp_path / "made", directions, card="")
    made = load_encoder(tmp_path / "made").encoder(mel, counts)[0]
    expected = model.adapter.standard(model.encoder(mel, counts)[0])
    torch.testing.assert_close(made, expected, atol=5e-3, rtol=5e-3)


def weights(model: FrozenLanguageModel) -> str:
    return hash_tensors(model.causal_lm.state_dict())


@pytest.mark.parametrize("pretrained", [True, False])
@pytest.mark.parametrize("trained", [True, False])
def test_a_frozen_language_model_stays_and_a_trained_one_moves(pretrained, trained, manifest, encoder, lm, tmp_path):
    inner = LanguageModelLearner(pretrained=pretrained, trained=trained)
    seen = {}

    class Watched(LanguageModelLearner):
        def build(self, *arguments):
            seen["model"] = super().build(*arguments)
            seen["before"] = weights(seen["model"].language_model)
            return seen["model"]

    learner = Watched(inner.pretrained, inner.trained)
    run(recipe(encoder, lm), manifest, tmp_path / "run", learner)
    assert (seen["before"] == weights(FrozenLanguageModel.load(lm))) == pretrained
    assert (weights(seen["model"].language_model) == seen["before"]) == (not trained)


def test_a_trained_language_model_resumes_from_its_checkpoint(manifest, encoder, lm, tmp_path):
    learner = LanguageModelLearner(pretrained=True, trained=True)
    whole = run(recipe(encoder, lm), manifest, tmp_path / "whole", learner)
    half = tmp_path / "half"
    run(recipe(encoder, lm), manifest, half, learner)
    (half / "checkpoints" / "step-00000004").rename(tmp_path / "lost")
    resumed = train(
        recipe(encoder, lm), manifest, half, resume=True, device=torch.device("cpu"), cache=None, console=QUIET,
        learner=learner,
    )  # fmt: skip
    assert load_encoder(resumed).identity == load_encoder(whole).identity
    with pytest.raises(ValueError, match="another learner"):
        other = LanguageModelLearner(pretrained=True, trained=False)
        train(
            recipe(encoder, lm), manifest, half, resume=True, device=torch.device("cpu"), cache=None, console=QUIET,
            learner=other,
        )  # fmt: skip


def test_every_objective_trains_and_leaves_an_encoder(manifest, encoder, lm, tmp_path):
    tokenizer = FrozenLanguageModel.load(lm).tokenizer
    heads = heads_of(manifest)
    whisper = WhisperLearner(tokenizer=tokenizer, text_tokens=len(tokenizer), languages=("English",), sequence="own")
    learners = {
        "own": (whisper, {"domain_weights": {"speech": 1.0}, "tasks": ("transcription",)}),
        "W-dec": (replace(whisper, sequence="instructions"), {}),
        "heads": (MultiHeadLearner(heads, tokenizer, len(tokenizer)), {"tasks": tuple(head.task for head in heads)}),
        "directions": (
            MultiHeadLearner(heads, tokenizer, len(tokenizer), unit_means=True),
            {"tasks": tuple(head.task for head in heads)},
        ),
        "C": (ContrastiveLearner(), {"tasks": TASKS}),
    }
    before = load_encoder(encoder).identity
    for name, (learner, data) in learners.items():
        made = run(recipe(encoder, lm, **data), manifest, tmp_path / name, learner)
        assert load_encoder(made).identity != before, name
        lines = read_metrics(tmp_path / name)
        assert all(math.isfinite(line["loss"]) for line in lines), name
        assert lines[-1]["audio_seconds"] == pytest.approx(12.0, abs=1.0), name
    # The decoder of a Whisper row is what W-dec goes on from.
    again = replace(whisper, sequence="instructions").build(recipe(tmp_path / "own" / "model", lm), torch.device("cpu"))
    stored = whisper.build(recipe(tmp_path / "own" / "model", lm), torch.device("cpu"))
    fresh = whisper.build(recipe(encoder, lm), torch.device("cpu"))
    assert hash_tensors(again.decoder.state_dict()) == hash_tensors(stored.decoder.state_dict())
    assert hash_tensors(again.decoder.state_dict()) != hash_tensors(fresh.decoder.state_dict())
