"""The shape of a Whisper encoder, as a validated value.

Source of the sizes: Whisper (Radford et al., 2022, table 1) and, for the two later ones, the published model cards.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from uniwhisper.core.errors import WeightsError
from uniwhisper.core.units import WINDOW_FRAMES

Recompute = Literal["mlp", "layers"]
"""What training does not keep for its backward pass but computes again there: what follows each attention, or all of
each block but its input."""


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Everything that decides the architecture; two encoders with equal configs take each other's weights."""

    mel_bins: int
    """Rows of the log-mel spectrogram (M)."""
    width: int
    """Width of a frame (D)."""
    heads: int
    """Attention heads per block; divides `width`. No weight's shape shows it."""
    layers: int
    """Transformer blocks after the convolutional stem."""
    max_frames: int = WINDOW_FRAMES
    """Longest input in encoder frames; the number of stored positions."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not int or value < 1:
                raise _unfit(f"{field.name} of the encoder", "an integer of at least 1", repr(value))
        if self.width % self.heads:
            raise _unfit("width of the encoder", f"a multiple of its {self.heads} heads", str(self.width))
        if self.width % 2 or self.width < 4:
            raise _unfit("width of the encoder", "an even number of at least 4 (sines, cosines)", str(self.width))

    def to_json(self) -> dict[str, int]:
        """A JSON object with one entry per field."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> "EncoderConfig":
        """The inverse of `to_json`; `max_frames` may be left out.

        Raises:
            WeightsError: not an object, an unknown or missing field, or a value that makes no encoder.
        """
        known = {field.name for field in fields(cls)}
        if not isinstance(value, Mapping):
            raise _unfit("the encoder section", f"an object with the fields {sorted(known)}", type(value).__name__)
        missing = known - {"max_frames"} - set(value)
        if missing or not set(value) <= known:
            raise _unfit("the fields of the encoder", str(sorted(known)), str(sorted(value)))
        return cls(**value)


def _unfit(what: str, expected: str, got: str) -> WeightsError:
    fix = "use the config.json that was saved with these weights"
    return WeightsError(f"{what} cannot be used", expected=expected, got=got, fix=fix)


WHISPER_SIZES: dict[str, EncoderConfig] = {
    "tiny": EncoderConfig(mel_bins=80, width=384, heads=6, layers=4),
    "base": EncoderConfig(mel_bins=80, width=512, heads=8, layers=6),
    "small": EncoderConfig(mel_bins=80, width=768, heads=12, layers=12),
    "medium": EncoderConfig(mel_bins=80, width=1024, heads=16, layers=24),
    "large": EncoderConfig(mel_bins=80, width=1280, heads=20, layers=32),
    "large-v3": EncoderConfig(mel_bins=128, width=1280, heads=20, layers=32),
    "large-v3-turbo": EncoderConfig(mel_bins=128, width=1280, heads=20, layers=32),
}
