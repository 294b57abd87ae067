"""Run `uniwhisper/integrations/xares.py` in the real X-ARES, by its checker and by `xares.run` on real audio.

    python encoder_file.py         (`make compat-xares-encoder`) writes result.json

Runs in this folder's environment, with FFmpeg for torchcodec. Of uniwhisper it needs the sources alone: what the
encoder file imports, X-ARES brings. The audio is the shared ESC-50 beside the checkout.
"""

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch
from xares.audio_encoder_checker import check_audio_encoder
from xares.utils import attr_from_py_path

HERE = Path(__file__).resolve().parent
SOURCES = HERE.parents[1] / "src"
SHARED_DATA = HERE.parents[2] / "shared" / "data"
ENCODER_FILE = "uniwhisper/integrations/xares.py"
PACKAGES = ("xares", "torchaudio", "torchcodec", "transformers", "torch")


def check() -> dict[str, str]:
    encoder = attr_from_py_path(ENCODER_FILE, endswith="Encoder")()
    assert check_audio_encoder(encoder)
    seconds = 12.34
    with torch.inference_mode():
        frames = encoder(torch.randn(2, round(seconds * encoder.sampling_rate)))
    hop_ms = 1000 * seconds / frames.shape[1]
    assert abs(hop_ms - encoder.hop_size_in_ms) < 0.05
    return {"hop_size_in_ms": f"{encoder.hop_size_in_ms:g}", "measured on 12.34 s": f"{hop_ms:.2f} ms"}


def ten_minutes() -> dict[str, str]:
    encoder = attr_from_py_path(ENCODER_FILE, endswith="Encoder")()
    with torch.inference_mode():
        frames = encoder(0.1 * torch.randn(600 * encoder.sampling_rate))
    assert frames.shape == (1, 30_000, encoder.output_dim)
    return {"frames": f"{frames.shape[1]:,}"}


def real_task() -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([SHARED_DATA / "unpack", folder, "esc50"], check=True, capture_output=True)
        task = Path(folder) / "env" / "esc50"  # where X-ARES looks, below its working folder
        task.parent.mkdir()
        (Path(folder) / "evaluation" / "esc50").rename(task)
        (task / ".audio_tar_ready").touch()
        command = [sys.executable, "-m", "xares.run", "--max-jobs", "0", "--from-stage", "1"]
        path = os.pathsep.join(filter(None, [str(HERE), str(SOURCES), os.environ.get("PYTHONPATH")]))
        done = subprocess.run(
            [*command, ENCODER_FILE, "esc50_shared_task.py"],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
        )
    row = re.search(r"^\s*ESC-50\s+([\d.]+)\s+([\d.]+)\s+False$", done.stdout, re.MULTILINE)
    assert row, done.stdout[-2000:] + done.stderr[-2000:]
    assert min(map(float, row.groups())) > 0.04  # chance is 0.02
    return {"probe": f"{float(row[1]):.3f}", "kNN": f"{float(row[2]):.3f}"}


RUNS = {
    "Its checker accepts `uniwhisper/integrations/xares.py`, whose frame hop is true": check,
    "Ten minutes of audio, cut inside": ten_minutes,
    "`python -m xares.run uniwhisper/integrations/xares.py` on the five folds of ESC-50, packaged model": real_task,
}


def main() -> None:
    sys.path.insert(0, str(SOURCES))
    rows, broken = [], False
    for what, run in RUNS.items():
        try:
            if run is real_task and not (SHARED_DATA / "evaluation" / "esc50.tar.gz").is_file():
                rows.append({"what": what, "result": "not run: no shared audio beside the checkout", "measured": {}})
                continue
            rows.append({"what": what, "result": "passed", "measured": run()})
        except AssertionError as error:
            rows.append({"what": what, "result": "failed", "measured": {}})
            print(f"{what}: {error}", file=sys.stderr)
            broken = True
        print(rows[-1], flush=True)
    result = {
        "target": "compat-xares-encoder",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "runs": rows,
    }
    (HERE / "result.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    sys.exit(broken)


if __name__ == "__main__":
    main()
