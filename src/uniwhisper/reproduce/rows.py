"""The rows of the experiment: what each starts from, how long it trains, on what, and by which objective."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from uniwhisper.baselines.whisper_text import OWN_TASKS
from uniwhisper.data.config import DataConfig
from uniwhisper.reproduce.scale import Scale
from uniwhisper.training.recipe import ModelConfig, Recipe

Objective = Literal[
    "instructions",
    "whisper",
    "whisper instructions",
    "random frozen",
    "pretrained trained",
    "random trained",
    "multi-head",
    "contrastive",
]
Steps = Literal["N", "M", "N + M"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of the table."""

    name: str
    what: str
    objective: Objective | None
    """None: nothing is trained."""
    steps: Steps = "M"
    after: str | None = None
    """Row whose encoder it starts from; None: random weights."""
    asked_as: Objective | None = None
    """Objective whose questions it is asked; None: its own."""
    speech_only: bool = False
    share: float = 1.0
    """Part of the training clips."""
    unit_means: bool = False
    """Whether the language model hears the mean of a clip as a direction."""

    @property
    def needs(self) -> str | None:
        """Row that must be there first: what it starts from, or S where its number of steps is counted with S's."""
        return self.after or ("S" if self.name != "S" and self.objective and "N" in self.steps else None)

    @property
    def long(self) -> bool:
        """Whether it is one of the runs that the gate stands before."""
        return self.objective is not None and "M" in self.steps


_ROWS = (
    Row(
        name="S",
        what="speech-only start: Whisper's decoder and objective on speech; taken where the development suite says",
        objective="whisper",
        steps="N",
        speech_only=True,
    ),
    Row(
        name="S-long",
        what="S for as long as S and U together",
        objective="whisper",
        steps="N + M",
        speech_only=True,
    ),
    Row(
        name="U",
        what="UniWhisper: from S, all domains as instructions through the frozen language model",
        objective="instructions",
        after="S",
    ),
    Row(
        name="U-speech",
        what="U's recipe on speech alone",
        objective="instructions",
        after="S",
        speech_only=True,
    ),
    Row(
        name="U-labels",
        what="U asked what heads can be asked: neither of clips put together nor for names of recordings",
        objective="instructions",
        after="S",
        asked_as="multi-head",
    ),
    Row(
        name="U-directions",
        what="U-labels with the mean of a clip heard as a direction, standardised over the training clips",
        objective="instructions",
        after="S",
        asked_as="multi-head",
        unit_means=True,
    ),
    Row(name="U-scratch-M", what="U's recipe from random weights, for M steps", objective="instructions"),
    Row(
        name="U-scratch-N+M",
        what="U's recipe from random weights, for N + M steps",
        objective="instructions",
        steps="N + M",
    ),
    Row(
        name="W-dec",
        what="U's data through Whisper's own decoder, which goes on from S's",
        objective="whisper instructions",
        after="S",
    ),
    Row(
        name="LM-random-frozen",
        what="U through a language model of random weights: a control",
        objective="random frozen",
        after="S",
    ),
    Row(
        name="LM-pretrained-trained",
        what="U with the language model trained along: full fine-tuning of everything",
        objective="pretrained trained",
        after="S",
    ),
    Row(
        name="LM-random-trained",
        what="U with a language model trained from random weights",
        objective="random trained",
        after="S",
    ),
    Row(
        name="multi-head",
        what="U's clips with a head and a loss for each task, instead of a language model",
        objective="multi-head",
        after="S",
    ),
    Row(
        name="C",
        what="a contrastive audio-text encoder, as CLAP's, from random weights",
        objective="contrastive",
        steps="N",
    ),
    Row(name="C+U", what="U's recipe from C instead of S", objective="instructions", after="C"),
    Row(name="U-half", what="U on half of the clips", objective="instructions", after="S", share=1 / 2),
    Row(name="U-quarter", what="U on a quarter of the clips", objective="instructions", after="S", share=1 / 4),
    Row(name="U-eighth", what="U on an eighth of the clips", objective="instructions", after="S", share=1 / 8),
    Row(name="log-mel", what="floor: mean and deviation of log-mel", objective=None),
    Row(name="random", what="floor: the encoder untrained", objective=None),
)

_WITH_OWN_DECODER = ("whisper", "whisper instructions")
_WITHOUT_AUDIO_TOKENS = (*_WITH_OWN_DECODER, "multi-head", "contrastive")
"""Nothing reads an audio token there, so no question can be asked of one that is the mean."""
ROWS = {row.name: row for row in _ROWS}
SMOKE_ROWS = ("S", "U", "log-mel", "random")

COMPARED = (
    ("S", "U"),
    ("S-long", "U"),
    ("U-speech", "U"),
    ("U-scratch-M", "U"),
    ("U-scratch-N+M", "U"),
    ("W-dec", "U"),
    ("LM-random-frozen", "U"),
    ("LM-pretrained-trained", "U"),
    ("LM-random-trained", "U"),
    ("multi-head", "U"),
    ("multi-head", "U-labels"),
    ("U", "U-labels"),
    ("S", "U-directions"),
    ("multi-head", "U-directions"),
    ("U-labels", "U-directions"),
    ("C", "C+U"),
    ("log-mel", "U"),
    ("random", "U"),
)
"""(First, second): the table shows second minus first."""

EQUAL = (
    ("U", "U-speech"),
    ("U", "U-scratch-M"),
    ("U", "W-dec"),
    ("U", "LM-random-frozen"),
    ("U", "LM-pretrained-trained"),
    ("U", "LM-random-trained"),
    ("U", "multi-head"),
    ("U", "U-labels"),
    ("U-labels", "U-directions"),
    ("U", "C+U"),
    ("S", "C"),
    ("U", "U-half"),
    ("U", "U-quarter"),
    ("U", "U-eighth"),
    ("S+U", "S-long"),
    ("S+U", "U-scratch-N+M"),
)
"""Pairs that must have had equally many optimizer steps and equally much audio; `S+U` is both runs of the chain."""


def steps_of(row: Row, scale: Scale) -> int:
    """Optimizer steps of a row's own run; 0: nothing is trained.

    `scale.start_steps` is what S's run takes; of another row, the steps after which S was taken.
    """
    if row.objective is None or (row.name == "S" and scale.start is not None):
        return 0
    return {"N": scale.start_steps, "M": scale.steps, "N + M": scale.start_steps + scale.steps}[row.steps]


def available_rows(scale: Scale) -> list[str]:
    """Names of the rows that a scale can have: with a published start those that go on from it, and log-mel."""
    if scale.start is None:
        return list(ROWS)
    going_on = [row.name for row in _ROWS if row.after == "S" and row.objective not in _WITH_OWN_DECODER]
    return ["S", *going_on, "log-mel"]


def recipe_of(row: Row, scale: Scale, seed: int, start: str | None, tasks: Sequence[str] | None = None) -> Recipe:
    """The training run of a row.

    Args:
        start: model folder it starts from; None: random weights of the scale's size.
        tasks: what its objective can be asked; None: everything.
    """
    loop = scale.loop
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
            adapter_unit_means=row.unit_means or None,
        ),
        data=_data(row, scale.data, tasks),
        optimizer=scale.optimizer if row.after else scale.start_optimizer,
        loop=loop,
    )


def _data(row: Row, data: DataConfig, tasks: Sequence[str] | None) -> DataConfig:
    data = replace(data, training_share=row.share)
    if row.speech_only:
        data = replace(data, domain_weights={"speech": 1.0})
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
