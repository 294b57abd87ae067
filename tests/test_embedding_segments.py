"""Segments: each is the clip that one would have cut out, wherever it lies and whatever lies beside it."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st

from test_cli_embed import good, run  # noqa: F401 (fixtures)
from test_embedder import bad_files, clip, embedder, noise, relative_l2  # noqa: F401 (fixtures)
from uniwhisper import Embedder
from uniwhisper.audio.load import read
from uniwhisper.core.errors import AudioError, UserError
from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.embedding import parquet
from uniwhisper.embedding.decode import Inputs
from uniwhisper.embedding.parquet import metadata_of, write_segments


def pieces(samples_S: np.ndarray, every_seconds: float) -> list[np.ndarray]:
    """The clips that one would cut out oneself."""
    ends = range(round(every_seconds * SAMPLE_RATE_HZ), len(samples_S), round(every_seconds * SAMPLE_RATE_HZ))
    return np.split(samples_S, list(ends))


@settings(max_examples=12, deadline=None)
@example(lengths=[30 * SAMPLE_RATE_HZ + 1, 20 * SAMPLE_RATE_HZ], every_seconds=10.0, batch_seconds=None)
@given(
    lengths=st.lists(st.integers(1, 70 * SAMPLE_RATE_HZ), min_size=1, max_size=3),
    every_seconds=st.sampled_from([2.5, 3.75, 10.0, 30.0]),
    batch_seconds=st.sampled_from([None, 11.0]),
)
def test_a_segment_is_the_clip_that_one_would_cut_out(embedder, lengths, every_seconds, batch_seconds):  # noqa: F811
    waves = [noise(length / SAMPLE_RATE_HZ, seed)[:length] for seed, length in enumerate(lengths)]
    with Inputs([(wave, SAMPLE_RATE_HZ) for wave in waves], skip=False) as inputs:
        blocks = list(embedder.segment_blocks(inputs, every_seconds=every_seconds, batch_seconds=batch_seconds))
    for index, wave in enumerate(waves):
        own = [block for block in blocks if block.index == index]
        assert {block.name for block in own} == {f"<array {index}>"}
        cut = pieces(wave, every_seconds)
        assert np.concatenate([block.start_seconds for block in own]).tolist() == [
            n * every_seconds for n in range(len(cut))
        ]
        seconds = np.concatenate([block.seconds for block in own])
        assert seconds.tolist() == [len(piece) / SAMPLE_RATE_HZ for piece in cut]
        expected = embedder.embed([(piece, SAMPLE_RATE_HZ) for piece in cut]).vectors
        found = np.concatenate([block.vectors for block in own])
        assert found.dtype == np.float32
        assert max(map(relative_l2, found, expected)) <= 1e-5
    assert [block.index for block in blocks] == sorted(block.index for block in blocks)


def test_segments_of_one_recording(embedder):  # noqa: F811
    samples = noise(65.43)
    segments = embedder.segments((samples, SAMPLE_RATE_HZ), every_seconds=10)
    assert segments.start_seconds.tolist() == [0, 10, 20, 30, 40, 50, 60]
    assert segments.seconds.tolist() == [10] * 6 + [5.43]
    expected = embedder.embed([(piece, SAMPLE_RATE_HZ) for piece in pieces(samples, 10)]).vectors
    assert segments.vectors.shape == (7, embedder.width)
    assert max(map(relative_l2, segments.vectors, expected)) <= 1e-5
    with Inputs([(samples, SAMPLE_RATE_HZ)], skip=False) as inputs:
        done = []
        for _ in embedder.segment_blocks(
            inputs, every_seconds=10, batch_seconds=20, progress=lambda *seconds: done.append(seconds)
        ):
            pass
    assert done == [(20, 65.43), (40, 65.43), (60, 65.43), (65.43, 65.43)]
    assert repr(segments) == f"SegmentVectors(7 × {embedder.width} float32, 65.4 s of audio)"


@pytest.mark.parametrize(
    ("every_seconds", "instead"),
    [
        (7, "7.5"),
        (0, "0.02"),
        (-1, "0.02"),
        (45, "30"),
        (float("nan"), "30"),
        (float("inf"), "30"),
        (0.01, "0.02"),
        (0.118, "0.1171875"),
        (5.0000001, "5"),
        (1 / 3, "0.3125"),
    ],
)
def test_a_length_that_a_window_is_no_multiple_of_is_refused(embedder, every_seconds, instead):  # noqa: F811
    with pytest.raises(UserError, match="segments cannot be of this length") as refused:
        embedder.segments(clip(1), every_seconds=every_seconds)
    assert refused.value.fix == f"take {instead}" and refused.value.got == repr(every_seconds)
    segments = embedder.segments(clip(1), every_seconds=float(instead))
    assert segments.seconds[0] == min(1, float(instead)) and segments.seconds.sum() == pytest.approx(1)


def test_a_recording_of_another_rate_is_cut_at_16_khz(embedder, tmp_path):  # noqa: F811
    soundfile.write(tmp_path / "cd.wav", noise(7, 1)[: 7 * SAMPLE_RATE_HZ].repeat(2), 44_100)
    wave = read(tmp_path / "cd.wav")
    segments = embedder.segments(tmp_path / "cd.wav", every_seconds=2)
    expected = embedder.embed([(piece, SAMPLE_RATE_HZ) for piece in pieces(wave, 2)]).vectors
    assert max(map(relative_l2, segments.vectors, expected)) <= 1e-5


def test_in_int8_a_segment_is_free_of_its_neighbours(embedder):  # noqa: F811
    less = Embedder.from_encoder(embedder.encoder, identity="small", source="small", precision="int8")
    samples = np.concatenate([noise(2) * np.float32(0.01), noise(2, 1), noise(1, 2)])
    segments = less.segments((samples, SAMPLE_RATE_HZ), every_seconds=2)
    for row, piece in enumerate(pieces(samples, 2)):
        assert np.array_equal(less.embed([(piece, SAMPLE_RATE_HZ)]).vectors[0], segments.vectors[row])


def test_what_cannot_be_embedded_gives_no_segment(embedder, bad_files):  # noqa: F811
    with Inputs(bad_files, skip=True) as inputs:
        names = {block.name for block in embedder.segment_blocks(inputs, every_seconds=1)}
    assert names == {str(bad_files[0]), str(bad_files[4])}
    assert [failure.index for failure in inputs.failures] == [1, 2, 3]
    with pytest.raises(AudioError, match="<array 0> gives a vector that is not finite"):
        embedder.segments((noise(3) * np.float32(1e37), SAMPLE_RATE_HZ), every_seconds=1)


def test_segments_in_parquet(embedder, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(parquet, "ROW_GROUP_BYTES", 4 * 4 * embedder.width)
    sources = [clip(3.2, 1), clip(0.5, 2), clip(31, 3)]
    with Inputs(sources, skip=False) as inputs:
        blocks = embedder.segment_blocks(inputs, every_seconds=2)
        rows = write_segments(tmp_path / "s.parquet", blocks, embedder.width, metadata_of(embedder), every_seconds=2)
    read = pq.read_table(tmp_path / "s.parquet")
    expected = [embedder.segments(source, every_seconds=2) for source in sources]
    assert read.schema.names == ["path", "start_seconds", "seconds", "vector"]
    assert rows == read.num_rows == 2 + 1 + 16
    assert read["path"].to_pylist() == ["<array 0>"] * 2 + ["<array 1>"] + ["<array 2>"] * 16
    starts = np.concatenate([one.start_seconds for one in expected])
    assert read["start_seconds"].to_numpy().tolist() == starts.tolist()
    assert read["seconds"].to_numpy().tolist() == np.concatenate([one.seconds for one in expected]).tolist()
    assert [str(kind) for kind in read.schema.types[:3]] == ["string", "double", "double"]
    metadata = pq.ParquetFile(tmp_path / "s.parquet").metadata
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [4, 4, 4, 4, 3]
    vectors = np.concatenate([one.vectors for one in expected])
    assert relative_l2(np.stack(read["vector"].to_numpy()), vectors) <= 1e-5
    assert read.schema.metadata[b"uniwhisper.every_seconds"] == b"2"


@pytest.mark.parametrize(("options", "rows"), [(["--every", 10], 13), (["--frames"], 6_500), ([], 1)])
def test_a_recording_of_several_batches_is_one_file(run, tmp_path, options, rows):  # noqa: F811
    soundfile.write(tmp_path / "long.wav", noise(130), SAMPLE_RATE_HZ)
    status, out, _ = run(tmp_path / "long.wav", *options, "-o", tmp_path / "s.parquet", "--json")
    said = json.loads(out)
    assert status == 0 and (said["files"], said["rows"], said["audio_seconds"]) == (1, rows, pytest.approx(130))


def test_from_the_shell(run, tone_files, tmp_path):  # noqa: F811
    output = tmp_path / "s.parquet"
    status, out, _ = run(*tone_files[:3], "--every", 0.5, "-o", output)
    assert status == 0 and "9 × 32" in out  # 1.2, 0.3 and 2.1 seconds
    facts = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert (facts["files"], facts["audio"]) == ("3", "3.6 s")
    table = pq.read_table(output)
    assert table["start_seconds"].to_pylist() == [0, 0.5, 1, 0, 0, 0.5, 1, 1.5, 2]
    assert table["path"].to_pylist() == [
        str(path) for path, n in zip(tone_files[:3], (3, 1, 5), strict=True) for _ in range(n)
    ]


@pytest.mark.parametrize(
    ("options", "got"),
    [
        (["--every", "7"], "7"),
        (["--every", "5", "--frames"], "--frames and --every 5"),
        (["--every", "5", "--engine", "ray"], "--every"),
    ],
)
def test_what_does_not_go_together_is_refused(run, good, tmp_path, options, got):  # noqa: F811
    # Before the model is looked for.
    status, out, err = run(good, "-o", tmp_path / "s.parquet", *options, model=tmp_path / "nowhere")
    assert (status, out) == (2, "") and f"got      {got}" in err
    assert not (tmp_path / "s.parquet").exists()
