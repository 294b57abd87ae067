"""Answers are the likeliest tokens and scores are losses, both against plain forward passes; the verbs print them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from click.testing import Result
from typer.testing import CliRunner

from conftest import tone
from small import small_model, write_language_model
from uniwhisper.asking.answerer import Answerer
from uniwhisper.cli.app import app
from uniwhisper.core.errors import AnswerError, AudioError, WeightsError
from uniwhisper.features.logmel import log_mel
from uniwhisper.model.language_model import FrozenLanguageModel, kept_of, read_further
from uniwhisper.model.trained import load_trained
from uniwhisper.model.uniwhisper import UniWhisper
from uniwhisper.training.build import export_model

CPU = torch.device("cpu")
QUESTION = "What do you hear?"


@pytest.fixture(scope="module")
def language_model_folder(tmp_path_factory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("lm"))


@pytest.fixture(scope="module")
def model(language_model_folder) -> UniWhisper:
    model = small_model(language_model_folder).eval()
    with torch.no_grad():
        # Untrained audio tokens are too small to be heard: without this, every clip would get the same answer.
        model.adapter.project.weight *= 40
    return model


@pytest.fixture(scope="module")
def folder(model, language_model_folder, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "model"
    export_model(model, path, language_model_source=language_model_folder, card="a card")
    return path


def full_pass(model: UniWhisper, wave: np.ndarray, ids: list[int]) -> torch.Tensor:
    """Log-probabilities of the next token at every text position, by one forward pass of transformers; no cache."""
    mel, counts = log_mel(torch.from_numpy(wave)[None], torch.tensor([len(wave)]), mel_bins=80)
    with torch.no_grad():
        audio, audio_counts = model.adapter(*model.encoder(mel, counts))
        text = model.language_model.causal_lm.get_input_embeddings()(torch.tensor([ids]))
        inputs = torch.cat([audio[:, : int(audio_counts)], text], dim=1)
        logits = model.language_model.causal_lm(inputs_embeds=inputs).logits
    return logits[0, int(audio_counts) :].log_softmax(dim=-1)


@pytest.mark.parametrize("frequency", [220.0, 3000.0])
def test_every_generated_token_is_the_argmax_of_a_full_forward_pass(model, frequency):
    wave, tokenizer = tone(1.3, frequency), model.language_model.tokenizer
    answerer = Answerer(model, CPU)
    asked = tokenizer.encode(f"{QUESTION}\n", add_special_tokens=False)
    prefix = answerer._prefix(wave, QUESTION)
    generated = list(model.language_model.greedy(prefix, most=24))
    assert len(generated) > 3
    expected: list[int] = []
    while len(expected) < 24:
        token = int(full_pass(model, wave, asked + expected)[-1].argmax())
        if token == tokenizer.eos_token_id:
            break
        expected.append(token)
    assert generated == expected
    pieces = list(answerer.ask(wave, QUESTION, most_tokens=24))
    assert len(pieces) > 1
    assert tokenizer.decode(generated).startswith("".join(pieces))


@pytest.mark.parametrize("name", ["cache", "past_key_values"])
def test_kept_keys_and_values_go_by_the_name_that_the_installed_transformers_has(name):
    class Output(dict):
        """Knows one name; the other is not even an attribute."""

        __getattr__ = dict.__getitem__

    class Model:
        def __call__(self, **given):
            return given

    def newer(self, input_ids=None, cache=None, use_cache=None): ...
    def older(self, input_ids=None, past_key_values=None, use_cache=None): ...

    Model.forward = newer if name == "cache" else older
    kept = kept_of(Output({"logits": 1, name: "kept"}))
    assert kept == "kept"
    assert read_further(Model(), "tokens", kept) == {"input_ids": "tokens", "use_cache": True, name: "kept"}


def test_an_answer_is_not_interrupted_by_warnings(folder, tmp_path):
    """In a process of its own: transformers warns once a process."""
    soundfile.write(tmp_path / "tone.wav", tone(0.5, 440.0), 16_000)
    for more in ([], ["--score", "bell", "--score", "rain in spring"]):
        asked = [tmp_path / "tone.wav", QUESTION, "--model", folder, *more]
        command = [sys.executable, "-m", "uniwhisper", "ask", *asked]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert "warn" not in done.stderr.lower() and "deprecated" not in done.stderr


@pytest.mark.parametrize("instruction, heard", [
    ("What kind of sound is this?", "mean"), ("Say it in your own words.", "mean"),
    ("Transcribe the speech.", "frames"), ("Which comes first: a bell or rain?", "frames"),
    ("Do you hear a bell or rain first?", "mean"),
])  # fmt: skip
def test_several_tokens_of_the_mean_are_asked_unless_the_answer_follows_the_order(
    language_model_folder, instruction, heard
):
    model = small_model(language_model_folder, mean_tokens=3).eval()
    wave = tone(1.3, 700.0)
    mel, counts = log_mel(torch.from_numpy(wave)[None], torch.tensor([len(wave)]), mel_bins=80)
    with torch.no_grad():
        frames, frame_counts = model.encoder(mel, counts)
        widened = model.adapter.widen(frames[0, : int(frame_counts)].mean(dim=0).repeat(4))
        of_mean = model.adapter.project_means(torch.nn.functional.gelu(widened)).view(3, -1)
        of_frames = model.adapter(frames, frame_counts)[0][0]
    expected = of_mean if heard == "mean" else of_frames
    text_tokens = len(model.language_model.tokenizer.encode(f"{instruction}\n", add_special_tokens=False))
    prefix = Answerer(model, CPU)._prefix(wave, instruction)[0]
    assert len(prefix) == len(expected) + text_tokens
    torch.testing.assert_close(prefix[: len(expected)], expected, rtol=1e-4, atol=1e-6)


def test_an_answer_ends_with_the_end_token_and_at_the_limit(model):
    lm = model.language_model
    prefix = Answerer(model, CPU)._prefix(tone(0.5), QUESTION)
    free = list(lm.greedy(prefix, most=12))
    assert list(lm.greedy(prefix, most=3)) == free[:3]
    end, lm.tokenizer.eos_token = lm.tokenizer.eos_token, lm.tokenizer.convert_ids_to_tokens(free[-1])
    try:
        assert list(lm.greedy(prefix, most=12)) == free[: free.index(free[-1])]
    finally:
        lm.tokenizer.eos_token = end


def test_an_answer_says_whether_it_was_cut(model, monkeypatch):
    tokens = model.language_model.tokenizer.encode("a bell, far away", add_special_tokens=False)
    monkeypatch.setattr(model.language_model, "greedy", lambda *_, most: iter(tokens[:most]))
    for most, cut in ((len(tokens) + 1, False), (len(tokens), False), (len(tokens) - 1, True)):
        saying = Answerer(model, CPU).ask(tone(0.3), QUESTION, most_tokens=most)
        assert "a bell, far away".startswith(text := "".join(saying))
        assert saying.cut is cut and (len(text) < len("a bell, far away")) is cut


def test_characters_of_several_tokens_are_told_whole(model, monkeypatch):
    tokens = model.language_model.tokenizer.encode("né 雨", add_special_tokens=False)
    monkeypatch.setattr(model.language_model, "greedy", lambda *_, **__: iter(tokens))
    pieces = list(Answerer(model, CPU).ask(tone(0.3), QUESTION))
    assert "".join(pieces) == "né 雨"
    assert len(tokens) > len(pieces) > 1


def test_scores_are_the_likelihood_of_the_whole_answer(model):
    """Against log-probabilities of plain forward passes, answer by answer; and the loss that training lowers."""
    wave, tokenizer = tone(1.0, 500.0), model.language_model.tokenizer
    answers = ["a bell", "rain", "a dog barks at the rain", "x"] + [f"bell {number}" for number in range(80)]
    scores = Answerer(model, CPU).score(wave, QUESTION, answers)
    asked = tokenizer.encode(f"{QUESTION}\n", add_special_tokens=False)
    by_answer = {score.answer: score for score in scores}
    assert by_answer.keys() == set(answers)
    for answer in answers[:4] + answers[-2:]:
        ids = [*tokenizer.encode(answer, add_special_tokens=False), tokenizer.eos_token_id]
        log_probabilities = full_pass(model, wave, asked + ids)
        expected = sum(float(log_probabilities[len(asked) - 1 + place, token]) for place, token in enumerate(ids))
        assert by_answer[answer].log_likelihood == pytest.approx(expected, abs=1e-3)
    assert [s.log_likelihood for s in scores] == sorted((s.log_likelihood for s in scores), reverse=True)
    assert sum(score.share for score in scores) == pytest.approx(1)
    ratio = scores[0].share / scores[1].share
    assert np.log(ratio) == pytest.approx(scores[0].log_likelihood - scores[1].log_likelihood, abs=1e-6)


@pytest.mark.parametrize("answers", [[], ["a", "a"], ["a", " "]])
def test_answers_that_cannot_be_ranked_are_refused(model, answers):
    with pytest.raises(AnswerError, match="answers to choose from"):
        Answerer(model, CPU).score(tone(0.3), QUESTION, answers)


def test_an_exported_model_is_loaded_as_it_was(model, folder):
    """Weights are exported in float16: answers as likely to within what that rounds."""
    loaded = load_trained(folder)
    assert not loaded.training
    one, other = (Answerer(m, CPU).score(tone(0.7), QUESTION, ["a bell", "rain"]) for m in (model, loaded))
    for a, b in zip(one, other, strict=True):
        assert a.answer == b.answer and a.log_likelihood == pytest.approx(b.log_likelihood, rel=0.02)


def test_parts_that_do_not_belong_together_are_refused(folder, tmp_path):
    import shutil

    def changed(name: str) -> Path:
        return Path(shutil.copytree(folder, tmp_path / name))

    with pytest.raises(WeightsError, match="no model at"):
        load_trained(tmp_path / "nowhere")
    encoder_only = changed("encoder")
    config = json.loads((encoder_only / "config.json").read_text())
    (encoder_only / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "adapter"}))
    with pytest.raises(WeightsError, match="answers no questions"):
        load_trained(encoder_only)
    other = changed("other")
    config["language_model"]["identity"] = "0" * 64
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="not the one it was trained with"):
        load_trained(other)
    damaged = changed("damaged")
    content = (damaged / "adapter.safetensors").read_bytes()
    (damaged / "adapter.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError, match="cannot load the adapter"):
        load_trained(damaged)


def uniwhisper(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="uniwhisper")


def test_the_verbs_answer_stream_and_rank(folder, tmp_path):
    clip = tmp_path / "clip.wav"
    wave = np.concatenate([tone(30.0, 300.0), tone(1.0, 900.0)])
    soundfile.write(clip, wave, 16_000, subtype="FLOAT")
    loaded = Answerer(load_trained(folder), CPU)
    said = ["".join(loaded.ask(part, QUESTION, most_tokens=9)) for part in (wave[:480_000], wave[480_000:])]
    done = uniwhisper("ask", clip, QUESTION, "--model", folder, "--device", "cpu", "--most-tokens", "9")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == f"{said[0]}\n[30.0 s]\n{said[1]}\n"
    assert done.stderr.count("is cut off after 9 text tokens") == 2
    done = uniwhisper("ask", clip, QUESTION, "--model", folder, "--device", "cpu", "--most-tokens", "9", "--json")
    assert [window["cut"] for window in json.loads(done.stdout)["windows"]] == [True, True]

    short = tmp_path / "short.wav"
    soundfile.write(short, wave[480_000:], 16_000, subtype="FLOAT")
    done = uniwhisper(
        "tag", short, "--model", folder, "--device", "cpu", "--json", "--score", "rain", "--score", "a bell"
    )
    assert done.exit_code == 0, done.stderr
    (window,) = json.loads(done.stdout)["windows"]
    expected = loaded.score(wave[480_000:], "What kind of sound is this?", ["rain", "a bell"])
    assert [row["answer"] for row in window["scores"]] == [score.answer for score in expected]
    assert window["scores"][0]["share"] == pytest.approx(expected[0].share, rel=1e-4)
    assert isinstance(uniwhisper("transcribe", tmp_path / "none.wav", "--model", folder).exception, AudioError)


@pytest.mark.parametrize("text", ["", "rain"])
def test_an_empty_answer_is_said_to_be_one(model, folder, tmp_path, monkeypatch, text):
    soundfile.write(tmp_path / "a.wav", tone(0.3), 16_000)
    tokens = model.language_model.tokenizer.encode(text, add_special_tokens=False)
    monkeypatch.setattr(FrozenLanguageModel, "greedy", lambda *_, **__: iter(tokens))
    done = uniwhisper("ask", tmp_path / "a.wav", QUESTION, "--model", folder, "--device", "cpu")
    assert done.exit_code == 0 and done.stdout == f"{text}\n"
    assert ("--score" in done.stderr) == (text == "")
