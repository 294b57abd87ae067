"""The training loop: freezing, normalisation, skipping, resuming after a real kill."""

import io
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

from conftest import REPOSITORY
from small import QUIET, prepared_corpus, write_encoder, write_language_model
from uniwhisper.core import seldom
from uniwhisper.core.errors import DeviceMemoryError, OutputError, RecipeError, UserError
from uniwhisper.core.identity import code_identity, hash_json
from uniwhisper.data.config import AugmentConfig, DataConfig
from uniwhisper.data.manifest import Manifest
from uniwhisper.model.language_model import FrozenLanguageModel
from uniwhisper.model.weights import load_encoder, packaged_default
from uniwhisper.recipes import load_recipe
from uniwhisper.recipes.mini import mini
from uniwhisper.training.build import build_model
from uniwhisper.training.card import run_card
from uniwhisper.training.checkpoint import Progress
from uniwhisper.training.learner import INSTRUCTIONS
from uniwhisper.training.loop import train
from uniwhisper.training.optimizer import build_optimizer, rate_fraction
from uniwhisper.training.overrides import override
from uniwhisper.training.recipe import WITHOUT_EFFECT_ON_RESULT, LoopConfig, ModelConfig, OptimizerConfig, Recipe
from uniwhisper.training.record import read_metrics
from uniwhisper.training.step import train_step

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    return prepared_corpus(tmp_path_factory.mktemp("corpora"))


@pytest.fixture(scope="module")
def language_model_folder(tmp_path_factory) -> Path:
    folder = write_language_model(tmp_path_factory.mktemp("lm"))
    write_encoder(folder.parent / "start")
    return folder


@pytest.fixture
def recipe(language_model_folder) -> Recipe:
    return short_recipe(language_model_folder)


def short_recipe(language_model_folder: Path) -> Recipe:
    """`mini` cut down to seconds on a CPU; everything that is random in it stays on."""
    return override(
        load_recipe("mini"),
        [
            "steps=8",
            f"model.language_model={language_model_folder}",
            f"model.start={language_model_folder.parent / 'start'}",
            "model.encoder_size=None",
            "model.adapter_hidden_width=32",
            'data.domain_weights={"sound": 1.0}',
            "data.clips_per_step=4",
            "data.group_steps=2",
            "optimizer.warmup_steps=2",
            "loop.log_every_steps=1",
            "loop.checkpoint_every_steps=2",
            "loop.validate_every_steps=None",
            "loop.workers=0",
            "loop.audio=loader",
        ],
    )


def run(recipe: Recipe, prepared: Path, output: Path, **options) -> Path:
    settings = {"resume": False, "device": CPU, "cache": None, "console": QUIET}
    return train(recipe, Manifest.read(prepared), output, **{**settings, **options})


COMMAND = """
import sys, torch
from pathlib import Path
sys.path.insert(0, {tests!r})
torch.set_num_threads(1)
from test_training import run, short_recipe
run(short_recipe(Path({lm!r})), Path({prepared!r}), Path({output!r}), resume={resume})
"""


def start_process(language_model_folder: Path, prepared: Path, output: Path, *, resume: bool) -> subprocess.Popen:
    code = COMMAND.format(
        tests=str(Path(__file__).parent),
        lm=str(language_model_folder),
        prepared=str(prepared),
        output=str(output),
        resume=resume,
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True)


def figures(folder: Path) -> list[tuple]:
    """What must be equal bit for bit, step by step; wall times are not. Lines of held-out clips are left out."""
    lines = [line for line in read_metrics(folder) if "held_out_loss_by_domain" not in line]
    return [(line["step"], line["loss"], line["gradient_norm"], line["examples"]) for line in lines]


def test_losses_after_kill_minus_9_equal_the_uninterrupted_run_bit_for_bit(language_model_folder, prepared, tmp_path):
    whole = start_process(language_model_folder, prepared, tmp_path / "whole", resume=False)
    killed = start_process(language_model_folder, prepared, tmp_path / "killed", resume=False)
    # Kill when at least one checkpoint lies behind and the step after it has been logged.
    deadline = time.monotonic() + 120
    while len(read_metrics(tmp_path / "killed")) < 5 and killed.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert killed.poll() is None, f"the run ended before it could be killed: {killed.communicate()[1]}"
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    done_before = len(read_metrics(tmp_path / "killed"))
    assert not (tmp_path / "killed" / "model").exists()

    resumed = start_process(language_model_folder, prepared, tmp_path / "killed", resume=True)
    _, errors = resumed.communicate()
    assert resumed.returncode == 0, errors
    _, errors = whole.communicate()
    assert whole.returncode == 0, errors
    assert done_before < 8
    assert [step for step, *_ in figures(tmp_path / "killed")] == list(range(1, 9))
    assert figures(tmp_path / "killed") == figures(tmp_path / "whole")
    assert load_encoder(tmp_path / "killed/model").identity == load_encoder(tmp_path / "whole/model").identity


def test_a_run_changes_encoder_and_adapter_only_and_exports_what_it_trained(recipe, prepared, tmp_path):
    before = build_model(recipe, CPU)
    folder = run(recipe, prepared, tmp_path / "run")
    config = json.loads((folder / "config.json").read_text())
    assert config["language_model"]["identity"] == before.language_model.identity()
    trained = load_encoder(folder).encoder
    changed = [
        not torch.equal(old.half(), new.half())
        for (name, old), new in zip(before.encoder.named_parameters(), trained.parameters(), strict=True)
        if old.requires_grad
    ]
    assert all(changed)
    described = json.loads((tmp_path / "run/run.json").read_text())
    assert described["recipe"] == json.loads(json.dumps(recipe.to_json()))
    assert described["manifest_hash"] == Manifest.read(prepared).hash
    assert described["device"] == "CPU" and described["parameters"]["language_model"]["trained"] == 0
    assert described["parameters"]["adapter"]["trained"] == sum(p.numel() for p in before.adapter.parameters())
    assert described["provenance"]["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert (tmp_path / "run/loss.png").stat().st_size > 1000
    # The exported folder is itself a start: encoder, adapter and language model come from it.
    again = override(recipe, [f"model.start={folder}", "model.encoder_size=None", "model.language_model=None"])
    rebuilt = build_model(again, CPU)
    exported_adapter = rebuilt.adapter.widen.weight
    assert not torch.equal(exported_adapter, before.adapter.widen.weight)


def test_the_card_names_the_code_of_the_run_and_no_place_of_a_machine(recipe, prepared, tmp_path):
    folder = tmp_path / "runs" / "start"
    folder.mkdir(parents=True)
    elsewhere = replace(recipe, model=replace(recipe.model, start=str(folder), encoder_size=None))
    progress = Progress(step=8, audio_seconds=60.0, train_seconds=30.0, threads=1)
    manifest = Manifest.read(prepared)
    trained = {"provenance": {"commit": "c" * 40, "code": "0.0+trained"}}
    card = run_card(elsewhere, manifest, progress, trained)
    assert f"commit: `{'c' * 40}`; code `0.0+trained`, finished with `{code_identity()}`" in card
    assert "start: `start`" in card and recipe.model.language_model is not None
    assert str(tmp_path) not in card and str(Path(recipe.model.language_model).parent) not in card
    assert "commit: `unknown`" in run_card(recipe, manifest, progress, {"provenance": {"commit": None}})
    at_hub = replace(recipe, model=replace(recipe.model, language_model="Qwen/Qwen3-0.6B"))
    assert '"language_model": "Qwen/Qwen3-0.6B"' in run_card(at_hub, manifest, progress, trained)


def test_no_language_model_parameter_is_in_the_optimizer(recipe):
    model = build_model(recipe, CPU)
    optimizer = build_optimizer(model, recipe.optimizer)
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    expected = [*model.encoder.parameters(), *model.adapter.parameters()]
    assert held == {id(parameter) for parameter in expected if parameter.requires_grad}


def one_batch(recipe: Recipe, prepared: Path, model):
    from uniwhisper.data.loader import step_batches

    batches = step_batches(
        Manifest.read(prepared),
        model.language_model.tokenizer,
        recipe.data,
        seed=0,
        start_step=0,
        stop_step=1,
        workers=0,
        cache=None,
    )
    return next(iter(batches))[1]


@pytest.mark.parametrize("normalisation", ["example", "token"])
def test_micro_batches_give_the_gradient_of_the_whole_batch(recipe, prepared, normalisation):
    """Answers of unequal length, so averaging per micro-batch would give another gradient."""
    gradients = []
    for micro_batches in (1, 2, 4):
        changed = override(recipe, [f"loop.loss_normalisation={normalisation}", f"loop.micro_batches={micro_batches}"])
        model = build_model(changed, CPU)
        batch = one_batch(changed, prepared, model)
        assert len({int(count) for count in batch.loss_mask_RL.sum(dim=1)}) > 1
        train_step(model, build_optimizer(model, changed.optimizer), batch, changed, CPU)
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    for other in gradients[1:]:
        assert (other - gradients[0]).norm() <= 1e-5 * gradients[0].norm()


def test_a_nonfinite_step_moves_no_weight_and_names_the_example(recipe, prepared):
    model = build_model(recipe, CPU)
    optimizer = build_optimizer(model, recipe.optimizer)
    batch = one_batch(recipe, prepared, model)
    wave_BS = batch.wave_BS.clone()
    wave_BS[2, :50] = float("nan")
    before = [parameter.clone() for parameter in model.encoder.parameters()]
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    result = train_step(model, optimizer, replace(batch, wave_BS=wave_BS), recipe, CPU)
    assert not result.applied
    assert [math.isfinite(value) for value in result.loss_sums] == [clip != 2 for clip in batch.clip_R.tolist()]
    assert 2 in batch.clip_R.tolist()
    assert all(torch.equal(old, new) for old, new in zip(before, model.encoder.parameters(), strict=True))
    assert train_step(model, optimizer, batch, recipe, CPU).applied
    assert not torch.equal(before[0], next(model.encoder.parameters()))


def test_nonfinite_steps_in_a_row_stop_the_run(recipe, prepared, tmp_path, monkeypatch):
    import uniwhisper.training.step as step

    original = step.log_mel

    def broken(*arguments, **options):
        mel, counts = original(*arguments, **options)
        return mel * float("inf"), counts

    monkeypatch.setattr(step, "log_mel", broken)
    with pytest.raises(RecipeError, match="3 steps in a row were not finite") as caught:
        run(override(recipe, ["loop.max_nonfinite_steps=3"]), prepared, tmp_path / "run")
    assert "tones/clip" in str(caught.value)
    skipped = [line for line in read_metrics(tmp_path / "run") if "skipped" in line]
    assert [line["step"] for line in skipped] == [1, 2, 3] and all(line["example_ids"] for line in skipped)
    assert all(line["loss"] is None for line in read_metrics(tmp_path / "run") if "loss" in line)


def test_learning_rate_warms_up_and_decays_to_the_final_fraction(recipe):
    config = replace(recipe.optimizer, warmup_steps=4, final_fraction=0.1)
    rates = [rate_fraction(step, 104, config) for step in range(105)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[54] == pytest.approx(0.1 + 0.9 * 0.5)
    assert rates[104] == pytest.approx(0.1)
    assert all(later <= earlier for earlier, later in pairwise(rates[4:]))


def test_what_may_not_be_resumed(recipe, prepared, tmp_path):
    with pytest.raises(RecipeError, match="nothing to resume"):
        run(recipe, prepared, tmp_path / "run", resume=True)
    run(override(recipe, ["steps=2"]), prepared, tmp_path / "run")
    with pytest.raises(OutputError, match="--resume"):
        run(recipe, prepared, tmp_path / "run")
    with pytest.raises(RecipeError, match=r"another recipe\n.*\n.*: seed \d+ -> 5\n") as caught:
        run(override(recipe, ["steps=2", "seed=5"]), prepared, tmp_path / "run", resume=True)
    typed = re.findall(r"--set (\w\S*=[^\s)]+)", caught.value.fix)
    further = override(recipe, ["steps=1", *typed])  # what it says to type trains on from there
    assert further.model.start == str(tmp_path / "run" / "model") and further.model.encoder_size is None
    assert run(further, prepared, tmp_path / "further").is_dir()
    checkpoint = max((tmp_path / "run/checkpoints").iterdir())
    (checkpoint / "optimizer.safetensors").write_bytes(b"cut")
    with pytest.raises(RecipeError, match="cannot be resumed"):
        run(override(recipe, ["steps=2"]), prepared, tmp_path / "run", resume=True)


def test_what_is_logged_does_not_depend_on_where_a_run_was_interrupted(recipe, prepared, tmp_path, monkeypatch):
    import uniwhisper.training.loop as loop

    changed = override(recipe, ["steps=6", "loop.log_every_steps=2", "loop.checkpoint_every_steps=2"])
    run(changed, prepared, tmp_path / "whole")
    original = loop.train_step

    def stop_inside_an_interval(model, optimizer, batch, *rest, calls=[0]):  # noqa: B006
        calls[0] += 1
        if calls[0] == 4:
            raise KeyboardInterrupt
        return original(model, optimizer, batch, *rest)

    monkeypatch.setattr(loop, "train_step", stop_inside_an_interval)
    with pytest.raises(KeyboardInterrupt):
        run(changed, prepared, tmp_path / "stopped")
    monkeypatch.undo()
    run(changed, prepared, tmp_path / "stopped", resume=True)
    assert figures(tmp_path / "stopped") == figures(tmp_path / "whole")
    with pytest.raises(RecipeError, match="multiple of"):
        override(recipe, ["loop.log_every_steps=3", "loop.checkpoint_every_steps=4"])


def test_a_device_that_is_too_small_is_told_with_what_takes_less_and_the_run_goes_on(
    recipe, prepared, tmp_path, monkeypatch
):
    import uniwhisper.training.loop as loop

    changed = override(recipe, ["steps=4", "loop.log_every_steps=2", "loop.checkpoint_every_steps=2"])
    run(changed, prepared, tmp_path / "whole")
    original = loop.train_step

    def small(model, optimizer, batch, recipe, *more):
        """A device with room for half of a step; full from the third on."""
        if recipe.loop.micro_batches < 2 and any(state["step"] >= 2 for state in optimizer.state.values()):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return original(model, optimizer, batch, recipe, *more)

    monkeypatch.setattr(loop, "train_step", small)
    with pytest.raises(DeviceMemoryError) as caught:
        run(changed, prepared, tmp_path / "run")
    assert "does not fit into the memory of cpu" in caught.value.problem
    assert "with --resume and --set loop.micro_batches=2" in caught.value.fix
    run(override(changed, ["loop.micro_batches=2"]), prepared, tmp_path / "run", resume=True)
    whole, cut = ([line["loss"] for line in read_metrics(tmp_path / name)] for name in ("whole", "run"))
    assert cut[0] == whole[0] and cut[1] == pytest.approx(whole[1], rel=1e-5)


def test_other_errors_of_a_step_are_none_of_memory(recipe, prepared, tmp_path, monkeypatch):
    import uniwhisper.training.loop as loop

    def broken(*_):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(loop, "train_step", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        run(recipe, prepared, tmp_path / "run")


def test_a_run_is_not_resumed_with_another_language_model(recipe, prepared, language_model_folder, tmp_path):
    folder = tmp_path / "lm"
    shutil.copytree(language_model_folder, folder)
    changed = override(recipe, ["steps=2", f"model.language_model={folder}"])
    run(changed, prepared, tmp_path / "run")
    weights = next(folder.glob("*.safetensors"))
    tensors = load_file(weights)
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, weights, {"format": "pt"})
    with pytest.raises(RecipeError, match="another language model"):
        run(changed, prepared, tmp_path / "run", resume=True)


def test_a_mistake_found_late_leaves_no_run_folder(recipe, prepared, tmp_path):
    for mistake in ('data.domain_weights={"music": 1.0}', "data.mel_bins=128"):
        with pytest.raises(UserError):
            run(override(recipe, [mistake]), prepared, tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_damaged_run_folder_is_one_error(recipe, prepared, tmp_path):
    run(override(recipe, ["steps=2"]), prepared, tmp_path / "run")
    for content in ("{", "{}", "[]"):
        (tmp_path / "run/run.json").write_text(content)
        with pytest.raises(RecipeError, match=r"run\.json cannot be read"):
            run(override(recipe, ["steps=2"]), prepared, tmp_path / "run", resume=True)


def test_the_adapter_comes_along_with_its_language_model_only(recipe, prepared, tmp_path):
    recipe = override(recipe, ["model.adapter_unit_means=None"])
    several = override(recipe, ["steps=2", "data.mean_share=0.9", "model.adapter_mean_tokens=3"])
    folder = run(several, prepared, tmp_path / "run")
    from_it = override(recipe, [f"model.start={folder}", "model.adapter_mean_tokens=None"])
    adapter = build_model(from_it, CPU).adapter
    written = load_file(folder / "adapter.safetensors")
    assert set(written) == set(adapter.state_dict())
    assert all(torch.equal(weight, written[name].float()) for name, weight in adapter.state_dict().items())
    for share, trained in (("0", False), ("0.9", True)):
        model = build_model(override(from_it, [f"data.mean_share={share}"]), CPU)
        assert {weight.requires_grad for weight in model.adapter.project_means.parameters()} == {trained}
    with pytest.raises(RecipeError, match="does not fit the recipe"):
        build_model(override(from_it, ["model.adapter_mean_tokens=2"]), CPU)
    config = json.loads((folder / "config.json").read_text())
    config["language_model"]["identity"] = "another"
    (folder / "config.json").write_text(json.dumps(config))
    alone = build_model(from_it, CPU).adapter
    assert alone.config.mean_tokens == 1
    assert not torch.equal(adapter.widen.weight, alone.widen.weight)


def test_a_run_through_the_packaged_language_model_leaves_it_in_its_folder(tmp_path):
    recipe = override(mini(), ["model.language_model=default", "model.encoder_size=tiny", "loop.precision=float32"])
    model = build_model(recipe, CPU)
    INSTRUCTIONS.export(model, tmp_path / "model", recipe, card="")
    packaged = FrozenLanguageModel.load(packaged_default() / "lm").identity()
    assert model.language_model.identity() == packaged
    assert FrozenLanguageModel.load(tmp_path / "model" / "lm").identity() == packaged


DIRECTIONS = ["data.mean_share=0.9", "model.adapter_unit_means=true", "loop.micro_batches=2"]


def test_a_run_of_directions_goes_on_exactly_and_its_folder_says_so(recipe, prepared, tmp_path):
    changed = override(recipe, [*DIRECTIONS, "steps=4", "loop.checkpoint_every_steps=2"])
    folder = run(changed, prepared, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "stopped")
    shutil.rmtree(tmp_path / "stopped/checkpoints/step-00000004")
    run(changed, prepared, tmp_path / "stopped", resume=True)
    ends = [
        load_file(tmp_path / name / "checkpoints/step-00000004/adapter.safetensors") for name in ("whole", "stopped")
    ]
    assert int(ends[0]["standard.batches"]) == 4
    assert ends[0]["standard.mean_D"].any()
    assert all(torch.equal(tensor, ends[1][name]) for name, tensor in ends[0].items())
    from_it = [f"model.start={folder}", "model.adapter_unit_means=None"]
    assert build_model(override(changed, from_it), CPU).adapter.config.unit_means
    with pytest.raises(RecipeError, match="does not fit the recipe"):
        build_model(override(changed, [from_it[0], "model.adapter_unit_means=false"]), CPU)
    with pytest.raises(RecipeError, match="asked of a mean"):
        override(changed, ["data.mean_share=0"])


def test_a_step_that_is_skipped_is_in_no_standard(recipe, prepared):
    changed = override(recipe, DIRECTIONS)
    model = build_model(changed, CPU)
    batch = one_batch(changed, prepared, model)
    batch.wave_BS[0] = torch.nan
    result = train_step(model, build_optimizer(model, changed.optimizer), batch, changed, CPU)
    assert not result.applied
    assert not model.adapter.standard.mean_D.any()
    assert not model.adapter.standard.batches


def test_later_fields_left_alone_are_no_other_recipe(recipe):
    """A run that was begun before there were the fields goes on."""
    alone = override(recipe, ["model.adapter_unit_means=None"])
    told = alone.to_json()
    del told["model"]["adapter_unit_means"]
    del told["optimizer"]["ema_decay"]
    del told["data"]["augment"]["repeat_probability"], told["data"]["augment"]["repeat_max_seconds"]
    told["loop"] = {name: part for name, part in told["loop"].items() if name not in WITHOUT_EFFECT_ON_RESULT}
    assert alone.identity() == hash_json(told)
    assert override(alone, DIRECTIONS[:2]).identity() != override(alone, DIRECTIONS[:1]).identity()
    assert override(alone, ["data.augment.repeat_probability=0.1"]).identity() != alone.identity()


def test_a_recipe_that_was_written_down_is_still_the_one_it_was():
    """Of a run of the repository's results: whatever field comes later, it must not make it another."""
    path = REPOSITORY / "docs/measured/miniature/longer/tiny/U-long-seed0/run/run.json"
    written = json.loads(path.read_text(encoding="utf-8"))["recipe"]
    told = json.loads(json.dumps(written))
    told["loop"] = {name: part for name, part in told["loop"].items() if name not in WITHOUT_EFFECT_ON_RESULT}
    told["loop"]["micro_batches"] = 1
    assert told["optimizer"].pop("ema_decay") is None
    data = {**written["data"], "augment": AugmentConfig(**written["data"]["augment"])}
    parts = {"model": ModelConfig, "optimizer": OptimizerConfig, "loop": LoopConfig}
    read = {name: kind(**written[name]) for name, kind in parts.items()}
    assert Recipe(**{**written, **read, "data": DataConfig(**data)}).identity() == hash_json(told)


def test_held_out_clips_are_scored_without_augmentation(recipe, prepared, tmp_path):
    changed = override(recipe, ["steps=2", "data.holdout_folds=3", "loop.validate_every_steps=1"])
    run(changed, prepared, tmp_path / "run")
    lines = [
        line["held_out_loss_by_domain"] for line in read_metrics(tmp_path / "run") if "held_out_loss_by_domain" in line
    ]
    assert len(lines) == 2 and all(set(line) == {"sound"} and math.isfinite(line["sound"]) for line in lines)


WHEN_SCORED = ["steps=5", "data.holdout_folds=3", "loop.checkpoint_every_steps=2", "loop.validate_every_steps=2"]


@pytest.mark.parametrize(("interrupted", "done"), [(1, 2), (2, 4), (3, 5)])
def test_a_held_out_loss_that_is_interrupted_costs_no_step_and_is_said_once(
    recipe, prepared, tmp_path, monkeypatch, interrupted, done
):
    import uniwhisper.training.loop as loop

    changed = override(recipe, WHEN_SCORED)
    run(changed, prepared, tmp_path / "whole")
    scored, trained, originals = [], [], (loop.held_out_loss, loop.train_step)

    def interrupt(*arguments):
        scored.append(arguments)
        if len(scored) == interrupted:
            raise KeyboardInterrupt
        return originals[0](*arguments)

    def count(*arguments):
        trained.append(arguments)
        return originals[1](*arguments)

    monkeypatch.setattr(loop, "held_out_loss", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(changed, prepared, tmp_path / "stopped")
    monkeypatch.setattr(loop, "train_step", count)
    run(changed, prepared, tmp_path / "stopped", resume=True)
    assert len(trained) == 5 - done

    def told(folder: Path) -> list[dict]:
        timed = ("audio_seconds_per_second", "train_seconds")
        return [{key: value for key, value in line.items() if key not in timed} for line in read_metrics(folder)]

    assert [line["step"] for line in told(tmp_path / "whole")] == [1, 2, 2, 3, 4, 4, 5, 5]
    assert told(tmp_path / "stopped") == told(tmp_path / "whole")
    run(changed, prepared, tmp_path / "stopped", resume=True)  # of a run that is done: nothing is left to do
    assert told(tmp_path / "stopped") == told(tmp_path / "whole") and len(trained) == 5 - done


def test_what_takes_long_beside_the_steps_says_how_far_it_is(recipe, prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(seldom, "LINE_SECONDS", 0.0)
    said = Console(file=io.StringIO())
    changed = override(recipe, ["steps=1", "data.holdout_folds=3", "loop.validate_every_steps=1"])
    run(changed, prepared, tmp_path / "run", cache=tmp_path / "cache", console=said)
    records, lines = Manifest.read(prepared).records, said.file.getvalue().splitlines()
    assert f"decoding: {len(records)} of {len(records)} clips" in lines
    assert not any("codecs" in line for line in lines)
    held_out = sum(int(record.sha256[:8], 16) % 3 == 0 for record in records)
    assert f"held-out clips: {held_out}" in lines and held_out


def test_audio_on_the_device_goes_through_codecs_where_the_recipe_says_so(recipe, prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(seldom, "LINE_SECONDS", 0.0)
    said = Console(file=io.StringIO())
    changed = override(recipe, ["steps=2", "loop.audio=resident", "data.max_seconds=4"])
    losses = []
    for probability in (0, 1):
        coded = override(changed, [f"data.augment.codec_probability={probability}"])
        run(coded, prepared, tmp_path / str(probability), cache=tmp_path / "cache", console=said)
        losses.append(read_metrics(tmp_path / str(probability))[0]["loss"])
    clips = len(Manifest.read(prepared).records)
    assert said.file.getvalue().splitlines().count(f"through codecs: {clips} of {clips} clips") == 1
    assert losses[0] != losses[1]


def test_kept_models_are_those_of_their_steps(recipe, prepared, tmp_path):
    plain = "model.adapter_unit_means=false"  # else a standard is in the kept models' normalisation
    run(override(recipe, ["steps=4", "loop.keep_every_steps=2", plain]), prepared, tmp_path / "run")
    kept = [tmp_path / "run" / "models" / f"step-{step:08d}" for step in (2, 4)]
    assert sorted((tmp_path / "run" / "models").iterdir()) == kept
    checkpoint = load_file(tmp_path / "run" / "checkpoints" / "step-00000002" / "encoder.safetensors")
    stored = load_encoder(kept[0]).encoder.state_dict()
    assert all(torch.equal(checkpoint[name].half().float(), tensor.float()) for name, tensor in stored.items())
    assert load_encoder(kept[1]).identity == load_encoder(tmp_path / "run" / "model").identity
    assert "2 optimizer steps" in (kept[0] / "README.md").read_text()
    with pytest.raises(RecipeError, match="keep_every_steps"):
        override(recipe, ["loop.log_every_steps=2", "loop.keep_every_steps=3"])


@pytest.mark.gpu
def test_on_a_gpu_a_resumed_run_sees_the_same_examples_and_agrees_for_50_steps(recipe, prepared, tmp_path, monkeypatch):
    import uniwhisper.training.loop as loop

    gpu = torch.device("cuda")
    changed = override(recipe, ["steps=60", "loop.checkpoint_every_steps=10"])
    run(changed, prepared, tmp_path / "whole", device=gpu)
    original = loop.save_checkpoint

    def interrupt_after_the_first(*arguments, **options):
        original(*arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "save_checkpoint", interrupt_after_the_first)
    with pytest.raises(KeyboardInterrupt):
        run(changed, prepared, tmp_path / "stopped", device=gpu)
    monkeypatch.undo()
    run(changed, prepared, tmp_path / "stopped", device=gpu, resume=True)
    whole, resumed = read_metrics(tmp_path / "whole"), read_metrics(tmp_path / "stopped")
    assert [line["examples"] for line in resumed] == [line["examples"] for line in whole]
    for one, other in zip(whole[10:], resumed[10:], strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-3), one["step"]
