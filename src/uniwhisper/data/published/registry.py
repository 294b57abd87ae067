"""The published corpora that this package can read itself, by name."""

from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module

from uniwhisper.data.published.corpus import Published

NAMES = (
    "asvspoof2019_la", "covost2", "crema_d", "fluent_speech_commands", "speech_commands", "speechocean762",
    "clotho", "desed", "fsd50k", "tau_urban_scenes", "vocalsound",
    "fma", "gtzan", "maestro", "magnatagatune", "mtg_jamendo", "nsynth",
)  # fmt: skip
"""Speech, then sound, then music."""


@lru_cache(maxsize=1)
def published_corpora() -> Mapping[str, Published]:
    """Every corpus of this folder, in the order of `NAMES`."""
    corpora = [import_module(f"uniwhisper.data.published.{name}").CORPUS for name in NAMES]
    assert tuple(corpus.name for corpus in corpora) == NAMES, "a file is named after its corpus"
    return {corpus.name: corpus for corpus in corpora}
