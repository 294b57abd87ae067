"""UniWhisper: one audio encoder for speech, environmental sound and music.

    from uniwhisper import Embedder
    table = Embedder.from_pretrained().embed(["dog.wav", "talk.mp3"])

Names are imported on first use, so `import uniwhisper` loads nothing heavy.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["Embedder", "EmbeddingTable", "FrameVectors", "SegmentVectors", "__version__"]

if TYPE_CHECKING:
    from uniwhisper.embedding.embedder import Embedder
    from uniwhisper.embedding.table import EmbeddingTable, FrameVectors, SegmentVectors

_HOME = {
    "Embedder": "uniwhisper.embedding.embedder",
    "EmbeddingTable": "uniwhisper.embedding.table",
    "FrameVectors": "uniwhisper.embedding.table",
    "SegmentVectors": "uniwhisper.embedding.table",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'uniwhisper' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
