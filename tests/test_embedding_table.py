"""What embedding returns, as an interpreter or a notebook shows it."""

import numpy as np

from uniwhisper.embedding.table import EmbeddingTable, Failure, FrameVectors


def test_a_table_shows_its_size_and_not_its_numbers():
    vectors = np.zeros((1200, 384), dtype=np.float32)
    table = EmbeddingTable(["a.wav"] * 1200, np.full(1200, 2.5), vectors, [Failure(0, "b.wav", "is empty")], {})
    assert repr(table) == "EmbeddingTable(1,200 × 384 float32, 3,000.0 s of audio, 1 failures)"
    empty = EmbeddingTable([], np.zeros(0), np.zeros((0, 384), dtype=np.float32), [], {})
    assert repr(empty) == "EmbeddingTable(0 × 384 float32, 0.0 s of audio, 0 failures)"


def test_frames_show_their_number_and_hop():
    frames = FrameVectors(np.zeros((313, 384), dtype=np.float32), np.arange(313) / 50)
    assert repr(frames) == "FrameVectors(313 × 384 float32, a frame every 0.02 s)"
