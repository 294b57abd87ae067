"""An experiment's rows as processes: what is to be run is worked out here, `schedule` runs it."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Literal

from uniwhisper.data.decoded import decode
from uniwhisper.reproduce.chain import Chain, plan
from uniwhisper.reproduce.job import Job
from uniwhisper.reproduce.rows import ROWS, steps_of
from uniwhisper.reproduce.schedule import Errand, run_errands

LOGS_NAME = "logs"
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

    Training and judging are processes of their own, so nothing waits until what it starts from is judged. Before the
    gate: floors, and what others start from; after it the long rows and all other judging. Where there are GPUs,
    processes are dealt out to them.

    Args:
        arguments: of `uniwhisper`, to which `--row`, `--seed` and `--alone` are added for each process.

    Raises:
        RecipeError: an unknown row; the gate is not passed.
        OutputError: rows failed, named with their logs.
    """
    progress = {job: chain.progress_of(job) for job in plan(chain.scale, rows, seeds)}
    judged = [job for job, stage in progress.items() if stage != "judged"]
    # A start that lost a file is trained again by whatever goes on from it.
    trained = [job for job in judged if steps_of(ROWS[job.row], chain.scale) and progress[job] != "trained"]
    if trained:
        say("decoding the audio once for all rows")
        decode(chain.manifest, chain.cache)
    gpus = visible_gpus()
    train = [_errand(chain, job, arguments, "train") for job in trained]
    judge = [_errand(chain, job, arguments, "judge") for job in judged]
    long = [_name(job, "train") for job in trained if ROWS[job.row].long]
    before = [one for one in train if one.name not in long] + [one for one in judge if one.after is None]
    if long:
        _run(before, chain, at_once, gpus, say)
        chain.ask_gate(seeds, say)
    _run([one for one in (*train, *judge) if not long or one not in before], chain, at_once, gpus, say)


def _run(
    errands: Sequence[Errand], chain: Chain, at_once: int, gpus: Sequence[str], say: Callable[[str], None]
) -> None:
    if errands:
        run_errands(errands, chain.output / LOGS_NAME, at_once=at_once, devices=gpus, say=say)


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
    command = (sys.executable, "-m", "uniwhisper", *arguments, "--row", job.row, "--seed", str(job.seed))
    steps = steps_of(row, chain.scale)
    if stage == "judge":
        after, rank = (_name(job, "train") if steps else None), _JUDGES
    else:
        after = _name(Job(row.needs, job.seed), "train") if row.needs else None
        rank = _TRAINS if row.long else _STARTS
    return Errand(_name(job, stage), after, steps, (*command, "--alone", stage), rank)


def _name(job: Job, stage: Stage) -> str:
    return f"{job.folder_name}.{stage}"
