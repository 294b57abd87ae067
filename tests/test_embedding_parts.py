"""Parts: every input's row is there once, however often and by whomever a part is written."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from uniwhisper import Embedder
from uniwhisper.core.errors import AudioError, OutputError, UserError
from uniwhisper.embedding.parts import check_folder, embed_part, plan_parts


@pytest.fixture
def embedder(tiny_model) -> Embedder:
    return Embedder.from_pretrained(tiny_model, device="cpu")


def rows_of(folder: Path) -> list[str]:
    return [name for path in sorted(folder.glob("*.parquet")) for name in pq.read_table(path)["path"].to_pylist()]


def test_parts_hold_every_row_once_and_equal_one_call(embedder, tone_files, tmp_path):
    sources = [str(path) for path in tone_files]
    parts = plan_parts(sources, clips_per_part=2)
    assert [part.paths for part in parts] == [tuple(sources[:2]), tuple(sources[2:4]), tuple(sources[4:])]
    for part in [*parts, parts[1]]:  # one of them by a second worker
        embed_part(embedder, part, tmp_path)
    assert rows_of(tmp_path) == sources
    together = embedder.embed(sources).vectors
    stored = np.concatenate(
        [np.stack(pq.read_table(path)["vector"].to_numpy()) for path in sorted(tmp_path.glob("*.parquet"))]
    )
    assert np.linalg.norm(stored - together) <= 1e-5 * np.linalg.norm(together)


def test_a_path_that_is_named_again_has_no_second_row(tone_files, tmp_path):
    first, second, *_ = map(str, tone_files)
    manifest = tmp_path / "more.jsonl"
    manifest.write_text("".join(json.dumps({"path": path}) + "\n" for path in (second, first)))
    again = []
    parts = plan_parts([first, str(manifest), first], clips_per_part=1, on_repeat=again.append)
    assert [part.paths for part in parts] == [(first,), (second,)] and again == [first, first]


def test_what_is_done_is_not_done_again(embedder, tone_files, tmp_path, monkeypatch):
    (part,) = plan_parts([str(tone_files[0])])
    first = embed_part(embedder, part, tmp_path)
    monkeypatch.setattr(embedder, "embed", None)
    assert embed_part(embedder, part, tmp_path) == first


def test_a_bad_input_is_named_again_by_a_run_that_skips_its_part(embedder, tone_files, tmp_path):
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no audio")
    (part,) = plan_parts([str(tone_files[0]), str(bad)])
    for _ in range(2):
        result = embed_part(embedder, part, tmp_path / "out")
        assert result.rows == 1 and [name for name, _ in result.failures] == [str(bad)]


@pytest.mark.parametrize("change", ["inputs", "model"])
def test_a_folder_of_another_run_is_refused(embedder, tone_files, tmp_path, change):
    (part,) = plan_parts([str(tone_files[0])])
    embed_part(embedder, part, tmp_path)
    if change == "inputs":
        (part,) = plan_parts([str(tone_files[1])])
    else:
        embedder.identity["layer"] = "1"
    with pytest.raises(OutputError, match="belongs to another run"):
        embed_part(embedder, part, tmp_path)


def later(path: Path) -> None:
    """As if it had been written a second later: clocks of file systems can be coarse."""
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 10**9))


def vectors_of(folder: Path) -> np.ndarray:
    tables = [pq.read_table(path)["vector"] for path in sorted(folder.glob("*.parquet"))]
    return np.stack([vector for table in tables for vector in table.to_numpy()])


def test_audio_replaced_under_its_name_is_embedded_anew(embedder, tone_files, tmp_path):
    first, other = (path.read_bytes() for path in tone_files[:2])
    clip, out = tmp_path / "clip.wav", tmp_path / "out"
    clip.write_bytes(first)
    (part,) = plan_parts([str(clip)])
    assert not embed_part(embedder, part, out).made_anew
    clip.write_bytes(other)
    later(clip)
    assert embed_part(embedder, part, out).made_anew
    np.testing.assert_allclose(vectors_of(out), embedder.embed([other]).vectors, rtol=1e-5, atol=1e-6)


def test_a_table_of_audio_replaced_under_its_name_is_embedded_anew(embedder, tone_files, tmp_path):
    table, out = tmp_path / "audio.parquet", tmp_path / "out"
    for path in tone_files[:2]:
        pq.write_table(pa.table({"path": ["a.wav"], "bytes": [path.read_bytes()]}), table)
        later(table)
        (part,) = plan_parts([str(table)])
        embed_part(embedder, part, out)
    np.testing.assert_allclose(vectors_of(out), embedder.embed([tone_files[1]]).vectors, rtol=1e-5, atol=1e-6)


def test_a_file_that_was_missing_is_embedded_once_it_is_there(embedder, tone_files, tmp_path):
    (tmp_path / "list.jsonl").write_text('{"path": "late.wav"}\n')
    (part,) = plan_parts([str(tmp_path / "list.jsonl")])
    assert embed_part(embedder, part, tmp_path / "out").rows == 0
    (tmp_path / "late.wav").write_bytes(tone_files[0].read_bytes())
    again = embed_part(embedder, part, tmp_path / "out")
    assert again.rows == 1 and not again.failures


def test_parts_of_a_longer_list_are_refused(embedder, tone_files, tmp_path):
    """Their rows would be read along with those of the shorter one."""
    parts = plan_parts([str(path) for path in tone_files[:4]], clips_per_part=2)
    for part in parts:
        embed_part(embedder, part, tmp_path / "out")
    check_folder(parts, tmp_path / "out")
    with pytest.raises(OutputError, match=r"1 more: part-000001\.parquet"):
        check_folder(parts[:1], tmp_path / "out")
    check_folder(parts, tmp_path / "new")


def test_a_part_that_cannot_be_finished_leaves_no_file(embedder, tone_files, tmp_path, monkeypatch):
    def half(path, *_):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("uniwhisper.embedding.parts.write_vectors", half)
    (part,) = plan_parts([str(tone_files[0])])
    with pytest.raises(OSError, match="disk full"):
        embed_part(embedder, part, tmp_path)
    assert not list(tmp_path.rglob("*"))


def test_manifests_and_parquet_name_the_same_audio(embedder, tone_files, tmp_path):
    names = [os.path.relpath(path, tmp_path) for path in tone_files]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps({"path": name}) + "\n" for name in names))
    pq.write_table(pa.table({"path": names}), tmp_path / "list.parquet")
    audio = [path.read_bytes() for path in tone_files]
    pq.write_table(pa.table({"path": names, "bytes": audio}), tmp_path / "audio.parquet", row_group_size=2)
    vectors = []
    for source in ("list.jsonl", "list.parquet", "audio.parquet"):
        out = tmp_path / f"{source}.out"
        for part in plan_parts([str(tmp_path / source)]):
            embed_part(embedder, part, out)
        assert [Path(name).name for name in rows_of(out)] == [path.name for path in tone_files]
        tables = [pq.read_table(path)["vector"] for path in sorted(out.glob("*.parquet"))]
        vectors.append(np.stack([vector for table in tables for vector in table.to_numpy()]))
    for other in vectors[1:]:
        assert np.linalg.norm(other - vectors[0]) <= 1e-5 * np.linalg.norm(vectors[0])


def test_cells_that_hold_nothing_fail_alone(embedder, tone_files, tmp_path):
    """Data sets have them: a sound that could not be had, a sound without a path."""
    sound = tone_files[0].read_bytes()
    rows = {"path": ["a.wav", "b.wav", None], "bytes": [sound, None, sound]}
    pq.write_table(pa.table(rows), tmp_path / "audio.parquet")
    (part,) = plan_parts([str(tmp_path / "audio.parquet")])
    result = embed_part(embedder, part, tmp_path / "out")
    assert rows_of(tmp_path / "out") == ["a.wav", "<bytes 2>"]
    assert [name for name, _ in result.failures] == ["b.wav"] and "0 bytes" in result.failures[0][1]
    pq.write_table(pa.table({"path": pa.array(["a.wav", None])}), tmp_path / "list.parquet")
    with pytest.raises(AudioError, match="does not list audio"):
        plan_parts([str(tmp_path / "list.parquet")])


@pytest.mark.parametrize(("name", "text"), [("a.jsonl", '{"file": "x.wav"}'), ("a.jsonl", "{"), ("a.parquet", "no")])
def test_a_list_that_is_none_is_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(AudioError, match="does not list audio"):
        plan_parts([str(tmp_path / name)])


def test_an_unknown_engine_is_refused(tmp_path):
    from uniwhisper.cli.embed import embed

    with pytest.raises(UserError, match="engine 'spark'"):
        embed(["x.wav"], tmp_path / "o", engine="spark")


def test_workers_are_not_taken_and_forgotten_without_ray(tmp_path, tone_files):
    from uniwhisper.cli.embed import embed

    with pytest.raises(UserError, match="--workers 3 with --engine local") as refused:
        embed([str(path) for path in tone_files], tmp_path / "o.parquet", workers=3, device="cpu")
    assert "--engine ray" in refused.value.fix and not list(tmp_path.iterdir())


def test_a_refusal_leaves_no_folder_for_the_parts(tone_files, tmp_path, monkeypatch):
    from uniwhisper.cli.embed import embed
    from uniwhisper.embedding import ray_engine

    def refuse(*_, **__):
        raise UserError("no ray", expected="ray", got="none", fix="install it")

    monkeypatch.setattr(ray_engine, "embed_on_ray", refuse)
    with pytest.raises(UserError, match="no ray"):
        embed([str(path) for path in tone_files], tmp_path / "new" / "parts", engine="ray", device="cpu")
    assert not (tmp_path / "new").exists()
