"""`uniwhisper` as a process would run it, but in this one: another one imports torch and more for 4 to 10 s of CPU.

`tests/test_cli_app.py` runs real processes: that `python -m uniwhisper` and the installed script come here. So do tests
of kills, of memory and of what a fresh interpreter imports.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from unittest.mock import patch

from uniwhisper.cli import app


def uniwhisper(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Exit status, stdout and stderr of the command, which gets the filters of warnings of a fresh interpreter."""
    arguments = ["uniwhisper", *map(str, words)]
    before = signal.getsignal(signal.SIGTERM)
    # Real files: the command may ask for the descriptor of what it prints to.
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        out, err = (stack.enter_context((Path(folder) / name).open("w")) for name in ("out", "err"))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        stack.enter_context(contextlib.chdir(cwd or os.curdir))
        stack.enter_context(warnings.catch_warnings())
        warnings.resetwarnings()
        for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", category)
        stack.enter_context(patch.object(sys, "argv", arguments))
        try:
            app.main()
            status = 0
        except SystemExit as end:
            status = end.code or 0
        finally:
            signal.signal(signal.SIGTERM, before)
        out.flush()
        err.flush()
        printed, said = ((Path(folder) / name).read_text() for name in ("out", "err"))
    return subprocess.CompletedProcess(arguments, status, printed, said)
