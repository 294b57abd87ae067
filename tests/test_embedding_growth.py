"""Many short clips: the rows do not depend on what is sorted together, and what is alive at once does not grow."""

import gc
import signal
import subprocess
import sys
import time
import tracemalloc
import weakref
from collections import Counter
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from conftest import tone
from uniwhisper import Embedder
from uniwhisper.core.errors import AudioError
from uniwhisper.embedding import decode, opening
from uniwhisper.embedding.decode import Inputs, Window
from uniwhisper.embedding.launched import Launched
from uniwhisper.embedding.opening import Planned
from uniwhisper.embedding.parquet import write_vectors
from uniwhisper.embedding.table import ClipBlock
from uniwhisper.model.config import EncoderConfig
from uniwhisper.model.encoder import WhisperEncoder

WIDTH = 64
RATE_HZ = 16_000


class Counting(Embedder):
    """One frame for each 1,000 samples begun: its first number is the frame's first sample, its second is 1.

    Samples are small whole numbers here, so sums are exact and rows can be compared bit for bit. A clip that begins
    with a 7 overflows.
    """

    def _try(self, batch, reduce):
        frames = [torch.from_numpy(window.samples[::1000].astype(np.float32)) for window in batch]
        padded = torch.zeros(len(batch), max(map(len, frames)), self.width)
        for row, values in zip(padded, frames, strict=True):
            row[: len(values), 0], row[: len(values), 1] = values, 1
            if values[0] == 7:
                row[0, 0] = torch.inf
        self.at_work()
        return Launched(batch, [len(values) for values in frames], reduce(padded), None)

    def at_work(self) -> None:
        pass


@pytest.fixture(scope="module")
def counting() -> Counting:
    encoder = WhisperEncoder(EncoderConfig(mel_bins=80, width=WIDTH, heads=1, layers=1)).eval()
    return Counting.from_encoder(encoder, identity="none", source="none")


def wave(value: int, samples: int) -> tuple[np.ndarray, int]:
    return (value + np.arange(samples) // 1000 % 5).astype(np.float32), RATE_HZ


def clips(count: int) -> list[tuple[np.ndarray, int]]:
    """Of 0.1 to 4 s, and some of more than one window."""
    lengths = np.random.default_rng(0).integers(1600, 64_000, count)
    lengths[::9] += 50 * RATE_HZ
    return [wave(10 + index, samples) for index, samples in enumerate(lengths)]


def by_hand(source: tuple[np.ndarray, int]) -> np.float32:
    """The mean of the frames of all windows of 30 s."""
    windows = [source[0][start : start + 480_000] for start in range(0, len(source[0]), 480_000)]
    values = [float(value) for window in windows for value in window[::1000]]
    return np.float32(sum(values) / len(values))


# What is sorted together


@pytest.mark.parametrize("together", [1, 3, 8, 1000])
def test_rows_are_the_same_bit_for_bit_whatever_is_sorted_together(counting, monkeypatch, together):
    monkeypatch.setattr(decode, "SORTED_CLIPS", together)
    sources = clips(40)
    table = counting.embed(sources, batch_seconds=20)
    assert table.vectors[:, 0].tolist() == [by_hand(source) for source in sources]
    assert (table.vectors[:, 1] == 1).all() and not table.vectors[:, 2:].any()
    assert table.seconds.tolist() == pytest.approx([len(samples) / RATE_HZ for samples, _ in sources], rel=1e-12)
    assert table.names == [f"<array {index}>" for index in range(40)]


@pytest.mark.parametrize("together", [2, 5])
def test_real_vectors_are_the_same_whatever_is_sorted_together(monkeypatch, together):
    torch.manual_seed(0)
    encoder = WhisperEncoder(EncoderConfig(mel_bins=80, width=WIDTH, heads=2, layers=2)).eval()
    embedder = Embedder.from_encoder(encoder, identity="", source="")
    random = np.random.default_rng(1)
    sources = [(random.standard_normal(size).astype(np.float32) / 9, RATE_HZ) for size in (9000, 40_000, 300, 20_000)]
    sources = sources * 3
    expected = embedder.embed(sources).vectors
    monkeypatch.setattr(decode, "SORTED_CLIPS", together)
    assert np.abs(embedder.embed(sources, batch_seconds=3).vectors - expected).max() <= 1e-5 * np.abs(expected).max()


def test_like_lengths_follow_each_other(monkeypatch):
    monkeypatch.setattr(decode, "SORTED_CLIPS", 3)
    lengths = [2, 1, 3, 4, 6, 5, 8, 7]
    with Inputs([wave(1, 100 * length) for length in lengths], skip=False) as inputs:
        windows = list(inputs.windows(sort=True, whole_only=False, ahead_seconds=60))
    assert [len(window.samples) // 100 for window in windows] == [3, 2, 1, 4, 5, 6, 8, 7]


# Failures


def bad_in_the_middle(folder: Path) -> tuple[list[Path], list[int]]:
    """16 files, and the places of those that fail: by their header, when decoded, and in the encoder."""
    bad = {
        0: "missing",
        2: "decode",
        4: "missing",
        5: "overflow",
        6: "decode",
        7: "missing",
        10: "decode",
        15: "overflow",
    }
    paths = []
    for index in range(16):
        path = folder / f"{index:02d}.wav"
        samples = wave(20 + index, 1600 * (1 + index * 5 % 7))[0]
        if bad.get(index) == "decode":
            samples[-1] = np.nan
        if bad.get(index) == "overflow":
            samples[0] = 7
        if bad.get(index) != "missing":
            soundfile.write(path, samples, RATE_HZ, subtype="FLOAT")
        paths.append(path)
    return paths, sorted(bad)


@pytest.mark.parametrize("together", [1, 4, 100])  # with 4, the second four fail all
def test_failures_in_the_middle_keep_the_order(counting, monkeypatch, tmp_path, together):
    monkeypatch.setattr(decode, "SORTED_CLIPS", together)
    paths, bad = bad_in_the_middle(tmp_path)
    good = [index for index in range(16) if index not in bad]
    table = counting.embed(paths, on_error="skip", batch_seconds=1)
    assert table.names == [str(paths[index]) for index in good]
    assert table.vectors[:, 0].tolist() == [by_hand(soundfile.read(paths[index], dtype="float32")) for index in good]
    assert [failure.index for failure in table.failures] == bad
    assert [failure.name for failure in table.failures] == [str(paths[index]) for index in bad]
    with Inputs(paths, skip=True) as inputs:
        rows = write_vectors(tmp_path / "v.parquet", counting.clip_blocks(inputs), WIDTH, {})
        assert [failure.index for failure in inputs.failures] == bad
    stored = pq.read_table(tmp_path / "v.parquet")
    assert rows == stored.num_rows and stored["path"].to_pylist() == table.names
    assert np.array_equal(np.stack(stored["vector"].to_numpy()), table.vectors)


def test_the_first_header_that_shows_an_error_is_raised_before_anything_is_computed(counting, monkeypatch, tmp_path):
    monkeypatch.setattr(decode, "SORTED_CLIPS", 4)
    good = tmp_path / "good.wav"
    soundfile.write(good, tone(0.5), RATE_HZ)
    monkeypatch.setattr(counting, "at_work", lambda: pytest.fail("something was computed"))
    with pytest.raises(AudioError, match=r"first\.wav"):
        counting.embed([good] * 300 + [tmp_path / "first.wav"] + [good] * 300 + [tmp_path / "second.wav"])


# What is alive at once


def test_what_is_alive_at_once_does_not_grow_with_the_number_of_clips(counting, monkeypatch):
    """Tasks, plans, audio and vectors, looked at while lengths are found and while the encoder works."""
    monkeypatch.setattr(decode, "SORTED_CLIPS", 50)
    monkeypatch.setattr(decode, "usable_cores", lambda: 2)
    kinds = (Future, Planned, Window, ClipBlock)
    gc.collect()
    before = Counter(map(type, gc.get_objects()))
    most: Counter[type] = Counter()

    def look() -> None:
        now = Counter(map(type, gc.get_objects()))
        most.update({kind: max(0, now[kind] - before[kind] - most[kind]) for kind in kinds})

    batches = 0

    def at_work() -> None:
        nonlocal batches
        batches += 1
        if batches % 25 == 0:
            look()

    described = 0

    def describe(source, **keywords):
        nonlocal described
        described += 1
        if described % 400 == 0:
            look()
        return real_describe(source, **keywords)

    real_describe = opening.describe
    monkeypatch.setattr(opening, "describe", describe)
    monkeypatch.setattr(counting, "at_work", at_work)
    rows = 0
    # 1 s of audio at once is ten clips, in batches of four: a clip counts as a quarter of a second at least.
    with Inputs([wave(1, 1600)] * 2000, skip=True) as inputs:
        looks = most[Future]
        for block in counting.clip_blocks(inputs, batch_seconds=1.0):
            rows += len(block.names)
            assert len(block.vectors) <= 50
    assert rows == described == 2000
    assert 1 <= looks <= 2 * 2 + 1 + 2, "two tasks a thread are waiting, and each thread has ended one"
    # Ten clips lie decoded ahead, four are with the encoder, a few are between the two.
    assert all(4 <= most[kind] <= 20 for kind in (Future, Planned, Window)), most
    assert most[ClipBlock] <= 1


def test_the_table_is_not_held_twice(monkeypatch):
    monkeypatch.setattr(decode, "SORTED_CLIPS", 100)
    wide = Counting.from_encoder(
        WhisperEncoder(EncoderConfig(mel_bins=80, width=512, heads=1, layers=1)).eval(), identity="", source=""
    )
    source = wave(1, 1600)
    tracemalloc.start()
    try:
        table = wide.embed([source] * 4000, batch_seconds=2)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert table.vectors.nbytes == 4000 * 512 * 4
    assert peak < 1.25 * table.vectors.nbytes


def test_parquet_holds_one_row_group_and_one_block(monkeypatch, tmp_path):
    monkeypatch.setattr("uniwhisper.embedding.parquet.ROW_GROUP_BYTES", 70 * 4 * WIDTH)
    held: list[weakref.ref] = []
    most = 0

    def blocks():
        nonlocal most
        for number, rows in enumerate([30] * 20 + [0, 300, 1]):
            vectors = np.full((rows, WIDTH), number, np.float32)
            held.append(weakref.ref(vectors))
            yield ClipBlock([f"{number} {row}" for row in range(rows)], np.ones(rows), vectors)
            del vectors
            most = max(most, sum(reference() is not None for reference in held))

    assert write_vectors(tmp_path / "v.parquet", blocks(), WIDTH, {}) == 901
    assert most <= 4, "70 rows lie in three blocks of 30, or four"
    file = pq.ParquetFile(tmp_path / "v.parquet")
    groups = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    assert groups == [70] * 12 + [61]
    table = file.read()
    expected = [(number, row) for number, rows in enumerate([30] * 20 + [0, 300, 1]) for row in range(rows)]
    assert table["path"].to_pylist() == [f"{number} {row}" for number, row in expected]
    assert np.stack(table["vector"].to_numpy())[:, 0].tolist() == [number for number, _ in expected]


# Stopping


SCRIPT = """
import sys
from uniwhisper.embedding import decode, parquet
from uniwhisper.cli import app
decode.SORTED_CLIPS, parquet.ROW_GROUP_BYTES = 4, 1
sys.argv[0] = "uniwhisper"
app.main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_run_that_is_stopped_after_rows_were_written_leaves_no_file(tmp_path, number):
    from uniwhisper.model.config import WHISPER_SIZES
    from uniwhisper.model.weights import save_encoder

    save_encoder(WhisperEncoder(WHISPER_SIZES["tiny"]), tmp_path / "model")
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "0.wav", tone(10), RATE_HZ)
    for copy in range(1, 600):
        (tmp_path / "in" / f"{copy}.wav").hardlink_to(tmp_path / "in" / "0.wav")
    out = tmp_path / "out" / "v.parquet"
    command = [sys.executable, "-c", SCRIPT, "embed", tmp_path / "in", "-o", out, "--model", tmp_path / "model"]
    with subprocess.Popen([*command, "--device", "cpu"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size > 8000 for path in tmp_path.glob("out/.*/v.parquet")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        assert not out.exists()
        process.send_signal(number)
        process.communicate(timeout=60)
    if number == signal.SIGKILL:
        assert not out.exists()  # what is left is hidden and says `unfinished`
    else:
        assert process.returncode == 130
        assert not out.parent.exists()
