"""Adapter: encoder frames -> audio tokens in the language model's embedding space.

Notable: stacks neighbouring frames, then two linear layers with a GELU between. No attention, so audio token i depends
only on frames [stack * i, stack * (i + 1)). Paper: UniWhisper (arXiv 2602.21772) says "lightweight adapter"; its shape
is not known, ours is argued in docs/decisions/0005.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uniwhisper.core.errors import WeightsError
from uniwhisper.core.units import ceil_div
from uniwhisper.model.packing import Packing
from uniwhisper.model.standard import RunningStandard


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterConfig:
    """Shape of the adapter."""

    frame_width: int
    """Width D of the encoder's frames."""
    stack: int
    """Neighbouring frames joined into one audio token; 4 frames of 20 ms make 12.5 audio tokens a second."""
    hidden_width: int
    """Width between the two linear layers."""
    token_width: int
    """Width H of the language model's token embeddings."""
    mean_tokens: int = 1
    """Audio tokens that the mean of a clip's frames makes; 1: by the layers that frames go through."""
    unit_means: bool = False
    """Whether frames are standardised by what means of clips were like in training (`standard.py`), and the mean of a
    clip is heard as a direction: then cosine is all that tells two clips apart."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            flag = name == "unit_means"
            if isinstance(value, bool) != flag or not isinstance(value, int) or (value < 1 and not flag):
                expected = "true or false" if flag else "an integer >= 1"
                raise WeightsError(
                    f"adapter field {name}", expected=expected, got=repr(value), fix="mend it in config.json"
                )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Adapter(nn.Module):
    """Stack frames, widen, GELU, project to the language model's width."""

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        self.config = config
        self.widen = nn.Linear(config.stack * config.frame_width, config.hidden_width)
        self.project = nn.Linear(config.hidden_width, config.token_width)
        if config.mean_tokens > 1:
            self.project_means = nn.Linear(config.hidden_width, config.mean_tokens * config.token_width)
        self.standard = RunningStandard(config.frame_width) if config.unit_means else None

    def initialise(self, *, token_std: float, generator: torch.Generator) -> None:
        """Draw the weights so that audio tokens start with the standard deviation of the text-token embeddings.

        Frames leave the encoder with unit variance (final LayerNorm); standardised ones are larger by what a clip's
        frames differ among each other. `token_std` is the standard deviation of the language model's embedding table: a
        residual stream that starts ten times larger than the frozen model was trained with is not steered but blinded.
        """
        with torch.no_grad():
            nn.init.normal_(self.widen.weight, std=self.widen.in_features**-0.5, generator=generator)
            # Second moment of GELU(x) for x ~ N(0, 1), by quadrature: 0.425.
            nn.init.normal_(
                self.project.weight, std=token_std * (0.425 * self.project.in_features) ** -0.5, generator=generator
            )
            self.widen.bias.zero_()
            self.project.bias.zero_()
            if self.config.mean_tokens > 1:
                std = token_std * (0.425 * self.project_means.in_features) ** -0.5
                nn.init.normal_(self.project_means.weight, std=std, generator=generator)
                self.project_means.bias.zero_()

    def forward(self, frames_BTD: Tensor, frame_counts_B: Tensor) -> tuple[Tensor, Tensor]:
        """Audio tokens of each clip.

        Args:
            frames_BTD: encoder frames, zeros where padding.
            frame_counts_B: int64, real frames of each clip.

        Returns:
            audio_BAH: audio tokens; a last token whose frames run out is completed with zero frames. Rows beyond the
                count hold whatever the layers make of zeros: use the count.
            audio_counts_B: int64, ceil(frame_counts_B / stack).
        """
        stack = self.config.stack
        if self.standard is not None:
            place_T = torch.arange(frames_BTD.shape[1], device=frames_BTD.device)
            padding_BT1 = (place_T >= frame_counts_B[:, None])[..., None]
            frames_BTD = self.standard(frames_BTD).masked_fill(padding_BT1, 0)
        missing = -frames_BTD.shape[1] % stack
        frames_BTD = F.pad(frames_BTD, (0, 0, 0, missing))
        stacked = frames_BTD.reshape(frames_BTD.shape[0], -1, stack * frames_BTD.shape[2])
        return self._tokens(stacked), ceil_div(frame_counts_B, stack)

    def packed(self, frames_PD: Tensor, frames: Packing) -> tuple[Tensor, Packing]:
        """`forward` without padding: `frames_PD`, packed as `frames` says -> (audio_NH, where each clip's lie)."""
        stack = self.config.stack
        audio = Packing(tuple(ceil_div(count, stack) for count in frames.counts), ceil_div(frames.counts_B, stack))
        starts_B = frames.counts_B.cumsum(0) - frames.counts_B
        place_NS = audio.place_P[:, None] * stack + torch.arange(stack, device=frames_PD.device)
        missing_NS = place_NS >= frames.counts_B[audio.clip_P][:, None]
        rows_NS = (starts_B[audio.clip_P][:, None] + place_NS).masked_fill(missing_NS, 0)
        frames_PD = frames_PD if self.standard is None else self.standard(frames_PD)
        stacked_NSD = frames_PD[rows_NS].masked_fill(missing_NS[..., None], 0)
        return self._tokens(stacked_NSD.flatten(1)), audio

    def of_means(self, frames_PD: Tensor, frames: Packing) -> Tensor:
        """(B * K, H): `mean_tokens` K audio tokens a clip, one clip after the other.

        What widens the frames that an audio token stacks reads the mean of the clip's frames in the place of each.

        With `unit_means` that mean is standardised and brought to a root mean square of 1 first; in training it is
        counted for the standard of later steps.

        Args:
            frames_PD: encoder frames, packed as `frames` says, float32 or bfloat16.
        """
        means_BD = frames.sums(frames_PD, torch.float32) / frames.counts_B[:, None]
        if self.standard is not None:
            means_BD = self.standard.directions(means_BD, counted=self.training)
        means_BD = means_BD.to(frames_PD.dtype)
        project = self.project if self.config.mean_tokens == 1 else self.project_means
        hidden_BW = F.gelu(self.widen(means_BD.repeat(1, self.config.stack)))
        return project(hidden_BW).view(-1, self.config.token_width)

    def _tokens(self, stacked: Tensor) -> Tensor:
        return self.project(F.gelu(self.widen(stacked)))
