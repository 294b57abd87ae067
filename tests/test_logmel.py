"""Log-mel against transformers' WhisperFeatureExtractor, clip by clip, from batches of unequal clips."""

import math
import tarfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uniwhisper.audio.load import read
from uniwhisper.features.logmel import log_mel

SHORT = [1, 2, 159, 160, 161, 199, 200, 201, 202, 399, 400, 401, 639, 640, 16_000, 80_000]
AT_THE_END_OF_THE_WINDOW = [479_800, 479_839, 479_840, 479_841, 479_958, 479_959, 479_960, 479_961, 479_999, 480_000]
SOME = [1, 161, 201, 400, 16_000, 479_840, 479_961, 480_000]
SIGNALS = ["noise", "speech-like", "tone", "silence", "quiet", "loud tone", "last sample", "offset"]


def signal(kind: str, count: int) -> np.ndarray:
    random = np.random.default_rng(count)
    time_S = np.arange(count) / 16_000
    noise_S = random.standard_normal(count)
    if kind == "noise":
        return (0.2 * noise_S).astype(np.float32)
    if kind == "speech-like":  # voiced stretches with harmonics, pauses, and breath
        voiced_S = sum(np.sin(2 * np.pi * 120 * k * time_S + k) / k for k in range(1, 30))
        return (0.1 * voiced_S * (np.sin(2 * np.pi * 2.3 * time_S) > 0) + 1e-2 * noise_S).astype(np.float32)
    if kind == "tone":
        return (0.3 * np.sin(2 * np.pi * 440 * time_S)).astype(np.float32)
    if kind == "loud tone":
        return np.sin(0.3 * np.arange(count)).astype(np.float32)
    if kind == "quiet":
        return (1e-5 * noise_S).astype(np.float32)
    if kind == "last sample":  # the maximum lies in a column that is not returned
        return np.eye(1, count, count - 1, dtype=np.float32)[0]
    if kind == "offset":
        return np.full(count, 0.7, np.float32)
    return np.zeros(count, np.float32)


def batch_of(clips: list[np.ndarray], device: str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """The clips beside each other, with NaN where the padding is."""
    wave_BS = torch.full((len(clips), max(map(len, clips))), math.nan)
    for row, clip in zip(wave_BS, clips, strict=True):
        row[: len(clip)] = torch.from_numpy(clip)
    return wave_BS.to(device), torch.tensor([len(clip) for clip in clips], device=device)


def check_against_reference(clips: list[np.ndarray], mel_bins: int, device: str = "cpu") -> float:
    """The largest difference to the reference over all real columns, after checking shapes and padding."""
    transformers = pytest.importorskip("transformers")
    extractor = transformers.WhisperFeatureExtractor(feature_size=mel_bins)
    wave_BS, sample_counts_B = batch_of(clips, device)
    mel_BMF, mel_counts_B = log_mel(wave_BS, sample_counts_B, mel_bins=mel_bins)
    assert mel_BMF.dtype == torch.float32
    assert mel_counts_B.dtype == torch.int64
    assert mel_BMF.shape == (len(clips), mel_bins, int(mel_counts_B.max()))
    assert mel_BMF.device == mel_counts_B.device == wave_BS.device
    worst = 0.0
    for clip, mel_MF, count in zip(clips, mel_BMF.cpu().numpy(), mel_counts_B.tolist(), strict=True):
        assert count == math.ceil(len(clip) / 160)
        assert (mel_MF[:, count:] == 0).all()
        reference = extractor(clip, sampling_rate=16_000, return_tensors="np").input_features[0]
        assert reference.shape == (mel_bins, 3000)
        worst = max(worst, float(np.abs(mel_MF[:, :count] - reference[:, :count]).max()))
    return worst


@pytest.mark.parametrize("mel_bins", [80, 128])
@pytest.mark.parametrize("kind", SIGNALS)
def test_a_batch_of_unequal_clips_equals_the_reference_for_each_alone(kind: str, mel_bins: int) -> None:
    assert check_against_reference([signal(kind, count) for count in SOME], mel_bins) <= 1e-5


def test_every_edge_equals_the_reference() -> None:
    assert check_against_reference([signal("noise", count) for count in SHORT], 80) <= 1e-5
    assert check_against_reference([signal("noise", count) for count in AT_THE_END_OF_THE_WINDOW], 80) <= 1e-5
    assert check_against_reference([signal("last sample", count) for count in AT_THE_END_OF_THE_WINDOW], 80) <= 1e-5


@pytest.mark.parametrize("mel_bins", [80, 128])
def test_mixed_signals_do_not_disturb_each_other(mel_bins: int) -> None:
    clips = [signal(kind, count) for kind in SIGNALS for count in (1, 5003)]
    assert check_against_reference(clips, mel_bins) <= 1e-5


@pytest.mark.parametrize("kind", SIGNALS)
def test_alone_and_in_a_batch_are_the_same_to_the_last_bit(kind: str) -> None:
    clips = [signal(kind, count) for count in (1, 201, 5003, 31_999)] + [signal("loud tone", 64_000)]
    mel_BMF, mel_counts_B = log_mel(*batch_of(clips), mel_bins=80)
    for clip, mel_MF, count in zip(clips, mel_BMF, mel_counts_B.tolist(), strict=True):
        alone_BMF, _ = log_mel(*batch_of([clip]), mel_bins=80)
        assert torch.equal(alone_BMF[0], mel_MF[:, :count])


def test_a_batch_wider_than_its_longest_clip() -> None:
    clip = signal("noise", 700)
    wave_BS = torch.full((1, 500_000), math.inf)
    wave_BS[0, :700] = torch.from_numpy(clip)
    mel_BMF, _ = log_mel(wave_BS, torch.tensor([700]), mel_bins=80)
    assert torch.equal(mel_BMF, log_mel(*batch_of([clip]), mel_bins=80)[0])


@pytest.mark.parametrize("count", [1, 160, 400, 479_999])
def test_silence_is_finite(count: int) -> None:
    mel_BMF, _ = log_mel(torch.zeros(1, count), torch.tensor([count]), mel_bins=80)
    assert (mel_BMF == (math.log10(1e-10) + 4) / 4).all()


@settings(deadline=None, max_examples=40)
@given(counts=st.lists(st.integers(1, 20_000), min_size=1, max_size=5), extra=st.integers(0, 500))
def test_counts_and_padding(counts: list[int], extra: int) -> None:
    wave_BS = torch.full((len(counts), max(counts) + extra), math.nan)
    for row, count in zip(wave_BS, counts, strict=True):
        row[:count] = torch.linspace(-1, 1, count)
    mel_BMF, mel_counts_B = log_mel(wave_BS, torch.tensor(counts, dtype=torch.int32), mel_bins=80)
    assert mel_counts_B.tolist() == [math.ceil(count / 160) for count in counts]
    assert torch.isfinite(mel_BMF).all()
    for mel_MF, count in zip(mel_BMF, mel_counts_B.tolist(), strict=True):
        assert mel_MF[:, count:].abs().sum() == 0
        assert mel_MF[:, :count].max() - mel_MF[:, :count].min() <= 2 + 1e-6  # eight decades, divided by four


@pytest.mark.parametrize(
    ("wave_BS", "counts", "message"),
    [
        (torch.zeros(1, 100), [0], "clip 0 of the batch has 0 samples; expected 1 to 100"),
        (torch.zeros(2, 100), [100, 101], "clip 1 of the batch has 101 samples; expected 1 to 100"),
        (torch.zeros(1, 480_001), [480_001], "480001 samples; expected 1 to 480000.*cut longer audio into windows"),
        (torch.zeros(2, 100), [100], "counts \\(1,\\)"),
        (torch.zeros(100), [100], "\\(100,\\)"),
        (torch.zeros(1, 100, dtype=torch.int16), [100], "torch.int16"),
        (torch.zeros(0, 100), [], "empty batch"),
    ],
)
def test_what_does_not_fit_is_refused(wave_BS: torch.Tensor, counts: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        log_mel(wave_BS, torch.tensor(counts, dtype=torch.int64), mel_bins=80)


def test_mel_bins_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="mel_bins is 0"):
        log_mel(torch.zeros(1, 100), torch.tensor([100]), mel_bins=0)


def test_autocast_and_inference_mode_change_nothing_and_leave_nothing() -> None:
    batch = batch_of([signal("noise", 16_000)])
    with torch.inference_mode():  # the first use of these filters: they are cached from here on
        under_inference, _ = log_mel(*batch, mel_bins=77)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast, _ = log_mel(*batch, mel_bins=77)
    assert torch.equal(under_inference, under_autocast)
    wave_BS = batch[0].clone().requires_grad_()
    log_mel(wave_BS, batch[1], mel_bins=77)[0].sum().backward()
    assert torch.isfinite(wave_BS.grad).all()


def test_the_batch_is_left_as_it_was() -> None:
    wave_BS, sample_counts_B = batch_of([signal("noise", 500), signal("noise", 1000)])
    before = wave_BS.clone()
    log_mel(wave_BS, sample_counts_B, mel_bins=80)
    assert torch.equal(before.nan_to_num(9), wave_BS.nan_to_num(9))


@pytest.mark.shared_audio
@pytest.mark.parametrize("name", ["fsdd", "esc50"])
def test_real_recordings_equal_the_reference(shared_set, name: str) -> None:
    with tarfile.open(sorted(shared_set("evaluation", name).glob("*.tar"))[0]) as archive:
        members = [member for member in archive if member.name.endswith(".ogg")][:12]
        clips = [read(archive.extractfile(member).read()) for member in members]
    assert len(clips) == 12
    assert check_against_reference(clips, 80) <= 1e-5
    assert check_against_reference(clips, 128) <= 1e-5


def exact(clip_S: np.ndarray, mel_bins: int) -> np.ndarray:
    """All 3,000 columns in float64, as the reference defines them; window and filters are the reference's own."""
    transformers = pytest.importorskip("transformers")
    filters_KM = transformers.WhisperFeatureExtractor(feature_size=mel_bins).mel_filters
    window_S = torch.hann_window(400).numpy().astype(np.float64)
    padded_S = np.pad(np.pad(np.float64(clip_S), (0, 480_000 - len(clip_S))), 200, mode="reflect")
    frames_FS = np.lib.stride_tricks.sliding_window_view(padded_S, 400)[::160][:3000] * window_S
    log_MF = np.log10(np.maximum((np.abs(np.fft.rfft(frames_FS)) ** 2 @ filters_KM).T, 1e-10))
    return (np.maximum(log_MF, log_MF.max() - 8) + 4) / 4


def distance_to_exact(
    clips: list[np.ndarray], mel_bins: int, device: str, transform: torch.dtype | None = None
) -> float:
    mel_BMF, mel_counts_B = log_mel(*batch_of(clips, device), mel_bins=mel_bins, transform=transform)
    rows = zip(clips, mel_BMF.cpu().numpy(), mel_counts_B.tolist(), strict=True)
    return max(
        float(np.abs(mel_MF[:, :count] - exact(clip, mel_bins)[:, :count]).max()) for clip, mel_MF, count in rows
    )


@pytest.mark.parametrize("kind", SIGNALS)
def test_the_transform_used_beside_the_cpu_is_exact(kind: str) -> None:
    clips = [signal(kind, count) for count in SOME]
    assert distance_to_exact(clips, 80, "cpu", transform=torch.float64) <= 1e-6


@pytest.mark.gpu
@pytest.mark.parametrize("tf32", [False, True])
@pytest.mark.parametrize("mel_bins", [80, 128])
@pytest.mark.parametrize("kind", SIGNALS)
def test_on_a_gpu(kind: str, mel_bins: int, tf32: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", tf32)
    clips = [signal(kind, count) for count in SOME]
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=tf32):
        # What is left between the two is the reference's rounding, which depends on the processor it runs on.
        assert check_against_reference(clips, mel_bins, "cuda") <= 1e-4
        assert distance_to_exact(clips, mel_bins, "cuda") <= 1e-6


@pytest.mark.gpu
@pytest.mark.parametrize("kind", SIGNALS)
def test_on_a_gpu_alone_and_in_a_batch(kind: str) -> None:
    clips = [signal(kind, count) for count in (1, 201, 5003, 31_999)] + [signal("loud tone", 64_000)]
    mel_BMF, mel_counts_B = log_mel(*batch_of(clips, "cuda"), mel_bins=80)
    for clip, mel_MF, count in zip(clips, mel_BMF, mel_counts_B.tolist(), strict=True):
        alone_BMF, _ = log_mel(*batch_of([clip], "cuda"), mel_bins=80)
        assert (alone_BMF[0] - mel_MF[:, :count]).abs().max() <= 1e-6
