"""A user's own adapter in a Python file, or a file with an encoder of X-ARES as it is."""

import inspect
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from uniwhisper.core.identity import code_identity, hash_file, hash_json, hash_tensors, layer_identity
from uniwhisper.evaluation.adapters.pooling import pooler
from uniwhisper.evaluation.encoders import ClipEncoder, EncoderError

_OURS = ("sample_rate_hz", "width", "hop_seconds")
_XARES = ("sampling_rate", "output_dim", "hop_size_in_ms")


def open_python_file(path: Path, class_name: str | None, device: torch.device) -> ClipEncoder:
    """The encoder that a class in a Python file is: the file is run, as `python FILE` would run it.

    The class is made without arguments. It is a `ClipEncoder` (it has `embed`), a `FrameFunction`, or an encoder as
    X-ARES wants it: an `nn.Module` with `sampling_rate`, `output_dim` and `hop_size_in_ms`, called with (B, S).

    Args:
        class_name: None: the only class of the file that can be an encoder, by the rule of X-ARES the one whose name
            ends in `Encoder` where there are several.

    Raises:
        EncoderError: the file fails, or holds no such class, or does not say what its weights are.
    """
    made = _make(_class(_run(path), class_name, path), path)
    if hasattr(made, "embed"):
        return made
    function = _Named(made, device, path)
    code = [code_identity(), layer_identity("evaluation/adapters"), hash_file(path)[:12]]
    code += [f"{name}-{found}" for name in ("torch", "transformers") if (found := _version(name))]
    weights = hash_json({"file": hash_file(path), "weights": _weights(made, path)})
    return pooler(
        function, weights=weights, code="+".join(code), pooling=getattr(made, "pooling", "mean of all frames")
    )


class _Named:
    """A function under our names, on the device if it is a module."""

    def __init__(self, made: Any, device: torch.device, path: Path) -> None:
        names = _XARES if hasattr(made, _XARES[0]) else _OURS
        missing = [name for name in names if not hasattr(made, name)]
        if missing or not callable(made):
            raise EncoderError(
                f"{path}: {type(made).__name__} is no encoder",
                expected=f"attributes {', '.join(_OURS)} (or {', '.join(_XARES)}) and a call with waves (B, S)",
                got=f"no {', '.join(missing)}" if missing else "an object that cannot be called",
                fix="add them; docs/encoders.md shows an adapter",
            )
        self._made = made
        sample_rate, width, hop = (getattr(made, name) for name in names)
        self.sample_rate_hz, self.width = int(sample_rate), int(width)
        self.hop_seconds = None if hop is None else float(hop) / (1000 if names is _XARES else 1)
        for name in ("window_seconds", "shortest_seconds", "batch_clips"):
            if hasattr(made, name):
                setattr(self, name, getattr(made, name))
        if callable(getattr(made, "every_layer", None)):
            self.every_layer = self._every_layer
        self._is_module = isinstance(made, torch.nn.Module)
        self.device = device if self._is_module else getattr(made, "device", torch.device("cpu"))
        if self._is_module:
            made.to(device).eval()

    def __call__(self, wave_BS: Tensor) -> Tensor:
        return self._made(wave_BS.to(self.device) if self._is_module else wave_BS)

    def _every_layer(self, wave_BS: Tensor) -> dict[str, Tensor]:
        return self._made.every_layer(wave_BS.to(self.device) if self._is_module else wave_BS)


def _run(path: Path) -> ModuleType:
    spec = spec_from_file_location(f"uniwhisper_user_{hash_file(path)[:12]}", path)
    assert spec is not None and spec.loader is not None, f"{path} ends in .py"
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.parent.resolve()))  # files beside it can be imported, as from a script
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise _failed(path, "cannot be run", error) from error
    finally:
        sys.path.pop(0)
    return module


def _class(module: ModuleType, class_name: str | None, path: Path) -> type:
    classes = {name: value for name, value in vars(module).items() if inspect.isclass(value)}
    own = {name: kind for name, kind in classes.items() if kind.__module__ == module.__name__}
    usable = {name: kind for name, kind in own.items() if _is_callable(kind) or hasattr(kind, "embed")}
    if class_name is not None:
        chosen = [own[class_name]] if class_name in own else []
    else:
        named = [value for name, value in usable.items() if name.endswith("Encoder")]
        chosen = named if len(named) == 1 else list(usable.values())
    if len(chosen) != 1:
        raise EncoderError(
            f"{path}: which class is the encoder?",
            expected=f"a class {class_name}" if class_name else "one class that can be called or has `embed`",
            got=", ".join(own) or "no class of its own",
            fix=f"--model {path.name}:ClassName",
        )
    return chosen[0]


def _is_callable(kind: type) -> bool:
    """Whether its objects can be called: a class itself always can."""
    return any("__call__" in vars(base) for base in kind.__mro__)


def _make(kind: type, path: Path) -> Any:
    try:
        return kind()
    except Exception as error:
        raise _failed(path, f"{kind.__name__}() cannot be made", error) from error


def _failed(path: Path, what: str, error: Exception) -> EncoderError:
    return EncoderError(
        f"{path} {what}",
        expected="a file that runs, and a class that needs no arguments",
        got=f"{type(error).__name__}: {str(error).strip()[:300]}",
        fix="mend the file; running it with Python shows the whole error",
    )


def _weights(made: Any, path: Path) -> str:
    """Hash of the tensors it holds, or what it says itself."""
    modules = (
        {"": made}
        if isinstance(made, torch.nn.Module)
        else {name: value for name, value in vars(made).items() if isinstance(value, torch.nn.Module)}
    )
    if modules:
        return hash_json({name: hash_tensors(module.state_dict()) for name, module in modules.items()})
    if isinstance(said := getattr(made, "weights", None), str):
        return said
    raise EncoderError(
        f"{path}: {type(made).__name__} does not say what its weights are",
        expected="a torch module, an attribute that holds one, or a text `weights`, such as the hash of a file",
        got="none of them, so that its cached vectors could be taken for another's",
        fix='add the attribute; weights = "none" where there is nothing learned',
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
