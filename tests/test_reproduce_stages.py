"""The chain from S's choice to the page, trained and judged for real at a size that takes no time."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from test_reproduce import data, lm, small_chain, small_size  # noqa: F401 (fixtures)
from uniwhisper.core.errors import DeviceMemoryError, OutputError, RecipeError
from uniwhisper.data.manifest import Manifest
from uniwhisper.evaluation import ladder, selection
from uniwhisper.evaluation.encoders import open_encoder
from uniwhisper.evaluation.runner import evaluate
from uniwhisper.evaluation.suites import SuiteError, load_suite
from uniwhisper.model.config import WHISPER_SIZES
from uniwhisper.model.weights import load_encoder
from uniwhisper.reproduce import start
from uniwhisper.reproduce.chain import Chain
from uniwhisper.reproduce.collected import collect
from uniwhisper.reproduce.start import require_development
from uniwhisper.reproduce.table import summarise, write

ROWS = ["S", "U", "log-mel"]


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Probes of a few steps: these tests ask where numbers go, not how good they are."""
    monkeypatch.setattr(selection, "LEAST_STEPS", 8)
    monkeypatch.setattr(ladder, "DOUBLINGS", 0)


def gated(data: Path, lm: Path, output: Path, **scale) -> Chain:  # noqa: F811
    chain = small_chain(data, lm, output)
    changes = {"gate_steps": 1, "steps": 2, "conditions": ("decoded",), "asked_clips": 2} | scale
    return replace(chain, scale=replace(chain.scale, **changes))


def test_the_chain_from_the_choice_of_s_to_the_page(data, lm, tmp_path, monkeypatch):  # noqa: F811
    chain = gated(data, lm, tmp_path / "out")
    said = []
    # The later model is made the worse one, as a run that learnt its training speech by heart would have it.
    real = start._judged
    judged_for_real = {}

    def judged(model, found, *rest):
        given = real(model, found, *rest)
        judged_for_real[model.name, found.task.name] = {measure: score for measure, (score, _) in given.items()}
        worse = {measure: (score - 0.5, drawn - 0.5) for measure, (score, drawn) in given.items()}
        return given if model.name.endswith("03") else worse

    monkeypatch.setattr(start, "_judged", judged)
    done = chain.run(ROWS, [0], said.append)
    steps = {one.job.row: one.steps for one in done}
    assert steps == {"S": 3, "U": 2, "log-mel": 0}
    taken = tmp_path / "out" / "S-seed0" / "run" / "models" / "step-00000003"
    started = json.loads((tmp_path / "out" / "U-seed0" / "run" / "run.json").read_text())["recipe"]["model"]["start"]
    assert Path(started) == taken
    assert load_encoder(taken).identity != load_encoder(taken.with_name("step-00000006")).identity

    # What chose S is what the judge itself says of that model on the development suite's speech.
    development = load_suite(chain.scale.development)
    assert {name for _, name in judged_for_real} == {"made_speech"}
    whole = evaluate(open_encoder(str(taken), device="cpu"), development, chain.development, cache=None)
    (speech,) = [task for task in whole.result["tasks"] if task["name"] == "made_speech"]
    for measure, score in judged_for_real["step-00000003", "made_speech"].items():
        assert score == pytest.approx(speech["scores"]["mean"][measure]["score"])

    gate = json.loads((tmp_path / "out" / "gate.json").read_text())
    assert gate["passed"] and gate["steps"] == 1 and not gate["went_on"]
    for side, row in (("frozen", "U"), ("trained", "LM-pretrained-trained")):
        result = json.loads((tmp_path / "out" / gate["results"][row]).read_text())
        assert result["suite"]["name"] == "smoke-development"
        for measure, one in gate["measures"].items():
            assert one[side] == result["averages"]["headline"]["mean"][measure]["score"]
    assert said.index("U-seed0: training 2 steps") > max(n for n, line in enumerate(said) if line.startswith("gate:"))

    summary = summarise(chain, done)
    page = write(chain, summary).read_text()
    headings = re.findall(r"^## (.+)$", page, re.MULTILINE)
    assert {"The gate before the long runs", "Where S is taken", "Content tasks", "Layers", "Robustness"} <= set(
        headings
    )
    (line,) = [line for line in page.splitlines() if line.endswith("| **S** |")]
    assert line.startswith("| 0 | 3 | ")
    for linked in re.findall(r"\]\(([^)]+)\)", page):
        assert (tmp_path / "out" / linked).is_file(), linked
    # A second start finds everything done.
    again = []
    assert chain.run(ROWS, [0], again.append) == done and again == []
    assert chain.run(["log-mel"], [0], again.append) == done and again == [], "no row is lost from the table"
    chain.run(["S-long", "S-longer"], [0], again.append, judge=False)
    assert "S-long-seed0: training 5 steps" in again, "as many as S and U"
    assert "S-longer-seed0: training 9 steps" in again, "as many as S and U-long"

    # Results without the models, as they come from another machine, give the same page; those of another plan none.
    gathered = replace(chain, output=tmp_path / "elsewhere")
    shutil.copytree(chain.output, gathered.output, ignore=shutil.ignore_patterns("*.safetensors", "decoded", "vectors"))
    brought = collect(gathered)
    assert [one.job for one in brought] == [one.job for one in done], "what is trained and not judged is no row yet"
    assert summarise(gathered, brought) == summary
    longer = gathered.output / "S-longer-seed0"
    scores = json.loads((gathered.output / "S-seed0" / "row.json").read_text())["judged"]
    for name in scores["files"]:
        shutil.copy(gathered.output / "S-seed0" / name, longer)
    trained = json.loads((longer / "row.json").read_text())
    (longer / "row.json").write_text(json.dumps(trained | {"judged": scores}))
    assert [(one.job.row, one.steps) for one in collect(gathered) if one.job not in [d.job for d in done]] == [
        ("S-longer", 9)
    ]
    shutil.rmtree(longer)
    for path in gathered.output.glob("*/run/run.json"):  # as it was written before there was the field
        written = json.loads(path.read_text())
        del written["recipe"]["optimizer"]["ema_decay"]
        path.write_text(json.dumps(written))
    assert [one.job for one in collect(gathered)] == [one.job for one in done]
    shutil.rmtree(gathered.output / "gate" / "U-seed0")
    assert "Results: U, [LM-pretrained-trained](gate/" in write(gathered, summarise(gathered, brought)).read_text()
    longer = replace(gathered, scale=replace(gathered.scale, steps=7))
    with pytest.raises(OutputError, match="U-seed0 is not of this experiment") as refused:
        collect(longer)
    assert "recipe's steps: 7" in refused.value.expected and refused.value.got == "2"
    another = shutil.copytree(lm, tmp_path / "another_lm")
    weights = load_file(another / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in weights.items()}, another / "model.safetensors", {"format": "pt"})
    with pytest.raises(OutputError, match="U-seed0") as refused:
        collect(replace(gathered, scale=replace(gathered.scale, language_model=str(another))))
    assert refused.value.expected.startswith("language model's weights: ")
    with pytest.raises(OutputError, match="S-seed0") as refused:
        collect(replace(gathered, scale=replace(gathered.scale, suite=chain.scale.development)))
    assert refused.value.expected.startswith("suite: ")
    run = gathered.output / "U-seed0" / "run" / "run.json"
    told = run.read_text()
    run.write_text(json.dumps(json.loads(told) | {"learner": {"name": "multi-head"}}))
    with pytest.raises(OutputError, match="U-seed0") as refused:
        collect(gathered)
    assert refused.value.expected.startswith("learner: ") and "multi-head" in refused.value.got
    run.write_text(told)
    (gathered.output / "log-mel-seed0" / f"{load_suite(chain.scale.suite).name}.npz").write_bytes(b"cut")
    with pytest.raises(OutputError, match="log-mel-seed0"):
        collect(gathered)
    (gathered.output / "log-mel-seed0" / "row.json").write_text("{")
    with pytest.raises(OutputError, match=r"row\.json cannot be read"):
        collect(gathered)
    with pytest.raises(OutputError, match="nothing is judged"):
        collect(replace(gathered, output=tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("means", "last_spread", "taken"),
    [
        ((0.80, 0.90, 0.85), 0.01, 20),  # the last is lower, and shown to be: what clips do to all of them is no doubt
        ((0.80, 0.90, 0.85), 0.05, 30),  # lower, and not shown to be
        ((0.90, 0.80, 0.70), 0.01, 10),
        ((0.90, 0.90, 0.90), 0.00, 30),
    ],
)
def test_s_is_the_latest_that_is_not_shown_to_be_lower(data, lm, tmp_path, monkeypatch, means, last_spread, taken):  # noqa: F811
    chain = small_chain(data, lm, tmp_path)
    generator = np.random.default_rng(0)
    own, shared, apart = (draws - draws.mean() for draws in generator.normal(size=(3, 2000)))

    def judged(step, *_):
        drawn = means[step // 10 - 1] + 0.2 * shared + (last_spread * own if step == 30 else 0)
        # What the two measures have apart is opposite, so that only their mean is as sure as it is.
        sign = 1 if step == 30 else -1
        return {
            "knn": (means[step // 10 - 1] + 0.01, drawn + 0.01 + 0.3 * sign * apart),
            "linear": (means[step // 10 - 1] - 0.01, drawn - 0.01 - 0.3 * sign * apart),
        }

    monkeypatch.setattr(start, "kept_model", lambda _, step: step)
    monkeypatch.setattr(start, "_judged", judged)
    found = start.choose_start(
        tmp_path, [10, 20, 30], load_suite(chain.scale.development), chain.development,
        cache=None, device=torch.device("cpu"),
    )  # fmt: skip
    assert found["step"] == taken
    assert [one["mean"] for one in found["candidates"]] == pytest.approx(list(means))
    expected = means[2] - max(means) + last_spread * np.quantile(own, [0.025, 0.975])
    assert found["candidates"][2]["minus_highest"] == pytest.approx(list(expected))
    page = "\n".join(start.markdown([{"seed": 0, "steps": 30} | found]))
    assert "| 0 | 30 | {:.3f} | [{:+.3f}, {:+.3f}] |".format(means[2], *expected) in page
    for one in found["candidates"]:  # as it was written when the highest was taken
        del one["minus_highest"]
    assert start.markdown([{"seed": 0, "steps": 30} | found])[-1].startswith(f"| 0 | 30 | {means[2]:.3f} | – | ")


def test_the_gate_stops_the_chain_unless_told_otherwise(data, lm, tmp_path):  # noqa: F811
    chain = gated(data, lm, tmp_path / "out", gate_within=-2.0, start_candidates=1)
    with pytest.raises(RecipeError, match="gate") as refused:
        chain.run(["U"], [0], lambda _: None, judge=False)
    assert "frozen 0." in refused.value.got and "--despite-gate" in refused.value.fix
    written = json.loads((tmp_path / "out" / "gate.json").read_text())
    assert not written["passed"] and not written["went_on"]
    assert not (tmp_path / "out" / "U-seed0").exists()
    chain.run(["S"], [0], lambda _: None, judge=False)  # nothing long in it

    said = []
    replace(chain, despite_gate=True).run(["U"], [0], said.append, judge=False)
    assert (tmp_path / "out" / "U-seed0" / "run" / "model").is_dir()
    assert json.loads((tmp_path / "out" / "gate.json").read_text())["went_on"]
    assert not any("gate: U-seed0: training" in line for line in said), "its runs were there"
    assert any("NOT passed; the chain went on" in line for line in said)


def test_a_row_that_finds_its_device_full_is_told_what_a_chain_can_do(data, lm, tmp_path, monkeypatch):  # noqa: F811
    from uniwhisper.training import loop

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    chain = gated(data, lm, tmp_path / "out")
    with monkeypatch.context() as patched:
        patched.setattr(loop, "train_step", full)
        with pytest.raises(DeviceMemoryError, match="S-seed0: this training does not fit") as caught:
            chain.run(["S"], [0], lambda _: None)
    assert "fewer --at-once" in caught.value.fix and "--set" not in caught.value.fix
    assert [one.steps for one in chain.run(["S"], [0], lambda _: None)]


def test_a_row_of_one_size_is_never_taken_for_anothers(data, lm, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setitem(WHISPER_SIZES, "dash", replace(WHISPER_SIZES["dot"], layers=1))
    chain = gated(data, lm, tmp_path / "out", start_candidates=1)
    larger = replace(chain, scale=replace(chain.scale, size="dash"))
    chain.run(["S", "random", "log-mel"], [0], lambda _: None, judge=False)
    for row in ("S", "random", "log-mel"):
        with pytest.raises(OutputError, match="another plan"):
            larger.run([row], [0], lambda _: None, judge=False)


def test_a_development_suite_that_was_trained_on_is_refused(data, lm, tmp_path):  # noqa: F811
    chain = small_chain(data, lm, tmp_path / "out")
    require_development(chain.scale, chain.development, chain.manifest)
    for folds in (None, 5):
        with pytest.raises(RecipeError, match="trained on"):
            changed = replace(chain.scale, data=replace(chain.scale.data, holdout_folds=folds))
            require_development(changed, chain.development, chain.manifest)
    with pytest.raises(RecipeError, match="training sets are not in a folder"):
        require_development(chain.scale, None, chain.manifest)
    with pytest.raises(SuiteError, match="made_speech of suite smoke-development missing") as missing:
        require_development(chain.scale, data / "evaluation", chain.manifest)
    assert "--development" in missing.value.fix
    suite = json.loads(Path(chain.scale.development).read_text())
    suite["tasks"][0]["recordings_also_in"] = ["made_music"]
    (tmp_path / "heard.json").write_text(json.dumps(suite))
    heard = replace(chain, scale=replace(chain.scale, development=str(tmp_path / "heard.json")))
    with pytest.raises(SuiteError, match="recordings were trained on"):
        heard.run(["S"], [0], lambda _: None, judge=False)
    assert not (tmp_path / "out").exists()
    # A corpus of which every clip was left out is still described in the manifest.
    manifest = chain.manifest
    others = [record for record in manifest.records if record.corpus != "made_music"]
    require_development(heard.scale, heard.development, Manifest.of(others, manifest.corpora, manifest.root, []))
