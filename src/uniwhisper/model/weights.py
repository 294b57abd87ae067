"""Loading and saving encoders.

The identity of an encoder is the SHA-256 of its configuration and of its tensors in float32 under our names. Half
precision widens to float32 without loss, so it is the same for one set of weights in OpenAI's, Hugging Face's or our
format, and for what was saved in half precision and loaded again.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uniwhisper.core.errors import WeightsError
from uniwhisper.core.files import atomic_output
from uniwhisper.core.identity import hash_json, hash_tensors
from uniwhisper.model import hub
from uniwhisper.model.checkpoint_formats import HUGGING_FACE, OPENAI, hugging_face_config, openai_config
from uniwhisper.model.config import WHISPER_SIZES, EncoderConfig
from uniwhisper.model.encoder import WhisperEncoder
from uniwhisper.model.fitting import build_encoder, check_finite, some
from uniwhisper.model.tensor_files import SafetensorsFiles, read_json, read_pickle, safetensors_metadata

FORMAT = "uniwhisper"
FORMAT_VERSION = 1
CONFIG_FILE = "config.json"
ENCODER_FILE = "encoder.safetensors"
HUGGING_FACE_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")  # best first


@dataclass(frozen=True)
class LoadedEncoder:
    """An encoder, in float32, on the CPU and in eval mode, with what it is."""

    encoder: WhisperEncoder
    identity: str
    """`encoder_identity` of the weights as loaded."""
    source: str
    """What the user named."""


def packaged_default() -> Path:
    """Folder of the model that comes with the package, whether or not it is there."""
    return Path(str(files("uniwhisper"))) / "pretrained" / "default"


def load_encoder(source: str | Path | None = None) -> LoadedEncoder:
    """Load the encoder of a checkpoint; nothing else in it is read.

    Args:
        source: None or "default" for the packaged model; a folder in our format or Hugging Face's; an OpenAI `.pt`
            file; a weights file beside its config.json; or a Hugging Face id such as `openai/whisper-base`. A path wins
            over an id.

    Raises:
        WeightsError: not found, not readable, another architecture, or tensors that are missing, unknown, of another
            shape, or not finite.
    """
    path = _locate(source)
    encoder = _load_folder(path) if path.is_dir() else _load_file(path)
    return LoadedEncoder(encoder, encoder_identity(encoder), "default" if source is None else str(source))


def random_encoder(size: str, seed: int) -> LoadedEncoder:
    """An untrained encoder of a size in `WHISPER_SIZES`, as a baseline; draws nothing from the global generator."""
    if size not in WHISPER_SIZES:
        raise WeightsError(
            f"there is no encoder size {size!r}",
            expected=", ".join(WHISPER_SIZES),
            got=repr(size),
            fix="name one of these sizes",
        )
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)  # torch.manual_seed would reseed accelerators as well
        encoder = WhisperEncoder(WHISPER_SIZES[size]).eval()
    return LoadedEncoder(encoder, encoder_identity(encoder), f"random {size}, seed {seed}")


def save_encoder(encoder: WhisperEncoder, folder: Path, *, dtype: torch.dtype = torch.float16) -> str:
    """Write the encoder into a model folder, whose other parts stay as they are.

    Args:
        encoder: on any device.
        folder: made if absent; an encoder in it is replaced.
        dtype: floating type to store.

    Returns:
        Identity of the stored weights, which is the one they are loaded with.

    Raises:
        WeightsError: a value is not finite in `dtype`, or the folder holds a model of another format.
        OutputError: the folder cannot be written.
    """
    from safetensors.torch import save

    folder = Path(folder)
    config = read_json(folder / CONFIG_FILE) if (folder / CONFIG_FILE).exists() else {"format": FORMAT}
    _check_format(config, folder / CONFIG_FILE)
    config |= {"format_version": FORMAT_VERSION, "encoder": encoder.config.to_json()}

    state = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in encoder.state_dict().items()}
    check_finite(state, f"the encoder as {dtype}")
    identity = _identity(encoder.config, state)
    metadata = {"format": "pt", "uniwhisper_format_version": str(FORMAT_VERSION), "identity": identity}
    with atomic_output(folder / ENCODER_FILE, overwrite=True) as temporary:
        temporary.write_bytes(save(state, metadata))  # save_file would ignore the umask
    with atomic_output(folder / CONFIG_FILE, overwrite=True) as temporary:
        temporary.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return identity


def smallest_exact_dtype(encoder: WhisperEncoder) -> torch.dtype:
    """float16 if every weight is a float16 already (as in most published checkpoints), else float32."""
    exact = all(torch.equal(tensor.half().float(), tensor) for tensor in encoder.state_dict().values())
    return torch.float16 if exact else torch.float32


def encoder_identity(encoder: WhisperEncoder) -> str:
    """SHA-256 of the configuration and the tensors in float32: equal for the same weights from any format."""
    return _identity(encoder.config, encoder.state_dict())


def _identity(config: EncoderConfig, state: Mapping[str, Tensor]) -> str:
    # The configuration belongs to it: the number of heads shows in no tensor.
    tensors = {name: tensor.detach().to("cpu", torch.float32) for name, tensor in state.items()}
    return hash_json({"config": config.to_json(), "tensors": hash_tensors(tensors)})


def _locate(source: str | Path | None) -> Path:
    if source is None or source == "default":
        path = packaged_default()
        if not path.exists():
            raise WeightsError(
                "the packaged default weights are not there",
                expected="a model folder inside the installed package",
                got="nothing at uniwhisper/pretrained/default",
                fix="name a checkpoint instead: a folder, an OpenAI .pt file or an id such as openai/whisper-base",
            )
        return path
    path = Path(source).expanduser()
    if path.exists():
        return path
    if isinstance(source, str) and hub.is_hub_id(source):
        return hub.fetch(source)
    hint = f"openai/whisper-{source}" if str(source) in WHISPER_SIZES else "an id such as openai/whisper-base"
    raise WeightsError(
        f"there is no checkpoint {source}",
        expected="an existing folder or file, or a Hugging Face id (organisation/name)",
        got="no such file or folder",
        fix=f"correct the path, or name {hint}",
    )


def _load_folder(folder: Path) -> WhisperEncoder:
    if not (folder / CONFIG_FILE).is_file():
        raise _missing(folder, CONFIG_FILE)
    if "format" in read_json(folder / CONFIG_FILE):
        return _load_file(folder / ENCODER_FILE)
    for name in HUGGING_FACE_FILES:
        if (folder / name).is_file():
            return _load_file(folder / name)
    # The configuration may already tell that other weights would not help.
    hugging_face_config(read_json(folder / CONFIG_FILE), name=str(folder / CONFIG_FILE))
    raise _missing(folder, " or ".join(HUGGING_FACE_FILES))


def _load_file(path: Path) -> WhisperEncoder:
    config_path = path.parent / CONFIG_FILE
    stored: Mapping[str, Any]
    if path.name.endswith(".safetensors"):
        if not path.is_file():
            raise _missing(path.parent, path.name)
        stored = SafetensorsFiles.single(path)
    elif path.name.endswith(".safetensors.index.json"):
        stored = SafetensorsFiles.sharded(path)
    else:
        stored = read_pickle(path)
        if "dims" in stored and isinstance(stored.get("model_state_dict"), Mapping):
            return build_encoder(
                openai_config(stored["dims"], name=str(path)), stored["model_state_dict"], OPENAI, str(path)
            )
    if not config_path.is_file():
        raise _missing(path.parent, CONFIG_FILE)
    config = read_json(config_path)
    if "format" not in config:
        return build_encoder(hugging_face_config(config, name=str(config_path)), stored, HUGGING_FACE, str(path))
    _check_format(config, config_path)
    encoder = build_encoder(EncoderConfig.from_json(config.get("encoder")), stored, None, str(path))
    _check_identity(encoder, path)
    return encoder


def _check_format(config: Mapping[str, Any], path: Path) -> None:
    if config.get("format") != FORMAT or config.get("format_version", FORMAT_VERSION) != FORMAT_VERSION:
        raise WeightsError(
            f"{path} belongs to another kind of model",
            expected=f'"format": "{FORMAT}", "format_version": {FORMAT_VERSION}',
            got=f'"format": {config.get("format")!r}, "format_version": {config.get("format_version")!r}',
            fix="name a folder written by this version of uniwhisper, or another folder to write to",
        )


def _check_identity(encoder: WhisperEncoder, path: Path) -> None:
    expected, got = safetensors_metadata(path).get("identity"), encoder_identity(encoder)
    if expected is not None and expected != got:
        raise WeightsError(
            f"{path} and the config.json beside it are not what was saved",
            expected=f"identity {expected[:12]}…",
            got=f"identity {got[:12]}…",
            fix="copy the folder again; its files belong together",
        )


def _missing(folder: Path, what: str) -> WeightsError:
    # People name the folder around it: a training run has its model in `model`, a classifier its encoder in `encoder`.
    inside = next((folder / name for name in ("model", "encoder") if (folder / name / CONFIG_FILE).is_file()), None)
    found = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    return WeightsError(
        f"{folder} is not a complete checkpoint",
        expected=what,
        got=f"a folder with {some(found)}",
        fix=f"name the one in it: {inside}"
        if inside
        else "name a folder written by uniwhisper or by transformers' save_pretrained, or an OpenAI .pt file",
    )
