"""Files and folders as a user names them."""

from pathlib import Path

import pytest

from uniwhisper.audio.find import audio_paths, audio_paths_and_missing, find_audio
from uniwhisper.audio.load import read
from uniwhisper.core.errors import AudioError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_folders_are_searched_recursively_and_sorted(tmp_path: Path) -> None:
    touch(tmp_path, "b.wav", "a/z.FLAC", "a/b/c.Opus", "a.mp3", "notes.txt", "a/.hidden.wav", ".git/x.wav", "c/y.json")
    found = [path.relative_to(tmp_path).as_posix() for path in find_audio([tmp_path])]
    assert found == ["a/b/c.Opus", "a/z.FLAC", "a.mp3", "b.wav"]


@pytest.mark.parametrize("ending, content", [("webm", b"\x1aE\xdf\xa3 a film"), ("WMA", b"\x30\x26\xb2\x75 a song")])
def test_a_recording_that_nothing_decodes_is_named_and_not_passed_over(tmp_path: Path, ending, content) -> None:
    (tmp_path / f"a.{ending}").write_bytes(content)
    (found,) = find_audio([tmp_path])
    with pytest.raises(AudioError, match="ffmpeg -i"):
        read(found)


def test_the_order_given_is_kept_and_nothing_comes_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "f/b.wav", "f/a.wav", "x.wav")
    monkeypatch.chdir(tmp_path)
    assert find_audio(["x.wav", "f", "./x.wav", tmp_path / "f/a.wav"]) == [
        Path("x.wav"),
        Path("f/a.wav"),
        Path("f/b.wav"),
    ]
    assert find_audio(["f/b.wav", "f"]) == [Path("f/b.wav"), Path("f/a.wav")]


def test_what_comes_again_is_told_and_what_is_not_there_comes_last(tmp_path: Path, monkeypatch) -> None:
    touch(tmp_path, "f/b.wav", "f/a.wav", "x.wav")
    (tmp_path / "f/again.wav").symlink_to(tmp_path / "x.wav")
    monkeypatch.chdir(tmp_path)
    again: list[str] = []
    same = Path("f/a.wav")
    assert audio_paths_and_missing(["x.wav", "gone", same, same, "f", "gone"], again.append) == [
        "x.wav", "f/a.wav", "f/b.wav", "gone",
    ]  # fmt: skip
    assert again == ["f/a.wav", "f/a.wav", "f/again.wav"]


def test_same_name_in_two_folders_stays_apart(tmp_path: Path) -> None:
    touch(tmp_path, "a/dog.wav", "b/dog.wav")
    assert find_audio([tmp_path]) == [tmp_path / "a/dog.wav", tmp_path / "b/dog.wav"]


def test_files_come_in_the_order_of_their_paths_part_by_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [
        "a/b.wav",
        "a.b/c.wav",
        "a-/c.wav",
        "a b.wav",
        "a.wav",
        "a/b/c.wav",
        "b.wav",
        "é/a.wav",
        "A/z.wav",
        "a0.wav",
    ]
    touch(tmp_path, *names)
    assert find_audio([tmp_path]) == sorted(tmp_path / name for name in names)
    monkeypatch.chdir(tmp_path)
    assert audio_paths(["."]) == [str(path) for path in sorted(map(Path, names))]


def test_a_file_reached_through_links_is_kept_once(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.wav", "real/b.wav")
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "real/also-b.wav").symlink_to(tmp_path / "real/b.wav")
    (tmp_path / "real/to-nowhere.wav").symlink_to(tmp_path / "nowhere.wav")
    found = find_audio([tmp_path / "linked", tmp_path / "real", tmp_path / "real/a.wav"])
    assert found == [tmp_path / "linked" / name for name in ("a.wav", "also-b.wav", "to-nowhere.wav")]


def test_a_file_named_outright_is_kept_whatever_it_is_called(tmp_path: Path) -> None:
    touch(tmp_path, "take.data", ".hidden")
    assert find_audio([tmp_path / "take.data", str(tmp_path / ".hidden")]) == [
        tmp_path / "take.data",
        tmp_path / ".hidden",
    ]


def test_a_hidden_folder_named_outright_is_searched(tmp_path: Path) -> None:
    touch(tmp_path, ".cache/a.wav")
    assert find_audio([tmp_path / ".cache"]) == [tmp_path / ".cache/a.wav"]


def test_links_out_of_a_folder_are_followed_and_circles_end(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/y.wav", "elsewhere/sub/z.wav", "root/a/x.wav", "root/.store/blobs/b.wav")
    root = tmp_path / "root"
    (root / "a/loop").symlink_to(root / "a")
    (root / "again").symlink_to(root / "a")
    (root / "blobs").symlink_to(root / ".store/blobs")
    (root / "out").symlink_to(tmp_path / "elsewhere")
    (root / "out-again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/sub/back").symlink_to(root)
    (tmp_path / "elsewhere/sub/circle").symlink_to(tmp_path / "elsewhere")
    (root / "0-up").symlink_to(tmp_path)
    (root / "gone").symlink_to(tmp_path / "nowhere")
    assert find_audio([root]) == [root / name for name in ("a/x.wav", "blobs/b.wav", "out/sub/z.wav", "out/y.wav")]


def test_folder_without_audio(tmp_path: Path) -> None:
    touch(tmp_path, "sub/notes.txt")
    with pytest.raises(AudioError) as caught:
        find_audio([tmp_path])
    assert caught.value.problem == f"{tmp_path} holds no audio"
    assert {".wav", ".flac", ".opus", ".m4a"} <= set(caught.value.expected.split())


def test_missing_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "a.wav")
    with pytest.raises(AudioError, match=r"^nowhere/x\.wav does not exist"):
        find_audio(["a.wav", "nowhere/x.wav"])
    for path in ("x" * 300, "a.wav/b.wav"):
        with pytest.raises(AudioError, match=f"^{path} cannot be opened"):
            find_audio(["a.wav", path])
    assert audio_paths_and_missing(["x" * 300, "a.wav", "no.wav", Path("a.wav")]) == ["a.wav", "x" * 300, "no.wav"]


def test_nothing_asked_nothing_found() -> None:
    assert find_audio([]) == []


@pytest.mark.parametrize("find", [find_audio, audio_paths, audio_paths_and_missing])
def test_an_empty_name_is_not_the_current_folder(tmp_path: Path, monkeypatch, find) -> None:
    touch(tmp_path, "private.wav")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AudioError, match="an empty name"):
        find(["private.wav", ""])
    assert len(find(["."])) == 1
