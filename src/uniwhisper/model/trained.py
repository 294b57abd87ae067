"""Loading a trained model whole: encoder, adapter and language model, as training exports them.

Only what needs answers needs this file; vectors need the encoder alone (`weights.py`).
"""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from uniwhisper.core.errors import WeightsError
from uniwhisper.model.adapter import Adapter, AdapterConfig
from uniwhisper.model.fitting import check_finite
from uniwhisper.model.language_model import FrozenLanguageModel
from uniwhisper.model.tensor_files import read_json
from uniwhisper.model.uniwhisper import UniWhisper
from uniwhisper.model.weights import load_encoder, packaged_default

_TRAIN = "export one with `uniwhisper train`, or name its folder (RUN/model)"


def load_trained(source: str | Path | None = None) -> UniWhisper:
    """The model of a folder, in float32 on the CPU, in evaluation mode.

    Args:
        source: folder written by training; None or `default`: the packaged model.

    Raises:
        WeightsError: the folder lacks a part, a part is damaged, or parts do not belong together.
        MissingExtraError: transformers is not installed.
    """
    folder = packaged_default() if source in (None, "default") else Path(source)
    if not (folder / "config.json").is_file():
        raise WeightsError(f"no model at {folder}", expected="a folder with config.json", got="none", fix=_TRAIN)
    config = read_json(folder / "config.json")
    described = config.get("language_model")
    if not isinstance(config.get("adapter"), dict) or not isinstance(described, dict):
        raise WeightsError(
            f"{folder} answers no questions",
            expected="a model with an adapter and a language model",
            got=f"only {', '.join(sorted(set(config) & {'encoder', 'adapter', 'language_model'})) or 'other files'}",
            fix=_TRAIN,
        )
    beside = folder / "lm"
    language_model = FrozenLanguageModel.load(beside if beside.is_dir() else described.get("source", beside))
    if language_model.identity() != described.get("identity"):
        raise WeightsError(
            f"the language model of {folder} is not the one it was trained with",
            expected=f"weights {str(described.get('identity'))[:12]}",
            got=f"weights {language_model.identity()[:12]}",
            fix="put the original files back",
        )
    encoder = load_encoder(folder).encoder
    return UniWhisper(encoder, load_adapter(folder, config["adapter"]), language_model).eval()


def load_adapter(folder: Path, shape: dict) -> Adapter:
    """The adapter of a model's folder.

    Args:
        folder: written by training.
        shape: what its config.json says under `adapter`.

    Raises:
        WeightsError: the file is absent or damaged, or does not fit the shape.
    """
    path = folder / "adapter.safetensors"
    try:
        adapter = Adapter(AdapterConfig(**shape))
        state = {name: tensor.float() for name, tensor in load_file(path).items()}
        adapter.load_state_dict(state)
    except (OSError, TypeError, RuntimeError, SafetensorError) as error:
        raise WeightsError(
            f"cannot load the adapter {path}",
            expected=f"the tensors of an adapter {shape}",
            got=str(error).strip().splitlines()[0][:200],
            fix="copy the folder again from where it was exported",
        ) from None
    check_finite(state, str(path))
    return adapter
