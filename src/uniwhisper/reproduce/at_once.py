"""An experiment's rows as processes: what is to be run is worked out here, `schedule` runs it."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence

from uniwhisper.data.decoded import decode
from uniwhisper.reproduce.chain import Chain, plan
from uniwhisper.reproduce.job import Job
from uniwhisper.reproduce.rows import ROWS, steps_of
from uniwhisper.reproduce.schedule import Errand, run_errands

LOGS_NAME = "logs"


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

    The short rows first, then the gate, then the long ones. Where there are GPUs, processes are dealt out to them.

    Args:
        arguments: of `uniwhisper`, to which `--row`, `--seed` and `--alone` are added for each process.

    Raises:
        RecipeError: an unknown row; the gate is not passed.
        OutputError: rows failed, named with their logs.
    """
    asked = [job for job in plan(chain.scale, rows, seeds) if chain.progress_of(job) != "judged"]
    if any(steps_of(ROWS[job.row], chain.scale) for job in asked):
        say("decoding the audio once for all rows")
        decode(chain.manifest, chain.cache)
    gpus = visible_gpus()
    for long in (False, True):
        errands = [_errand(chain, job, arguments) for job in asked if ROWS[job.row].long == long]
        if long and errands:
            chain.ask_gate(seeds, say)
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


def _errand(chain: Chain, job: Job, arguments: Sequence[str]) -> Errand:
    row = ROWS[job.row]
    command = (sys.executable, "-m", "uniwhisper", *arguments, "--row", job.row, "--seed", str(job.seed), "--alone")
    after = Job(row.needs, job.seed).folder_name if row.needs else None
    return Errand(job.folder_name, after, steps_of(row, chain.scale), command)
