"""Reading stored tensors by name: safetensors lazily, pickles only through torch's restricted reader.

Every failure is a `WeightsError`; nothing in a checkpoint is ever executed.
"""

import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from uniwhisper.core.errors import WeightsError

# torch's own words advise to read the file without this protection.
_REFUSED = "no such file, or one that holds other objects"


class SafetensorsFiles(Mapping[str, Tensor]):
    """Tensors of one or several safetensors files; each is read when asked for, on the CPU."""

    def __init__(self, file_of: Mapping[str, Path]) -> None:
        """`file_of` gives the file of each tensor."""
        self._file_of = dict(file_of)
        self._open: dict[Path, Any] = {}

    @classmethod
    def single(cls, path: Path) -> "SafetensorsFiles":
        """All tensors of one file."""
        return cls(dict.fromkeys(_open_safetensors(path).keys(), path))

    @classmethod
    def sharded(cls, index: Path) -> "SafetensorsFiles":
        """The tensors listed by a Hugging Face `*.safetensors.index.json`, whose shards lie beside it."""
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict) or not all(_is_file_name(name) for name in weight_map.values()):
            raise WeightsError(
                f"{index} is not an index of shards",
                expected='an object "weight_map" from tensor names to names of files in the same folder',
                got=f"{weight_map!r:.200}",
                fix="download the checkpoint again",
            )
        return cls({name: index.parent / shard for name, shard in weight_map.items()})

    def __getitem__(self, name: str) -> Tensor:
        path = self._file_of[name]
        if path not in self._open:
            self._open[path] = _open_safetensors(path)
        try:
            return self._open[path].get_tensor(name)
        except SafetensorError as error:
            raise _unreadable(path, error) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._file_of)

    def __len__(self) -> int:
        return len(self._file_of)


def safetensors_metadata(path: Path) -> dict[str, str]:
    """The free text entries in the header of a safetensors file."""
    return _open_safetensors(path).metadata() or {}


def read_pickle(path: Path) -> dict[str, Any]:
    """A dictionary saved by `torch.save`: only tensors and plain containers are rebuilt, no code is run."""
    try:
        value = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # torch raises half a dozen kinds for damaged bytes; the first line tells them apart
        raise WeightsError(
            f"{path} cannot be read as a checkpoint",
            expected="a file written by torch.save that holds tensors and plain containers only",
            got=_REFUSED if isinstance(error, UnpicklingError) else _first_line(error),
            fix="use the .safetensors file of the same model; a pickle that runs code is never loaded",
        ) from None
    if not isinstance(value, dict):
        raise WeightsError(
            f"{path} is not a checkpoint",
            expected="a dictionary of tensors",
            got=type(value).__name__,
            fix="save the model's state_dict()",
        )
    return value


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    if not isinstance(value, dict):
        raise _unreadable(path, TypeError(f"a JSON {type(value).__name__} instead of an object"))
    return value


def _open_safetensors(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> WeightsError:
    return WeightsError(
        f"{path} cannot be read",
        expected="a complete file as it was saved or published",
        got=_first_line(error),
        fix="download or copy it again",
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _is_file_name(name: Any) -> bool:
    return isinstance(name, str) and name not in ("", ".", "..") and not set(name) & set("/\\\0")
