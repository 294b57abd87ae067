"""The pictures of the documentation: drawn again on another processor they are the same files."""

import os
import platform
import subprocess
import sys

import pytest

from conftest import REPOSITORY

pytest.importorskip("matplotlib")

OLD_PROCESSOR = {
    "ATEN_CPU_CAPABILITY": "default",
    "DNNL_MAX_CPU_ISA": "SSE41",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
}
"""What PyTorch and its libraries then use of this one."""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="these variables are about x86 processors")
def test_another_processor_draws_the_same_pixels(tmp_path):
    code = "import sys, pathlib, pictures; pictures.save(pathlib.Path(sys.argv[1]))"
    for name, changes in (("this", {}), ("other", OLD_PROCESSOR)):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **changes}
        words = [sys.executable, "-c", code, str(tmp_path / name)]
        subprocess.run(words, check=True, env=environment, cwd=REPOSITORY / "examples", stdout=subprocess.DEVNULL)
    drawn = sorted((tmp_path / "this").iterdir())
    assert [path.name for path in drawn] == ["padding.png", "path.png"]
    assert all(path.read_bytes() == (tmp_path / "other" / path.name).read_bytes() for path in drawn)
