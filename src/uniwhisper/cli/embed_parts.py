"""`uniwhisper embed --engine ray`: many inputs, many machines, a folder of Parquet parts."""

import os
from pathlib import Path
from typing import Any

import typer


def embed_in_parts(
    sources: list[str], folder: Path, settings: dict[str, Any], *, workers: int | None, as_json: bool
) -> None:
    """Embed on Ray into `folder`, going on where an earlier run of the same command stopped."""
    from uniwhisper.cli.output import note, note_repeats, print_facts, print_json
    from uniwhisper.core.errors import OutputError
    from uniwhisper.core.files import check_output
    from uniwhisper.embedding.parts import check_folder, plan_parts
    from uniwhisper.embedding.ray_engine import embed_on_ray
    from uniwhisper.model.device import choose_device

    if os.path.exists(folder) and not folder.is_dir():  # noqa: PTH110 (Path.exists would raise where it may not look)
        raise OutputError(
            f"{folder} is a file", expected="a folder for the parts", got="a file", fix="choose another -o"
        )
    repeats: list[str] = []
    parts = plan_parts(sources, on_repeat=repeats.append)
    note_repeats(repeats, "embedded")
    check_output(folder / "part", overwrite=True)
    check_folder(parts, folder)
    gpus = 1 if choose_device(settings["device"]).type == "cuda" else 0
    rows, failures = 0, []
    for done, result in enumerate(
        embed_on_ray(parts, folder.absolute(), settings=settings, workers=workers, gpus_per_worker=gpus), 1
    ):
        rows += result.rows
        failures += result.failures
        anew = ", made anew: its inputs changed" if result.made_anew else ""
        note(f"part {result.number}: {result.rows:,} rows ({done} of {len(parts)} parts){anew}")
    for name, reason in failures:
        note(f"failed: {name}: {reason}")
    if as_json:
        failed = [{"path": name, "reason": reason} for name, reason in failures]
        print_json({"output": str(folder), "parts": len(parts), "rows": rows, "failed": failed})
    else:
        print_facts({"parts": f"{len(parts):,}", "rows": f"{rows:,}", "failed": f"{len(failures):,}"})
    if failures:
        raise typer.Exit(1 if rows else 2)
