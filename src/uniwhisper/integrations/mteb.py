"""MTEB and MAEB: a `ModelMeta` and the encoder behind it.

    import mteb
    from uniwhisper.integrations.mteb import load
    mteb.evaluate(load(), mteb.get_benchmark("MAEB(v1, audio-only)").tasks)

A clip's vector is that of `Embedder.embed`: the mean of its real frames, whatever stands beside it in the batch.
`model_meta().load_model()` gives the same; mteb then insists on torchaudio, which nothing here uses.
"""

from typing import Any

import numpy as np
from mteb.models import ModelMeta
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_implementations import MODEL_REGISTRY
from torch.utils.data import DataLoader

from uniwhisper import __version__
from uniwhisper.embedding.embedder import Embedder

NAME = "uniwhisper/default"


class MtebEncoder(AbsEncoder):
    """What mteb calls; made by `load`."""

    def __init__(
        self,
        model_name: str,
        revision: str | None = None,  # noqa: ARG002 (part of the signature mteb calls)
        device: str | None = None,
        *,
        source: str | None = None,
        **_: Any,
    ) -> None:
        self.model_name = model_name
        self.embedder = Embedder.from_pretrained(source, device="auto" if device is None else str(device))

    def encode(
        self,
        inputs: DataLoader,
        *,
        task_metadata: Any,  # noqa: ARG002
        hf_split: str,  # noqa: ARG002
        hf_subset: str,  # noqa: ARG002
        prompt_type: Any = None,  # noqa: ARG002
        **_: Any,
    ) -> np.ndarray:
        """(N, D) float32 in the order of `inputs`.

        Raises:
            AudioError: a clip cannot be used; mteb counts the task as failed and goes on.
        """
        inputs.collate_fn = list
        return np.concatenate([self.embedder.embed([clip(row["audio"]) for row in rows]).vectors for rows in inputs])


def load(source: str | None = None, *, device: str | None = None, **described: Any) -> MtebEncoder:
    """A model that `mteb.evaluate` and `mteb.mock_run` take.

    Args:
        source: as in `Embedder.from_pretrained`; None is the packaged model.
        device: None is a GPU if there is one.
        described: as `model_meta`'s.
    """
    meta = model_meta(source, **described)
    model = MtebEncoder(meta.name, meta.revision, device, source=source)
    model.mteb_model_meta = meta
    return model


def model_meta(
    source: str | None = None,
    *,
    name: str = NAME,
    revision: str = __version__,
    training_datasets: set[str] | None = None,
) -> ModelMeta:
    """What mteb writes beside the scores of a checkpoint.

    Args:
        source: as in `Embedder.from_pretrained`; None is the packaged model.
        name: organisation/name under which the results are filed.
        revision: of the weights.
        training_datasets: mteb's names of the data sets it was trained on. None: not known, which mteb shows.
    """
    encoder = Embedder.from_pretrained(source, device="cpu").encoder
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    return ModelMeta(
        loader=MtebEncoder,
        loader_kwargs={"source": source},
        name=name,
        revision=revision,
        release_date=None,
        languages=None,
        n_parameters=parameters,
        n_embedding_parameters=0,
        memory_usage_mb=4 * parameters / 2**20,
        max_tokens=float("inf"),
        embed_dim=encoder.config.width,
        license="apache-2.0",
        open_weights=True,
        public_training_code=None,
        public_training_data=None,
        framework=["PyTorch"],
        reference=None,
        similarity_fn_name="cosine",
        use_instructions=False,
        training_datasets=training_datasets,
        modalities=["audio"],
    )


def register(meta: ModelMeta) -> None:
    """Let `mteb.get_model_meta` and `mteb.get_model` find `meta` by its name, in this process."""
    MODEL_REGISTRY[meta.name] = meta


def clip(audio: Any) -> tuple[np.ndarray, int]:
    """Samples (S,) or (S, channels) and their rate, from what `datasets` gives: a decoder or a dictionary."""
    if isinstance(audio, dict) or not hasattr(audio, "get_all_samples"):
        samples, rate = audio["array"], audio["sampling_rate"]
    else:
        decoded = audio.get_all_samples()
        samples, rate = decoded.data.numpy(), decoded.sample_rate
    samples = np.asarray(samples)
    return (samples.T if samples.ndim == 2 and len(samples) < samples.shape[1] else samples), rate
