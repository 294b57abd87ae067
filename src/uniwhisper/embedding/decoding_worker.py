"""The process that decodes for another one (`workers.py`): asked on stdin, it answers on stdout and ends with stdin.

A request is a line of JSON, `{"what": "seconds" or "windows", "files": [[path, name], ...]}`. Each file, in order, is
answered by a line of JSON: `{"seconds": 5.0}`; `{"samples": [480000, 160]}`, behind which the samples of these windows
follow as float32; `{"longer": true}` for more windows than a chunk has; `{"error": [class, problem, expected, got,
fix]}`; or `{"fault": traceback}`. The first line of all is `READY`, so that a process that cannot begin is told from
one that a file ended.
"""

import json
import os
import sys
import traceback
from itertools import islice
from typing import BinaryIO

from uniwhisper.audio.load import describe, read_windows
from uniwhisper.core import errors
from uniwhisper.core.errors import UserError
from uniwhisper.embedding.chunks import CHUNK_WINDOWS

READY = b"ready\n"


def main() -> None:
    """Answer until stdin ends, or nobody reads the answers."""
    # What a library prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        answers.write(READY)
        answers.flush()
        for line in sys.stdin.buffer:
            if not line.endswith(b"\n"):
                break  # who asks was killed while it wrote
            request = json.loads(line)
            for path, name in request["files"]:
                _answer(answers, request["what"], path, name)
                answers.flush()  # file by file: the first without an answer is the one that ended the process
    except BrokenPipeError:
        os._exit(1)  # without the attempt to write what is left


def _answer(answers: BinaryIO, what: str, path: str, name: str) -> None:
    windows = []
    try:
        if what == "seconds":
            answer: dict[str, object] = {"seconds": describe(path, name=name).seconds}
        else:
            windows = list(islice(read_windows(path, name=name), CHUNK_WINDOWS + 1))
            if len(windows) > CHUNK_WINDOWS:
                windows, answer = [], {"longer": True}
            else:
                answer = {"samples": [len(samples) for samples in windows]}
    except UserError as error:
        # Of its classes, the one that the other side has by this name.
        kind = next(cls.__name__ for cls in type(error).__mro__ if hasattr(errors, cls.__name__))
        answer = {"error": [kind, error.problem, error.expected, error.got, error.fix]}
    except Exception:
        answer = {"fault": traceback.format_exc()}
    answers.write(json.dumps(answer).encode() + b"\n")
    for samples in windows:
        answers.write(samples.data)


if __name__ == "__main__":
    main()
