"""Files of an examination: one JSON per (suite, model, weights), and beside it Markdown and a picture."""

import json
from pathlib import Path
from typing import Any

from uniwhisper.core.files import atomic_outputs
from uniwhisper.evaluation.encoders import JudgedEncoder
from uniwhisper.evaluation.examine.picture import picture
from uniwhisper.evaluation.examine.tables import markdown
from uniwhisper.evaluation.results import result_path
from uniwhisper.evaluation.suites import Suite


def examination_paths(folder: Path, kind: str, suite: Suite, judged: JudgedEncoder) -> tuple[Path, Path, Path]:
    """JSON, Markdown and PNG of an examination of the kind `layers` or `robustness`."""
    stem = result_path(folder, suite, judged).stem
    json_path, md_path, png_path = (Path(folder) / f"{stem}-{kind}{suffix}" for suffix in (".json", ".md", ".png"))
    return json_path, md_path, png_path


def write_examination(paths: tuple[Path, Path, Path], result: dict[str, Any], *, overwrite: bool) -> None:
    """Write the result, its page and its picture.

    Raises:
        OutputError: one of them exists and `overwrite` is False, or the folder cannot be written.
        MissingExtraError: Matplotlib is not installed.
    """
    with atomic_outputs(paths, overwrite=overwrite) as (json_path, md_path, png_path):
        text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False)
        json_path.write_text(text + "\n", encoding="utf-8")
        md_path.write_text(markdown(result, png_path.name), encoding="utf-8")
        png_path.write_bytes(picture(result))
