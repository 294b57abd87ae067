"""An interrupted `pretrain-lm`: goes on exactly, or says why not."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from command import uniwhisper
from small import LANGUAGE_MODEL, QUIET, READING, write_texts
from uniwhisper.core.errors import OutputError, RecipeError
from uniwhisper.data.reading_text import ReadingText
from uniwhisper.training.pretrain_lm import pretrain_lm

RECIPE = replace(LANGUAGE_MODEL, steps=40)


def pretrain(folder: Path, *, recipe=RECIPE, reading=READING, resume=False, overwrite=False):
    options = {"device": torch.device("cpu"), "overwrite": overwrite, "console": QUIET, "resume": resume}
    texts = list((folder / "texts").glob("*.txt"))
    return pretrain_lm(texts, reading, folder / "lm", recipe, checkpoint_every_steps=3, **options)


def start_process(folder: Path) -> subprocess.Popen:
    code = "import sys; from pathlib import Path; import test_pretrain_resumed as t; t.pretrain(Path(sys.argv[1]))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path)), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", code, folder], env=environment, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def place(tmp_path):
    write_texts(tmp_path / "texts")
    return tmp_path


@pytest.fixture
def killed(place):
    """A run killed with SIGKILL after a checkpoint and before its end."""
    process = start_process(place)
    checkpoints, deadline = place / "lm.unfinished" / "checkpoints", time.monotonic() + 120
    while not (checkpoints / "step-00000006").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    assert process.poll() is None, f"the run ended before it could be killed: {process.communicate()[1]}"
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not (place / "lm").exists()
    return place


def test_weights_after_kill_minus_9_equal_those_of_an_uninterrupted_run_bit_for_bit(killed, tmp_path_factory):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        figures = pretrain(killed, resume=True)
        whole = tmp_path_factory.mktemp("whole")
        (killed / "texts").rename(whole / "texts")
        expected = pretrain(whole)
    finally:
        torch.set_num_threads(threads)
    resumed, uninterrupted = (load_file(folder / "lm" / "model.safetensors") for folder in (killed, whole))
    assert resumed.keys() == uninterrupted.keys()
    assert all(torch.equal(tensor, uninterrupted[name]) for name, tensor in resumed.items())
    assert figures["held_out_perplexity"] == expected["held_out_perplexity"]
    assert (killed / "lm/tokenizer.json").read_bytes() == (whole / "lm/tokenizer.json").read_bytes()
    assert [path.name for path in whole.iterdir() if path.name != "texts"] == ["lm"]
    assert not (killed / "lm.unfinished").exists()


def test_a_resumption_does_only_what_was_left(killed):
    """The newest checkpoint is said to be of the last step: nothing is trained, its weights are what is written."""
    checkpoints = killed / "lm.unfinished" / "checkpoints"
    newest = max(checkpoints.glob("step-*"))
    progress = newest / "progress.json"
    progress.write_text(json.dumps({**json.loads(progress.read_text()), "step": RECIPE.steps}))
    kept = load_file(newest / "language_model.safetensors")["model.norm.weight"]
    pretrain(killed, resume=True)
    assert torch.equal(load_file(killed / "lm/model.safetensors")["model.norm.weight"], kept.bfloat16())


def test_an_interrupted_run_is_not_mixed_with_another(killed):
    with pytest.raises(OutputError, match=r"lm.unfinished is an interrupted run[\s\S]*add --resume"):
        pretrain(killed)
    with pytest.raises(RecipeError, match=r"another recipe[\s\S]*seed 0 -> 1"):
        pretrain(killed, recipe=replace(RECIPE, seed=1), resume=True)
    with pytest.raises(RecipeError, match="another --data"):
        pretrain(killed, reading=ReadingText(("Write it down.",)), resume=True)
    (killed / "texts" / "1.txt").write_text("Another text.")
    with pytest.raises(RecipeError, match="other text files"):
        pretrain(killed, resume=True)
    assert max((killed / "lm.unfinished/checkpoints").glob("step-*")) and not (killed / "lm").exists()
    pretrain(killed, recipe=replace(RECIPE, steps=1), overwrite=True)
    assert (killed / "lm/pretraining.json").is_file() and not (killed / "lm.unfinished").exists()


def test_nothing_to_resume_is_said_and_nothing_is_written(place):
    done = uniwhisper("pretrain-lm", place / "texts", "-o", place / "lm", "--device", "cpu", "--resume")
    assert done.returncode == 2 and "nothing to resume in" in done.stderr and "leave out --resume" in done.stderr
    assert [path.name for path in place.iterdir()] == ["texts"]


def test_a_folder_of_somebody_else_beside_the_output_stays(place):
    (place / "lm.unfinished").mkdir()
    (place / "lm.unfinished" / "novel.txt").write_text("years of work")
    with pytest.raises(OutputError, match="is not replaced"):
        pretrain(place, overwrite=True)
    assert (place / "lm.unfinished" / "novel.txt").read_text() == "years of work"
