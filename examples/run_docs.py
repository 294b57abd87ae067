"""Run the examples of the documentation, and compare what they print with what the page shows.

    python examples/run_docs.py [PAGE …]        all of docs/, and examples/quickstart.ipynb, without arguments

`python` blocks of a page share their names and run in order; a `text` block that follows is what they must print.
`console` blocks are commands after `$`, run for their exit status. `bash` blocks need data, a network or another
package and are not run. Each page runs in a folder of its own, with two recordings and a folder of labelled sounds.
"""

import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).parents[1]
PAGES = (
    "index.md",
    "concepts.md",
    "faq.md",
    *sorted(f"how-to/{path.name}" for path in (ROOT / "docs/how-to").glob("*")),
)
RATE_HZ = 16_000


def record(folder: Path) -> None:
    """The sounds that the examples name."""
    noise = np.random.default_rng(0)
    for name, hertz, seconds in (("dog.wav", 440, 2.0), ("talk.mp3", 220, 6.25)):
        time_S = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
        soundfile.write(folder / name, (0.3 * np.sin(2 * np.pi * hertz * time_S)).astype(np.float32), RATE_HZ)
    for number in range(10):
        time_S = np.arange(RATE_HZ // 2) / RATE_HZ
        sounds = {
            "tone": 0.3 * np.sin(2 * np.pi * (200 + 40 * number) * time_S),
            "noise": 0.1 * noise.standard_normal(RATE_HZ // 2),
        }
        for label, wave_S in sounds.items():
            (folder / "sounds" / label).mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / "sounds" / label / f"{number}.wav", wave_S.astype(np.float32), RATE_HZ)


def run_page(page: str) -> list[str]:
    """What is wrong with a page's examples, a line each."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / "docs" / page).read_text(), flags=re.DOTALL | re.MULTILINE)
    names: dict[str, object] = {}
    wrong = []
    for place, (language, code) in enumerate(blocks):
        if language == "python":
            printed = io.StringIO()
            try:
                with contextlib.redirect_stdout(printed):
                    exec(compile(code, page, "exec"), names)
            except Exception:
                wrong.append(f"{page}: block {place + 1}: {traceback.format_exc(limit=-2)}")
                break
            after = blocks[place + 1] if place + 1 < len(blocks) else ("", "")
            if after[0] == "text" and printed.getvalue() != after[1]:
                wrong.append(f"{page}: block {place + 1} prints {printed.getvalue()!r} instead of {after[1]!r}")
        elif language == "console":
            for command in re.findall(r"^\$ (.*)$", code, flags=re.MULTILINE):
                done = subprocess.run(command, shell=True, capture_output=True, text=True)
                if done.returncode:
                    wrong.append(f"{page}: `{command}` ends with {done.returncode}: {done.stderr[-500:]}")
    return wrong


def run_notebook(path: Path) -> list[str]:
    """Run every cell; the notebook in the repository stays as it is."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    try:
        NotebookClient(nbformat.read(path, as_version=4), timeout=600, kernel_name="python3").execute()
    except CellExecutionError as error:
        return [f"{path.name}: {error}"]
    return []


def main(pages: list[str]) -> int:
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    wrong = []
    for page in pages or [*PAGES, "quickstart.ipynb"]:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            record(Path(folder))
            if page == "how-to/packages.md":
                subprocess.run(["uniwhisper", "export", "hub", "-o", "my-encoder"], check=True, capture_output=True)
            found = run_notebook(ROOT / "examples" / page) if page.endswith(".ipynb") else run_page(page)
        print(f"{page}: {'ran' if not found else 'FAILED'}", flush=True)
        wrong += found
    print("\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
