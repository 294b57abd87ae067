"""Vectors to Parquet. The caller gives a path that is safe to write (see `core.files.atomic_output`)."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from uniwhisper.core.units import HOP_SECONDS
from uniwhisper.embedding.embedder import Embedder, frame_times
from uniwhisper.embedding.table import ClipBlock, EmbeddingTable, FrameBlock, SegmentBlock

if TYPE_CHECKING:
    import pyarrow as pa

METADATA_PREFIX = "uniwhisper."
ROW_GROUP_BYTES = 32 << 20


def metadata_of(embedder: Embedder) -> dict[str, str]:
    """What the file says about where its vectors come from; keys are prefixed in the file."""
    return {**embedder.identity, "source": embedder.source}


def write_vectors(
    path: Path, blocks: Iterable[ClipBlock | EmbeddingTable], width: int, metadata: Mapping[str, str]
) -> int:
    """One row per clip: `path` string, `seconds` float64, `vector` fixed-size list<float32>[D].

    Holds a row group and a block in memory, whatever the number of clips.

    Args:
        path: the file to create.
        blocks: the rows, as they come.
        width: D.
        metadata: written into the schema, each key prefixed with `uniwhisper.`.

    Returns:
        Rows written.
    """
    rows = ((block.names, [block.seconds], block.vectors) for block in blocks)
    return _write(path, rows, ["seconds"], width, metadata)


def write_frames(path: Path, blocks: Iterable[FrameBlock], width: int, metadata: Mapping[str, str]) -> int:
    """One row per frame: `path` string, `time_seconds` float64, `vector` fixed-size list<float32>[D].

    Holds a row group and a block in memory, whatever the number of frames.

    Args:
        path: the file to create.
        blocks: the frames, as they come.
        width: D.
        metadata: as in `write_vectors`; `hop_seconds` is added.

    Returns:
        Rows written.
    """
    rows = (
        ([block.name] * len(block.vectors), [frame_times(block.first_frame, len(block.vectors))], block.vectors)
        for block in blocks
    )
    return _write(path, rows, ["time_seconds"], width, {**metadata, "hop_seconds": str(HOP_SECONDS)})


def write_segments(
    path: Path, blocks: Iterable[SegmentBlock], width: int, metadata: Mapping[str, str], *, every_seconds: float
) -> int:
    """One row per segment: `path` string, `start_seconds` and `seconds` float64, `vector` fixed-size list<float32>[D].

    Holds a row group and a block in memory, whatever the number of segments.

    Args:
        path: the file to create.
        blocks: the segments, as they come.
        width: D.
        metadata: as in `write_vectors`; `every_seconds` is added.

    Returns:
        Rows written.
    """
    rows = (
        ([block.name] * len(block.vectors), [block.start_seconds, block.seconds], block.vectors) for block in blocks
    )
    told = {**metadata, "every_seconds": f"{every_seconds:.10g}"}
    return _write(path, rows, ["start_seconds", "seconds"], width, told)


def _write(
    path: Path,
    blocks: Iterable[tuple[list[str], list[np.ndarray], np.ndarray]],
    numbers: list[str],
    width: int,
    metadata: Mapping[str, str],
) -> int:
    """Write one block of rows after the other in row groups of equal size; the number of rows.

    Args:
        blocks: of n rows their paths, a (n,) float64 for each of `numbers`, and vectors (n, D) float32.
        numbers: names of the columns between path and vector.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [("path", pa.string()), *((name, pa.float64()) for name in numbers), ("vector", _vector(width))]
    schema = pa.schema(fields, metadata={METADATA_PREFIX + key: value for key, value in metadata.items()})
    rows, waiting_rows, group_rows = 0, 0, _row_group_rows(width)
    with pq.ParquetWriter(path, schema, use_dictionary=["path"]) as writer:
        waiting: list[pa.Table] = []
        for names, values, vectors_nD in blocks:
            rows += len(names)
            waiting_rows += len(names)
            columns = [_strings(names), *map(_numbers, values), _vectors(vectors_nD)]
            waiting.append(pa.Table.from_arrays(columns, schema=schema))
            del columns, values, vectors_nD  # the table has them, until its row group is written
            if waiting_rows >= group_rows:  # joined once a group: blocks may be of one row
                joined = pa.concat_tables(waiting)
                whole = waiting_rows - waiting_rows % group_rows
                writer.write_table(joined.slice(0, whole), row_group_size=group_rows)
                waiting, waiting_rows = [joined.slice(whole)], waiting_rows - whole
                del joined  # it would hold the blocks that are written
        if waiting_rows:
            writer.write_table(pa.concat_tables(waiting))
    return rows


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


def _strings(values: list[str]) -> "pa.Array":
    import pyarrow as pa

    encoded = [value.encode() for value in values]
    offsets = np.zeros(len(encoded) + 1, dtype=np.int32)
    offsets[1:] = np.cumsum([len(value) for value in encoded])
    return pa.StringArray.from_buffers(len(encoded), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded)))


def _row_group_rows(width: int) -> int:
    return max(1, ROW_GROUP_BYTES // (4 * width))
