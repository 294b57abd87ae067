"""`uniwhisper train` and `pretrain-lm`: one mistake, one message, exit status 2, nothing written."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import soundfile

from command import uniwhisper
from small import write_corpus, write_encoder, write_language_model
from toy_corpora import wav, write_tar
from uniwhisper.data.prepare import prepare


def process(*arguments: str | Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "uniwhisper", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A prepared corpus, a language model and a start, side by side."""
    root = tmp_path_factory.mktemp("place")
    write_corpus(root / "corpora")
    prepare(root / "corpora", root / "prepared")
    write_language_model(root)
    write_encoder(root / "start")
    return root


def usual(place: Path) -> list[str | Path]:
    settings = [
        "steps=3",
        f"model.language_model={place / 'lm'}",
        f"model.start={place / 'start'}",
        "model.encoder_size=None",
        "model.adapter_hidden_width=16",
        'data.domain_weights={"sound": 1}',
        "data.clips_per_step=4",
        "loop.workers=0",
        "loop.audio=loader",
        "loop.validate_every_steps=None",
    ]
    return ["--data", place / "prepared", "--device", "cpu", *[word for text in settings for word in ("--set", text)]]


@pytest.mark.parametrize(("begun", "saved"), [(True, True), (True, False), (False, False)])
def test_a_stopped_run_says_how_it_goes_on_if_it_had_begun(place, tmp_path, begun, saved):
    def stop(*_, **__):
        if begun:
            (tmp_path / "run").mkdir()
            (tmp_path / "run" / "run.json").touch()
        if saved:
            (tmp_path / "run" / "checkpoints" / "step-00000040").mkdir(parents=True)
        raise KeyboardInterrupt

    with patch("uniwhisper.training.loop.train", side_effect=stop):
        done = uniwhisper("train", "mini", "-o", tmp_path / "run", *usual(place))
    assert done.returncode == 130 and ("--resume" in done.stderr) == begun
    assert ("step-00000040" in done.stderr) == saved
    assert ("no checkpoint" in done.stderr) == (begun and not saved)


def test_a_mixture_is_drawn_with_what_its_refusal_says_to_type(place):
    refused = uniwhisper("data", "mixture", place / "prepared", "--steps", "2")
    assert refused.returncode == 2
    advice = next(line for line in refused.stderr.splitlines() if line.lstrip().startswith("fix"))
    typed = shlex.split(advice[advice.index("--set") :])
    drawn = uniwhisper("data", "mixture", place / "prepared", "--steps", "2", "--json", *typed)
    assert drawn.returncode == 0, drawn.stderr
    assert json.loads(drawn.stdout)["corpora"] == {"tones": 1.0}
    fewer = uniwhisper(
        "data", "mixture", place / "prepared", "--steps", "2", "--json", *typed, "--set", "data.clips_per_step=3"
    )
    assert json.loads(fewer.stdout)["clips_per_step"] == 3 != json.loads(drawn.stdout)["clips_per_step"]


def test_train_prints_the_model_folder_and_the_model_embeds(place, tmp_path, monkeypatch):
    done = process("train", "mini", "-o", tmp_path / "run", *usual(place))
    assert done.returncode == 0, done.stderr
    model = Path(done.stdout.strip())
    assert {path.name for path in model.iterdir()} == {
        "README.md", "adapter.safetensors", "config.json", "encoder.safetensors", "lm",
    }  # fmt: skip
    from uniwhisper import Embedder

    assert Embedder.from_pretrained(model).width == 32
    again = uniwhisper("train", "mini", "-o", tmp_path / "run", "--resume", *usual(place))
    assert again.returncode == 0, again.stderr
    assert "reaches 1% of its peak" in done.stderr  # three of three hundred steps
    assert (
        "of its peak"
        not in uniwhisper(
            "train", "mini", "-o", tmp_path / "other", *usual(place), "--set", "optimizer.warmup_steps=2"
        ).stderr
    )
    metrics = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    last = [line["loss"] for line in metrics if "loss" in line][-1]
    assert f"last loss {last:.3f}, of step 3 of 3\n" in done.stderr and "last loss" not in done.stdout
    assert f"last loss {last:.3f}, of step 3 of 3\n" in again.stderr  # nothing was left to train
    # What it says to try is what works.
    monkeypatch.chdir(tmp_path)
    soundfile.write("dog.wav", np.random.default_rng(0).uniform(-0.1, 0.1, 16_000), 16_000)
    commands = done.stderr.rpartition("try it: ")[2].strip().split("; ")
    assert len(commands) == 2
    for command in commands:
        _, *typed = ["dog.wav" if word == "AUDIO" else word for word in shlex.split(command)]
        tried = uniwhisper(*typed)
        assert tried.returncode == 0, tried.stderr
    assert (tmp_path / "vectors.parquet").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "maxi"], "no recipe 'maxi'"),
        (["train", "mini", "--set", "optimiser.warmup_steps=3"], "unknown recipe field"),
        (["train", "mini", "--set", "steps=many"], "recipe field steps"),
        (["train", "mini", "--set", "model.start=org/absent", "--set", "model.encoder_size=None"], "org/absent"),
        (["train", "mini", "--set", "model.language_model=org/absent"], "no language model at org/absent"),
        (["train", "mini", "--resume"], "nothing to resume"),
        (["train", "mini", "--device", "tpu"], "device 'tpu'"),
    ],
)
def test_a_mistake_is_one_message(place, tmp_path, arguments, message):
    done = uniwhisper(*arguments[:2], "-o", tmp_path / "run", *usual(place), *arguments[2:])
    assert done.returncode == 2
    assert message in done.stderr and "expected " in done.stderr and "fix " in done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""
    assert not (tmp_path / "run").exists()


def test_an_output_that_cannot_be_written(place, tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = uniwhisper("train", "mini", "-o", tmp_path / "file" / "run", *usual(place))
    assert done.returncode == 2 and "cannot write" in done.stderr and "Traceback" not in done.stderr
    done = uniwhisper("train", "mini", "-o", tmp_path / "file", *usual(place))
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert (tmp_path / "file").read_text() == "in the way"


def test_missing_data_says_how_to_prepare_it(place, tmp_path):
    done = uniwhisper("train", "mini", "-o", tmp_path / "run", *usual(place), "--data", tmp_path / "nowhere")
    assert done.returncode == 2 and "uniwhisper data prepare" in done.stderr


def test_a_broken_recipe_file_is_an_error_of_the_file_not_of_ours(place, tmp_path):
    (tmp_path / "mine.py").write_text("def run():\n    return 1 / 0\n")
    done = uniwhisper("train", f"{tmp_path / 'mine.py'}:run", "-o", tmp_path / "out", *usual(place))
    assert done.returncode == 2 and "ZeroDivisionError" in done.stderr and "Traceback" not in done.stderr


def test_pretraining_needs_text(tmp_path):
    (tmp_path / "only.txt").write_text("one text")
    done = uniwhisper("pretrain-lm", tmp_path, "-o", tmp_path / "lm", "--device", "cpu")
    assert done.returncode == 2 and "at least two .txt files" in done.stderr and not (tmp_path / "lm").exists()
    done = uniwhisper("pretrain-lm", tmp_path / "absent.txt", tmp_path / "only.txt", "-o", tmp_path / "lm")
    assert done.returncode == 2 and "Traceback" not in done.stderr and not (tmp_path / "lm").exists()
    done = uniwhisper("pretrain-lm", tmp_path / "absent", "-o", tmp_path / "lm")
    assert done.returncode == 2 and f"cannot read {tmp_path / 'absent'}" in done.stderr
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "deep.txt").write_text("another text")
    with patch("uniwhisper.training.pretrain_lm.pretrain_lm", return_value={"held_out_perplexity": 1.0}) as run:
        uniwhisper("pretrain-lm", tmp_path, "-o", tmp_path / "lm", "--device", "cpu")
    assert [path.name for path in run.call_args.args[0]] == ["deep.txt", "only.txt"]


def test_pretraining_replaces_no_folder_of_somebody_else(tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    for name in ("a.txt", "b.txt"):
        (victim / name).write_text("years of work")
    done = uniwhisper("pretrain-lm", victim, "-o", victim, "--overwrite", "--device", "cpu")
    assert done.returncode == 2 and f"{victim} is not replaced" in done.stderr
    assert sorted(path.name for path in victim.iterdir()) == ["a.txt", "b.txt"]


def test_train_refuses_what_is_evaluated_on_unless_told(place, tmp_path):
    """Nothing is written when it refuses; what was allowed is on record."""
    options = ["-o", tmp_path / "run", *usual(place), "--evaluation", place / "corpora"]
    done = uniwhisper("train", "mini", *options)
    assert done.returncode == 2
    assert "overlaps the evaluation sets" in done.stderr and "--allow-overlap" in done.stderr
    assert not (tmp_path / "run").exists()
    done = uniwhisper("train", "mini", *options, "--allow-overlap")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "run" / "run.json").read_text())["overlap"]
    clips = report["overlapping_training_clips"]
    assert clips == report["training_clips"] > 0 and report["by"]["file"] >= clips
    write_tar(tmp_path / "other" / "e.tar", [("a.wav", wav(0.3, 77.0)), ("a.json", b"{}")])
    options = ["-o", tmp_path / "clean", *usual(place), "--evaluation", tmp_path / "other"]
    assert uniwhisper("train", "mini", *options).returncode == 0
    assert json.loads((tmp_path / "clean" / "run.json").read_text())["overlap"]["overlaps"] == []
