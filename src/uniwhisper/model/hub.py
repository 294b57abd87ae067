"""Fetching a checkpoint from the Hugging Face hub, or from its local cache."""

import re
from pathlib import Path

from uniwhisper.core.errors import WeightsError

# Exact names: repositories of large models also hold the same weights in other precisions and for other frameworks.
CONFIG = ("config.json", "preprocessor_config.json")
SAFETENSORS = ("encoder.safetensors", "model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors")
PICKLE = "pytorch_model.bin"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_id(source: str) -> bool:
    """Whether `source` has the form organisation/name."""
    return _HUB_ID.fullmatch(source) is not None


def fetch(hub_id: str) -> Path:
    """Folder in the hub's cache with the configuration and weights of `hub_id`; downloads what is not there yet.

    A pickle is fetched only where there are no safetensors. HF_HUB_OFFLINE=1 allows the cache alone.

    Raises:
        WeightsError: not found, not allowed, or no network and not in the cache.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(hub_id, allow_patterns=[*CONFIG, *SAFETENSORS]))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(hub_id, allow_patterns=[*CONFIG, PICKLE]))
    except Exception as error:  # besides its own kinds, the hub raises those of its HTTP library, which has changed
        lines = str(error).strip().splitlines() or [""]
        raise WeightsError(
            f"{hub_id} is not a local folder and cannot be fetched from the Hugging Face hub",
            expected="the id of a public checkpoint and a network, or a checkpoint in the local cache",
            got=f"{type(error).__name__}: {lines[0][:200]}",
            fix="without a network, pass a folder that holds config.json and model.safetensors (or an OpenAI .pt file)",
        ) from error
    return folder
