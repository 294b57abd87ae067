"""X-ARES: the encoder file. X-ARES imports it by its path, so it works from any folder once this package is installed:

    python -m xares.run uniwhisper/integrations/xares.py src/tasks/*.py

X-ARES passes no lengths: a clip's exact zeros at its end are taken for padding and give frames of zeros. Such frames
change the length of a clip's mean and not its direction, and both of X-ARES's measures begin with a normalisation.
The checkpoint is named by the environment variable UNIWHISPER_MODEL, because X-ARES calls the class without arguments;
it caches what the class gave under the class's name, so another checkpoint needs another working folder.
"""

import os

import torch
from torch import Tensor, nn

# Modules, not names: X-ARES takes the one name of this file that ends in "Encoder".
from uniwhisper.core import units
from uniwhisper.embedding import waves
from uniwhisper.model import weights


class UniWhisperEncoder(nn.Module):
    """Waves to frames, with the attributes X-ARES reads."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = weights.load_encoder(os.environ.get("UNIWHISPER_MODEL")).encoder
        self.sampling_rate = units.SAMPLE_RATE_HZ
        self.output_dim = self.encoder.config.width
        self.hop_size_in_ms = 1000 / units.FRAMES_PER_SECOND
        self.eval()  # X-ARES never says so

    def forward(self, audio: Tensor) -> Tensor:
        """(B, T, output_dim) float32 of `audio`, (B, S) or (S,) floating point at 16 kHz; one frame every 20 ms."""
        wave_BS = torch.atleast_2d(audio)
        frames_BTD, _ = waves.encode_waves(self.encoder, wave_BS, unpadded_counts(wave_BS))
        # A batch of which every clip ends in zeros still has as many frames as samples ask for.
        missing = units.frame_count(units.mel_count(wave_BS.shape[1])) - frames_BTD.shape[1]
        return nn.functional.pad(frames_BTD, (0, 0, 0, max(0, missing)))


def unpadded_counts(wave_BS: Tensor) -> Tensor:
    """int64, samples of each clip of `wave_BS` up to its last that is not zero; all of them if every one is zero."""
    position_S = torch.arange(1, wave_BS.shape[1] + 1, device=wave_BS.device)
    counts_B = torch.where(wave_BS != 0, position_S, 0).amax(dim=1)
    return torch.where(counts_B == 0, wave_BS.shape[1], counts_B)
