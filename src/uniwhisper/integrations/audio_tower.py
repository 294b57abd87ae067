"""Encoder and adapter as the audio tower of a causal language model of transformers.

The tower gives rows for the model's `inputs_embeds`, 12.5 a second with the packaged model. An adapter writes into the
embedding space of the one language model it was trained with; for another one, train it (`uniwhisper train`).
`examples/audio_llm.py` answers a question in ten lines.
"""

from pathlib import Path
from typing import Self

from torch import Tensor, nn

from uniwhisper.core.errors import WeightsError
from uniwhisper.embedding.waves import encode_waves
from uniwhisper.model.adapter import Adapter
from uniwhisper.model.encoder import WhisperEncoder
from uniwhisper.model.tensor_files import read_json
from uniwhisper.model.trained import load_adapter
from uniwhisper.model.weights import load_encoder, packaged_default


class AudioTower(nn.Module):
    """Waves to audio tokens."""

    def __init__(self, encoder: WhisperEncoder, adapter: Adapter) -> None:
        super().__init__()
        assert adapter.config.frame_width == encoder.config.width, "the adapter reads the encoder's frames"
        self.encoder = encoder
        self.adapter = adapter

    @classmethod
    def from_pretrained(cls, folder: str | Path | None = None) -> Self:
        """The tower of a trained model's folder, float32 on the CPU in eval mode; None: the packaged model.

        Raises:
            WeightsError: the folder holds no complete model, or its adapter does not fit its description.
        """
        folder = packaged_default() if folder is None else Path(folder)
        encoder = load_encoder(folder).encoder
        shape = read_json(folder / "config.json").get("adapter")
        if not isinstance(shape, dict):
            raise WeightsError(
                f"{folder} holds no adapter",
                expected="a folder that `uniwhisper train` wrote",
                got="an encoder alone",
                fix="name the `model` folder of a finished run",
            )
        return cls(encoder, load_adapter(folder, shape)).eval()

    def forward(self, wave_BS: Tensor, sample_counts_B: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Audio tokens of each clip; differentiable.

        Args:
            wave_BS: as in `encode_waves`.
            sample_counts_B: as in `encode_waves`.

        Returns:
            audio_BAH: float32, rows for `inputs_embeds`; rows beyond the count are to be dropped.
            audio_counts_B: int64.
        """
        return self.adapter(*encode_waves(self.encoder, wave_BS, sample_counts_B))
