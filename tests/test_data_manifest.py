"""Manifests: identity by content, every line checked, prepare with good, bad and killed input."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from toy_corpora import MUSIC, SOUND, SPEECH, clip, wav, write_corpus, write_tar, write_three_corpora
from uniwhisper.core.errors import ManifestError, OutputError
from uniwhisper.data.manifest import Manifest
from uniwhisper.data.manifest_writer import ManifestWriter
from uniwhisper.data.merge import merge
from uniwhisper.data.prepare import prepare


@pytest.fixture(scope="module")
def corpora(tmp_path_factory) -> Path:
    return write_three_corpora(tmp_path_factory.mktemp("corpora"), clips=4)


@pytest.fixture
def prepared(corpora, tmp_path) -> Path:
    prepare(corpora, tmp_path / "out")
    return tmp_path / "out"


def test_what_is_written_is_read_back(prepared):
    manifest = Manifest.read(prepared)
    assert [record.id for record in manifest.records] == sorted(
        [
            f"{corpus}/{key}{index:03d}"
            for corpus, key in (("noises", "e"), ("talk", "s"), ("tunes", "m"))
            for index in range(4)
        ]
    )
    record = next(record for record in manifest.records if record.id == "tunes/m002")
    assert (record.corpus, record.domain, record.archive) == ("tunes", "music", "tunes/shard-000000.tar")
    assert record.fields == {"label": "flute", "note": "C4"}
    assert record.samples == round(16_000 * 0.26)
    assert record.seconds == pytest.approx(0.26)
    assert manifest.audio_bytes(record) == wav(0.26, 200.0 + 14 + 2000)
    assert record.sha256 == hashlib.sha256(wav(0.26, 200.0 + 14 + 2000)).hexdigest()
    assert manifest.counts["talk"]["clips"] == 4
    assert manifest == Manifest.read(prepared / "manifest.jsonl", root=prepared / manifest.root.relative_to(prepared))


def test_the_hash_depends_on_content_and_not_on_place_or_order(tmp_path):
    parts = [clip("a", {"label": "x"}, 0.1), clip("b", {"label": "y"}, 0.2)]
    write_corpus(tmp_path / "one" / "c", SOUND, parts[0] + parts[1])
    write_corpus(tmp_path / "two" / "c", SOUND, parts[0] + parts[1])
    write_corpus(tmp_path / "other label" / "c", SOUND, clip("a", {"label": "z"}, 0.1) + parts[1])
    write_corpus(tmp_path / "other rule" / "c", {**SOUND, "licence": "CC BY"}, parts[0] + parts[1])
    names = ("one", "two", "other label", "other rule")
    hashes = {name: prepare(tmp_path / name, tmp_path / "out" / name).hash for name in names}
    assert hashes["one"] == hashes["two"]
    assert len(set(hashes.values())) == 3
    manifest = Manifest.read(tmp_path / "out" / "one")
    assert Manifest.of(reversed(manifest.records), manifest.corpora, Path("/elsewhere")).hash == hashes["one"]


def edit(path: Path, number: int, change) -> Path:
    """Rewrite line `number` (from 1) of a manifest with `change` applied to its JSON."""
    lines = path.read_text().splitlines()
    changed = change(json.loads(lines[number - 1]))
    lines[number - 1] = changed if isinstance(changed, str) else json.dumps(changed)
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("number", "change", "text"),
    [
        (3, lambda _: '{"id": "a', "line 3"),
        (3, lambda _: "[]", "line 3"),
        (2, lambda line: {k: v for k, v in line.items() if k != "samples"}, "line 2"),
        (2, lambda line: {**line, "extra": 1}, "line 2"),
        (4, lambda line: {**line, "samples": "12"}, "line 4"),
        (4, lambda line: {**line, "samples": True}, "line 4"),
        (4, lambda line: {**line, "samples": 0}, "line 4"),
        (4, lambda line: {**line, "samples": -5}, "line 4"),
        (5, lambda line: {**line, "archive": "../secret.tar"}, "line 5"),
        (5, lambda line: {**line, "archive": "/etc/passwd"}, "line 5"),
        (6, lambda line: {**line, "id": "aaa"}, "line 6"),
        (6, lambda line: {**line, "corpus": "nobody's"}, "line 6"),
        (7, lambda line: {**line, "fields": {"label": "cat"}}, "was changed after it was written"),
        (1, lambda line: {**line, "version": 99}, "line 1"),
        (1, lambda line: {**line, "hash": "0" * 64}, "was changed after it was written"),
        (1, lambda _: "no json", "line 1"),
    ],
)
def test_a_bad_line_is_named(prepared, number, change, text):
    path = edit(prepared / "manifest.jsonl", number, change)
    with pytest.raises(ManifestError, match=text) as caught:
        Manifest.read(path)
    assert "data prepare" in caught.value.fix


def test_a_manifest_cut_short_is_refused(prepared):
    path = prepared / "manifest.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ManifestError, match="ends inside"):
        Manifest.read(path)
    path.write_text("\n".join(path.read_text().splitlines()[:5]) + "\n")
    with pytest.raises(ManifestError, match="was changed"):
        Manifest.read(path)
    with pytest.raises(ManifestError, match="cannot read the manifest"):
        Manifest.read(prepared / "nowhere")


def test_an_archive_that_is_gone_or_shorter_is_an_error(prepared, tmp_path):
    manifest = Manifest.read(prepared, root=tmp_path / "elsewhere")
    with pytest.raises(ManifestError, match="noises/e000"):
        manifest.audio_bytes(manifest.records[0])
    short = write_tar(tmp_path / "elsewhere" / "noises" / "shard-000000.tar", [("a", b"x")])
    short.write_bytes(b"x" * 600)
    with pytest.raises(ManifestError, match="bytes"):
        manifest.audio_bytes(manifest.records[0])


@pytest.mark.parametrize(
    ("members", "text"),
    [
        (clip("late", {"label": "x", "seconds": 0.35}, 0.2), "declared 0.35 seconds"),
        (clip("late", {"label": "x", "seconds": "long"}, 0.2), "declared 'long'"),
        ([("noise.wav", b"not audio at all"), ("noise.json", b'{"label": "x"}')], "bad/noise"),
        ([("cut.wav", wav(0.2)[:2000]), *clip("cut", {"label": "x"}, 0.2)[1:]], "bad/cut"),
        (clip("dumb", {"other": "x"}, 0.2), "a label in"),
        (clip("blank", {"label": "  "}, 0.2), "not empty"),
    ],
)
def test_a_bad_clip_stops_prepare_or_is_skipped_by_name(tmp_path, members, text):
    write_corpus(tmp_path / "in" / "bad", SOUND, [*members, *clip("good", {"label": "x"}, 0.2)])
    with pytest.raises(ManifestError, match=text):
        prepare(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.jsonl").exists()
    manifest = prepare(tmp_path / "in", tmp_path / "out", skip_bad=True)
    assert [record.id for record in manifest.records] == ["bad/good"]
    (line,) = Manifest.read(tmp_path / "out").skipped
    assert members[0][0].partition(".")[0] in line


def test_a_difference_of_rounding_is_no_wrong_duration(tmp_path):
    write_corpus(tmp_path / "in" / "c", SOUND, clip("a", {"label": "x", "seconds": 0.29}, 0.2))
    assert prepare(tmp_path / "in", tmp_path / "out").records[0].samples == 3200


def test_an_unknown_label_is_an_error(tmp_path):
    known = {**SOUND, "tasks": {"sound_tag": {"field": "label", "values": {"x": "ex"}}}}
    write_corpus(tmp_path / "in" / "c", known, [*clip("a", {"label": "x"}, 0.1), *clip("b", {"label": "y"}, 0.1)])
    with pytest.raises(ManifestError, match="c/b, task sound_tag") as caught:
        prepare(tmp_path / "in", tmp_path / "out")
    assert caught.value.got == "'y'"
    wrong_note = [*clip("a", {"label": "x", "note": "H4"}, 0.1)]
    write_corpus(tmp_path / "notes" / "c", MUSIC, wrong_note)
    with pytest.raises(ManifestError, match="H4"):
        prepare(tmp_path / "notes", tmp_path / "out")


def test_ranges_mean_the_same_after_a_manifest_was_written_and_read(tmp_path):
    """JSON with sorted keys puts `adult` before `child`; a child of six stays one."""
    ages = {"child": 12, "teenager": 19, "young adult": 35, "adult": 59, "senior": None}
    known = {**SPEECH, "tasks": {"age_group": {"field": "age", "ranges": ages}}}
    parts = [clip(str(age), {"age": age}, 0.1) for age in (6, 12, 13, 30, 59, 60)]
    write_corpus(tmp_path / "in" / "c", known, [member for part in parts for member in part])
    prepare(tmp_path / "in", tmp_path / "out")
    manifest = Manifest.read(tmp_path / "out")
    found = {r.fields["age"]: manifest.corpora["c"].answers(r.id, r.fields)["age_group"] for r in manifest.records}
    assert found == {6: "child", 12: "child", 13: "teenager", 30: "young adult", 59: "adult", 60: "senior"}


def test_the_same_key_in_two_tars_of_a_corpus_is_refused(tmp_path):
    write_corpus(tmp_path / "in" / "c", SOUND, clip("a", {"label": "x"}, 0.1))
    write_tar(tmp_path / "in" / "c" / "shard-000001.tar", clip("a", {"label": "y"}, 0.1))
    with pytest.raises(ManifestError, match=r"c/a(.|\n)*shard-000000(.|\n)*shard-000001"):
        prepare(tmp_path / "in", tmp_path / "out")


def test_folders_that_hold_no_corpus(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "no tars" / "x").mkdir(parents=True)
    write_tar(tmp_path / "flat" / "shard.tar", clip("a", {}, 0.1))
    for name, got in (("empty", "0 folders"), ("no tars", "1 folders"), ("flat", "1 tars"), ("missing", "no such")):
        with pytest.raises(ManifestError, match=got):
            prepare(tmp_path / name, tmp_path / "out")


def test_a_corpus_nobody_described_says_how(tmp_path):
    folder = write_corpus(tmp_path / "in" / "mine", None, clip("a", {"label": "x"}, 0.1))
    with pytest.raises(ManifestError, match="mine is not described") as caught:
        prepare(tmp_path / "in", tmp_path / "out")
    example = json.loads(caught.value.fix.partition("example ")[2])
    (folder / "corpus.json").write_text(json.dumps(example))  # what the error says to type works
    assert len(prepare(tmp_path / "in", tmp_path / "out").records) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"domain": "smell"},
        {"licence": ""},
        {"tasks": {}},
        {"tasks": {"unheard_of": {"field": "label"}}},
        {"tasks": {"presence": {"field": "label"}}},
        {"tasks": {"caption": {"field": "label", "clean": "polish"}}},
        {"tasks": {"caption": {"field": "label", "values": "no such map"}}},
        {"tasks": {"caption": {}}},
        {"surprise": 1},
    ],
)
def test_a_bad_description_is_refused(tmp_path, change):
    write_corpus(tmp_path / "in" / "c", {**SOUND, **change}, clip("a", {"label": "x"}, 0.1))
    with pytest.raises(ManifestError, match="corpus c"):
        prepare(tmp_path / "in", tmp_path / "out")


def test_an_existing_manifest_is_kept_unless_told(corpora, prepared):
    before = (prepared / "manifest.jsonl").read_bytes()
    with pytest.raises(OutputError):
        prepare(corpora, prepared)
    assert (prepared / "manifest.jsonl").read_bytes() == before
    prepare(corpora, prepared, overwrite=True)
    assert (prepared / "manifest.jsonl").read_bytes() == before


def test_a_killed_prepare_leaves_no_manifest(corpora, tmp_path):
    """kill -9 in the middle of writing: whatever is left, nothing is called manifest.jsonl."""
    code = f"""
import time
from pathlib import Path
import uniwhisper.data.manifest_writer as writer
from uniwhisper.data.prepare import prepare
def slow(source, target):
    target.write(source.read(100))
    target.flush()
    print("writing", flush=True)
    time.sleep(60)
writer.copyfileobj = slow
prepare(Path({str(corpora)!r}), Path({str(tmp_path / "out")!r}))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out" / "manifest.jsonl").exists()
    assert len(prepare(corpora, tmp_path / "out").records) == 12


def test_ctrl_c_ends_prepare_soon_and_leaves_nothing(corpora, tmp_path):
    code = f"""
import time
from pathlib import Path
import uniwhisper.data.prepare as module
read = module.read
def slow(content, name):
    print("reading", flush=True)
    time.sleep(0.2)
    return read(content, name=name)
module.read = slow
module.prepare(Path({str(corpora)!r}), Path({str(tmp_path / "out")!r}), workers=1)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "reading\n"
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGINT)
    reads = process.communicate(timeout=30)[0].count("reading")
    assert process.returncode != 0
    assert reads < 11
    assert not (tmp_path / "out").exists()


def invoke(*arguments: object):
    from uniwhisper.cli.data import app

    return CliRunner().invoke(app, list(map(str, arguments)))


def test_the_command_prints_a_table_and_its_json(corpora, tmp_path):
    done = invoke("prepare", corpora, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert all(word in done.stdout for word in ("noises", "talk", "tunes", "music", "note", "CC0", "12 clips"))
    done = invoke("prepare", corpora, "-o", tmp_path / "out", "--overwrite", "--json")
    summary = json.loads(done.stdout)
    assert summary["hash"] == Manifest.read(tmp_path / "out").hash
    assert [row["clips"] for row in summary["corpora"]] == [4, 4, 4]
    assert summary["skipped"] == []


def test_the_command_counts_what_it_skipped(tmp_path):
    bad = [("broken.json", b"{"), ("broken.wav", b"RIFF"), *clip("good", {"label": "x"}, 0.1)]
    write_corpus(tmp_path / "in" / "c", SOUND, bad)
    stopped = invoke("prepare", tmp_path / "in", "-o", tmp_path / "out").exception
    assert isinstance(stopped, ManifestError) and stopped.fix.endswith("--skip-bad")  # which it does next:
    done = invoke("prepare", tmp_path / "in", "-o", tmp_path / "out", "--skip-bad")
    assert done.exit_code == 1 and "--skip-bad" not in done.stderr
    assert "broken.json" in done.stderr
    assert "1 left out of 2" in done.stderr


def test_many_bad_clips_of_one_reason_are_said_once_and_none_is_lost(tmp_path):
    """Five declared too long, each by another length; three without a label; one of an id that was there before."""
    members = clip("good", {"label": "x"}, 0.1)
    for number in range(5):
        members += clip(f"long{number}", {"label": "x", "seconds": 3 + number}, 0.1)
    for name in "abc":
        members += clip(f"nothing-{name}", {}, 0.1)
    folder = write_corpus(tmp_path / "in" / "c", SOUND, members)
    write_tar(folder / "shard-000001.tar", clip("good", {"label": "y"}, 0.1, 880.0))
    done = invoke("prepare", tmp_path / "in", "-o", tmp_path / "out", "--skip-bad")
    assert done.exit_code == 1 and "9 left out of 10" in done.stderr
    lines = done.stderr.splitlines()
    (said,) = [number for number, line in enumerate(lines) if "seconds, within" in line]
    assert lines[said].startswith("left out, 5 alike: expected the declared 3 seconds")
    assert lines[said + 1] == "  c/long0, c/long1, c/long2 and 2 more"
    assert lines[said + 2].startswith("  fix: correct `seconds`") and done.stderr.count("correct `seconds`") == 1
    assert all(done.stderr.count(f"left out: c/nothing-{name}: ") == 1 for name in "abc")
    assert done.stderr.count("fill one of these fields") == 1 and done.stderr.count("left out: c/good: ") == 1
    header = json.loads((tmp_path / "out" / "manifest.jsonl").read_text().splitlines()[0])
    assert sorted(line.split(":")[0] for line in header["skipped"] if "/long" in line) == [
        f"c/long{number}" for number in range(5)
    ]
    assert f"all of them are named in the first line of {tmp_path / 'out' / 'manifest.jsonl'}" in done.stderr


def test_manifests_prepared_apart_are_merged_and_their_audio_found(tmp_path):
    write_corpus(tmp_path / "a" / "x" / "one", SOUND, clip("k", {"label": "rain"}, 0.1))
    write_corpus(tmp_path / "a" / "two", MUSIC, clip("k", {"label": "flute", "note": "C4"}, 0.2))
    first, second = prepare(tmp_path / "a" / "x", tmp_path / "p1"), prepare(tmp_path / "a", tmp_path / "p2")
    done = invoke("merge", tmp_path / "p1", tmp_path / "p2", "-o", tmp_path / "all")
    assert done.exit_code == 0, done.output
    manifest = Manifest.read(tmp_path / "all")
    assert [record.archive for record in manifest.records] == ["x/one/shard-000000.tar", "two/shard-000000.tar"]
    originals = [*zip([first] * 1, first.records, strict=True), *zip([second] * 1, second.records, strict=True)]
    for record, (source, original) in zip(manifest.records, originals, strict=True):
        assert manifest.audio_bytes(record) == source.audio_bytes(original)
    with pytest.raises(ManifestError, match="one/k"):
        merge([tmp_path / "p1", tmp_path / "p1"], tmp_path / "twice")
    write_corpus(tmp_path / "b" / "one", {**SOUND, "licence": "CC BY"}, clip("other", {"label": "rain"}, 0.1))
    prepare(tmp_path / "b", tmp_path / "p3")
    with pytest.raises(ManifestError, match="corpus one"):
        merge([tmp_path / "p1", tmp_path / "p3"], tmp_path / "differing")


def test_an_unknown_task_in_a_manifest_is_named(prepared):
    def unknown(header):
        corpora = header["corpora"]
        return {**header, "corpora": {**corpora, "talk": {**corpora["talk"], "tasks": {"smell": {"field": "x"}}}}}

    path = edit(prepared / "manifest.jsonl", 1, unknown)
    with pytest.raises(ManifestError, match="corpus talk") as caught:
        Manifest.read(path)
    assert caught.value.got == "'smell'" and "transcription" in caught.value.expected


def test_a_manifest_longer_than_memory_is_sorted_in_pieces(prepared, tmp_path):
    """Pieces of three records give the file that one piece gives, in whatever order records come."""
    manifest = Manifest.read(prepared)
    with ManifestWriter(tmp_path / "sorted", manifest.corpora, manifest.root, piece_records=3) as writer:
        for record in reversed(manifest.records):
            writer.add(record)
        written = writer.finish()
    assert written.hash == manifest.hash and written.counts == manifest.counts
    assert Manifest.read(tmp_path / "sorted").records == manifest.records
    assert [path.name for path in (tmp_path / "sorted").iterdir()] == ["manifest.jsonl"]
    with ManifestWriter(tmp_path / "twice", manifest.corpora, manifest.root, piece_records=3) as writer:
        for record in [*manifest.records, manifest.records[5]]:
            writer.add(record)
        problems = []
        written = writer.finish(on_problem=problems.append)
    assert [problem.problem for problem in problems] == [manifest.records[5].id]
    assert written.counts == manifest.counts and len(written.skipped) == 1
