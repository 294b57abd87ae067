"""Writing without leaving anything half-written behind, and without replacing what is not ours."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from uniwhisper.core.errors import OutputError


@contextmanager
def atomic_output(path: Path, *, overwrite: bool, folder_with: str | None = None) -> Iterator[Path]:
    """Give a temporary path beside `path`; move it there when the block ends well, remove it when it does not.

    Ctrl-C counts as not ending well, and folders made for `path` go with it. What a killed process leaves
    (`.NAME.unfinished-…`) stays, for nothing proves that its process is dead: process numbers, host names and boot ids
    recur in containers and cloned machines that share a disk, and a lock is not seen on every network file system. And
    between the two moves of a folder it holds the only copy of the old one.

    Args:
        path: what to write.
        overwrite: whether an existing `path` is replaced.
        folder_with: None: the block writes a file. Else it writes a folder that holds a file of this name, and the
            only folders ever replaced are empty or hold one too.

    Raises:
        OutputError: `path` exists and `overwrite` is False, or it is something that must not be replaced, or its folder
            cannot be written. Raised before the block runs, so nothing is computed in vain; and again after it, if
            something came there meanwhile.
    """
    path = Path(path)
    # Path.exists would raise where it may not look.
    new_folders = [folder for folder in path.parents if not os.path.exists(folder)]  # noqa: PTH110
    check_output(path, overwrite=overwrite, folder_with=folder_with)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name may be as long as a file system takes, and what is put around it must have room.
        name = path.name if len(os.fsencode(path.name)) < 200 else path.name[:50]
        workspace = Path(tempfile.mkdtemp(prefix=f".{name}.unfinished-", dir=path.parent))
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        temporary = workspace / path.name
        yield temporary
        written = temporary if folder_with is None else temporary / folder_with
        if not written.is_file():
            raise RuntimeError(f"nothing was written for {path}")
        check_output(path, overwrite=overwrite, folder_with=folder_with)
        if path.is_dir():
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
        with suppress(OSError):  # not empty: the block ended well, or somebody else uses it
            for folder in new_folders:
                folder.rmdir()


@contextmanager
def atomic_outputs(paths: Sequence[Path], *, overwrite: bool) -> Iterator[list[Path]]:
    """`atomic_output` of files that belong together: none is moved before all are written, the first one last."""
    with ExitStack() as stack:
        yield [stack.enter_context(atomic_output(path, overwrite=overwrite)) for path in paths]


def check_output(path: Path, *, overwrite: bool, folder_with: str | None = None) -> None:
    """See that `path` can be written. Folders that it lacks are not made: what follows may yet be refused.

    Raises:
        OutputError: as `atomic_output`.
    """
    path = Path(path)
    kind = "file" if folder_with is None else "folder"
    if path.parts[:1] == ("-",):
        raise OutputError(
            "nothing is written to standard output",
            expected=f"the name of a {kind} to write",
            got="-",
            fix="-o NAME",
        )
    if path.name in ("", ".."):
        raise OutputError(
            f"{path} is no output path",
            expected=f"the name of a {kind} to write",
            got="the current folder or one above it",
            fix="add a name to -o",
        )
    try:
        exists = _exists(path)
        if exists and not overwrite:
            # What --overwrite would refuse next is no advice to give.
            instead = "add --overwrite" if _is_replaceable(path, folder_with) else "move it away"
            raise OutputError(
                f"{path} exists",
                expected="an output path that is free",
                got="an existing file or folder",
                fix=f"choose another -o, or {instead}",
            )
        if exists and not _is_replaceable(path, folder_with):
            like = "a file" if folder_with is None else f"an empty folder, or one with {folder_with}"
            raise OutputError(
                f"{path} is not replaced",
                expected=f"{like}, which is what would be written there",
                got="a folder" if path.is_dir() else "something else",
                fix="choose another -o, or move it away",
            )
        with tempfile.NamedTemporaryFile(dir=next(folder for folder in path.parents if os.path.lexists(folder))):
            pass
    except OSError as error:
        raise _unwritable(path, error) from None


def check_apart(output: Path, inputs: Iterable[str | Path]) -> None:
    """See that writing `output` replaces none of `inputs`, whatever they are called and linked by.

    Raises:
        OutputError: it is one of them.
    """
    for path in inputs if os.path.exists(output) else ():  # noqa: PTH110 (Path.exists would raise where it may not look)
        try:
            same = Path(path).samefile(output)
        except OSError:
            continue
        if same:
            raise OutputError(
                f"{output} is not replaced",
                expected="an output apart from what is read",
                got=f"{path}, which is read and would be lost",
                fix="choose another -o",
            )


def _unwritable(path: Path, error: OSError) -> OutputError:
    if error.errno == errno.ENAMETOOLONG:
        return OutputError(
            f"cannot write {path}",
            expected="a name that the file system can hold, mostly 255 bytes a part",
            got=f"{max(len(os.fsencode(part)) for part in path.parts)} bytes in the longest part",
            fix="choose a shorter -o",
        )
    return OutputError(
        f"cannot write {path}",
        expected="a folder that can be written",
        got=f"{path.parent}: {error.strerror or error}",
        fix="choose another -o, or change the folder's permissions",
    )


def _exists(path: Path) -> bool:
    """Whether anything is there, be it a link to nowhere; any other doubt is an OSError."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def _is_replaceable(path: Path, folder_with: str | None) -> bool:
    if folder_with is None:
        return path.is_file()
    return path.is_dir() and not path.is_symlink() and (not any(path.iterdir()) or (path / folder_with).is_file())
