"""All recordings of a training set in a device's memory, and a batch of examples made of them there.

A few tens of hours fit as 16-bit samples into a GPU; decoding, copying and filtering clip by clip on a CPU then no
longer bound a step. Everything random is in the plans; the bank of noise is the same for every run.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from uniwhisper.core.units import FFT_SAMPLES, SAMPLE_RATE_HZ
from uniwhisper.data.coded import code
from uniwhisper.data.decoded import decode
from uniwhisper.data.manifest import Manifest
from uniwhisper.data.plan import EQUALIZER_POINTS, NOISE_KINDS, NOISE_SAMPLES, Plans

_FULL_SCALE = 32767.0
_EQUALIZER_LOWEST_HZ = 50.0
_ROOM_SAMPLES = 8000
_CUT_DB = -60.0
MAX_EXPONENT = 2.0
_SIZE_STEP = 1 << 13  # Fourier transforms of few different lengths: each new one is planned anew


class ResidentAudio:
    """Recordings as one tensor on a device, in the order of the manifests' records.

    Args:
        samples: int16 (all clips' samples, one after the other), mono at 16 kHz, full scale 32767; then, if there are
            any, those of all clips after a codec.
        counts: samples of each clip.
    """

    def __init__(self, samples: Tensor, counts: Sequence[int]) -> None:
        total = sum(counts)
        assert samples.dtype == torch.int16 and len(samples) in (total, 2 * total), "the samples are those of the clips"
        self.samples = samples
        self.starts_N = torch.tensor([0, *np.cumsum(counts)[:-1]], dtype=torch.int64, device=samples.device)
        self._coded_from = total if len(samples) > total else None
        self._noise_KS = _noise_bank(samples.device)

    @classmethod
    def load(
        cls, manifests: Sequence[Manifest], cache: Path, device: torch.device, *, coded: bool = False
    ) -> "ResidentAudio":
        """Decode (or read from `cache`) every record of the manifests and keep it on `device`.

        Args:
            coded: keep each clip after a codec as well (`coded.py`): twice the memory.

        Raises:
            ManifestError: an archive is not what it was when its manifest was written.
            OutputError: the cache cannot be written.
        """
        makers = (decode, code) if coded else (decode,)
        parts = [torch.from_numpy(np.array(make(one, cache).samples)) for make in makers for one in manifests]
        counts = [record.samples for manifest in manifests for record in manifest.records]
        return cls(torch.cat(parts).to(device), counts)

    @torch.no_grad()
    def render(self, plans: Plans) -> Tensor:
        """wave_BS float32 on the device: the examples of `plans`, padded with zeros to the longest."""
        device = self.samples.device
        on = {name: tensor.to(device, non_blocking=True) for name, tensor in plans.tensors().items()}
        longest = int(plans.samples_B.max())
        assert self._coded_from is not None or not plans.coded_B.any(), "clips after a codec were not loaded"
        place_S = torch.arange(longest, device=device)
        heard_BS = place_S - on["before_B"][:, None]
        voiced_BS = (heard_BS >= 0) & (heard_BS < on["repeated_B"][:, None])
        # Where in the example, before its speed was changed, each sample comes from.
        kept_BS = heard_BS % on["voiced_B"][:, None] + on["crop_first_B"][:, None]
        source_BS = kept_BS.double() * on["factor_B"][:, None]

        wave_BS, first_power_B = None, None
        for part in range(plans.clip_BK.shape[1]):
            sound_BS, inside_BS = self._part(on, part, source_BS, voiced_BS)
            if wave_BS is None:
                wave_BS, first_power_B = sound_BS, _power(sound_BS, inside_BS)
                continue
            power_B = _power(sound_BS, inside_BS)
            audible_B = (power_B > 0) & (first_power_B > 0)
            ratio_B = torch.where(audible_B, first_power_B / power_B.clamp(min=1e-20), 1.0)
            scale_B = ratio_B.sqrt() * _amplitude(on["level_db_BK"][:, part]).float()
            wave_BS = wave_BS + sound_BS * scale_B[:, None]
        assert wave_BS is not None, "every plan has a part"
        if plans.clip_BK.shape[1] > 1:
            wave_BS = wave_BS / wave_BS.abs().amax(dim=1, keepdim=True).clamp(min=1.0)
        real_BS = place_S < on["samples_B"][:, None]
        wave_BS = self._filter(wave_BS, on) * real_BS
        wave_BS = wave_BS + self._noise(wave_BS, on, place_S) * real_BS
        return wave_BS * on["gain_B"].float()[:, None]

    def _part(self, on: dict[str, Tensor], part: int, source_BS: Tensor, voiced_BS: Tensor) -> tuple[Tensor, Tensor]:
        """Samples of one part at the places of the example (B, S), and where there are any."""
        length_B1 = on["length_BK"][:, part, None]
        position_BS = source_BS - on["shift_BK"][:, part, None]
        inside_BS = (position_BS >= 0) & (position_BS <= length_B1 - 1) & voiced_BS
        whole_BS = position_BS.floor().long()
        t_BS = (position_BS - whole_BS).float()
        begin_B = self.starts_N[on["clip_BK"][:, part]] + on["first_BK"][:, part]
        begin_B1 = (begin_B + on["coded_B"] * (self._coded_from or 0))[:, None]
        last_B1 = (length_B1 - 1).clamp(min=0)

        def tap(offset: int) -> Tensor:
            index_BS = torch.minimum((whole_BS + offset).clamp(min=0), last_B1) + begin_B1
            return self.samples[index_BS.clamp(max=len(self.samples) - 1)].float()

        # Cubic through four samples (Catmull & Rom, 1974); exactly the sample itself where t is 0.
        a, b, c, d = tap(-1), tap(0), tap(1), tap(2)
        sound_BS = b + 0.5 * t_BS * (c - a + t_BS * (2 * a - 5 * b + 4 * c - d + t_BS * (3 * (b - c) + d - a)))
        return torch.where(inside_BS, sound_BS / _FULL_SCALE, 0.0), inside_BS

    def _filter(self, wave_BS: Tensor, on: dict[str, Tensor]) -> Tensor:
        """Equalizer, cut of the upper band and room, in one pass through the Fourier domain."""
        longest = wave_BS.shape[1]
        size = -(-(longest + _ROOM_SAMPLES) // _SIZE_STEP) * _SIZE_STEP
        hz_K = torch.fft.rfftfreq(size, 1 / SAMPLE_RATE_HZ, device=wave_BS.device)
        points_E = torch.from_numpy(np.geomspace(_EQUALIZER_LOWEST_HZ, SAMPLE_RATE_HZ / 2, EQUALIZER_POINTS))
        db_BK = on["equalizer_db_BE"].float() @ _hats((points_E + 1).log().float().to(hz_K.device), (hz_K + 1).log())
        db_BK = db_BK + torch.where(hz_K > on["band_hz_B"][:, None].float(), _CUT_DB, 0.0)
        response_BK = torch.fft.rfft(self._room(on), size) * _amplitude(db_BK)
        return torch.fft.irfft(torch.fft.rfft(wave_BS, size) * response_BK, size)[:, :longest]

    def _room(self, on: dict[str, Tensor]) -> Tensor:
        """Impulse responses (B, _ROOM_SAMPLES) of unit energy: the direct sound, and noise that dies away.

        Polack's model of a diffuse room (1988): white noise under an exponential that falls by 60 dB in the given time.
        """
        place_S = torch.arange(_ROOM_SAMPLES, device=self.samples.device)
        seconds_B1 = on["room_seconds_B"].float()[:, None]
        envelope_BS = torch.exp(-3 * math.log(10) * place_S / (SAMPLE_RATE_HZ * seconds_B1.clamp(min=1e-3)))
        tail_BS = self._noise_KS[0][(on["noise_first_B"][:, None] + place_S) % NOISE_SAMPLES] * envelope_BS
        tail_BS = tail_BS / tail_BS.square().sum(dim=1, keepdim=True).sqrt().clamp(min=1e-6)
        tail_BS = tail_BS * _amplitude(on["room_db_B"].float())[:, None] * (seconds_B1 > 0)
        direct_S = (place_S == 0).float()
        room_BS = direct_S + tail_BS
        return room_BS / room_BS.square().sum(dim=1, keepdim=True).sqrt()

    def _noise(self, wave_BS: Tensor, on: dict[str, Tensor], place_S: Tensor) -> Tensor:
        bank_BS = self._noise_KS[on["noise_kind_B"][:, None], (on["noise_first_B"][:, None] + place_S) % NOISE_SAMPLES]
        power_B = wave_BS.square().sum(dim=1) / on["samples_B"]
        return bank_BS * (power_B.sqrt() * _amplitude(-on["noise_snr_db_B"]).float())[:, None]


def _noise_bank(device: torch.device) -> Tensor:
    """(NOISE_KINDS, NOISE_SAMPLES) float32 of unit power, made on the CPU: the same numbers on every device."""
    spectrum_K = np.fft.rfft(np.random.default_rng(0).standard_normal(NOISE_SAMPLES).astype(np.float32))
    # Flat below the lowest frequency that is heard, else slow drifts would be all there is of brown noise.
    lowest = NOISE_SAMPLES // FFT_SAMPLES
    slope_K = np.maximum(np.arange(len(spectrum_K)), lowest) / lowest
    rows = []
    for exponent in np.linspace(0, MAX_EXPONENT, NOISE_KINDS):
        noise_S = np.fft.irfft(spectrum_K * slope_K ** (-exponent / 2), NOISE_SAMPLES)
        rows.append(noise_S / np.sqrt(np.mean(noise_S**2)))
    return torch.from_numpy(np.stack(rows).astype(np.float32)).to(device)


def _hats(points_E: Tensor, at_K: Tensor) -> Tensor:
    """(E, K) weights of straight-line interpolation between `points_E` (ascending), constant beyond both ends."""
    place_K = torch.bucketize(at_K, points_E).clamp(1, len(points_E) - 1)
    left_K, right_K = points_E[place_K - 1], points_E[place_K]
    share_K = ((at_K - left_K) / (right_K - left_K)).clamp(0, 1)
    weights_EK = torch.zeros(len(points_E), len(at_K), device=at_K.device)
    weights_EK.scatter_(0, (place_K - 1)[None], 1 - share_K[None])
    return weights_EK.scatter_(0, place_K[None], share_K[None])


def _power(sound_BS: Tensor, inside_BS: Tensor) -> Tensor:
    """Mean power (B,) of the places where there is sound."""
    return sound_BS.square().sum(dim=1) / inside_BS.sum(dim=1).clamp(min=1)


def _amplitude(decibels: Tensor) -> Tensor:
    return 10 ** (decibels / 20)
