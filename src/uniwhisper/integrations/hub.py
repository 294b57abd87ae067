"""Hugging Face layout: `save_pretrained`, `from_pretrained`, `push_to_hub` (the mixin of huggingface_hub).

The folder is our own format, so `Embedder.from_pretrained` and every `--model` read it too. Beside it lie a model card
and what sentence-transformers needs to read the same folder. Weights are stored in half precision only where that
loses nothing: publishing never changes a vector, nor the weights' identity.
"""

import json
from pathlib import Path
from typing import Any, Self

from huggingface_hub import ModelCard, ModelHubMixin, snapshot_download
from torch import Tensor, nn

from uniwhisper.core.errors import OutputError
from uniwhisper.core.files import atomic_output
from uniwhisper.core.units import FRAMES_PER_SECOND, SAMPLE_RATE_HZ
from uniwhisper.embedding.embedder import Embedder
from uniwhisper.embedding.waves import encode_waves
from uniwhisper.model.encoder import WhisperEncoder
from uniwhisper.model.hub import SAFETENSORS
from uniwhisper.model.weights import (
    CONFIG_FILE,
    FORMAT,
    encoder_identity,
    load_encoder,
    save_encoder,
    smallest_exact_dtype,
)

MODULES_FILE = "modules.json"
# The class that sentence-transformers imports; it is part of this package, the folder itself carries no code.
SENTENCE_TRANSFORMERS_CLASS = "uniwhisper.integrations.sentence_transformers.AudioVectors"


class HubEncoder(nn.Module, ModelHubMixin):
    """An encoder that can be published and fetched; `embedder` is the rest of the interface."""

    # The mixin fills arguments from entries of config.json that have their names: `encoder` is such an entry.
    def __init__(self, whisper_encoder: WhisperEncoder, *, source: str) -> None:
        super().__init__()
        self.encoder = whisper_encoder
        self.source = source

    @property
    def embedder(self) -> Embedder:
        """For files, arrays, frames and long recordings; shares the weights, which are hashed anew at each call."""
        return Embedder.from_encoder(self.encoder, identity=encoder_identity(self.encoder), source=self.source)

    def forward(self, wave_BS: Tensor, sample_counts_B: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """frames_BTD and frame_counts_B of `wave_BS`; see `encode_waves`, also for `sample_counts_B`."""
        return encode_waves(self.encoder, wave_BS, sample_counts_B)

    def save_pretrained(self, save_directory: str | Path, **arguments: Any) -> str | None:
        """Write the folder; `arguments` as in `ModelHubMixin.save_pretrained`.

        Raises:
            OutputError: the folder holds a model of another kind.
        """
        config = Path(save_directory) / CONFIG_FILE
        if config.exists() and FORMAT not in config.read_text(encoding="utf-8", errors="replace"):
            # The mixin would remove this file before anything of ours looks at it.
            raise OutputError(
                f"{save_directory} is not replaced",
                expected="a folder that is free, or one that holds a model of this project",
                got=f"a {CONFIG_FILE} of another kind",
                fix="choose another folder",
            )
        return super().save_pretrained(save_directory, **arguments)

    def _save_pretrained(self, save_directory: Path) -> None:
        save_encoder(self.encoder, save_directory, dtype=smallest_exact_dtype(self.encoder))
        modules = [{"idx": 0, "name": "0", "path": "", "type": SENTENCE_TRANSFORMERS_CLASS}]
        for name, value in (
            (MODULES_FILE, modules),
            ("config_sentence_transformers.json", {"similarity_fn_name": "cosine"}),
        ):
            with atomic_output(save_directory / name, overwrite=True) as temporary:
                temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        **_: Any,
    ) -> Self:
        folder = model_id
        if not Path(model_id).is_dir():
            folder = snapshot_download(
                model_id,
                revision=revision,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                token=token,
                allow_patterns=[CONFIG_FILE, *SAFETENSORS],
            )
        return cls(load_encoder(folder).encoder, source=model_id)

    def generate_model_card(self, *_: Any, **__: Any) -> ModelCard:
        """A card that says what the weights are and how to use them; what they were trained on is for you to add."""
        config = self.encoder.config
        parameters = sum(parameter.numel() for parameter in self.encoder.parameters())
        return ModelCard(
            CARD.format(
                identity=encoder_identity(self.encoder),
                parameters=f"{parameters / 1e6:.1f}",
                width=config.width,
                layers=config.layers,
                sample_rate_hz=SAMPLE_RATE_HZ,
                hop_ms=1000 // FRAMES_PER_SECOND,
            )
        )


CARD = """---
library_name: uniwhisper
pipeline_tag: feature-extraction
tags: [audio, audio-embeddings, speech, music, sound, sentence-transformers, whisper]
---

# Audio encoder

One encoder for speech, environmental sound and music: {parameters} million weights, {layers} blocks, vectors of {width}
numbers, one frame every {hop_ms} ms, input at {sample_rate_hz} Hz (any rate is resampled), any length without padding.

```python
from uniwhisper import Embedder

table = Embedder.from_pretrained("THIS-REPOSITORY").embed(["dog.wav", "talk.mp3"])
table.vectors  # (2, {width}) float32
```

In sentence-transformers, with `uniwhisper` installed (the repository carries no code; the flag allows the class of the
installed package):

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("THIS-REPOSITORY", trust_remote_code=True)
model.encode(["dog.wav", "talk.mp3"])
```

Identity of the weights: `{identity}`.

**To be filled in by whoever publishes it:** what it was trained on, under which licences, and how it was judged.
"""
