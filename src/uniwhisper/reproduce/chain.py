"""The chain: each (row, seed) is trained, then judged, in the order in which rows start from one another."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from uniwhisper.core.errors import OutputError, RecipeError
from uniwhisper.core.identity import hash_json
from uniwhisper.data.manifest import Manifest
from uniwhisper.evaluation.suites import load_suite
from uniwhisper.model.weights import load_encoder
from uniwhisper.reproduce import gate, stages
from uniwhisper.reproduce.job import Done, Job, Made
from uniwhisper.reproduce.learners import Learners
from uniwhisper.reproduce.row_recipes import recipe_of
from uniwhisper.reproduce.rows import ROWS, available_rows, steps_of
from uniwhisper.reproduce.scale import Scale
from uniwhisper.reproduce.start import require_development
from uniwhisper.reproduce.state import RowState, read_row
from uniwhisper.training.recipe import Recipe
from uniwhisper.training.record import read_metrics


@dataclass(frozen=True, kw_only=True)
class Chain:
    """An experiment in a folder.

    Attributes:
        evaluation: folder that holds the suite's tasks.
        development: folder that holds the development suite's; None: there is none, which rows that need it refuse.
        cache: folder for decoded audio.
        command: what to type to get a row again, without `--row` and `--seed`.
        despite_gate: go on to the long runs though the gate is not passed.
    """

    scale: Scale
    manifest: Manifest
    evaluation: Path
    development: Path | None
    output: Path
    cache: Path
    device: torch.device
    console: Console
    command: str
    despite_gate: bool = False

    @cached_property
    def learners(self) -> Learners:
        """What the rows are trained by."""
        return Learners(self.manifest, self.scale.language_model)

    def run(
        self,
        rows: Sequence[str],
        seeds: Sequence[int],
        say: Callable[[str], None],
        *,
        judge: bool = True,
        alone: bool = False,
    ) -> list[Done]:
        """Run what is not yet done of these rows and what they need; gives all that is judged in the folder.

        Rows that were judged there before are given too, so that a table never loses them; in the order of `ROWS`.

        Args:
            judge: False: train only, which gives nothing to compare.
            alone: True: these rows only, without the gate, which the caller has asked. To judge, they must have been
                trained; what they started from is not asked for.

        Raises:
            RecipeError: an unknown row; the gate is not passed; the development suite is not what is held out.
            OutputError: the folder holds rows of another plan; a row that is to be judged alone is not trained.
            SuiteError: a suite's data is missing, or was trained on in other files.
        """
        if alone and judge:
            jobs = [job for job in plan(self.scale, rows, seeds) if job.row in rows]
            return [stages.finish(self, job, self._to_judge(job, say), say) for job in jobs]
        made: dict[Job, Made] = {}
        done = []
        passed = False
        asked = plan(self.scale, rows, seeds)
        before = self._judged_before() if judge else []
        for job in [*asked, *(one for one in before if one not in asked)]:
            if ROWS[job.row].long and not (passed or alone) and self.progress_of(job) not in ("trained", "judged"):
                self.ask_gate(seeds, say)
                passed = True
            one = self._made(job, made, say)
            if judge:
                done.append(stages.finish(self, job, one, say))
        return sorted(done, key=lambda one: (list(ROWS).index(one.job.row), one.job.seed))

    def ask_gate(self, seeds: Sequence[int], say: Callable[[str], None]) -> None:
        """Run the gate, unless that is done.

        Raises:
            RecipeError: it is not passed, and the chain was not told to go on.
        """
        gate.pass_or_refuse(self, seeds[0], lambda seed: self._made(Job("S", seed), {}, say), say)

    def progress_of(self, job: Job) -> str:
        """How far a job has come, by its folder alone: `judged`, `trained`, steps of a run, or nothing.

        Raises:
            OutputError: its `row.json` is damaged.
        """
        folder = self.output / job.folder_name
        state = read_row(folder)
        if "judged" in state:
            return "judged"
        if ("chosen" if _chooses(job, self.scale) else "trained") in state:
            return "trained"
        lines = read_metrics(folder / "run")
        return f"step {lines[-1]['step']:,}" if lines else "–"

    def trained(self, job: Job) -> Made | None:
        """A job as its folder says that it was trained; None: it was not, or a file is no longer the one it made.

        Raises:
            OutputError: its `row.json` is damaged.
        """
        folder = self.output / job.folder_name
        state = RowState(folder, str(read_row(folder).get("key")))
        facts = state.done("trained") and state.done("chosen" if _chooses(job, self.scale) else "trained")
        return facts and _as_made(state, facts)

    def found(self, model: str) -> str:
        """What was written relative to the chain's folder, as others find it."""
        inside = self.output / model
        return str(inside) if inside.is_dir() else model

    def make(self, job: Job, scale: Scale, start: str | None, say: Callable[[str], None]) -> Made:
        """Train a job, unless that is done.

        Args:
            scale: the chain's; where steps are counted with S's, with S's.
            start: model folder it starts from.
        """
        state = RowState(self.output / job.folder_name, self._key(job, scale, start))
        facts = state.done("trained")
        if facts is None:
            if _chooses(job, scale):
                require_development(scale, self.development, self.manifest)
            facts = stages.train_row(self, job, scale, self.recipe(job, scale, start), state, say)
        if _chooses(job, scale):
            facts = state.done("chosen") or stages.choose(self, job, scale, state, say)
        return _as_made(state, facts)

    def recipe(self, job: Job, scale: Scale, start: str | None) -> Recipe | None:
        """The training run of a job; None: nothing is trained."""
        row = ROWS[job.row]
        if not steps_of(row, scale):
            return None
        return recipe_of(row, scale, job.seed, start, self.learners.tasks(row))

    def _judged_before(self) -> list[Job]:
        """Jobs whose folder says that they are judged, and so are those that they need."""
        found = []
        for row in available_rows(self.scale):
            for folder in sorted(self.output.glob(f"{row}-seed*")):
                number = folder.name.removeprefix(f"{row}-seed")
                lineage = plan(self.scale, [row], [int(number)]) if number.isdecimal() else []
                if lineage and all(self.progress_of(job) == "judged" for job in lineage):
                    found.append(lineage[-1])
        return found

    def _made(self, job: Job, made: dict[Job, Made], say: Callable[[str], None]) -> Made:
        if job not in made:
            row, scale, start = ROWS[job.row], self.scale, None
            if row.needs is not None:
                before = self._made(Job(row.needs, job.seed), made, say)
                if row.needs == "S":
                    scale = replace(scale, start_steps=before.steps)
                start = self.found(before.model) if row.after else None
            made[job] = self.make(job, scale, start, say)
        return made[job]

    def _to_judge(self, job: Job, say: Callable[[str], None]) -> Made:
        """A trained job. Where what it started from is there, its plan is compared; else the table does it later."""
        if not steps_of(ROWS[job.row], self.scale):
            return self.make(job, self.scale, None, say)
        made = self.trained(job)
        if made is None:
            raise OutputError(
                f"{job.folder_name} cannot be judged alone",
                expected=f"a model that was trained in {self.output / job.folder_name}",
                got="none, or files that are no longer those that were made",
                fix="remove that folder and type the row without --alone: it is trained anew; or copy it whole",
            )
        whole = all(map(self.trained, plan(self.scale, [job.row], [job.seed])))
        return self._made(job, {}, say) if whole else made

    def _key(self, job: Job, scale: Scale, start: str | None) -> str:
        row = ROWS[job.row]
        value: dict[str, Any] = {
            "row": job.row,
            "seed": job.seed,
            "scale": scale.name,
            "size": scale.size,
            "suite": load_suite(scale.suite).hash,
        }
        recipe = self.recipe(job, scale, start)
        if recipe is not None:
            # What it starts from is its weights, not where they lie.
            recipe = replace(recipe, model=replace(recipe.model, start=start and "start"))
            value |= {"recipe": recipe.identity(), "objective": row.objective, "manifest": self.manifest.hash}
            if row.unit_means:  # of heads the recipe does not say it
                value["unit_means"] = True
        if _chooses(job, scale):
            value |= {"development": load_suite(scale.development).hash, "candidates": scale.start_candidates}
        if start is not None:
            value["start"] = load_encoder(start).identity
        return hash_json(value)


def plan(scale: Scale, rows: Sequence[str], seeds: Sequence[int]) -> list[Job]:
    """The jobs that these rows take, each after what it needs.

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
            while (needed := ROWS[lineage[-1]].needs) is not None:
                lineage.append(needed)
            jobs += [job for one in reversed(lineage) if (job := Job(one, seed)) not in jobs]
    return jobs


def _as_made(state: RowState, facts: Mapping[str, Any]) -> Made:
    return Made(state, *(facts[name] for name in ("model", "steps", "audio_seconds", "train_seconds")))


def _chooses(job: Job, scale: Scale) -> bool:
    """Whether the job's model is one of several that its run keeps."""
    return job.row == "S" and steps_of(ROWS["S"], scale) > 0
