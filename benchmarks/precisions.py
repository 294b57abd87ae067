"""The packaged model with less precision, to be judged beside itself: what a faster path costs in points of `mini`.

uniwhisper evaluate --suite mini --model benchmarks/precisions.py:Int8 --data evaluation/ -o results/
uniwhisper compare results/mini-default-….json results/mini-precisions-Int8-….json
"""

from uniwhisper.embedding.embedder import Embedder


class Int8:
    """Linear layers in dynamic int8, on a CPU."""

    def __init__(self) -> None:
        self._embedder = Embedder.from_pretrained(device="cpu", precision="int8")
        self.identity, self.width = self._embedder.identity, self._embedder.width
        self.embed, self.frames = self._embedder.embed, self._embedder.frames
        # In batches: without this the judge asks for one clip at a time.
        self.frame_blocks = self._embedder.frame_blocks


class Bf16:
    """Products in bfloat16, on the device there is."""

    def __init__(self) -> None:
        self._embedder = Embedder.from_pretrained(precision="bf16")
        self.identity, self.width = self._embedder.identity, self._embedder.width
        self.embed, self.frames = self._embedder.embed, self._embedder.frames
        # In batches: without this the judge asks for one clip at a time.
        self.frame_blocks = self._embedder.frame_blocks
