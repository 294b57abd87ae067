"""From a recipe to a model ready to train, and from a trained model to a folder others can use."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from uniwhisper.core.errors import RecipeError
from uniwhisper.core.files import atomic_output
from uniwhisper.model.adapter import Adapter, AdapterConfig
from uniwhisper.model.language_model import FrozenLanguageModel, place_of
from uniwhisper.model.uniwhisper import UniWhisper
from uniwhisper.model.weights import load_encoder, packaged_default, random_encoder, save_encoder
from uniwhisper.training.recipe import ModelConfig, Recipe


def build_model(recipe: Recipe, device: torch.device) -> UniWhisper:
    """Encoder, adapter and frozen language model of a recipe, on `device`.

    The language model is kept in bfloat16 where steps run in bfloat16: it needs no master weights.
    """
    config = recipe.model
    start = packaged_default() if config.start == "default" else config.start
    if start is None:
        assert config.encoder_size is not None, "a recipe has a start or a size"
        encoder = random_encoder(config.encoder_size, seed=recipe.seed).encoder
    else:
        encoder = load_encoder(start).encoder
    half = recipe.loop.half_on(device.type)
    language_model = FrozenLanguageModel.load(
        _language_model_source(config, start), dtype=torch.bfloat16 if half else torch.float32
    )
    adapter = build_adapter(config, start, encoder.config.width, language_model, recipe.seed)
    if adapter.config.mean_tokens > 1 and not recipe.data.mean_share:
        # Nothing is asked of the mean, and replicas wait for the gradient of all that is trained.
        adapter.project_means.requires_grad_(False)
    return UniWhisper(encoder, adapter, language_model).to(device).train()


def export_model(model: UniWhisper, folder: Path, *, language_model_source: str | Path, card: str) -> str:
    """Write the model folder that `--model` and `Embedder.from_pretrained` take; returns the encoder's identity.

    Encoder and adapter in float16; the language model's files are copied from where they came, since they are frozen.
    A language model that is a hub id is named in config.json instead of copied.
    """
    with atomic_output(folder, overwrite=True, folder_with="config.json") as temporary:
        temporary.mkdir()
        identity = save_encoder(model.encoder, temporary)
        adapter = {name: tensor.half().contiguous().cpu() for name, tensor in model.adapter.state_dict().items()}
        (temporary / "adapter.safetensors").write_bytes(save(adapter))  # save_file would ignore the umask
        config = json.loads((temporary / "config.json").read_text())
        config["adapter"] = model.adapter.config.to_json()
        config["language_model"] = {"identity": model.language_model.identity()}
        if Path(language_model_source).is_dir():
            shutil.copytree(language_model_source, temporary / "lm")
            _check_copy(model, temporary / "lm")
        else:
            config["language_model"]["source"] = str(language_model_source)
        (temporary / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        (temporary / "README.md").write_text(card)
    return identity


def _check_copy(model: UniWhisper, folder: Path) -> None:
    """The files may have been replaced while the run went on; a checkpoint must carry the model it was trained with."""
    copied = FrozenLanguageModel.load(folder)
    if copied.identity() != model.language_model.identity():
        raise RecipeError(
            "the language model's folder changed during the run",
            expected=f"weights {model.language_model.identity()[:12]}",
            got=f"weights {copied.identity()[:12]}",
            fix="put the files back and run again with --resume",
        )


def language_model_source(config: ModelConfig) -> str | Path:
    """Where the recipe's language model lies: a folder or a hub id."""
    return _language_model_source(config, packaged_default() if config.start == "default" else config.start)


def _language_model_source(config: ModelConfig, start: str | Path | None) -> str | Path:
    if config.language_model is not None:
        return place_of(config.language_model)
    assert start is not None, "a recipe without a language model has a start"
    folder = Path(start) / "lm"
    if folder.is_dir():
        return folder
    named = _read_config(start).get("language_model", {}).get("source")
    if named is None:
        raise RecipeError(
            f"{start} brings no language model",
            expected="a UniWhisper model folder with lm/, or model.language_model in the recipe",
            got="neither",
            fix="--set model.language_model=Qwen/Qwen3-0.6B, or a local folder",
        )
    return named


def _read_config(start: str | Path) -> dict[str, Any]:
    path = Path(start) / "config.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def build_adapter(
    config: ModelConfig, start: str | Path | None, frame_width: int, language_model: FrozenLanguageModel, seed: int
) -> Adapter:
    """The adapter of `start`, if it was trained with this very language model; else one of random weights.

    Raises:
        RecipeError: the start's adapter has another shape.
    """
    described = {} if start is None else _read_config(start)
    # The adapter writes into one language model's embedding space, so it is only taken along with that model.
    taken = described.get("language_model", {}).get("identity") == language_model.identity()
    before = described.get("adapter", {}) if taken else {}
    unit_means = config.adapter_unit_means
    shape = AdapterConfig(
        frame_width=frame_width,
        stack=config.adapter_stack,
        hidden_width=config.adapter_hidden_width,
        token_width=language_model.width,
        mean_tokens=config.adapter_mean_tokens or before.get("mean_tokens", 1),
        unit_means=before.get("unit_means", False) if unit_means is None else unit_means,
    )
    adapter = Adapter(shape)
    if taken:
        try:
            weights = load_file(Path(start) / "adapter.safetensors")
            adapter.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
        except (OSError, RuntimeError, SafetensorError) as error:
            raise RecipeError(
                f"the adapter of {start} does not fit the recipe",
                expected=str(shape.to_json()),
                got=str(described.get("adapter")),
                fix="set model.adapter_stack, _hidden_width, _mean_tokens and _unit_means to those of the checkpoint",
            ) from error
        return adapter
    token_std = float(language_model.causal_lm.get_input_embeddings().weight.detach().float().std())
    seed_of_adapter = int.from_bytes(hashlib.sha256(f"adapter {seed}".encode()).digest()[:8], "little")
    adapter.initialise(token_std=token_std, generator=torch.Generator().manual_seed(seed_of_adapter))
    return adapter
