"""What a chain would do, with everything checked that can be without training: data, weights, language model, suite."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from uniwhisper.data.mixture import Mixture
from uniwhisper.evaluation.clips import find_clips
from uniwhisper.evaluation.suites import load_suite
from uniwhisper.model.language_model import FrozenLanguageModel
from uniwhisper.model.weights import load_encoder
from uniwhisper.reproduce.chain import Chain, plan
from uniwhisper.reproduce.gate import FROZEN, TRAINED
from uniwhisper.reproduce.row_recipes import recipe_of
from uniwhisper.reproduce.rows import ROWS, steps_of
from uniwhisper.reproduce.start import require_development


def describe(chain: Chain, rows: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    """The plan as a JSON object.

    Raises:
        UserError: the training set, the suite's data, the start or the language model cannot be used.
    """
    scale = chain.scale
    suite = load_suite(scale.suite)
    tasks = {task.name: len(find_clips(task, chain.evaluation).clips) for task in suite.tasks}
    language_model = FrozenLanguageModel.load(scale.language_model)
    facts = {
        "training clips": len(chain.manifest.records),
        "manifest": chain.manifest.hash[:16],
        "suite": f"{suite.name}, {len(tasks)} tasks, {sum(tasks.values()):,} clips",
        "language model": f"{sum(p.numel() for p in language_model.parameters()):,} weights, width "
        f"{language_model.width}",
        "device": str(chain.device),
    }
    if scale.start is not None:
        encoder = load_encoder(scale.start).encoder
        facts["start"] = f"{sum(p.numel() for p in encoder.parameters()):,} weights, {encoder.config.mel_bins} mel bins"
    if scale.start is None:
        require_development(scale, chain.development, chain.manifest)
        kept = range(scale.keep_every_steps, scale.start_steps + 1, scale.keep_every_steps)
        facts["development suite"] = load_suite(scale.development).name
        facts["S is taken after one of"] = (
            f"{', '.join(f'{step:,}' for step in kept)} steps; rows that count theirs with S's take as many fewer"
        )
    if scale.gate_steps is not None:
        facts["gate"] = f"{scale.gate_steps:,} steps of {' and '.join((FROZEN, TRAINED))} before the long runs"
    jobs = []
    for job in plan(scale, rows, seeds):
        row = ROWS[job.row]
        steps = steps_of(row, scale)
        audio = 0.0
        if steps:
            started = "start" if row.after or scale.start else None
            recipe = recipe_of(row, scale, job.seed, started, chain.learners.tasks(row))
            assert recipe.data.audio_seconds_per_step is not None, "rows are compared by the audio they heard"
            # That there is something to draw; a whole group of steps would say no more.
            little = replace(recipe.data, audio_seconds_per_step=1.0, group_steps=1)
            Mixture([chain.manifest], little, job.seed).step(0)
            audio = steps * recipe.data.audio_seconds_per_step
        jobs.append(
            {
                "row": job.row,
                "seed": job.seed,
                "after": row.after,
                "steps": steps,
                "audio_seconds": audio,
                "done": chain.progress_of(job),
            }
        )
    return {"scale": scale.name, "jobs": jobs, "facts": facts}
