"""Output files and folders: whole or not at all, and never in the place of something that is not ours."""

import os
from pathlib import Path

import pytest

from uniwhisper.core.errors import OutputError
from uniwhisper.core.files import atomic_output, atomic_outputs, check_output


def write_file(path: Path, *, overwrite: bool = False, text: str = "new") -> None:
    with atomic_output(path, overwrite=overwrite) as temporary:
        temporary.write_text(text)


def write_folder(path: Path, *, overwrite: bool = False, files: tuple[str, ...] = ("ours.json",)) -> None:
    with atomic_output(path, overwrite=overwrite, folder_with="ours.json") as temporary:
        temporary.mkdir()
        for name in files:
            (temporary / name).write_text("new")


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def theirs(tmp_path) -> Path:
    """A folder of the user's."""
    folder = tmp_path / "theirs"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "thesis.txt").write_text("years of work")
    return folder


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("write", [write_file, write_folder])
def test_a_folder_of_somebody_else_is_never_replaced(theirs, write, overwrite):
    for path in (theirs, theirs / "sub"):
        with pytest.raises(OutputError):
            write(path, overwrite=overwrite)
    assert contents(theirs.parent) == {"theirs/sub/thesis.txt": "years of work"}


@pytest.mark.parametrize("write", [write_file, write_folder])
def test_overwriting_is_advised_only_where_it_would_be_done(tmp_path, theirs, write):
    def advised(path: Path) -> bool:
        with pytest.raises(OutputError) as refused:
            write(path)
        return "--overwrite" in refused.value.fix

    def done(path: Path) -> bool:
        try:
            write(path, overwrite=True)
        except OutputError:
            return False
        return True

    write_file(tmp_path / "file")
    write_folder(tmp_path / "folder")
    (tmp_path / "empty").mkdir()
    there = [theirs, tmp_path / "file", tmp_path / "folder", tmp_path / "empty"]
    advice = [advised(path) for path in there]
    assert advice == [done(path) for path in there] and any(advice) and not all(advice)


def test_a_folder_that_came_while_the_output_was_computed_is_not_replaced(tmp_path):
    output = tmp_path / "out"
    with (
        pytest.raises(OutputError, match="not replaced"),
        atomic_output(output, overwrite=True, folder_with="ours.json") as temporary,
    ):
        temporary.mkdir()
        (temporary / "ours.json").write_text("new")
        output.mkdir()
        (output / "thesis.txt").write_text("years of work")
    assert contents(tmp_path) == {"out/thesis.txt": "years of work"}


def test_a_file_is_not_replaced_by_a_folder(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match="not replaced"):
        write_folder(tmp_path / "out", overwrite=True)
    assert (tmp_path / "out").read_text() == "mine"


def test_our_own_output_is_replaced_when_asked(tmp_path):
    write_file(tmp_path / "file", text="old")
    with pytest.raises(OutputError, match="--overwrite"):
        write_file(tmp_path / "file")
    write_file(tmp_path / "file", overwrite=True)
    write_folder(tmp_path / "folder", files=("ours.json", "old.txt"))
    with pytest.raises(OutputError, match="--overwrite"):
        write_folder(tmp_path / "folder")
    write_folder(tmp_path / "folder", overwrite=True)
    (tmp_path / "empty").mkdir()
    write_folder(tmp_path / "empty", overwrite=True)
    assert contents(tmp_path) == {"file": "new", "folder/ours.json": "new", "empty/ours.json": "new"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "folder"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", [".", "..", "sub/..", "/"])
def test_a_path_without_a_name_is_refused(theirs, monkeypatch, name, overwrite):
    monkeypatch.chdir(theirs)
    for folder_with in (None, "ours.json"):
        with pytest.raises(OutputError, match="no output path"):
            check_output(Path(name), overwrite=overwrite, folder_with=folder_with)
    assert contents(theirs) == {"sub/thesis.txt": "years of work"}


def test_a_dash_is_not_the_name_of_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for write in (write_file, write_folder):
        with pytest.raises(OutputError, match="standard output"):
            write(Path("-"))
    with pytest.raises(OutputError, match="standard output"):
        check_output(Path("-") / "manifest.jsonl", overwrite=False)
    assert not list(tmp_path.iterdir())


def test_links(tmp_path):
    (tmp_path / "to_nowhere").symlink_to(tmp_path / "nowhere")
    (tmp_path / "to_ours").symlink_to(tmp_path / "ours")
    write_folder(tmp_path / "ours")
    for write, name in ((write_file, "to_nowhere"), (write_folder, "to_nowhere"), (write_folder, "to_ours")):
        for overwrite in (False, True):
            with pytest.raises(OutputError):
                write(tmp_path / name, overwrite=overwrite)
    assert (tmp_path / "to_nowhere").is_symlink() and (tmp_path / "to_ours").is_symlink()
    assert not (tmp_path / "nowhere").exists()


def test_what_is_no_regular_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="something else"):
        write_file(tmp_path / "pipe", overwrite=True)
    assert (tmp_path / "pipe").is_fifo()


def test_a_name_the_file_system_cannot_hold_is_refused(tmp_path):
    with pytest.raises(OutputError, match="cannot write") as refused:
        check_output(tmp_path / ("ü" * 150), overwrite=False)
    assert refused.value.got == "300 bytes in the longest part" and "shorter" in refused.value.fix


@pytest.mark.parametrize("name", ["x" * 255, "ü" * 127])
def test_the_longest_name_the_file_system_can_hold_is_written(tmp_path, name):
    write_file(tmp_path / name)
    write_file(tmp_path / name, overwrite=True, text="newer")
    write_folder(tmp_path / "below" / name)
    assert contents(tmp_path) == {name: "newer", f"below/{name}/ours.json": "new"}


@pytest.mark.parametrize("files", [(), ("other.json",)])
def test_a_block_that_writes_nothing_of_ours_keeps_the_old(tmp_path, files):
    write_folder(tmp_path / "out", files=("ours.json", "old.txt"))
    with pytest.raises(RuntimeError, match="nothing was written"):
        write_folder(tmp_path / "out", overwrite=True, files=files)
    assert set(contents(tmp_path)) == {"out/ours.json", "out/old.txt"}


@pytest.mark.parametrize("ending", [KeyboardInterrupt, ValueError])
def test_a_block_that_ends_early_leaves_nothing(tmp_path, ending):
    write_file(tmp_path / "old", text="old")
    for path in (tmp_path / "old", tmp_path / "a" / "b" / "new"):
        with pytest.raises(ending), atomic_output(path, overwrite=True) as temporary:
            temporary.write_text("half")
            raise ending
    assert contents(tmp_path) == {"old": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_looking_whether_an_output_can_be_written_makes_nothing(tmp_path):
    check_output(tmp_path / "a" / "b" / "new", overwrite=False)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "to_nowhere").symlink_to(tmp_path / "nowhere")
    for folder in ("file", "to_nowhere", "x" * 300):
        with pytest.raises(OutputError, match="cannot write"):
            check_output(tmp_path / folder / "b" / "new", overwrite=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "to_nowhere"]


def test_a_folder_that_cannot_be_made_after_all_is_an_error_of_the_user(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(OutputError, match="No space left"):
        write_file(tmp_path / "a" / "new")


def test_files_that_belong_together_are_all_written_or_none(tmp_path):
    paths = [tmp_path / "out" / name for name in ("result", "beside")]
    with pytest.raises(ValueError), atomic_outputs(paths, overwrite=False) as (result, beside):
        beside.write_text("whole")
        result.write_text("half")
        raise ValueError
    assert not list(tmp_path.iterdir())
    with atomic_outputs(paths, overwrite=False) as temporaries:
        for temporary, path in zip(temporaries, paths, strict=True):
            temporary.write_text(path.name)
    assert contents(tmp_path) == {"out/result": "result", "out/beside": "beside"}


def test_folders_made_for_an_output_stay_where_somebody_uses_them(tmp_path):
    with pytest.raises(ValueError), atomic_output(tmp_path / "a" / "b" / "new", overwrite=False):
        (tmp_path / "a" / "theirs.txt").write_text("mine")
        raise ValueError
    assert contents(tmp_path) == {"a/theirs.txt": "mine"}
    assert not (tmp_path / "a" / "b").exists()
    write_file(tmp_path / "a" / "b" / "new")
    assert contents(tmp_path) == {"a/theirs.txt": "mine", "a/b/new": "new"}
