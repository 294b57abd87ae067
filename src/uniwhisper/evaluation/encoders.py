"""What can be judged: anything with an identity, a width and `embed`; and how the user names it.

`embedding.Embedder` is a `FrameEncoder` as it stands; another encoder needs an adapter of about ten lines, see
`adapters.pooling.FrameFunction` and docs/encoders.md.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from uniwhisper.audio.load import AudioSource
from uniwhisper.core.errors import UserError, WeightsError
from uniwhisper.embedding.table import EmbeddingTable, FrameVectors

if TYPE_CHECKING:
    import torch

FLOOR = "log-mel"
GRAMMAR = (
    "default, a model folder, a hub id, a .pt file, log-mel (the floor), random:SIZE[:SEED], "
    "whisper-padded:MODEL, whisper-trimmed:MODEL, dasheng:FILE.pt, or FILE.py[:CLASS]"
)
"""What --model takes."""


class EncoderError(UserError):
    """An encoder cannot be judged."""


class ClipEncoder(Protocol):
    """One vector per clip, the same whatever else is embedded with it."""

    @property
    def identity(self) -> dict[str, str]:
        """All that decides a vector: `weights` (SHA-256), `code`, `pooling`, `layer`."""

    @property
    def width(self) -> int: ...

    def embed(self, sources: Sequence[AudioSource], *, on_error: str) -> EmbeddingTable:
        """Vectors float32 (n, width) in the order of `sources`; with `on_error="skip"`, failures by index."""


class FrameEncoder(ClipEncoder, Protocol):
    """Also gives the frames of a clip, which frame tasks need."""

    def frames(self, source: AudioSource) -> FrameVectors:
        """Vectors float32 (T, D), their times and the hop, of one clip; D may be another than `width`."""


@dataclass(frozen=True)
class JudgedEncoder:
    """A `ClipEncoder` under the name that files and tables show."""

    encoder: ClipEncoder
    label: str
    """Safe in a file name."""
    source: str
    """What to type after --model to get it again, except that a folder or file is named without its path."""


def open_encoder(model: str, *, device: str = "auto") -> JudgedEncoder:
    """Encoder by what the user typed: see `GRAMMAR`.

    A folder or hub id is looked at: ours and Whisper's are run by our own encoder (any length, no padding), the other
    families of `adapters.hugging_face.FAMILIES` by transformers.

    Raises:
        WeightsError: there is no such model, or it does not fit.
        EncoderError: a Python file holds no encoder.
        UserError: the device is absent.
    """
    from uniwhisper.model.device import choose_device

    prefix, _, rest = model.partition(":")
    if model == FLOOR:
        from uniwhisper.evaluation.adapters.log_mel import LogMelStatistics

        return JudgedEncoder(LogMelStatistics(), FLOOR, FLOOR)
    if match := re.fullmatch(r"(.+\.py)(?::(\w+))?", model):
        from uniwhisper.evaluation.adapters.python_file import open_python_file

        path = _existing(match[1])
        encoder = open_python_file(path, match[2], choose_device(device))
        return _named(encoder, path.stem + (f"-{match[2]}" if match[2] else ""), path.name + model[len(match[1]) :])
    if prefix == "random" and rest:
        return _random(model, choose_device(device))
    if prefix == "dasheng" and rest:
        from uniwhisper.evaluation.adapters.dasheng import open_dasheng

        path = _existing(rest)
        return _named(open_dasheng(path, choose_device(device)), f"dasheng-{path.stem}", f"dasheng:{path.name}")
    if prefix in ("whisper-padded", "whisper-trimmed") and rest:
        return _hugging_face(rest, choose_device(device), prefix=prefix)
    if _is_of_transformers(model):
        return _hugging_face(model, choose_device(device))
    from uniwhisper.embedding.embedder import Embedder

    name = _short(model) if model != "default" else model
    stem = Path(name).stem if Path(model).is_file() else name
    embedder = Embedder.from_pretrained(None if model == "default" else model, device=device)
    return _named(embedder, stem, name)


def _random(model: str, device: "torch.device") -> JudgedEncoder:
    from uniwhisper.embedding.embedder import Embedder
    from uniwhisper.model.config import WHISPER_SIZES
    from uniwhisper.model.weights import random_encoder

    match = re.fullmatch(r"random:([^:]+)(?::([0-9]{1,9}))?", model)
    if not match or match[1] not in WHISPER_SIZES:
        raise WeightsError(
            f"no random encoder {model!r}",
            expected=f"random:SIZE or random:SIZE:SEED, SIZE one of {', '.join(WHISPER_SIZES)}, SEED a whole number",
            got=model,
            fix="for example --model random:tiny:0",
        )
    source = f"random:{match[1]}:{int(match[2] or 0)}"
    drawn = random_encoder(match[1], int(match[2] or 0))
    embedder = Embedder.from_encoder(drawn.encoder.to(device), identity=drawn.identity, source=source)
    return _named(embedder, source.replace(":", "-"), source)


def _hugging_face(model: str, device: "torch.device", *, prefix: str = "") -> JudgedEncoder:
    from uniwhisper.evaluation.adapters.hugging_face import open_hugging_face

    encoder = open_hugging_face(_folder(model), device, padded=prefix == "whisper-padded")
    name = f"{prefix}:{_short(model)}" if prefix else _short(model)
    return _named(encoder, name.replace(":", "-"), name)


def _is_of_transformers(model: str) -> bool:
    """Whether a folder or hub id holds a model of a family that transformers runs, Whisper excepted."""
    from uniwhisper.evaluation.adapters.hugging_face import FAMILIES
    from uniwhisper.model import hub

    if not Path(model).is_dir() and (Path(model).exists() or not hub.is_hub_id(model)):
        return False
    try:
        config = json.loads((_folder(model) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False  # `Embedder` says what is wrong with it
    return isinstance(config, dict) and config.get("model_type") in set(FAMILIES) - {"whisper"}


def _folder(model: str) -> Path:
    from uniwhisper.model import hub

    return hub.fetch(model) if not Path(model).exists() and hub.is_hub_id(model) else Path(model)


def _existing(name: str) -> Path:
    path = Path(name).expanduser()
    if not path.is_file():
        raise WeightsError(f"there is no file {name}", expected=GRAMMAR, got="no such file", fix="check the spelling")
    return path


def _short(model: str) -> str:
    """A folder or file without its path, which would mean nothing elsewhere; a hub id as it is."""
    return Path(model).resolve().name if Path(model).exists() else model


def _named(encoder: ClipEncoder, label: str, source: str) -> JudgedEncoder:
    return JudgedEncoder(encoder, re.sub(r"[^A-Za-z0-9_.-]+", "--", label).strip(".-") or "model", source)


def require_identity(encoder: ClipEncoder) -> dict[str, str]:
    """The encoder's identity, complete.

    Raises:
        EncoderError: a part is missing, so its vectors could be taken for another encoder's.
    """
    identity = dict(encoder.identity)
    missing = [part for part in ("weights", "code", "pooling", "layer") if not identity.get(part)]
    if missing:
        raise EncoderError(
            "the encoder does not say what it is",
            expected="an identity with weights, code, pooling and layer",
            got=f"no {', '.join(missing)}",
            fix="fill in `identity` in the encoder's adapter",
        )
    return identity
