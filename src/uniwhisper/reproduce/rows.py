"""The rows of the experiment: what each starts from, how long it trains, on what, and by which objective."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from uniwhisper.reproduce.scale import Scale

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
Steps = Literal["N", "M", "N + M", "3 M", "N + 3 M", "4 M", "N + 4 M", "6 M"]
_MS = {"N": 0, "M": 1, "N + M": 1, "3 M": 3, "N + 3 M": 3, "4 M": 4, "N + 4 M": 4, "6 M": 6}


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
    speech_share: float | None = None
    """Probability that speech is drawn, the others in the scale's proportion to each other; None: the scale's."""
    codec_probability: float | None = None
    """Of a codec as an alteration of its training clips; None: the scale's."""
    repeat_probability: float | None = None
    """Of repeating its training clips; None: the scale's."""
    silence_max_seconds: float | None = None
    """Most silence before and behind its training clips; None: the scale's."""
    share: float = 1.0
    """Part of the training clips."""
    unit_means: bool = False
    """Whether what reads the mean of a clip, a language model or heads, hears it as a direction."""
    encoder_rate: float = 1.0
    """Factor on the scale's learning rate of the encoder."""
    ema_decay: float | None = None
    """Of a moving average of the weights, which is then what is judged; None: the weights themselves."""

    @property
    def needs(self) -> str | None:
        """Row that must be there first: what it starts from, or S where its number of steps is counted with S's."""
        return self.after or ("S" if self.name != "S" and self.objective and "N" in self.steps else None)

    @property
    def long(self) -> bool:
        """Whether it is one of the runs that the gate stands before."""
        return self.objective is not None and "M" in self.steps


def _u(name: str, what: str, **changes: Any) -> Row:
    """A row of U's recipe, which asks what heads can be asked, of a mean that is heard as a direction."""
    return replace(
        Row(name=name, what=what, objective="instructions", after="S", asked_as="multi-head", unit_means=True),
        **changes,
    )


_LITTLE_CODEC: dict[str, Any] = {"speech_share": 0.1, "codec_probability": 0.3}
_REPEAT: dict[str, Any] = {"repeat_probability": 0.15}
_SILENCE: dict[str, Any] = {"silence_max_seconds": 6.0}
_LENGTHS: dict[str, Any] = {**_LITTLE_CODEC, **_REPEAT, **_SILENCE}
_ROWS = (
    Row(
        name="S",
        what="speech-only start: Whisper's decoder and objective on speech; taken where the development suite says",
        objective="whisper",
        steps="N",
        speech_share=1.0,
    ),
    Row(
        name="S-long",
        what="S for as long as S and U together",
        objective="whisper",
        steps="N + M",
        speech_share=1.0,
    ),
    Row(
        name="S-longer",
        what="S for as long as S and U-long together",
        objective="whisper",
        steps="N + 3 M",
        speech_share=1.0,
    ),
    Row(
        name="S-longer-4M",
        what="S for as long as S and U-lengths-4M together",
        objective="whisper",
        steps="N + 4 M",
        speech_share=1.0,
    ),
    _u("U", "UniWhisper: from S, all domains as instructions through the frozen language model"),
    _u("U-speech", "U's recipe on speech alone", speech_share=1.0),
    _u("U-little-speech", "U's recipe with a tenth of speech", speech_share=0.1),
    _u("U-no-speech", "U's recipe without speech, which only S has heard", speech_share=0.0),
    _u("U-ema", "U, of whose weights a moving average is judged", ema_decay=0.995),
    _u("U-codec", "U, three clips of ten after a codec", codec_probability=0.3),
    _u("U-little-codec", "both: a tenth of speech, and codecs", **_LITTLE_CODEC),
    _u("U-long", "U-little-codec for three times the steps", **_LITTLE_CODEC, steps="3 M"),
    _u("U-fast", "U-little-codec, its encoder 2.5 times as fast", **_LITTLE_CODEC, encoder_rate=2.5),
    _u("U-faster", "U-little-codec, its encoder 5 times as fast", **_LITTLE_CODEC, encoder_rate=5.0),
    _u("U-fast-long", "both: 2.5 times as fast, three times the steps", **_LITTLE_CODEC, encoder_rate=2.5, steps="3 M"),
    _u("U-longer", "U-little-codec for six times the steps", **_LITTLE_CODEC, steps="6 M"),
    _u("U-repeat", "U-long, clips repeated to up to 30 seconds", **_LITTLE_CODEC, **_REPEAT, steps="3 M"),
    _u("U-silence", "U-long, up to six seconds of silence around clips", **_LITTLE_CODEC, **_SILENCE, steps="3 M"),
    _u("U-lengths", "U-longer with both", **_LENGTHS, steps="6 M"),
    _u("U-lengths-4M", "U-lengths for four times the steps of U", **_LENGTHS, steps="4 M"),
    _u("U-eighth-4M", "U-lengths-4M on an eighth of the clips", **_LENGTHS, steps="4 M", share=1 / 8),
    _u("multi-head-4M", "U-lengths-4M with heads, as multi-head", **_LENGTHS, steps="4 M", objective="multi-head"),
    _u("U-plain-means", "U with the mean of a clip heard as it is, not as a direction", unit_means=False),
    _u("U-everything", "U asked of clips put together and for names of recordings as well", asked_as=None),
    _u("U-scratch-M", "U's recipe from random weights, for M steps", after=None),
    _u("U-scratch-N+M", "U's recipe from random weights, for N + M steps", after=None, steps="N + M"),
    Row(
        name="W-dec",
        what="U's data through Whisper's own decoder, which goes on from S's",
        objective="whisper instructions",
        after="S",
        asked_as="multi-head",
    ),
    _u("LM-random-frozen", "U through a language model of random weights: a control", objective="random frozen"),
    _u(
        "LM-pretrained-trained",
        "U with the language model trained along: full fine-tuning of everything",
        objective="pretrained trained",
    ),
    _u("LM-random-trained", "U with a language model trained from random weights", objective="random trained"),
    _u(
        "multi-head",
        "U's clips with a head and a loss for each task, instead of a language model; heads read directions, as U",
        objective="multi-head",
    ),
    _u(
        "multi-head-plain-means",
        "multi-head with heads that read the mean as it is",
        objective="multi-head",
        unit_means=False,
    ),
    Row(
        name="C",
        what="a contrastive audio-text encoder, as CLAP's, from random weights",
        objective="contrastive",
        steps="N",
    ),
    _u("C+U", "U's recipe from C instead of S", after="C"),
    _u("U-half", "U on half of the clips", share=1 / 2),
    _u("U-quarter", "U on a quarter of the clips", share=1 / 4),
    _u("U-eighth", "U on an eighth of the clips", share=1 / 8),
    Row(name="log-mel", what="floor: mean and deviation of log-mel", objective=None),
    Row(name="random", what="floor: the encoder untrained", objective=None),
)

WITH_OWN_DECODER = ("whisper", "whisper instructions")
"""Objectives that read Whisper's own decoder, which a published start is not opened with."""
ROWS = {row.name: row for row in _ROWS}
SMOKE_ROWS = ("S", "U", "log-mel", "random")
CORE_ROWS = (
    "S", "S-long", "U", "U-speech", "U-scratch-M", "U-scratch-N+M", "W-dec",
    "LM-random-frozen", "LM-pretrained-trained", "LM-random-trained", "multi-head",
    "C", "C+U", "U-half", "U-quarter", "U-eighth", "log-mel", "random",
)  # fmt: skip
"""What the experiment is about; the others were tried on the way to the packaged model and are run by name."""


def steps_of(row: Row, scale: Scale) -> int:
    """Optimizer steps of a row's own run; 0: nothing is trained.

    `scale.start_steps` is what S's run takes; of another row, the steps after which S was taken.
    """
    if row.objective is None or (row.name == "S" and scale.start is not None):
        return 0
    return (scale.start_steps if "N" in row.steps else 0) + _MS[row.steps] * scale.steps


def available_rows(scale: Scale) -> list[str]:
    """Names of the rows that a scale can have: with a published start those that go on from it, and log-mel."""
    if scale.start is None:
        return list(ROWS)
    going_on = [row.name for row in _ROWS if row.after == "S" and row.objective not in WITH_OWN_DECODER]
    return ["S", *going_on, "log-mel"]
