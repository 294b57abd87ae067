"""What a result of answers says of the model that gave them."""

from pathlib import Path
from typing import Any

from uniwhisper.evaluation.trained_on import corpora_of
from uniwhisper.model.weights import load_encoder, packaged_default


def describe_model(source: str | Path | None) -> dict[str, Any]:
    """Name (`default`, or the folder's), weights (identity of the encoder's) and corpora it says it was trained on.

    Raises:
        WeightsError: there is no encoder.
    """
    packaged = source in (None, "default")
    folder = packaged_default() if packaged else Path(str(source))
    return {
        "name": "default" if packaged else folder.name,
        "weights": load_encoder(folder).identity,
        "trained_on": corpora_of(folder),
    }
