"""A Hugging Face dataset: Parquet files as on the hub, or the Arrow files of `save_to_disk`. Needs only pyarrow.

Audio is stored as {bytes, path}. In an uncompressed Arrow file a cell's bytes lie in one piece, so a clip is a file,
an offset and a size, like a member of a tar. A Parquet file is compressed, so a clip there is a row and a column, and
reading it costs decoding its row group. Nothing is decoded by `datasets`, which would need torchcodec.

Features are described in the schema's metadata under `huggingface`: there `Audio` columns and the names behind
`ClassLabel` numbers are found (documented at huggingface.co/docs/datasets, "Dataset features").
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from uniwhisper.core.errors import ManifestError
from uniwhisper.data.sources.clip import OnProblem, SourceClip, problem
from uniwhisper.data.sources.splits import choose_splits
from uniwhisper.data.storage import Store, is_inside, is_url

ARROW, PARQUET = ".arrow", ".parquet"
_WRITE_AGAIN = "write it again with `dataset.save_to_disk(FOLDER)` or `dataset.to_parquet(FILE)`"


def hugging_face_clips(
    store: Store,
    files: Sequence[str],
    *,
    columns: Mapping[str, str],
    splits: Sequence[str] | None,
    notes: list[str],
    on_problem: OnProblem,
) -> Iterator[SourceClip]:
    """Clips of the Arrow and Parquet files of a dataset, row by row.

    Args:
        columns: `audio` and `id` -> name of that column; without `audio`, the one column of type Audio.
        splits: as in `choose_splits`; a file's split is its folder (`train/data-….arrow`) or the start of its name
            (`data/train-00000-of-00003.parquet`).
        notes: is told which splits were left out.

    Raises:
        ManifestError: (through `on_problem`) a file that cannot be read or has no column of audio, or a row whose audio
            is missing.
    """
    by_split: dict[str, list[str]] = {}
    for name in files:
        by_split.setdefault(_split_of(name), []).append(name)
    chosen, left_out = choose_splits(by_split, splits)
    if left_out:
        notes.append(f"splits left out: {', '.join(left_out)}")
    for name in sorted(name for split in chosen for name in by_split[split]):
        try:
            reader = _arrow_rows if name.endswith(ARROW) else _parquet_rows
            yield from reader(store, name, columns, on_problem)
        except ManifestError as error:
            on_problem(error)
        except (pa.ArrowException, OSError) as error:
            got = " ".join(str(error).split())
            on_problem(problem(name, expected="a readable Arrow or Parquet file", got=got, fix=_WRITE_AGAIN))


def _split_of(name: str) -> str:
    path = PurePosixPath(name)
    folders = [part for part in path.parts[:-1] if part != "data"]
    return folders[-1] if folders else path.name.split("-")[0].split(".")[0]


def _arrow_rows(store: Store, name: str, columns: Mapping[str, str], on_problem: OnProblem) -> Iterator[SourceClip]:
    whole = pa.py_buffer(store.read(name)) if is_url(store.root) else pa.memory_map(store.path(name)).read_buffer()
    row = 0
    with pa.ipc.open_stream(pa.BufferReader(whole)) as stream:
        audio, fields = _features(name, stream.schema, columns)
        for batch in stream:
            labels = batch.drop_columns([audio]).to_pylist()
            cells = batch.column(audio)
            addresses = _addresses(cells)
            for index in range(batch.num_rows):
                try:
                    clip = _row_clip(name, row, cells[index], labels[index], fields, columns)
                    if clip.size is not None:
                        offset = int(addresses[index]) - whole.address
                        if not 0 <= offset <= whole.size - clip.size:
                            raise problem(name, expected="uncompressed Arrow", got="compressed", fix=_WRITE_AGAIN)
                        clip = SourceClip(clip.key, name, clip.fields, offset=offset, size=clip.size)
                    yield clip
                except ManifestError as error:
                    on_problem(error)
                row += 1


def _addresses(cells: pa.Array) -> np.ndarray:
    """(rows,) int64: where in memory the bytes of each cell begin."""
    contents = cells.field("bytes") if pa.types.is_struct(cells.type) else cells
    kind = np.int64 if pa.types.is_large_binary(contents.type) else np.int32
    _, offsets, data = contents.buffers()
    first = contents.offset + (cells.offset if contents is not cells else 0)
    starts = np.frombuffer(offsets, kind)[first : first + len(cells)].astype(np.int64)
    return starts + (0 if data is None else data.address)


def _parquet_rows(store: Store, name: str, columns: Mapping[str, str], on_problem: OnProblem) -> Iterator[SourceClip]:
    import pyarrow.parquet as pq

    with store.open(name) as file, pq.ParquetFile(file) as table:
        audio, fields = _features(name, table.schema_arrow, columns)
        inner = f"{audio}.bytes" if pa.types.is_struct(table.schema_arrow.field(audio).type) else audio
        row = 0
        for group in range(table.num_row_groups):
            # One group at a time, because sizes and paths need the cells; a group fits memory by construction.
            batch = table.read_row_group(group)
            cells, labels = batch.column(audio), batch.drop_columns([audio]).to_pylist()
            for index in range(batch.num_rows):
                try:
                    clip = _row_clip(name, row, cells[index], labels[index], fields, columns)
                    if clip.size is not None:
                        clip = SourceClip(clip.key, name, clip.fields, offset=row, size=clip.size, column=inner)
                    yield clip
                except ManifestError as error:
                    on_problem(error)
                row += 1


def _row_clip(
    name: str, row: int, cell: pa.Scalar, labels: dict[str, Any], fields: Mapping[str, Any], columns: Mapping[str, str]
) -> SourceClip:
    """The clip of a row; `size` None if the audio is a file that the cell names."""
    where = f"{name}, row {row}"
    labels = {key: _named(value, fields.get(key)) for key, value in labels.items()}
    own = labels.pop(columns["id"], None) if "id" in columns else None
    key = str(own) if own is not None else f"{PurePosixPath(name).with_suffix('')}/{row:06d}"
    content = _bytes_of(cell)
    if content is not None and content.is_valid:
        size = content.as_buffer().size
        if size == 0:
            raise problem(where, expected="encoded audio", got="0 bytes", fix="remove the row")
        return SourceClip(key, name, labels, size=size)
    path = cell["path"].as_py() if isinstance(cell, pa.StructScalar) and cell.is_valid else None
    if path is None or not is_inside(path):
        expected = "audio in the cell, or a path inside the dataset's folder"
        raise problem(where, expected=expected, got=repr(path), fix=_WRITE_AGAIN)
    return SourceClip(key, path, labels)


def _bytes_of(cell: pa.Scalar) -> pa.Scalar | None:
    if not cell.is_valid:
        return None
    return cell["bytes"] if isinstance(cell, pa.StructScalar) else cell


def _named(value: Any, feature: Any) -> Any:
    """A ClassLabel's name instead of its number, also in lists; None and -1 stand for no label."""
    if isinstance(feature, list):
        feature = feature[0] if feature else None
    if isinstance(feature, dict) and feature.get("_type") in ("Sequence", "List", "LargeList"):
        feature = feature.get("feature")
    if isinstance(feature, dict) and feature.get("_type") == "ClassLabel":
        names = feature["names"]
        if isinstance(value, list):
            return [names[number] for number in value if number is not None and number >= 0]
        return names[value] if value is not None and value >= 0 else None
    return value


def _features(name: str, schema: pa.Schema, columns: Mapping[str, str]) -> tuple[str, Mapping[str, Any]]:
    """Name of the column of audio, and what Hugging Face says of each column."""
    text = (schema.metadata or {}).get(b"huggingface", b"{}")
    fields = json.loads(text).get("info", {}).get("features", {})
    if "audio" in columns:
        found = [columns["audio"]] if columns["audio"] in schema.names else []
    else:
        found = [
            key for key, feature in fields.items() if isinstance(feature, dict) and feature.get("_type") == "Audio"
        ]
        found = found or [key for key in ("audio",) if key in schema.names]
    if len(found) != 1:
        fix = 'declare it in corpus.json: "columns": {"audio": "…"}'
        raise problem(name, expected="one column of audio", got=f"{found} of {schema.names}", fix=fix)
    return found[0], fields
