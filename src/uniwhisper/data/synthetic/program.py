"""Running the programs that speak and play."""

import subprocess
from collections.abc import Sequence

from uniwhisper.core.errors import UserError

_PACKAGES = {
    "espeak-ng": "espeak-ng",
    "flite": "flite",
    "fluidsynth": "fluidsynth timgm6mb-soundfont",
}


def run(command: Sequence[str]) -> None:
    """Run a program and wait for it.

    Raises:
        UserError: it is not installed, or ends with an error.
    """
    name = command[0]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except FileNotFoundError:
        raise UserError(
            f"{name} is not installed",
            expected=f"the program {name} on the PATH",
            got="no such program",
            fix=f"on Debian or Ubuntu: apt-get install {_PACKAGES.get(name, name)}",
        ) from None
    if done.returncode:
        raise UserError(
            f"{name} failed",
            expected="exit status 0",
            got=f"{done.returncode}: {done.stderr.decode(errors='replace').strip()[-300:]}",
            fix=f"run it by hand: {' '.join(command)}",
        )
