"""The chain: a killed process goes on, rows are judged and compared, unequal rows are found, plans are checked."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration
from typer.testing import CliRunner

from small import QUIET, SMALL_ENCODER, write_language_model
from uniwhisper.cli.app import app
from uniwhisper.core.errors import OutputError, RecipeError
from uniwhisper.data.prepare import prepare
from uniwhisper.evaluation.bootstrap import over_training_seeds
from uniwhisper.model.config import WHISPER_SIZES
from uniwhisper.model.weights import load_encoder
from uniwhisper.reproduce import stages
from uniwhisper.reproduce.chain import Chain, plan
from uniwhisper.reproduce.equal import equalities
from uniwhisper.reproduce.job import Done, Job
from uniwhisper.reproduce.open import open_chain
from uniwhisper.reproduce.row_recipes import recipe_of
from uniwhisper.reproduce.rows import CORE_ROWS, ROWS, SMOKE_ROWS, available_rows, steps_of
from uniwhisper.reproduce.scale import Scale, miniature, paper, smoke
from uniwhisper.reproduce.smoke_data import write_smoke_data
from uniwhisper.reproduce.state import RowState
from uniwhisper.training.record import read_metrics

PROCESS = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from test_reproduce import SMALL_ENCODER, WHISPER_SIZES, small_chain
WHISPER_SIZES["dot"] = SMALL_ENCODER
done = small_chain(Path({data!r}), Path({lm!r}), Path({output!r})).run(["S"], [0], lambda text: None, judge=False)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("smoke") / "data"
    write_smoke_data(folder, training_variants=3, evaluation_variants=6)
    prepare(folder / "training", folder.parent / "prepared")
    return folder


@pytest.fixture(scope="module")
def lm(tmp_path_factory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("lm"))


@pytest.fixture(autouse=True)
def small_size(monkeypatch):
    """A size that trains in no time, as one of Whisper's."""
    monkeypatch.setitem(WHISPER_SIZES, "dot", SMALL_ENCODER)


def small_scale(data: Path, lm: Path) -> Scale:
    made = smoke(data / "suite.json", start_steps=6, steps=2, audio_seconds_per_step=3.0)
    loop = replace(made.loop, log_every_steps=1, checkpoint_every_steps=1)
    return replace(made, size="dot", language_model=str(lm), loop=loop, gate_steps=None)


def small_chain(data: Path, lm: Path, output: Path) -> Chain:
    from uniwhisper.data.manifest import Manifest

    return Chain(
        scale=small_scale(data, lm),
        manifest=Manifest.read(data.parent / "prepared"),
        evaluation=data / "evaluation",
        development=data / "training",
        output=output,
        cache=output / "decoded",
        device=torch.device("cpu"),
        console=QUIET,
        command="uniwhisper reproduce smoke",
    )


def start(data: Path, lm: Path, output: Path) -> subprocess.Popen:
    code = PROCESS.format(tests=str(Path(__file__).parent), data=str(data), lm=str(lm), output=str(output))
    return subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"})


def test_a_killed_chain_continues_and_ends_with_the_same_weights(data, lm, tmp_path):
    killed = start(data, lm, tmp_path / "killed")
    checkpoints = tmp_path / "killed" / "S-seed0" / "run" / "checkpoints"
    deadline = time.monotonic() + 300
    while not list(checkpoints.glob("step-*")) and killed.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "S-seed0" / "row.json").exists()

    again, whole = (start(data, lm, tmp_path / name) for name in ("killed", "whole"))
    assert (again.wait(), whole.wait()) == (0, 0)
    states = [json.loads((tmp_path / name / "S-seed0" / "row.json").read_text()) for name in ("killed", "whole")]
    encoders = [load_encoder(tmp_path / name / "S-seed0" / "run" / "model").identity for name in ("killed", "whole")]
    assert encoders[0] == encoders[1]
    assert [state["trained"]["steps"] for state in states] == [6, 6]
    assert states[0]["chosen"] == states[1]["chosen"] | {"train_seconds": states[0]["chosen"]["train_seconds"]}

    # Started once more, here, it finds everything done: no run is touched.
    before = (tmp_path / "whole" / "S-seed0" / "run" / "metrics.jsonl").stat().st_mtime_ns
    small_chain(data, lm, tmp_path / "whole").run(["S"], [0], lambda _: None, judge=False)
    assert (tmp_path / "whole" / "S-seed0" / "run" / "metrics.jsonl").stat().st_mtime_ns == before


def test_a_row_of_another_plan_is_refused_and_a_damaged_file_is_made_again(data, lm, tmp_path, monkeypatch):
    chain = small_chain(data, lm, tmp_path / "out")
    chain.run(["S"], [0], lambda _: None, judge=False)
    other = replace(chain, scale=replace(chain.scale, start_steps=5))
    with pytest.raises(OutputError, match="another plan"):
        other.run(["S"], [0], lambda _: None, judge=False)
    trained = []
    real = stages.train
    monkeypatch.setattr(stages, "train", lambda *a, **k: trained.append(k["resume"]) or real(*a, **k))
    chain.run(["S"], [0], lambda _: None, judge=False)
    assert trained == []
    (tmp_path / "out" / "S-seed0" / "run" / "model" / "encoder.safetensors").write_bytes(b"cut")
    chain.run(["S"], [0], lambda _: None, judge=False)
    assert trained == [True]
    assert read_metrics(tmp_path / "out" / "S-seed0" / "run")[-1]["step"] == 6


def test_a_row_is_judged_alone_though_its_start_is_gone(data, lm, tmp_path, monkeypatch):
    chain = small_chain(data, lm, tmp_path / "out")
    scale = replace(chain.scale, start_steps=1, steps=2, start_candidates=1)
    chain = replace(chain, scale=scale, despite_gate=True)
    chain.run(["U"], [0], lambda _: None, judge=False, alone=True)
    with pytest.raises(OutputError, match="another plan"):
        replace(chain, scale=replace(scale, steps=3)).run(["U"], [0], lambda _: None, alone=True)
    shutil.rmtree(tmp_path / "out" / "S-seed0")
    monkeypatch.setattr(stages, "train", lambda *_, **__: pytest.fail("it was trained again"))
    judged = []
    made = {"result": "none.json", "commit": None}
    monkeypatch.setattr(stages, "judge", lambda _, job, *__: judged.append(job) or made)
    monkeypatch.setattr(stages, "_answer", lambda *_: None)
    monkeypatch.setattr(stages, "_examine", lambda *_: None)
    [one] = chain.run(["U"], [0], lambda _: None, alone=True)
    assert judged == [Job("U", 0)] == [one.job] and one.steps == 2
    assert not (tmp_path / "out" / "S-seed0").exists()
    with pytest.raises(OutputError, match="U-seed1 cannot be judged alone"):
        chain.run(["U"], [1], lambda _: None, alone=True)
    (tmp_path / "out" / "U-seed0" / "run" / "model" / "encoder.safetensors").write_bytes(b"cut")
    with pytest.raises(OutputError, match="U-seed0 cannot be judged alone"):
        chain.run(["U"], [0], lambda _: None, alone=True)


def test_u_is_asked_about_what_was_held_out_once(data, lm, tmp_path, monkeypatch):
    chain = small_chain(data, lm, tmp_path / "out")
    scale = replace(chain.scale, data=replace(chain.scale.data, holdout_folds=2), start_steps=1, steps=1)
    scale = replace(scale, start_candidates=1, development=str(data / "development-2.json"))
    suite = json.loads((data / "development.json").read_text())
    for task in suite["tasks"]:
        task["folds"]["count"] = 2
    (data / "development-2.json").write_text(json.dumps(suite))
    chain = replace(chain, scale=scale)
    monkeypatch.setattr(stages, "judge", lambda *_: {"result": "none.json", "commit": None})
    monkeypatch.setattr(stages, "_examine", lambda *_: None)
    said = []
    chain.run(["U"], [0], said.append)
    answers = json.loads((tmp_path / "out" / "U-seed0" / "answers" / "answers.json").read_text())
    assert answers["model"]["name"] == "U-seed0" and answers["config"]["folds"] == 2
    tasks = {task["task"]: task["clips"] for task in answers["tasks"]}
    held_out = [r for r in chain.manifest.records if r.domain == "music" and int(r.sha256[:8], 16) % 2 == 0]
    assert tasks["instrument"]["held_out"] == len(held_out) > 0
    assert not (tmp_path / "out" / "S-seed0" / "answers").exists()
    asked = [line for line in said if "asking" in line]
    chain.run(["U"], [0], said.append)
    assert [line for line in said if "asking" in line] == asked == ["U-seed0: asking about held-out clips"]


def test_rows_start_from_what_they_go_on_from(data, lm):
    scale = small_scale(data, lm)
    assert plan(scale, ["C+U", "U"], [4]) == [Job("S", 4), Job("C", 4), Job("C+U", 4), Job("U", 4)]
    assert plan(scale, ["S-long"], [4]) == [Job("S", 4), Job("S-long", 4)], "it counts its steps with S's"
    assert plan(scale, ["U-scratch-M"], [4]) == [Job("U-scratch-M", 4)]
    with pytest.raises(RecipeError, match="no row"):
        plan(scale, ["V"], [0])
    for name in available_rows(scale):
        row = ROWS[name]
        if steps_of(row, scale):
            made = recipe_of(row, scale, 1, "somewhere" if row.after else None)
            assert (made.model.start is None) == (row.after is None)
            weights = made.data.domain_weights
            if row.speech_share is None:
                assert weights == scale.data.domain_weights
            else:
                assert weights.get("speech", 0) == row.speech_share and sum(weights.values()) == pytest.approx(1)
            lengths = {"U-lengths", "U-lengths-4M", "U-eighth-4M", "multi-head-4M"}
            long = {"U-long", "U-fast-long", "U-longer", "U-repeat", "U-silence", *lengths}
            coded = name in {"U-codec", "U-little-codec", "U-fast", "U-faster", *long}
            altered = made.data.augment
            assert altered.codec_probability == (0.3 if coded else 0)
            assert altered.repeat_probability == (0.15 if name in {"U-repeat", *lengths} else 0)
            own = scale.data.augment.silence_max_seconds
            assert altered.silence_max_seconds == (6 if name in {"U-silence", *lengths} else own)
            assert made.optimizer.ema_decay == (0.995 if name == "U-ema" else None)
            reads_audio_tokens = row.objective in (
                "instructions", "random frozen", "pretrained trained", "random trained",
            )  # fmt: skip
            assert made.data.mean_share == (scale.data.mean_share if reads_audio_tokens else 0)
            assert made.model.adapter_mean_tokens == (scale.mean_tokens if reads_audio_tokens else 1)
    little = recipe_of(ROWS["U-little-speech"], miniature("lm"), 1, "somewhere").data.domain_weights
    names = ("S", "U", "U-long", "U-fast", "U-fast-long", "U-faster")
    made = [recipe_of(ROWS[name], miniature("lm"), 1, "somewhere") for name in names]
    rates = [one.optimizer.encoder_learning_rate for one in made]
    assert rates == pytest.approx([1e-3, 2e-4, 2e-4, 5e-4, 5e-4, 1e-3])
    assert [one.optimizer.adapter_learning_rate for one in made] == [1e-3] * 6
    short = replace(scale, start_steps=5, steps=7)
    names += ("S-long", "S-longer", "S-longer-4M", "U-longer", "U-lengths", "U-lengths-4M", "multi-head-4M")
    assert [steps_of(ROWS[name], short) for name in names] == [5, 7, 21, 7, 21, 7, 12, 26, 33, 42, 42, 28, 28]
    assert recipe_of(ROWS["U-eighth-4M"], scale, 1, "somewhere").data.training_share == 1 / 8
    assert little["sound"] / little["music"] == pytest.approx(0.45 / 0.2), "as in the recipe `mini`"
    assert set(SMOKE_ROWS) <= set(CORE_ROWS) <= set(ROWS)
    assert {ROWS[name].needs for name in CORE_ROWS} <= {None, *CORE_ROWS}


def test_u_is_asked_what_heads_are_asked_and_u_everything_more(data, lm, tmp_path, monkeypatch):
    chain = small_chain(data, lm, tmp_path)
    going_on = [row for row in available_rows(chain.scale) if row != "C" and ROWS[row].after]
    recipes = {name: chain.recipe(Job(name, 0), chain.scale, "somewhere") for name in going_on}
    assert {name for name, made in recipes.items() if made.data.tasks is None} == {"U-everything"}
    assert len({made.data.tasks for made in recipes.values()}) == 2
    assert not {"recording", "sound_tag_pair", "order"} & set(recipes["U"].data.tasks)
    heard = {name for name, made in recipes.items() if made.model.adapter_unit_means}
    assert heard == set(going_on) - {"U-plain-means", "W-dec", "multi-head", "multi-head-4M", "multi-head-plain-means"}
    learners = {name: chain.learners.of(ROWS[name]) for name in ("multi-head", "multi-head-plain-means")}
    assert [one.unit_means for one in learners.values()] == [True, False]
    # A folder that was trained before the row read directions is not taken for it.
    heads = Job("multi-head", 0)
    key = chain._key(heads, chain.scale, None)
    monkeypatch.setitem(ROWS, "multi-head", replace(ROWS["multi-head"], unit_means=False))
    assert chain._key(heads, chain.scale, None) != key


def done(row: str, steps: int, audio: float) -> Done:
    return Done(Job(row, 0), steps, audio, 1.0, "model", Path("x"), None)


def test_rows_that_heard_more_than_one_percent_more_are_found():
    rows = [done("S", 10, 100.0), done("U", 20, 200.0), done("S-long", 30, 302.9), done("U-speech", 20, 202.1)]
    found = {(one.first, one.second): one for one in equalities(rows)}
    assert set(found) == {("U", "U-speech"), ("S+U", "S-long")}
    assert found["S+U", "S-long"].holds and found["S+U", "S-long"].audio_seconds == (300.0, 302.9)
    assert not found["U", "U-speech"].holds
    long = equalities([done("S", 10, 100.0), done("U-long", 60, 600.0), done("S-longer", 71, 700.0)])
    assert [(one.first, one.steps, one.holds) for one in long] == [("S+U-long", (70, 71), False)]
    (one,) = equalities([done("U", 100, 1.0), done("W-dec", 102, 1.0)])
    assert not one.holds


def test_the_spread_of_training_seeds_is_in_the_interval():
    """Clips that say nothing about the difference: all of its spread is that of the mean of seeds drawn again."""
    of_seed = np.array([0.1, 0.2, 0.6])
    draws = over_training_seeds(np.repeat(of_seed[:, None], 20_000, axis=1))
    assert draws.mean() == pytest.approx(of_seed.mean(), abs=5e-3)
    assert draws.var() == pytest.approx(of_seed.var() / 3, rel=0.05)
    assert over_training_seeds(np.array([[0.3, 0.4]])).tolist() == pytest.approx([0.3, 0.4])


def test_a_dry_run_of_the_paper_reads_local_folders_of_those_layouts(data, lm, tmp_path):
    torch.manual_seed(0)
    large = WhisperConfig(
        vocab_size=60, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=128, decoder_ffn_dim=128, num_mel_bins=128, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, decoder_start_token_id=3,
    )  # fmt: skip
    WhisperForConditionalGeneration(large).save_pretrained(tmp_path / "whisper-large-v3")
    arguments = [
        "reproduce", "paper", "--start", str(tmp_path / "whisper-large-v3"), "--lm", str(lm), "--dry-run", "--json",
        "--data", str(data.parent / "prepared"), "--evaluation", str(data / "evaluation"), "-o", str(tmp_path / "out"),
        "--device", "cpu",
    ]  # fmt: skip
    wrong = CliRunner().invoke(app, arguments)
    assert wrong.exit_code != 0, "the suite mini is not there"
    suite = json.loads((data / "suite.json").read_text())
    assert suite["name"] == "smoke"
    described = CliRunner().invoke(app, [*arguments, "--suite", str(data / "suite.json")])
    assert described.exit_code == 0, described.output
    found = json.loads(described.stdout)
    assert "128 mel bins" in found["facts"]["start"]
    # What a table says to type names no folder of this machine; an id of the hub stays as it is.
    chain, *_ = open_chain(
        "paper", tmp_path / "out", None, None, data=data.parent / "prepared", evaluation=data / "evaluation",
        language_model="Qwen/Qwen3-0.6B", start=str(tmp_path / "whisper-large-v3"), cache=None, suite=None,
        size=None, start_steps=None, development=None, despite_gate=False, device="cpu", say=lambda _: None,
    )  # fmt: skip
    assert chain.command.startswith("uniwhisper reproduce paper --start whisper-large-v3 --lm Qwen/Qwen3-0.6B --data ")
    assert str(tmp_path) not in chain.command
    rows = {job["row"]: job for job in found["jobs"]}
    assert rows["S"]["steps"] == 0 and rows["U"]["after"] == "S" and rows["U"]["steps"] > 0
    assert "C" not in rows and "W-dec" not in rows and "multi-head" in rows
    assert set(rows) < set(CORE_ROWS), "what was tried on the way is run by name"
    assert not (tmp_path / "out").exists()


def test_paper_takes_a_start_and_the_others_none(tmp_path):
    for arguments in (["paper"], ["miniature", "--start", "x"], ["large"]):
        found = CliRunner().invoke(app, ["reproduce", *arguments, "-o", str(tmp_path / "out")])
        assert isinstance(found.exception, RecipeError)
    assert paper("x", "y", mel_bins=128).data.mel_bins == 128
    assert miniature("lm").loop.audio == "resident"


@pytest.mark.parametrize(
    ("name", "steps", "instead"), [("miniature", 6100, 6000), ("miniature", 0, 200), ("smoke", 400, 400)]
)
def test_a_number_of_s_steps_that_cannot_be_is_refused(tmp_path, name, steps, instead):
    arguments = ["reproduce", name, "--start-steps", str(steps), "-o", str(tmp_path / "out")]
    refused = CliRunner().invoke(app, arguments).exception
    assert isinstance(refused, RecipeError) and "multiple of 200, for miniature only" in refused.expected
    assert refused.fix == f"uniwhisper reproduce miniature --start-steps {instead}"
    assert not (tmp_path / "out").exists()


def test_s_trains_as_long_as_it_is_told(data, lm, tmp_path, monkeypatch):
    def instead(chain, _rows, _seeds, arguments, **_):
        raise RuntimeError(chain, arguments)

    monkeypatch.setattr("uniwhisper.reproduce.at_once.run_at_once", instead)
    arguments = [
        "reproduce", "miniature", "--start-steps", "6000", "--at-once", "2", "--device", "cpu", "--lm", str(lm),
        "--data", str(data.parent / "prepared"), "--evaluation", str(data / "evaluation"), "-o", str(tmp_path / "out"),
    ]  # fmt: skip
    chain, passed_on = CliRunner().invoke(app, arguments).exception.args
    assert chain.scale.start_steps == 6000 and chain.scale.keep_every_steps == 1500
    assert chain.recipe(Job("S", 0), chain.scale, None).steps == 6000
    assert " --start-steps 6000 " in chain.command
    assert passed_on[passed_on.index("--start-steps") + 1] == "6000"


def test_a_damaged_state_says_so(tmp_path):
    (tmp_path / "row.json").write_text("{")
    with pytest.raises(OutputError, match="cannot be read"):
        RowState(tmp_path, "key").read()
