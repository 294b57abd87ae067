"""Files of an examination: one JSON per (suite, model, weights), and beside it Markdown and a picture."""

import json
from pathlib import Path
from typing import Any

from uniwhisper.core.files import atomic_output, check_output
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
    """Write picture, page and, last, the result.

    Raises:
        OutputError: one of them exists and `overwrite` is False, or the folder cannot be written.
        MissingExtraError: Matplotlib is not installed.
    """
    json_path, md_path, png_path = paths
    for path in paths:
        check_output(path, overwrite=overwrite)
    text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    contents = {png_path: picture(result), md_path: markdown(result, png_path.name).encode(), json_path: text.encode()}
    for path, content in contents.items():
        with atomic_output(path, overwrite=overwrite) as temporary:
            temporary.write_bytes(content)
