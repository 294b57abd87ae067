"""A folder of three files: `answers.json` (scores), `answers.jsonl` (every answer), `answers.md` (a page)."""

import json
from pathlib import Path

from uniwhisper.core.files import atomic_output
from uniwhisper.evaluation.answers.page import markdown
from uniwhisper.evaluation.answers.run import JudgedAnswers

RESULT_NAME, ANSWERS_NAME, PAGE_NAME = "answers.json", "answers.jsonl", "answers.md"


def write_answers(folder: Path, judged: JudgedAnswers, *, overwrite: bool) -> Path:
    """Write the folder in one move; returns the result's path.

    Raises:
        OutputError: the folder exists and is no such folder, or `overwrite` is False.
    """
    with atomic_output(folder, overwrite=overwrite, folder_with=RESULT_NAME) as temporary:
        temporary.mkdir()
        result = json.dumps(judged.result, indent=2, ensure_ascii=False, allow_nan=False)
        (temporary / RESULT_NAME).write_text(result + "\n", encoding="utf-8")
        lines = (json.dumps(one, ensure_ascii=False) + "\n" for one in judged.answers)
        (temporary / ANSWERS_NAME).write_text("".join(lines), encoding="utf-8")
        (temporary / PAGE_NAME).write_text(markdown(judged.result, judged.answers), encoding="utf-8")
    return folder / RESULT_NAME
