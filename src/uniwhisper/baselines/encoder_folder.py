"""The encoder a recipe starts from, and the model folder that an experiment leaves behind."""

from collections.abc import Callable
from pathlib import Path

from uniwhisper.core.files import atomic_output
from uniwhisper.model.encoder import WhisperEncoder
from uniwhisper.model.weights import load_encoder, packaged_default, random_encoder, save_encoder
from uniwhisper.training.recipe import Recipe


def start_encoder(recipe: Recipe) -> WhisperEncoder:
    """As the product's recipes start: a checkpoint's encoder, or random weights of a size by the recipe's seed."""
    config = recipe.model
    if config.start is None:
        assert config.encoder_size is not None, "a recipe has a start or a size"
        return random_encoder(config.encoder_size, seed=recipe.seed).encoder
    return load_encoder(packaged_default() if config.start == "default" else config.start).encoder


def write_encoder_folder(
    encoder: WhisperEncoder, folder: Path, *, card: str, more: Callable[[Path], None] = lambda _: None
) -> str:
    """Write a folder that `--model` takes, in one move; returns the encoder's identity.

    Args:
        card: README.md of the folder.
        more: writes further files into the folder it is given.
    """
    with atomic_output(folder, overwrite=True, folder_with="config.json") as temporary:
        temporary.mkdir()
        identity = save_encoder(encoder, temporary)
        more(temporary)
        (temporary / "README.md").write_text(card)
    return identity
