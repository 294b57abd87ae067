"""From a row to the training run that makes it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from uniwhisper.baselines.whisper_text import OWN_TASKS
from uniwhisper.data.config import DataConfig
from uniwhisper.reproduce.rows import WITH_OWN_DECODER, Row, steps_of
from uniwhisper.reproduce.scale import Scale
from uniwhisper.training.recipe import ModelConfig, Recipe

_ALTERATIONS = ("codec_probability", "repeat_probability", "silence_max_seconds")
_WITHOUT_AUDIO_TOKENS = (*WITH_OWN_DECODER, "multi-head", "contrastive")
"""Nothing reads an audio token there, so no question can be asked of one that is the mean."""


def recipe_of(row: Row, scale: Scale, seed: int, start: str | None, tasks: Sequence[str] | None = None) -> Recipe:
    """The training run of a row.

    Args:
        start: model folder it starts from; None: random weights of the scale's size.
        tasks: what its objective can be asked; None: everything.
    """
    loop, optimizer = scale.loop, scale.optimizer if row.after else scale.start_optimizer
    if row.name == "S":
        loop = replace(loop, keep_every_steps=scale.keep_every_steps, validate_every_steps=scale.keep_every_steps)
    return Recipe(
        name=f"{scale.name} {row.name}",
        seed=seed,
        steps=steps_of(row, scale),
        model=ModelConfig(
            start=start,
            encoder_size=scale.size if start is None else None,
            language_model=scale.language_model,
            adapter_mean_tokens=1 if row.objective in _WITHOUT_AUDIO_TOKENS else scale.mean_tokens,
            adapter_unit_means=(row.unit_means and row.objective not in _WITHOUT_AUDIO_TOKENS) or None,
        ),
        data=_data(row, scale.data, tasks),
        optimizer=replace(
            optimizer,
            encoder_learning_rate=optimizer.encoder_learning_rate * row.encoder_rate,
            ema_decay=row.ema_decay,
        ),
        loop=loop,
    )


def _data(row: Row, data: DataConfig, tasks: Sequence[str] | None) -> DataConfig:
    data = replace(data, training_share=row.share)
    altered = {name: getattr(row, name) for name in _ALTERATIONS}
    data = replace(
        data, augment=replace(data.augment, **{name: value for name, value in altered.items() if value is not None})
    )
    if row.speech_share is not None:
        data = replace(data, domain_weights=_with_speech(row.speech_share, data.domain_weights))
    if row.objective == "whisper":
        # The language and the words of a clip make one row of text.
        data = replace(data, questions_per_clip=len(OWN_TASKS))
    if row.objective == "contrastive":
        data = replace(data, questions_per_clip=1)
    if row.objective in _WITHOUT_AUDIO_TOKENS:
        data = replace(data, mean_share=0.0)
    if tasks is not None:
        data = replace(data, tasks=tuple(tasks))
    return data


def _with_speech(share: float, weights: Mapping[str, float]) -> dict[str, float]:
    """Domain weights that sum to 1, of which speech has `share`; without the domains that have none."""
    others = sum(weight for domain, weight in weights.items() if domain != "speech")
    shared = {
        domain: share if domain == "speech" else (1 - share) * weight / others for domain, weight in weights.items()
    }
    return {domain: weight for domain, weight in shared.items() if weight > 0}
