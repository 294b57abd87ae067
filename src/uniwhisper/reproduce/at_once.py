"""An experiment's rows as processes: what is to be run is worked out here, `schedule` runs it."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Literal

from uniwhisper.data.coded import code
from uniwhisper.data.decoded import decode
from uniwhisper.reproduce.chain import Chain, plan
from uniwhisper.reproduce.gate import read_gate
from uniwhisper.reproduce.job import Job
from uniwhisper.reproduce.rows import ROWS, steps_of
from uniwhisper.reproduce.schedule import Errand, run_errands

LOGS_NAME = "logs"
GATE_NAME = "gate"
Stage = Literal["train", "judge"]
_STARTS, _JUDGES, _TRAINS = range(3)
"""What is begun first. What is trained is judged before more is trained: an interrupted chain then leaves scores."""


def run_at_once(
    chain: Chain,
    rows: Sequence[str],
    seeds: Sequence[int],
    arguments: Sequence[str],
    *,
    at_once: int,
    say: Callable[[str], None],
) -> None:
    """Run what is not yet done of these rows and what they need, at most `at_once` at a time.

    Training, judging and the gate are processes of their own. A long row waits for what it starts from and for the
    gate (not for that where the chain goes on despite it); nothing waits for scores. Where there are GPUs, processes
    are dealt out to them.

    Args:
        arguments: of `uniwhisper`, to which `--row`, `--seed` and `--alone` are added for each process.

    Raises:
        RecipeError: an unknown row.
        OutputError: rows failed, named with their logs; so is a gate that is not passed.
    """
    judged = [job for job in plan(chain.scale, rows, seeds) if chain.progress_of(job) != "judged"]
    # A start that lost a file is trained again by whatever goes on from it.
    trained = [job for job in judged if steps_of(ROWS[job.row], chain.scale) and chain.trained(job) is None]
    if trained:
        say("decoding the audio once for all rows")
        decode(chain.manifest, chain.cache)
        coded = any(ROWS[job.row].codec_probability for job in trained)
        if coded and chain.scale.loop.audio == "resident":
            say("putting it through codecs once for all rows")
            code(chain.manifest, chain.cache)
    errands = [_errand(chain, job, arguments, "train") for job in trained]
    errands += [_errand(chain, job, arguments, "judge") for job in judged]
    if chain.scale.gate_steps is not None and any(ROWS[job.row].long for job in trained):
        errands.append(_gate(chain, seeds, arguments))
    if errands:
        run_errands(errands, chain.output / LOGS_NAME, at_once=at_once, devices=visible_gpus(), say=say)


def visible_gpus() -> list[str]:
    """What `CUDA_VISIBLE_DEVICES` may be set to for one GPU each. Asks no CUDA library: that would hold a GPU open."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [part for part in given.split(",") if part]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(number) for number, line in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]


def _errand(chain: Chain, job: Job, arguments: Sequence[str], stage: Stage) -> Errand:
    row = ROWS[job.row]
    steps = steps_of(row, chain.scale)
    if stage == "judge":
        after = [_name(job, "train")] if steps else []
    else:
        after = [_name(Job(row.needs, job.seed), "train")] if row.needs else []
        after += [GATE_NAME] if row.long and not chain.despite_gate else []
    rank = _JUDGES if stage == "judge" else _TRAINS if row.long else _STARTS
    command = (*_command(arguments), "--row", job.row, "--seed", str(job.seed), "--alone", stage)
    return Errand(_name(job, stage), tuple(after), steps, command, rank)


def _gate(chain: Chain, seeds: Sequence[int], arguments: Sequence[str]) -> Errand:
    written = read_gate(chain.output)
    seed = seeds[0] if written is None else written["seed"]
    despite = ["--despite-gate"] if chain.despite_gate else []
    command = (*_command(arguments), *despite, "--seed", str(seed), "--alone", "gate")
    steps = chain.scale.gate_steps
    assert steps is not None, "asked for where there is a gate"
    return Errand(GATE_NAME, (_name(Job("S", seed), "train"),), steps, command, _STARTS)


def _command(arguments: Sequence[str]) -> tuple[str, ...]:
    return (sys.executable, "-m", "uniwhisper", *arguments)


def _name(job: Job, stage: Stage) -> str:
    return f"{job.folder_name}.{stage}"
