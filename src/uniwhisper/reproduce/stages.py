"""The stages of a job: trained, chosen, judged, answered, examined. Each is written down when it is done."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniwhisper.core.errors import DeviceMemoryError
from uniwhisper.core.provenance import git_commit
from uniwhisper.evaluation.cache import VectorCache
from uniwhisper.evaluation.check import checked
from uniwhisper.evaluation.encoders import FLOOR, JudgedEncoder, open_encoder
from uniwhisper.evaluation.kept import Kept
from uniwhisper.evaluation.results import clips_path, write_result
from uniwhisper.evaluation.runner import evaluate
from uniwhisper.evaluation.suites import load_suite
from uniwhisper.reproduce import answered, examined, start
from uniwhisper.reproduce.job import Done, Job, Made
from uniwhisper.reproduce.rows import ROWS
from uniwhisper.reproduce.scale import Scale
from uniwhisper.reproduce.state import RowState
from uniwhisper.training.loop import train
from uniwhisper.training.recipe import Recipe
from uniwhisper.training.record import read_metrics
from uniwhisper.training.run_folder import kept_model

if TYPE_CHECKING:
    from uniwhisper.reproduce.chain import Chain

Say = Callable[[str], None]


def train_row(
    chain: "Chain", job: Job, scale: Scale, recipe: Recipe | None, state: RowState, say: Say
) -> Mapping[str, Any]:
    """Train a job, or name the model of one that is not trained; returns model, steps, audio and time."""
    facts: dict[str, Any] = {"steps": 0, "audio_seconds": 0.0, "train_seconds": 0.0}
    if recipe is None:
        facts["model"] = _untrained(job, scale)
        state.finish("trained", facts, [])
        return facts
    say(f"{job.folder_name}: training {recipe.steps:,} steps")
    run = state.folder / "run"
    try:
        model = train(
            recipe,
            chain.manifest,
            run,
            resume=(run / "run.json").is_file(),
            device=chain.device,
            cache=chain.cache,
            console=chain.console,
            learner=chain.learners.of(ROWS[job.row]),
        )
    except DeviceMemoryError as error:  # what a run of its own is told is no option of a chain
        fix = "free the device of other programs, or fewer --at-once, and type the same again: it goes on"
        raise DeviceMemoryError(
            f"{job.folder_name}: {error.problem}", expected=error.expected, got=error.got, fix=fix
        ) from error
    facts |= _heard(run, recipe.steps) | {"model": model.relative_to(chain.output).as_posix()}
    files = [path for folder in (model, run / "models") for path in folder.rglob("*") if path.is_file()]
    state.finish("trained", facts, sorted(files))
    return facts


def choose(chain: "Chain", job: Job, scale: Scale, state: RowState, say: Say) -> Mapping[str, Any]:
    """Choose S among the models that its run kept; returns model, steps, audio and time of the chosen one."""
    assert chain.development is not None, "asked for before training"
    run = state.folder / "run"
    steps = range(scale.keep_every_steps, scale.start_steps + 1, scale.keep_every_steps)
    say(f"{job.folder_name}: choosing among {len(steps)} models")
    found = start.choose_start(
        run, steps, load_suite(scale.development), chain.development,
        cache=VectorCache(chain.output / "vectors"), device=chain.device,
    )  # fmt: skip
    model = kept_model(run, found["step"]).relative_to(chain.output).as_posix()
    facts = {"model": model, **_heard(run, found["step"]), "choice": found}
    state.finish("chosen", facts, [])
    say(f"{job.folder_name}: taken after {found['step']:,} of {scale.start_steps:,} steps")
    return facts


def finish(chain: "Chain", job: Job, made: Made, say: Say) -> Done:
    """Judge a trained job; ask and examine it where it is the row for that."""
    judged = made.state.done("judged") or judge(chain, job, made, say)
    if job.row == answered.ROW and made.state.done("answered") is None:
        _answer(chain, job, made, say)
    if job == examined.job_of(chain.scale) and made.state.done("examined") is None:
        _examine(chain, job, made, say)
    return Done(
        job=job,
        steps=made.steps,
        audio_seconds=made.audio_seconds,
        train_seconds=made.train_seconds,
        model=made.model,
        result=made.state.folder / judged["result"],
        commit=judged["commit"],
    )


def judge(chain: "Chain", job: Job, made: Made, say: Say) -> Mapping[str, Any]:
    """Score a job's model on the chain's suite; returns the result's name and the commit."""
    suite = load_suite(chain.scale.suite)
    say(f"{job.folder_name}: judging on {suite.name}")
    encoder = _opened(chain, job, made)
    vectors = VectorCache(chain.output / "vectors")
    judgement = evaluate(
        encoder,
        suite,
        chain.evaluation,
        cache=vectors,
        kept=Kept(vectors.folder / "tasks"),
        model_folder=_folder_of(chain, made),
        command=f"{chain.command} --row {job.row} --seed {job.seed}",
        device=chain.device,
        check=checked(encoder.encoder, vectors.folder),
    )
    path = made.state.folder / f"{suite.name}.json"
    write_result(path, judgement, overwrite=True)
    judged = {"result": path.name, "commit": git_commit()}
    made.state.finish("judged", judged, [path, clips_path(path)])
    return judged


def _answer(chain: "Chain", job: Job, made: Made, say: Say) -> None:
    folds = chain.scale.data.holdout_folds
    if folds is None:
        say(f"{job.folder_name}: not asked, for no clip was held out")
        return
    say(f"{job.folder_name}: asking about held-out clips")
    files = answered.answer_row(
        chain.found(made.model), chain.manifest, folds, made.state.folder,
        most=chain.scale.asked_clips, device=chain.device, name=job.folder_name, seed=job.seed,
    )  # fmt: skip
    made.state.finish("answered", {}, files)


def _examine(chain: "Chain", job: Job, made: Made, say: Say) -> None:
    say(f"{job.folder_name}: examining layer by layer and on altered clips")
    files = examined.examine_row(
        _opened(chain, job, made), chain.scale, chain.evaluation, made.state.folder,
        cache=VectorCache(chain.output / "vectors"), model_folder=_folder_of(chain, made), device=chain.device,
    )  # fmt: skip
    made.state.finish("examined", {}, files)


def _opened(chain: "Chain", job: Job, made: Made) -> JudgedEncoder:
    encoder = open_encoder(chain.found(made.model), device=chain.device.type)
    return replace(encoder, label=job.folder_name, source=made.model)


def _folder_of(chain: "Chain", made: Made) -> Path | None:
    folder = chain.output / made.model
    return folder if folder.is_dir() else None


def _heard(run: Path, step: int) -> dict[str, Any]:
    """Steps, audio and time of a run up to a step that it wrote a line about."""
    line = next(line for line in reversed(read_metrics(run)) if line["step"] == step and "audio_seconds" in line)
    return {"steps": step} | {name: line[name] for name in ("audio_seconds", "train_seconds")}


def _untrained(job: Job, scale: Scale) -> str:
    if job.row == "log-mel":
        return FLOOR
    if job.row == "S":
        assert scale.start is not None, "S is trained unless it is given"
        return scale.start
    return f"random:{scale.size}:{job.seed}"
