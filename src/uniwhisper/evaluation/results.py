"""Result files: one JSON per (suite, model, weights), and beside it an `.npz` with the answer for every clip."""

import json
from pathlib import Path

import numpy as np

from uniwhisper.core.files import atomic_outputs, check_output
from uniwhisper.core.identity import hash_file
from uniwhisper.evaluation.encoders import JudgedEncoder, require_identity
from uniwhisper.evaluation.runner import Judgement
from uniwhisper.evaluation.suites import Suite


def result_path(folder: Path, suite: Suite, judged: JudgedEncoder) -> Path:
    """`<suite>-<model>-<12 digits of the weights' hash>.json`: two checkpoints of one name never meet."""
    return Path(folder) / f"{suite.name}-{judged.label}-{require_identity(judged.encoder)['weights'][:12]}.json"


def clips_path(result: Path) -> Path:
    return result.with_suffix(".npz")


def check_result(path: Path, *, overwrite: bool) -> None:
    """See that both files can be written, before hours are spent on them.

    Raises:
        OutputError: one of them exists and `overwrite` is False, or the folder cannot be written.
    """
    for each in (path, clips_path(path)):
        check_output(each, overwrite=overwrite)


def write_result(path: Path, judgement: Judgement, *, overwrite: bool) -> None:
    """Write the clips' answers, and the result that names their file and its hash.

    Raises:
        OutputError: as `check_result`.
    """
    with atomic_outputs([path, clips_path(path)], overwrite=overwrite) as (temporary, beside):
        with beside.open("wb") as file:
            np.savez_compressed(file, **judgement.clips)
        result = judgement.result | {"clips_file": {"name": beside.name, "sha256": hash_file(beside)}}
        text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
