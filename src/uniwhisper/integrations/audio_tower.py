"""Encoder and adapter as the audio tower of a causal language model of transformers.

The tower gives rows for the model's `inputs_embeds`, 12.5 a second with the packaged model. An adapter writes into the
embedding space of the one language model it was trained with; for another one, train it (`uniwhisper train`).
`examples/audio_llm.py` answers a question in ten lines.
"""

from pathlib import Path
from typing import Self

from safetensors import SafetensorError
from torch import Tensor, nn

from uniwhisper.core.errors import WeightsError
from uniwhisper.embedding.waves import encode_waves
from uniwhisper.model.adapter import Adapter, AdapterConfig
from uniwhisper.model.encoder import WhisperEncoder
from uniwhisper.model.tensor_files import SafetensorsFiles, read_json
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
        described = read_json(folder / "config.json").get("adapter")
        try:
            adapter = Adapter(AdapterConfig(**described))
            stored = SafetensorsFiles.single(folder / "adapter.safetensors")
            adapter.load_state_dict({name: tensor.float() for name, tensor in stored.items()})
        except (TypeError, RuntimeError, SafetensorError) as error:
            raise WeightsError(
                f"{folder} holds no adapter that fits",
                expected="a folder that `uniwhisper train` wrote, with an adapter in config.json and its weights",
                got=f"{type(error).__name__}: {error}"[:200],
                fix="name the `model` folder of a finished run",
            ) from None
        return cls(encoder, adapter).eval()

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
