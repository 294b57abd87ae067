"""Captions to sounds and back under the protocol `clean`: ranks, texts, loss, choosing, resuming, reporting."""

import csv
import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import label_ranking_average_precision_score, top_k_accuracy_score
from torch.nn import functional as F
from typer.testing import CliRunner

import xares_corpora as corpora
from conftest import tone
from test_report import parse, table
from uniwhisper.cli.app import app
from uniwhisper.core.errors import UserError, WeightsError
from uniwhisper.evaluation import ladder
from uniwhisper.evaluation.adapters.log_mel import LogMelStatistics
from uniwhisper.evaluation.cache import VectorCache
from uniwhisper.evaluation.compare import Opened, compare
from uniwhisper.evaluation.encoders import JudgedEncoder
from uniwhisper.evaluation.kept import Kept
from uniwhisper.evaluation.protocol import PROTOCOL, protocol_of
from uniwhisper.evaluation.retrieval import scoring, texts
from uniwhisper.evaluation.retrieval.captions import Pairs
from uniwhisper.evaluation.retrieval.ranks import DIRECTIONS, METRICS, of_clips, ranks, score_of_clips
from uniwhisper.evaluation.runner import evaluate
from uniwhisper.evaluation.suites import SuiteError, load_suite
from uniwhisper.evaluation.xares.metrics import recall_at_1
from uniwhisper.report.words import three_digits

CLOTHO = next(task for task in load_suite("xares-22").tasks if task.name == "clotho")
CREATURES = ("dog", "bird", "train", "rain", "bell", "voice", "engine", "wind")


def random_case(clips: int, captions: int, seed: int, words: int | None = None):
    """Vectors and pairs; `words`: so many different captions, so that clips share some."""
    generator = np.random.default_rng(seed)
    names = [
        [str(generator.integers(words)) if words else f"{clip} {place}" for place in range(captions)]
        for clip in range(clips)
    ]
    pairs = Pairs.of(names)
    return generator.normal(size=(clips, 6)), generator.normal(size=(len(pairs.texts), 6)), pairs, names


def values_of(audio_QK, texts_MK, pairs):
    found = ranks(audio_QK, texts_MK, pairs)
    return of_clips({direction: each[None] for direction, each in found.items()}, pairs.clip_P)


# ranks and metrics ---------------------------------------------------------------------------------------------------


def test_recall_at_1_is_that_of_x_ares():
    for seed in range(5):
        audio_QK, texts_MK, pairs, _ = random_case(30, 5, seed)
        expected = recall_at_1(audio_QK, texts_MK[pairs.text_P])
        assert 0 < expected < 1
        assert score_of_clips(values_of(audio_QK, texts_MK, pairs)).mean() == pytest.approx(expected)


def test_recall_and_precision_are_scikit_learns():
    audio_QK, texts_MK, pairs, _ = random_case(9, 1, 0)
    values = values_of(audio_QK, texts_MK, pairs)
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
    similarity_QM = unit(audio_QK) @ unit(texts_MK).T
    own = pairs.text_P  # the text of each clip
    clip_of_text = np.argsort(own)
    for most in (1, 5):
        assert values["audio_to_text"][f"recall_at_{most}"].mean() == pytest.approx(
            top_k_accuracy_score(own, similarity_QM, k=most, labels=np.arange(9))
        )
        assert values["text_to_audio"][f"recall_at_{most}"].mean() == pytest.approx(
            top_k_accuracy_score(clip_of_text, similarity_QM.T, k=most, labels=np.arange(9))
        )
    # Several right ones each, and no more than ten in the list: average precision without a cut.
    audio_QK, texts_MK, pairs, _ = random_case(3, 3, 1)
    right_QM = np.zeros((3, 9))
    right_QM[pairs.clip_P, pairs.text_P] = 1
    similarity_QM = unit(audio_QK) @ unit(texts_MK).T
    values = values_of(audio_QK, texts_MK, pairs)
    for direction, truth, scores in (
        ("audio_to_text", right_QM, similarity_QM),
        ("text_to_audio", right_QM.T, similarity_QM.T),
    ):
        assert values[direction]["map_at_10"].mean() == pytest.approx(
            label_ranking_average_precision_score(truth, scores)
        )


@given(
    clips=st.integers(2, 15),
    captions=st.sampled_from([1, 2, 5, 12]),
    words=st.integers(2, 40),
    seed=st.integers(0, 10**6),
)
def test_metrics_by_sorting_lists(clips, captions, words, seed):
    """A second implementation, query by query: sort the list, take out what is right as well, look."""
    audio_QK, texts_MK, pairs, names = random_case(clips, captions, seed, words)
    values = values_of(audio_QK, texts_MK, pairs)

    def cosine(clip, text):
        a, t = audio_QK[clip], texts_MK[pairs.texts.index(text)]
        return float(a @ t / np.linalg.norm(a) / np.linalg.norm(t))

    def metrics(right: list[bool], wanted: int) -> list[float]:
        precisions = [sum(right[: place + 1]) / (place + 1) for place in range(min(10, len(right))) if right[place]]
        return [float(any(right[:most])) for most in (1, 5, 10)] + [sum(precisions) / min(wanted, 10)]

    for clip in range(clips):
        listed = [(other, text) for other in range(clips) for text in names[other]]
        kept = [(other, text) for other, text in listed if other == clip or text not in names[clip]]
        kept.sort(key=lambda each: -round(cosine(clip, each[1]), 12))
        found = metrics([other == clip for other, _ in kept], captions)
        for metric, value in zip(METRICS, found, strict=True):
            assert values["audio_to_text"][metric][0, clip] == pytest.approx(value), metric
        each_caption = []
        for text in names[clip]:
            others = [other for other in range(clips) if other == clip or text not in names[other]]
            others.sort(key=lambda other: -round(cosine(other, text), 12))
            each_caption.append(metrics([other == clip for other in others], 1))
        for metric, value in zip(METRICS, np.mean(each_caption, axis=0), strict=True):
            assert values["text_to_audio"][metric][0, clip] == pytest.approx(value), metric


def test_words_that_two_clips_share_are_no_mistake_and_ties_go_to_the_earlier():
    pairs = Pairs.of([["rain"], ["rain"], ["bell"]])
    found = ranks(np.array([[1.0, 0], [1, 0], [0, 1]]), np.array([[0.0, 1], [1, 0]]), pairs)  # bell, rain
    assert [found[direction].tolist() for direction in DIRECTIONS] == [[1, 1, 1]] * 2
    same = ranks(np.ones((3, 2)), np.ones((3, 2)), Pairs.of([["a"], ["b"], ["c"]]))
    assert [same[direction].tolist() for direction in DIRECTIONS] == [[1, 2, 3]] * 2


def test_pairs_of_some_clips():
    pairs = Pairs.of([["b", "a"], ["c"], ["a"]])
    assert pairs.texts == ["a", "b", "c"] and pairs.text_P.tolist() == [1, 0, 2, 0]
    some = pairs.among(np.array([2, 0]))
    assert (some.clip_P.tolist(), some.text_P.tolist()) == ([0, 1, 1], [0, 1, 0])


# texts ---------------------------------------------------------------------------------------------------------------


def test_words_are_weighted_as_scikit_learn_does():
    captions = ["A dog barks, a dog!", "rain on a roof", "dog in the rain", "rain", "unheard of"]
    training = np.array([0, 1, 2, 2, 3])
    vectors_MK = texts.Words().of(captions)(training)
    theirs = TfidfVectorizer(token_pattern=r"\w+", min_df=2).fit([captions[row] for row in training])
    # Columns of ours: words in most captions first.
    order = [theirs.vocabulary_[word] for word in ("rain", "dog", "a", "in", "the")]
    np.testing.assert_allclose(vectors_MK, theirs.transform(captions).toarray()[:, order], atol=1e-6)
    assert not vectors_MK[-1].any(), "of a text without a known word nothing is known"
    assert texts.Words(most=1).of(captions)(training).shape == (5, 1)
    with pytest.raises(UserError, match="cannot be told by their words"):
        texts.Words().of(["one", "two"])(np.array([0, 1]))


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Path:
    """A text encoder of random weights, in a folder as transformers saves it."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *["a", "is", "heard", "the", "sound", "of", "near", "by", "and"],
        *CREATURES,
    ]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    BertTokenizerFast.from_pretrained(folder).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=32, **sizes)).save_pretrained(folder)
    return folder


def test_a_text_encoder_gives_the_mean_of_its_tokens(bert):
    from transformers import AutoModel, AutoTokenizer

    encoder = texts.open_text_encoder(bert)
    said = ["the sound of rain", "a dog", "bell and wind and voice near by", "dog"]
    model, tokenizer = AutoModel.from_pretrained(bert).eval(), AutoTokenizer.from_pretrained(bert)
    with torch.no_grad():  # one by one: no padding
        alone = [model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(dim=0) for text in said]
    np.testing.assert_allclose(encoder.encode(said, "cpu"), torch.stack(alone), atol=1e-5)
    vectors_MK = encoder.of(said)(np.array([0, 1, 2]))
    np.testing.assert_allclose(np.linalg.norm(vectors_MK, axis=1), 1, atol=1e-5)
    # What is not learned from moves nothing.
    np.testing.assert_allclose(encoder.of([*said[:3], "wind"])(np.array([0, 1, 2]))[:3], vectors_MK[:3], atol=1e-5)


def test_a_text_encoder_is_known_by_what_is_used_of_it(bert, tmp_path):
    from transformers import BertModel

    identity = texts.open_text_encoder(bert).identity
    other = tmp_path / "other"
    shutil.copytree(bert, other)
    model = BertModel.from_pretrained(bert)
    model.pooler.dense.weight.data += 1  # is not used
    model.save_pretrained(other)
    assert texts.open_text_encoder(other).identity == identity
    model.embeddings.word_embeddings.weight.data[7] += 1
    model.save_pretrained(other)
    assert texts.open_text_encoder(other).identity != identity


def test_what_is_no_text_encoder_is_refused(bert, tmp_path):
    from safetensors.torch import load_file, save_file

    with pytest.raises(WeightsError, match="no such folder"):
        texts.open_text_encoder(tmp_path / "nowhere")
    broken = tmp_path / "broken"
    shutil.copytree(bert, broken)
    tensors = load_file(broken / "model.safetensors")
    del tensors["encoder.layer.1.output.dense.weight"]
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="1 tensors missing"):
        texts.open_text_encoder(broken)
    (broken / "model.safetensors").unlink()
    torch.save(tensors, broken / "pytorch_model.bin")  # no pickles
    with pytest.raises(WeightsError, match="no text encoder in"):
        texts.open_text_encoder(broken)


# loss ----------------------------------------------------------------------------------------------------------------


def test_the_loss_is_cross_entropy_both_ways():
    generator = torch.Generator().manual_seed(0)
    audio_SBK = torch.randn(2, 6, 4, generator=generator)
    texts_MK = F.normalize(torch.randn(6, 4, generator=generator), dim=1)
    pairs_SB = torch.stack([torch.randperm(6, generator=generator) for _ in range(2)])
    given = partial(scoring.contrast, clip_P=torch.arange(6), texts_MK=texts_MK, temperature=0.2)
    expected = 0.0
    for audio_BK, pairs_B in zip(audio_SBK, pairs_SB, strict=True):
        logits_BB = torch.cosine_similarity(audio_BK[:, None], texts_MK[pairs_B][None], dim=2) / 0.2
        own_B = torch.arange(6)
        expected += (F.cross_entropy(logits_BB, own_B) + F.cross_entropy(logits_BB.T, own_B)) / 2
    torch.testing.assert_close(given(audio_SBK, pairs_SB, text_P=torch.arange(6)), expected)
    # Pairs 0 and 1 are of the same clip, or of the same words: neither pushes the other away.
    alone = given(audio_SBK[:1, :1], torch.tensor([[0]]), text_P=torch.arange(6))
    assert alone == pytest.approx(0)
    two = torch.tensor([[0, 1]])
    one_clip = given(audio_SBK[:1, :2], two, text_P=torch.arange(6), clip_P=torch.zeros(6, dtype=torch.int64))
    assert one_clip == pytest.approx(0)
    assert given(audio_SBK[:1, :2], two, text_P=torch.zeros(6, dtype=torch.int64)) == pytest.approx(0)
    assert given(audio_SBK[:1, :2], two, text_P=torch.arange(6)) > 0.01


# the whole -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def few_steps():
    """Tones are easily told apart."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "LEAST_STEPS", 32)
        patch.setattr(ladder, "DOUBLINGS", 0)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Clotho's layout: tones of eight pitches, no two the same, each with a name that its five captions hold."""
    folder, generator = tmp_path_factory.mktemp("captions"), np.random.default_rng(0)
    forms = ("a {} is heard", "the sound of {}", "{} near by", "{} and {}", "of the {}")
    for split, count in zip(corpora.CLOTHO_SPLITS, (40, 2, 8), strict=True):
        clips = []
        for number in range(count):
            name, pitch_hz = CREATURES[number % 8], 150 * 1.5 ** (number % 8 + generator.uniform(0, 0.3))
            wave_S = tone(0.3, pitch_hz) + generator.normal(0, 0.02, 4800).astype(np.float32)
            captions = {f"caption_{place}": form.format(name, name) for place, form in enumerate(forms, 1)}
            clips.append((f"clip{number:03d}", wave_S, captions))
        corpora.write_split(folder / "clotho", split, clips)
    return folder


@pytest.fixture(scope="module")
def suite(tmp_path_factory) -> Path:
    content = json.loads((Path(scoring.__file__).parents[1] / "suites" / "xares-22.json").read_text())
    content["tasks"] = [task for task in content["tasks"] if task["name"] == "clotho"]
    path = tmp_path_factory.mktemp("suite") / "captions.json"
    path.write_text(json.dumps(content | {"name": "captions"}))
    return path


class Own:
    """One vector per clip and no frames."""

    width = 160
    identity = {"weights": "w" * 64, "code": "c", "pooling": "p", "layer": "final"}  # noqa: RUF012

    def embed(self, sources, *, on_error):
        return LogMelStatistics().embed(sources, on_error=on_error)


class Noise(Own):
    identity = Own.identity | {"weights": "n" * 64}

    def embed(self, sources, *, on_error):
        found = super().embed(sources, on_error=on_error)
        noise_ND = np.random.default_rng(0).normal(size=found.vectors.shape).astype(np.float32)
        return replace(found, vectors=noise_ND)


def judge(data, suite, encoder=None, **arguments) -> Opened:
    judged = JudgedEncoder(encoder or Own(), "log-mel", "log-mel")
    judgement = evaluate(judged, load_suite(suite), data, **{"cache": None, **arguments})
    return Opened("r.json", judgement.result, judgement.clips)


@pytest.fixture(scope="module")
def opened(data, suite, few_steps) -> Opened:  # noqa: ARG001 (it comes first)
    return judge(data, suite)


def test_captions_find_their_sounds(data, suite):
    opened = judge(data, suite, LogMelStatistics())
    (task,) = opened.result["tasks"]
    assert task["clips"]["scored"] == 8 and task["clips"]["used"] == 50 and task["most_common"] == 1 / 8
    assert opened.result["protocol"]["retrieval"]["texts"].startswith("tf-idf of words")
    assert opened.result["poolings"] == ["mean", "mean_deviation"]
    for pooling in opened.result["poolings"]:
        for measure in ("linear", "mlp"):
            scores = task["scores"][pooling][measure]
            assert scores["score"] > 0.8 and scores["low"] <= scores["score"] <= scores["high"]
            assert len(scores["seeds"]) == 5 and scores["seed_spread"] is not None
            (fold,) = scores["folds"]
            assert fold["inner_clips"] == 8 and set(fold["chosen"]) == {
                "learning_rate", "weight_decay", "along_axes", "temperature", "epochs",
            }  # fmt: skip
            assert opened.result["averages"]["headline"][pooling][measure]["score"] == pytest.approx(scores["score"])
            # The score once more from the ranks that were kept.
            kept = {direction: opened.clips[f"clotho/{pooling}/{measure}_{direction}"] for direction in DIRECTIONS}
            first_SQ = kept["audio_to_text"].reshape(5, 8, 5).min(axis=2) == 1
            found_SQ = (kept["text_to_audio"] == 1).reshape(5, 8, 5).mean(axis=2)
            assert (first_SQ.mean() + found_SQ.mean()) / 2 == pytest.approx(scores["score"])
            assert scores["directions"]["audio_to_text"]["recall_at_1"]["score"] == pytest.approx(first_SQ.mean())
            for metrics in scores["directions"].values():
                assert list(metrics) == list(METRICS)
                assert all(each["low"] <= each["score"] <= each["high"] for each in metrics.values())
    assert opened.clips["clotho/caption"][:2].tolist() == ["a dog is heard", "the sound of dog"]
    again = compare(opened, opened)
    assert again.tasks["clotho", "mean", "mlp"].difference == 0 and again.averages["headline", "mean", "linear"].p == 1
    json.dumps(opened.result, allow_nan=False)


def test_nothing_is_found_where_nothing_is_heard(opened, data, suite):
    """Vectors that say nothing give chance: no score comes from captions alone. `compare` sees the difference."""
    deaf = judge(data, suite, Noise())
    scores = deaf.result["tasks"][0]["scores"]["own"]["mlp"]
    assert scores["score"] < 0.4
    # Five trainings, not one five times.
    assert len({row.tobytes() for row in deaf.clips["clotho/own/mlp_audio_to_text"]}) == 5
    difference = compare(deaf, opened).tasks["clotho", "own", "mlp"]
    assert difference.low > 0 and difference.p < 0.01
    assert difference.difference == pytest.approx(
        opened.result["tasks"][0]["scores"]["own"]["mlp"]["score"] - scores["score"]
    )


def test_the_scored_fold_decides_nothing(opened, data, suite, tmp_path):
    """Other captions and sounds in the scored fold: other scores, but the same settings and curves."""
    other = tmp_path / "other"
    shutil.copytree(data, other)
    clips = [(f"clip{n:03d}", tone(0.3, 150 * 1.5 ** (7 - n)), {"c": f"{CREATURES[n]} roars"}) for n in range(8)]
    corpora.write_split(other / "clotho", "clotho_validation", clips)
    changed = judge(other, suite)
    for pooling, measures in opened.result["tasks"][0]["scores"].items():
        for measure, scores in measures.items():
            (one,), (another,) = scores["folds"], changed.result["tasks"][0]["scores"][pooling][measure]["folds"]
            for part in ("chosen", "curve", "inner_clips"):
                assert one[part] == another[part]
            assert another["score"] < one["score"]


def test_an_interrupted_judgement_goes_on_with_the_same_numbers(opened, data, suite, tmp_path, monkeypatch):
    keep = {"cache": VectorCache(tmp_path / "cache"), "kept": Kept(tmp_path / "cache" / "tasks")}
    with monkeypatch.context() as patch:
        patch.setattr(scoring, "_directions", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            judge(data, suite, **keep)
    assert not list((tmp_path / "cache" / "tasks").glob("*.npz"))
    resumed = judge(data, suite, **keep)
    with monkeypatch.context() as patch:
        patch.setattr(scoring, "ranks", lambda *_: pytest.fail("scored again"))
        from_kept = judge(data, suite, **keep)
    for other in (resumed, from_kept):
        assert other.result["tasks"] == opened.result["tasks"]
        assert other.result["averages"] == opened.result["averages"]
        for name, values in opened.clips.items():
            np.testing.assert_array_equal(other.clips[name], values)


def test_the_text_side_is_part_of_the_protocol_and_of_what_is_kept(data, suite, bert, tmp_path, opened):
    encoder = texts.open_text_encoder(bert)
    kept = Kept(tmp_path / "tasks")
    judge(data, suite, kept=kept)
    other = judge(data, suite, kept=kept, texts=encoder)
    assert len(list((tmp_path / "tasks").glob("*.npz"))) == 2
    assert other.result["protocol"]["retrieval"]["texts"].startswith(f"bert {encoder.identity[:12]}")
    assert other.result["tasks"][0]["scores"]["own"]["mlp"]["score"] > 0.5
    with pytest.raises(UserError, match="different protocols"):
        compare(opened, other)


def test_only_suites_with_captions_say_so():
    """Stored results of other suites keep their protocol, hence stay comparable."""
    assert protocol_of(load_suite("mini")) == PROTOCOL
    assert protocol_of(load_suite("mini"), texts.Words(most=1)) == PROTOCOL
    assert protocol_of(load_suite("xares-22")).keys() - PROTOCOL.keys() == {"events", "retrieval"}


@pytest.mark.parametrize("captions", [{}, {"caption_1": "a dog", "seconds": 3}, {"caption_1": "  "}])
def test_a_clip_without_captions_is_named_before_anything_is_embedded(data, suite, tmp_path, captions):
    other = tmp_path / "other"
    shutil.copytree(data, other)
    corpora.write_split(other / "clotho", "clotho_validation", [("odd", tone(1, 300), captions)])
    silent = Own()
    silent.embed = lambda *_, **__: pytest.fail("embedded before all captions were read")
    with pytest.raises(SuiteError, match="clotho_validation-000000/odd has"):
        judge(other, suite, silent)


def test_captions_may_stand_in_one_field(suite, tmp_path):
    """A text or a list of texts; another number for every clip."""
    content = json.loads(suite.read_text())
    content["tasks"][0]["label"] = {"field": "said"}
    one_field = tmp_path / "one_field.json"
    one_field.write_text(json.dumps(content))
    other = tmp_path / "other"
    for split, count in zip(corpora.CLOTHO_SPLITS, (24, 2, 8), strict=True):
        clips = []
        for n in range(count):
            name = CREATURES[n % 8]
            said = f"a {name}" if n % 3 == 0 else [f"{name} {place}" for place in range(1 + n % 4)]
            clips.append((f"{n:02d}", tone(0.3, 150 * 1.5 ** (n % 8)), {"said": said, "seconds": 0.3}))
        corpora.write_split(other / "clotho", split, clips)
    found = judge(other, one_field)
    assert np.bincount(found.clips["clotho/caption_clip"]).tolist() == [1, 2, 3, 1, 1, 2, 1, 4]
    assert found.result["tasks"][0]["scores"]["own"]["mlp"]["score"] > 0.7


def test_the_verbs_evaluate_list_and_report(data, suite, bert, tmp_path):
    run = CliRunner()
    common = ["--suite", str(suite), "--data", str(data), "--cache", str(tmp_path / "cache"), "--device", "cpu"]
    done = run.invoke(app, ["evaluate", "--model", "log-mel", *common, "-o", str(tmp_path / "results")])
    assert done.exit_code == 0, done.output
    assert "clotho: mean, MLP, audio to text: recall at 1 " in done.output and "not run" not in done.output
    (file,) = (tmp_path / "results").glob("*.json")
    other = json.loads(file.read_text())
    other["model"] |= {"label": "other", "identity": other["model"]["identity"] | {"weights": "5" * 64}}
    other["tasks"][0]["scores"]["mean"]["mlp"]["score"] -= 0.01
    (tmp_path / "results" / "other.json").write_text(json.dumps(other))
    done = run.invoke(app, ["report", str(tmp_path / "results"), "-o", str(tmp_path / "page.html"), "--json"])
    assert done.exit_code == 0, done.output
    page, results = parse((tmp_path / "page.html").read_text()), {}
    for file in (tmp_path / "results").glob("*.json"):
        content = json.loads(file.read_text())
        results[content["model"]["label"]] = content["tasks"][0]["scores"]["mean"]["mlp"]
    columns, row = table(page, "task", 1)[:2]  # the second measure that has scores
    rows = list(csv.DictReader((tmp_path / "page.csv").open()))
    for label, expected in results.items():
        (found,) = [
            row
            for row in rows
            if (row["encoder"], row["task"], row["pooling"], row["measure"]) == (label, "clotho", "mean", "mlp")
        ]
        assert row[columns.index(label)] == three_digits(expected["score"])
        assert float(found["score"]) == expected["score"] and found["metric"] == "recall_at_1"
    text = " ".join(page.words)
    assert "sound to caption" in text and "tf-idf of words" in text and "clotho, MLP probe, both directions" in text
    shown = three_digits(results["log-mel"]["directions"]["text_to_audio"]["recall_at_10"]["score"])
    assert shown in text
    assert "kNN" not in (tmp_path / "page.md").read_text(), "no table without a row"
    told = json.loads((tmp_path / "page.json").read_text())
    assert any(row.get("directions") for row in told["scores"])

    listed = run.invoke(app, ["evaluate", "--list", "--data", str(data)])
    (line,) = [line for line in listed.output.splitlines() if line.startswith("  clotho ")][:1]
    assert "retrieval" in line and "present: 3 archives" in line
    for wrong, message in ((["--protocol", "xares"], "learns its texts from scratch"), ([], "no text encoder in")):
        folder = bert if wrong else tmp_path
        done = run.invoke(app, ["evaluate", *common, *wrong, "--text-encoder", str(folder)])
        assert done.exit_code != 0 and isinstance(done.exception, UserError) and message in str(done.exception)
