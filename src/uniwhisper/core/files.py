"""Writing without leaving anything half-written behind."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from uniwhisper.core.errors import OutputError


@contextmanager
def atomic_output(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a temporary path beside `path`; move it there when the block ends well, remove it when it does not.

    The block may create a file or a folder at the temporary path. Ctrl-C counts as not ending well.

    Raises:
        OutputError: `path` exists and `overwrite` is False, or its folder cannot be written. Raised before the block
            runs, so nothing is computed in vain.
    """
    path = Path(path)
    check_output(path, overwrite=overwrite)
    workspace = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        temporary = workspace / path.name
        yield temporary
        assert temporary.exists(), f"nothing was written for {path}"
        if path.is_dir() and not path.is_symlink():
            # A folder cannot be replaced in one step: the old one steps aside, and comes back if the move fails.
            aside = workspace / "replaced"
            path.rename(aside)
            try:
                temporary.rename(path)
            except BaseException:
                aside.rename(path)
                raise
        else:
            os.replace(temporary, path)  # noqa: PTH105 (Path.replace refuses to name both paths in its error)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def check_output(path: Path, *, overwrite: bool) -> None:
    """Make the folder of `path` and see that `path` can be written there.

    Raises:
        OutputError: as `atomic_output`.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise OutputError(
            f"{path} exists",
            expected="an output path that is free",
            got="an existing file or folder",
            fix="choose another -o, or add --overwrite",
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OutputError(
            f"cannot write {path}",
            expected="a folder that can be written",
            got=f"{path.parent}: {error.strerror or error}",
            fix="choose another -o, or change the folder's permissions",
        ) from None
