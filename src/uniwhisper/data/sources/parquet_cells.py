"""Cells of Parquet files at random: the last row groups stay decoded, because neighbours are often read together."""

from functools import lru_cache
from threading import Lock

import pyarrow as pa
import pyarrow.parquet as pq

from uniwhisper.core.errors import ManifestError
from uniwhisper.data.storage import Root, Store

_ONE_AT_A_TIME = Lock()  # else threads that want the same group would all decode it


def read(store: Store, name: str, column: str, row: int) -> bytes:
    """Bytes of one cell.

    Raises:
        ManifestError: the file cannot be read, has no such row or column, or the cell holds nothing.
    """
    try:
        with _ONE_AT_A_TIME:
            starts = _groups(store.root, name)
            group = next(index for index in range(len(starts) - 1) if starts[index] <= row < starts[index + 1])
            cells = _column(store.root, name, column, group)
        content = cells[row - starts[group]].as_py()
    except (OSError, pa.ArrowException, KeyError, StopIteration) as error:
        content, why = None, str(error) or f"no row {row}"
    else:
        why = "an empty cell"
    if not content:
        raise ManifestError(
            f"{name}, row {row}", expected=f"audio in column {column!r}", got=why, fix="put the file back as it was"
        )
    return content


def forget() -> None:
    """Read from the files again: they may have been replaced."""
    with _ONE_AT_A_TIME:
        _groups.cache_clear()
        _column.cache_clear()


@lru_cache(maxsize=256)
def _groups(root: Root, name: str) -> tuple[int, ...]:
    """First row of each row group, and one past the last."""
    with Store(root).open(name) as file, pq.ParquetFile(file) as table:
        starts = [0]
        for group in range(table.num_row_groups):
            starts.append(starts[-1] + table.metadata.row_group(group).num_rows)
        return tuple(starts)


@lru_cache(maxsize=2)
def _column(root: Root, name: str, column: str, group: int) -> pa.ChunkedArray:
    with Store(root).open(name) as file, pq.ParquetFile(file) as table:
        cells = table.read_row_group(group, columns=[column]).column(0)
    for part in column.split(".")[1:]:
        cells = pa.chunked_array([chunk.field(part) for chunk in cells.chunks])
    return cells
