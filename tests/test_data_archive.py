"""Reading tars that are what they should be, and refusing every way in which they are not."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from toy_corpora import clip, wav, write_tar
from uniwhisper.core.errors import ManifestError
from uniwhisper.data.archive import index_archive, read_member


def test_offsets_point_at_the_very_bytes(tmp_path):
    """Checked against tarfile's own reading; keys run to the first dot, members lie in any order."""
    members = [*clip("deep/b", {"label": "x"}, 0.1), *reversed(clip("a", {"n": [1, None]}, 0.2))]
    path = write_tar(tmp_path / "t.tar", members)
    found = index_archive(path)
    assert [item.key for item in found] == ["a", "deep/b"]
    assert found[0].fields == {"n": [1, None], "seconds": 0.2}
    with tarfile.open(path) as archive:
        for item in found:
            content = path.read_bytes()[item.offset : item.offset + item.size]
            assert content == archive.extractfile(item.audio_member).read() != b""


def test_a_member_is_read_whole_or_not_at_all(tmp_path):
    path = write_tar(tmp_path / "corpus" / "t.tar", clip("a", {}, 0.1))
    (found,) = index_archive(path)
    assert read_member(path, found.offset, found.size) == wav(0.1)
    path.write_bytes(path.read_bytes()[: found.offset + 100])
    with pytest.raises(ManifestError, match=r"corpus/t\.tar") as caught:
        read_member(path, found.offset, found.size)
    assert (caught.value.expected, caught.value.got) == (f"{found.size} bytes at {found.offset}", "100 bytes")
    path.unlink()
    with pytest.raises(ManifestError, match="No such file"):
        read_member(path, found.offset, found.size)


def special(kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo("link.wav")
    member.type, member.linkname = kind, "/etc/passwd"
    return member


@pytest.mark.parametrize(
    ("members", "named", "got"),
    [
        ([("../up.wav", b"RIFF")], "../up.wav", "outside"),
        ([("/abs.wav", b"RIFF")], "/abs.wav", "outside"),
        ([("a/../../up.json", b"{}")], "a/../../up.json", "outside"),
        ([("lone.wav", b"RIFF")], "lone", "only audio"),
        ([("lone.json", b"{}")], "lone", "only labels"),
        ([("x.json", b'{"a": 1'), ("x.wav", b"RIFF")], "x.json", "Expecting"),
        ([("x.json", b"\xff\xfe"), ("x.wav", b"RIFF")], "x.json", "codec"),
        ([("x.json", b"[1]"), ("x.wav", b"RIFF")], "x.json", "list"),
        ([("x.wav", b"RIFF"), ("x.flac", b"fLaC"), ("x.json", b"{}")], "x.flac", "second member"),
        ([("x.wav", b"RIFF"), ("x.json", b"{}"), ("x.json", b"{}")], "x.json", "second member"),
        ([("x.wav", b""), ("x.json", b"{}")], "x.wav", "0 bytes"),
        ([("x.pdf", b"hello")], "x.pdf", "'pdf'"),
        ([("x.txt", b"hello")], "x", "only labels"),
        ([("x.wav", b"RIFF"), ("x.cls", b"1"), ("x.cls", b"2")], "x.cls", "second member"),
        ([("x.wav", b"RIFF"), ("x.txt", b"\xff")], "x.txt", "codec"),
    ],
)
def test_a_bad_member_is_named_with_its_tar(tmp_path, members, named, got):
    path = write_tar(tmp_path / "corpus" / "bad.tar", members)
    with pytest.raises(ManifestError) as caught:
        index_archive(path)
    assert caught.value.problem == f"corpus/bad.tar: {named}"
    assert got in caught.value.got
    assert caught.value.fix


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "t.tar", "w") as archive:
        archive.addfile(special(kind))
    with pytest.raises(ManifestError, match="link, device or sparse"):
        index_archive(tmp_path / "t.tar")


def test_reading_on_after_problems_keeps_the_good_clips_and_reports_each_bad_one(tmp_path):
    members = [*clip("good", {}, 0.1), ("lone.wav", b"RIFF"), ("../x.wav", b"RIFF"), ("b.json", b"{"), ("b.wav", b"R")]
    problems: list[ManifestError] = []
    found = index_archive(write_tar(tmp_path / "t.tar", members), on_problem=problems.append)
    assert [item.key for item in found] == ["good"]
    assert sorted(problem.problem.partition(": ")[2] for problem in problems) == ["../x.wav", "b.json", "lone"]


@pytest.mark.parametrize("keep", ["middle of a member", "end of a member", "nothing", "one byte"])
def test_a_truncated_tar_is_refused(tmp_path, keep):
    """Also where the cut falls between two members, which tarfile reads without a word."""
    path = write_tar(tmp_path / "t.tar", [*clip("a", {}, 0.1), *clip("b", {}, 0.1)])
    with tarfile.open(path) as archive:
        third = archive.getmembers()[2]
    bytes_kept = {
        "middle of a member": third.offset + 700,
        "end of a member": third.offset,
        "nothing": 0,
        "one byte": 1,
    }
    path.write_bytes(path.read_bytes()[: bytes_kept[keep]])
    with pytest.raises(ManifestError, match=r"t\.tar"):
        index_archive(path)


def test_something_else_under_the_name_of_a_tar_is_refused(tmp_path):
    path = tmp_path / "t.tar"
    path.write_bytes(wav(0.5))
    with pytest.raises(ManifestError, match="uncompressed tar"):
        index_archive(path)
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("a.json")
        member.size = 2
        archive.addfile(member, io.BytesIO(json.dumps({}).encode()))
    with pytest.raises(ManifestError, match="uncompressed tar"):
        index_archive(Path(path))
