"""Draw the pictures of docs/concepts.md from the code as it is: `python examples/pictures.py`, part of `make docs`.

All is computed in float64: in float32 processors differ in the last digits, and so would some pixels.
"""

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from uniwhisper.core.units import SAMPLE_RATE_HZ, WINDOW_SECONDS, frame_count, mel_count
from uniwhisper.features.logmel import log_mel
from uniwhisper.model.weights import load_encoder, packaged_default

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
INK, QUIET, BAR, WASTE = "#4a5560", "#8a939b", "#3f7cac", "#d9b26f"


def clip() -> np.ndarray:
    """A rising tone, a pause, a burst of noise: 2 s."""
    time_S = np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    rising = np.sin(2 * np.pi * (300 * time_S + 500 * time_S**2)) * (time_S < 0.9)
    burst = np.random.default_rng(0).standard_normal(len(time_S)) * np.exp(-6 * (time_S - 1.3)) * (time_S > 1.3)
    return (0.3 * rising + 0.2 * burst).astype(np.float32)


def path() -> Figure:
    """Samples, mels and frames on one axis."""
    wave_S = clip()
    counts_B = torch.tensor([len(wave_S)])
    mel_BMF, mels_B = log_mel(torch.from_numpy(wave_S)[None], counts_B, mel_bins=80, transform=torch.float64)
    with torch.inference_mode():
        frames_BTD, _ = load_encoder(packaged_default()).encoder.double().eval()(mel_BMF.double(), mels_B)
    frames_TD = frames_BTD[0].numpy()
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    top, middle, bottom = figure.subplots(3, sharex=True)
    top.plot(np.arange(len(wave_S)) / SAMPLE_RATE_HZ, wave_S, color=BAR, linewidth=0.5)
    middle.imshow(mel_BMF[0], aspect="auto", origin="lower", extent=(0, 2, 0, 80), cmap="magma")
    spread = (frames_TD - frames_TD.mean(axis=0)) / frames_TD.std(axis=0)
    shown = np.argsort(-np.abs(np.diff(frames_TD, axis=0)).mean(axis=0))[:48]
    bottom.imshow(spread[:, shown].T, aspect="auto", extent=(0, 2, 0, 48), cmap="coolwarm", vmin=-3, vmax=3)
    for axes, label in ((top, "samples"), (middle, "mels"), (bottom, "frames")):
        axes.set_ylabel(label, color=INK)
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
    top.set_title(f"{len(wave_S):,} samples → {mel_count(len(wave_S))} mels → {len(frames_TD)} frames", fontsize=10)
    bottom.set_xlabel("seconds (of the frames' numbers, the 48 that change most)", color=QUIET)
    return figure


def padding() -> Figure:
    """Encoder frames computed for short clips."""
    figure = Figure(figsize=(8, 2.2), layout="constrained")
    axes = figure.subplots()
    for row, seconds in enumerate((8, 3, 1)):
        frames = frame_count(mel_count(seconds * SAMPLE_RATE_HZ))
        most = frame_count(mel_count(WINDOW_SECONDS * SAMPLE_RATE_HZ))
        axes.barh(row, frames, color=BAR, height=0.6)
        axes.barh(row, most - frames, left=frames, color=WASTE, height=0.6, alpha=0.55)
        axes.text(frames + 12, row, f"{frames} frames; padded to 30 s: {most}", va="center", fontsize=9, color=INK)
    axes.set_yticks(range(3), ["8 s", "3 s", "1 s"])
    axes.set_xlabel("encoder frames computed (blue: the clip, sand: padding that is not computed here)", color=QUIET)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def save(folder: Path) -> None:
    """Draw all into a folder."""
    folder.mkdir(exist_ok=True)
    for draw in (path, padding):
        draw().savefig(folder / f"{draw.__name__}.png", dpi=130, metadata={"Software": None})
        print(f"{draw.__name__}.png")


if __name__ == "__main__":
    save(PICTURES)
