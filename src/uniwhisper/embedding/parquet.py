"""Vectors to Parquet. The caller gives a path that is safe to write (see `core.files.atomic_output`)."""

from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from uniwhisper.core.units import HOP_SECONDS
from uniwhisper.embedding.embedder import Embedder, frame_times
from uniwhisper.embedding.table import EmbeddingTable, FrameBlock

if TYPE_CHECKING:
    import pyarrow as pa

METADATA_PREFIX = "uniwhisper."
ROW_GROUP_BYTES = 32 << 20
STRINGS_PER_CHUNK = 1 << 18  # of paths: their bytes stay below the 2 GiB that an array's offsets reach


def metadata_of(embedder: Embedder) -> dict[str, str]:
    """What the file says about where its vectors come from; keys are prefixed in the file."""
    return {**embedder.identity, "source": embedder.source}


def write_vectors(path: Path, table: EmbeddingTable, metadata: Mapping[str, str]) -> None:
    """One row per clip: `path` string, `seconds` float64, `vector` fixed-size list<float32>[D].

    Args:
        path: the file to create.
        table: its rows.
        metadata: written into the schema, each key prefixed with `uniwhisper.`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    width = table.vectors.shape[1]
    schema = _schema([("path", pa.string()), ("seconds", pa.float64()), ("vector", _vector(width))], metadata)
    columns = [_strings(table.names), _numbers(table.seconds), _vectors(table.vectors)]
    pq.write_table(
        pa.Table.from_arrays(columns, schema=schema),
        path,
        row_group_size=_row_group_rows(width),
        use_dictionary=["path"],
    )


def write_frames(path: Path, blocks: Iterable[FrameBlock], width: int, metadata: Mapping[str, str]) -> int:
    """One row per frame: `path` string, `time_seconds` float64, `vector` fixed-size list<float32>[D].

    Holds one row group in memory, whatever the number of frames.

    Args:
        path: the file to create.
        blocks: the frames, as they come.
        width: D.
        metadata: as in `write_vectors`; `hop_seconds` is added.

    Returns:
        Rows written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(
        [("path", pa.string()), ("time_seconds", pa.float64()), ("vector", _vector(width))],
        {**metadata, "hop_seconds": str(HOP_SECONDS)},
    )
    group_rows = _row_group_rows(width)
    rows = 0
    with pq.ParquetWriter(path, schema, use_dictionary=["path"]) as writer:
        waiting: list[FrameBlock] = []
        waiting_rows = 0
        for block in chain(blocks, [None]):
            if block is not None:
                waiting.append(block)
                waiting_rows += len(block.vectors)
            if waiting and (block is None or waiting_rows >= group_rows):
                writer.write_table(_frame_rows(waiting, schema))
                rows += waiting_rows
                waiting, waiting_rows = [], 0
    return rows


def _frame_rows(blocks: list[FrameBlock], schema: "pa.Schema") -> "pa.Table":
    import pyarrow as pa

    names = [name for block in blocks for name in [block.name] * len(block.vectors)]
    times = np.concatenate([frame_times(block.first_frame, len(block.vectors)) for block in blocks])
    vectors = np.concatenate([block.vectors for block in blocks])
    return pa.Table.from_arrays([_strings(names), _numbers(times), _vectors(vectors)], schema=schema)


def _schema(fields: list[tuple[str, "pa.DataType"]], metadata: Mapping[str, str]) -> "pa.Schema":
    import pyarrow as pa

    return pa.schema(fields, metadata={METADATA_PREFIX + key: value for key, value in metadata.items()})


def _vector(width: int) -> "pa.DataType":
    import pyarrow as pa

    return pa.list_(pa.float32(), width)


def _vectors(vectors_ND: np.ndarray) -> "pa.Array":
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(_numbers(vectors_ND.reshape(-1)), type=_vector(vectors_ND.shape[1]))


# From buffers: `pa.array` imports pandas where it is installed, which takes longer than to embed a short file.
def _numbers(values_N: np.ndarray) -> "pa.Array":
    import pyarrow as pa

    buffers = [None, pa.py_buffer(np.ascontiguousarray(values_N))]
    return pa.Array.from_buffers(pa.from_numpy_dtype(values_N.dtype), len(values_N), buffers)


def _strings(values: list[str]) -> "pa.ChunkedArray":
    import pyarrow as pa

    chunks = []
    for first in range(0, len(values), STRINGS_PER_CHUNK):
        encoded = [value.encode() for value in values[first : first + STRINGS_PER_CHUNK]]
        offsets = np.zeros(len(encoded) + 1, dtype=np.int32)
        offsets[1:] = np.cumsum([len(value) for value in encoded])
        chunks.append(pa.StringArray.from_buffers(len(encoded), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))))
    return pa.chunked_array(chunks, pa.string())


def _row_group_rows(width: int) -> int:
    return max(1, ROW_GROUP_BYTES // (4 * width))
