"""The chain: each (row, seed) is trained, then judged, in the order in which rows start from one another."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from uniwhisper.core.errors import RecipeError
from uniwhisper.core.identity import hash_json
from uniwhisper.core.provenance import git_commit
from uniwhisper.data.manifest import Manifest
from uniwhisper.evaluation.cache import VectorCache
from uniwhisper.evaluation.check import checked
from uniwhisper.evaluation.encoders import FLOOR, open_encoder
from uniwhisper.evaluation.kept import Kept
from uniwhisper.evaluation.results import clips_path, write_result
from uniwhisper.evaluation.runner import evaluate
from uniwhisper.evaluation.suites import load_suite
from uniwhisper.model.weights import load_encoder
from uniwhisper.reproduce import answered
from uniwhisper.reproduce.learners import Learners
from uniwhisper.reproduce.rows import ROWS, available_rows, recipe_of, steps_of
from uniwhisper.reproduce.scale import Scale
from uniwhisper.reproduce.state import STATE_NAME, RowState
from uniwhisper.training.loop import train
from uniwhisper.training.recipe import Recipe
from uniwhisper.training.record import read_metrics


@dataclass(frozen=True)
class Job:
    """One row for one seed."""

    row: str
    seed: int

    @property
    def folder_name(self) -> str:
        return f"{self.row}-seed{self.seed}"


@dataclass(frozen=True)
class Done:
    """What a finished job leaves."""

    job: Job
    steps: int
    audio_seconds: float
    train_seconds: float
    model: str
    """What `--model` takes, relative to the chain's folder."""
    result: Path
    commit: str | None


@dataclass(frozen=True, kw_only=True)
class Chain:
    """An experiment in a folder.

    Attributes:
        evaluation: folder that holds the suite's tasks.
        cache: folder for decoded audio.
        command: what to type to get a row again, without `--row` and `--seed`.
    """

    scale: Scale
    manifest: Manifest
    evaluation: Path
    output: Path
    cache: Path
    device: torch.device
    console: Console
    command: str

    @cached_property
    def learners(self) -> Learners:
        """What the rows are trained by."""
        return Learners(self.manifest, self.scale.language_model)

    def run(
        self, rows: Sequence[str], seeds: Sequence[int], say: Callable[[str], None], *, judge: bool = True
    ) -> list[Done]:
        """Run what is not yet done of these rows and what they start from; gives all that was judged, in order.

        Args:
            judge: False: train only, which gives nothing to compare.

        Raises:
            RecipeError: an unknown row.
            OutputError: the folder holds rows of another plan.
        """
        models: dict[Job, str] = {}
        done = []
        for job in plan(self.scale, rows, seeds):
            after = ROWS[job.row].after
            start = self._found(models[Job(after, job.seed)]) if after else None
            state = RowState(self.output / job.folder_name, self._key(job, start))
            trained = state.done("trained") or self._train(job, start, state, say)
            models[job] = trained["model"]
            if judge:
                judged = state.done("judged") or self._judge(job, trained["model"], state, say)
                if job.row == answered.ROW and state.done("answered") is None:
                    self._answer(job, trained["model"], state, say)
                done.append(_done(job, state.folder, trained, judged))
        return done

    def progress_of(self, job: Job) -> str:
        """How far a job has come, by its folder alone: `judged`, `trained`, steps of a run, or nothing."""
        folder = self.output / job.folder_name
        state = json.loads((folder / STATE_NAME).read_text()) if (folder / STATE_NAME).is_file() else {}
        for stage in ("judged", "trained"):
            if stage in state:
                return stage
        lines = read_metrics(folder / "run")
        return f"step {lines[-1]['step']:,}" if lines else "–"

    def _judge(self, job: Job, model: str, state: RowState, say: Callable[[str], None]) -> dict[str, Any]:
        suite = load_suite(self.scale.suite)
        say(f"{job.folder_name}: judging on {suite.name}")
        encoder = open_encoder(self._found(model), device=self.device.type)
        encoder = replace(encoder, label=job.folder_name, source=model)
        vectors = VectorCache(self.output / "vectors")
        judgement = evaluate(
            encoder,
            suite,
            self.evaluation,
            cache=vectors,
            kept=Kept(vectors.folder / "tasks"),
            model_folder=self.output / model if (self.output / model).is_dir() else None,
            command=f"{self.command} --row {job.row} --seed {job.seed}",
            device=self.device,
            check=checked(encoder.encoder, vectors.folder),
        )
        path = state.folder / f"{suite.name}.json"
        write_result(path, judgement, overwrite=True)
        judged = {"result": path.name, "commit": git_commit()}
        state.finish("judged", judged, [path, clips_path(path)])
        return judged

    def _answer(self, job: Job, model: str, state: RowState, say: Callable[[str], None]) -> None:
        folds = self.scale.data.holdout_folds
        if folds is None:
            say(f"{job.folder_name}: not asked, for no clip was held out")
            return
        say(f"{job.folder_name}: asking about held-out clips")
        files = answered.answer_row(
            self._found(model), self.manifest, folds, state.folder,
            device=self.device, name=job.folder_name, seed=job.seed,
        )  # fmt: skip
        state.finish("answered", {}, files)

    def _train(self, job: Job, start: str | None, state: RowState, say: Callable[[str], None]) -> dict[str, Any]:
        row = ROWS[job.row]
        facts = {"steps": 0, "audio_seconds": 0.0, "train_seconds": 0.0}
        if not steps_of(row, self.scale):
            facts["model"] = self._untrained(job)
            state.finish("trained", facts, [])
            return facts
        recipe = self._recipe(job, start)
        say(f"{job.folder_name}: training {recipe.steps:,} steps")
        run = state.folder / "run"
        assert row.objective is not None, "what takes steps has an objective"
        model = train(
            recipe,
            self.manifest,
            run,
            resume=(run / "run.json").is_file(),
            device=self.device,
            cache=self.cache,
            console=self.console,
            learner=self.learners.of(row.objective),
        )
        last = next(line for line in reversed(read_metrics(run)) if "audio_seconds" in line)
        facts |= {name: last[name] for name in ("audio_seconds", "train_seconds")}
        facts |= {"steps": last["step"], "model": model.relative_to(self.output).as_posix()}
        state.finish("trained", facts, sorted(path for path in model.rglob("*") if path.is_file()))
        return facts

    def _key(self, job: Job, start: str | None) -> str:
        row = ROWS[job.row]
        value: dict[str, Any] = {
            "row": job.row,
            "seed": job.seed,
            "scale": self.scale.name,
            "suite": load_suite(self.scale.suite).hash,
        }
        if steps_of(row, self.scale):
            recipe = self._recipe(job, start)
            # What it starts from is its weights, not where they lie.
            recipe = replace(recipe, model=replace(recipe.model, start=start and "start"))
            value |= {"recipe": recipe.identity(), "objective": row.objective, "manifest": self.manifest.hash}
        if start is not None:
            value["start"] = load_encoder(start).identity
        return hash_json(value)

    def _recipe(self, job: Job, start: str | None) -> Recipe:
        row = ROWS[job.row]
        return recipe_of(row, self.scale, job.seed, start, self.learners.tasks(row.objective))

    def _untrained(self, job: Job) -> str:
        if job.row == "log-mel":
            return FLOOR
        if job.row == "S":
            assert self.scale.start is not None, "S is trained unless it is given"
            return self.scale.start
        return f"random:{self.scale.size}:{job.seed}"

    def _found(self, model: str) -> str:
        """What was written relative to the chain's folder, as others find it."""
        inside = self.output / model
        return str(inside) if inside.is_dir() else model


def _done(job: Job, folder: Path, trained: Mapping[str, Any], judged: Mapping[str, Any]) -> Done:
    return Done(
        job=job,
        steps=trained["steps"],
        audio_seconds=trained["audio_seconds"],
        train_seconds=trained["train_seconds"],
        model=trained["model"],
        result=folder / judged["result"],
        commit=judged["commit"],
    )


def plan(scale: Scale, rows: Sequence[str], seeds: Sequence[int]) -> list[Job]:
    """The jobs that these rows take, each after what it starts from.

    Raises:
        RecipeError: an unknown row, or one that this scale has not.
    """
    possible = available_rows(scale)
    unknown = [name for name in rows if name not in possible]
    if unknown:
        raise RecipeError(
            f"no row {unknown[0]!r}", expected=f"one of {', '.join(possible)}", got=unknown[0], fix="correct --row"
        )
    jobs: list[Job] = []
    for seed in seeds:
        for name in rows:
            lineage = [name]
            while (after := ROWS[lineage[-1]].after) is not None:
                lineage.append(after)
            jobs += [job for one in reversed(lineage) if (job := Job(one, seed)) not in jobs]
    return jobs
