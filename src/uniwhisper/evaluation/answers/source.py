"""What a result of answers says of the model that gave them."""

from pathlib import Path
from typing import Any

from uniwhisper.evaluation.trained_on import corpora_of
from uniwhisper.model.uniwhisper import UniWhisper
from uniwhisper.model.weights import encoder_identity, packaged_default


def describe_model(source: str | Path | None, model: UniWhisper) -> dict[str, Any]:
    """Name (`default`, or the folder's), weights (identity of the encoder's) and corpora it says it was trained on.

    Args:
        source: what `model` was loaded from.
    """
    packaged = source in (None, "default")
    folder = packaged_default() if packaged else Path(str(source))
    return {
        "name": "default" if packaged else folder.name,
        "weights": encoder_identity(model.encoder),
        "trained_on": corpora_of(folder),
    }
