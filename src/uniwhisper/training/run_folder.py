"""The run folder: may this run start there, or go on there, and with what was it started."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from uniwhisper.core.errors import OutputError, RecipeError
from uniwhisper.core.files import check_output
from uniwhisper.core.identity import hash_json
from uniwhisper.core.provenance import provenance
from uniwhisper.data.manifest import Manifest
from uniwhisper.training.checkpoint import write_json
from uniwhisper.training.recipe import WITHOUT_EFFECT_ON_RESULT, Recipe


def open_run_folder(
    recipe: Recipe, manifest: Manifest, output: Path, *, resume: bool, learner: dict[str, Any]
) -> dict[str, Any]:
    """Check the run folder; returns what `run.json` holds about how the run was started."""
    described = output / "run.json"
    if not resume:
        if output.exists() and not (output.is_dir() and not any(output.iterdir())):
            raise OutputError(
                f"{output} is not empty",
                expected="a new or empty run folder",
                got="an earlier run" if described.is_file() else "a folder with files" if output.is_dir() else "a file",
                fix="add --resume to continue that run, or choose another -o"
                if described.is_file()
                else "choose another -o",
            )
        check_output(output, overwrite=True, folder_with="run.json")
        return {
            "recipe": recipe.to_json(),
            "recipe_identity": recipe.identity(),
            "manifest_hash": manifest.hash,
            "learner": learner,
            "learner_identity": hash_json(learner),
            "provenance": provenance(),
        }
    if not described.is_file():
        raise RecipeError(
            f"nothing to resume in {output}",
            expected="run.json of an earlier run",
            got="none",
            fix="leave out --resume",
        )
    try:
        earlier = json.loads(described.read_text())
        missing = {"recipe_identity", "manifest_hash", "language_model_identity", "provenance"} - set(earlier)
        if missing:
            raise ValueError(f"no {', '.join(sorted(missing))}")
    except (OSError, ValueError, TypeError) as error:
        raise RecipeError(
            f"{described} cannot be read", expected="what training wrote there", got=str(error), fix="choose another -o"
        ) from None
    # Runs from before there were others were all of instructions.
    earlier.setdefault("learner_identity", hash_json({"name": "instructions"}))
    now_of = {
        "recipe_identity": recipe.identity(),
        "manifest_hash": manifest.hash,
        "learner_identity": hash_json(learner),
    }
    for name, now in now_of.items():
        if earlier[name] != now:
            changed = changed_fields(earlier.get("recipe"), recipe.to_json()) if name == "recipe_identity" else ""
            raise RecipeError(
                f"{output} was started with another {name.split('_')[0]}",
                expected=f"{name} {earlier[name][:12]}",
                got=now[:12] + (f": {changed}" if changed else ""),
                fix="give the same recipe, --set values and data as at the start, or choose another -o (to train on "
                f"from its model: --set model.start={output / 'model'} --set model.encoder_size=none)",
            )
    return earlier


def changed_fields(before: Any, now: dict[str, Any]) -> str:
    """`steps 6 -> 9, optimizer.warmup_steps 15 -> 3`: in which fields two recipes written as JSON differ."""
    old, new = (dict(_fields_of(each)) for each in (before, json.loads(json.dumps(now))))
    without_effect = {f"loop.{name}" for name in (*WITHOUT_EFFECT_ON_RESULT, "micro_batches")}
    changed = [name for name in old | new if old.get(name) != new.get(name) and name not in without_effect]
    return ", ".join(f"{name} {json.dumps(old.get(name))} -> {json.dumps(new.get(name))}" for name in changed)


def _fields_of(part: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in part.items() if isinstance(part, dict) else ():
        if isinstance(value, dict) and value:
            yield from _fields_of(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def kept_model(output: Path, step: int) -> Path:
    """Folder of the model that a run keeps of the first `step` optimizer steps (`loop.keep_every_steps`)."""
    return output / "models" / f"step-{step:08d}"


def cost_facts(model: nn.Module, device: torch.device) -> dict[str, Any]:
    """For `run.json`: `parameters`, how many of each part are trained and how many are not, and the device's name."""
    parameters = {}
    for name, part in model.named_children():
        counts = {"trained": 0, "frozen": 0}
        for parameter in part.parameters():
            learns = parameter.requires_grad and name in getattr(model, "TRAINED", ())
            counts["trained" if learns else "frozen"] += parameter.numel()
        parameters[name] = counts
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()
    return {"parameters": parameters, "device": name}


def write_start(output: Path, start_of_run: dict[str, Any], language_model_identity: str) -> None:
    """Write `run.json` into the run folder, which is made if absent.

    Raises:
        RecipeError: the run was started with another language model.
    """
    earlier = start_of_run.setdefault("language_model_identity", language_model_identity)
    if earlier != language_model_identity:
        raise RecipeError(
            f"{output} was started with another language model",
            expected=f"weights {earlier[:12]}",
            got=f"weights {language_model_identity[:12]}",
            fix="put the language model back that the run was started with, or choose another -o",
        )
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / "run.json", start_of_run)
