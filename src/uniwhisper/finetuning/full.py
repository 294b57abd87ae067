"""Training the encoder along with the head, by cross-entropy, from a fitted head and the encoder as it is.

The head starts where logistic regression left it, so the first step already goes somewhere. The epoch to keep is chosen
on clips held out from the training clips, never on those that are scored at the end.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uniwhisper.core.units import SAMPLE_RATE_HZ, WINDOW_SAMPLES
from uniwhisper.embedding.waves import encode_waves, pad_waves
from uniwhisper.evaluation.folds import inner_split
from uniwhisper.finetuning.head import INNER_SHARE, Head
from uniwhisper.model.encoder import WhisperEncoder
from uniwhisper.model.pooling import masked_mean


@dataclass(frozen=True)
class FullConfig:
    """How the encoder is trained."""

    epochs: int = 8
    encoder_learning_rate: float = 1e-4
    head_learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup_fraction: float = 0.1
    batch_seconds: float = 60.0
    """Padded audio per step."""
    seed: int = 0


def train_encoder(
    encoder: WhisperEncoder,
    head: Head,
    waves: list[np.ndarray],
    classes_N: np.ndarray,
    config: FullConfig,
    *,
    progress: Callable[[float, float], None] | None = None,
) -> tuple[WhisperEncoder, Head, dict[str, Any]]:
    """Encoder and head after the best epoch.

    Args:
        encoder: stays as it is; a copy on the same device is trained.
        head: fitted on this encoder's vectors.
        waves: (S,) float32 at 16 kHz, the clips to train on. Of a clip over 30 s each epoch sees 30 s, drawn anew.
        classes_N: int64.
        config: how.
        progress: told steps done and in total.

    Returns:
        A trained copy, its head, and what happened, for the record.
    """
    device = encoder.positions_TD.device
    encoder = copy.deepcopy(encoder).train()
    linear = nn.Linear(*head.weight.shape[::-1], device=device)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(head.weight))
        linear.bias.copy_(torch.from_numpy(head.bias))
    optimizer = torch.optim.AdamW(
        [
            {"params": encoder.parameters(), "peak": config.encoder_learning_rate},
            {"params": linear.parameters(), "peak": config.head_learning_rate},
        ],
        weight_decay=config.weight_decay,
    )
    fitting, choosing = inner_split(classes_N, range(len(classes_N)), share=INNER_SHARE, seed=config.seed)
    generator = np.random.default_rng(config.seed)
    epochs = [_batches(waves, fitting, config, generator) for _ in range(config.epochs)]
    steps, step = sum(map(len, epochs)), 0

    history = [_loss(encoder, linear, waves, classes_N, choosing, config)]
    best = copy.deepcopy((encoder.state_dict(), linear.state_dict()))
    for batches in epochs:
        for rows, starts in batches:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * _rate(step / steps, config.warmup_fraction)
            crops = [
                torch.from_numpy(waves[row][at : at + WINDOW_SAMPLES]) for row, at in zip(rows, starts, strict=True)
            ]
            logits_BC = linear(masked_mean(*encode_waves(encoder, *pad_waves(crops))))
            loss = F.cross_entropy(logits_BC, torch.from_numpy(classes_N[rows]).to(device))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
            optimizer.step()
            step += 1
            if progress is not None:
                progress(step, steps)
        history.append(_loss(encoder, linear, waves, classes_N, choosing, config))
        if history[-1] < min(history[:-1]):
            best = copy.deepcopy((encoder.state_dict(), linear.state_dict()))
    encoder.load_state_dict(best[0])
    linear.load_state_dict(best[1])
    weight, bias = (parameter.detach().cpu().numpy() for parameter in (linear.weight, linear.bias))
    told = {"inner_losses": history, "kept_epoch": int(np.argmin(history)), "chosen_on": len(choosing)}
    return encoder.eval(), Head(weight, bias), asdict(config) | told


def unchanged(told: dict[str, Any]) -> str | None:
    """In a sentence why what `train_encoder` gave back is what went in; None if it is not. `told`: its record."""
    if told["kept_epoch"]:
        return None
    if not told["chosen_on"]:
        reason = "every class has one clip to train on, which leaves none to choose the best epoch on: add recordings"
    else:
        reason = f"no epoch was better than the start on the {told['chosen_on']} clips that choose: add recordings"
    return f"the encoder is kept as it came, untrained, since {reason}"


def _rate(done: float, warmup: float) -> float:
    """Fraction of the peak rate: up in a line, down to zero in a line."""
    return (done + 1e-3) / warmup if done < warmup else (1 - done) / (1 - warmup)


def _batches(
    waves: list[np.ndarray], rows: np.ndarray, config: FullConfig, generator: np.random.Generator
) -> list[tuple[np.ndarray, list[int]]]:
    """Rows and first samples of each step's clips: neighbours are of like length, the order of steps is drawn."""
    longest_first = sorted(generator.permutation(rows), key=lambda row: -min(len(waves[row]), WINDOW_SAMPLES))
    batches: list[list[int]] = []
    for row in longest_first:
        seconds = min(len(waves[batches[-1][0]]), WINDOW_SAMPLES) / SAMPLE_RATE_HZ if batches else 0.0
        if not batches or (len(batches[-1]) + 1) * seconds > config.batch_seconds:
            batches.append([])
        batches[-1].append(int(row))
    return [
        (np.array(batches[place]), [_start(waves[row], generator) for row in batches[place]])
        for place in generator.permutation(len(batches))
    ]


def _start(wave_S: np.ndarray, generator: np.random.Generator) -> int:
    return int(generator.integers(0, max(1, len(wave_S) - WINDOW_SAMPLES + 1)))


def _loss(
    encoder: WhisperEncoder,
    linear: nn.Linear,
    waves: list[np.ndarray],
    classes_N: np.ndarray,
    rows: np.ndarray,
    config: FullConfig,
) -> float:
    """Mean cross-entropy of `rows`, clips whole; 0 if there are none, so that no epoch is better than the start."""
    losses = [0.0] if not len(rows) else []
    with torch.inference_mode():
        for part in _whole(waves, rows, config):
            vectors_BD = masked_mean(*encode_waves(encoder, *pad_waves([torch.from_numpy(waves[row]) for row in part])))
            target_B: Tensor = torch.from_numpy(classes_N[part]).to(vectors_BD.device)
            losses += F.cross_entropy(linear(vectors_BD), target_B, reduction="none").tolist()
    return float(np.mean(losses))


def _whole(waves: list[np.ndarray], rows: np.ndarray, config: FullConfig) -> Iterator[np.ndarray]:
    ordered = np.array(sorted(rows, key=lambda row: -len(waves[row])))
    start = 0
    while start < len(ordered):
        clips = max(1, int(config.batch_seconds * SAMPLE_RATE_HZ / len(waves[ordered[start]])))
        yield ordered[start : start + clips]
        start += clips
