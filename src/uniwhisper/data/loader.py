"""Steps -> batches, prepared ahead by worker processes; the same batches whatever their number.

The dataset is indexed by step, so torch's loader hands steps to workers and gives them back in order, and a resumed run
starts at its step without skipping through the earlier ones. Each rank reads only the clips of its own share.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Generator
from torch.utils.data import DataLoader, Dataset

from uniwhisper.core.cores import usable_cores
from uniwhisper.core.errors import RecipeError, UserError
from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.data.augment import apply_shape, colour, draw_masks, join
from uniwhisper.data.batch import Batch, Example, collate
from uniwhisper.data.config import NO_AUGMENTATION, AugmentConfig, DataConfig
from uniwhisper.data.decoded import ClipReader, EncodedReader, decode
from uniwhisper.data.draws import Draw, asked_of_mean
from uniwhisper.data.manifest import Manifest
from uniwhisper.data.mixture import Mixture
from uniwhisper.data.tasks import FORBID
from uniwhisper.data.tokens import TextForm, Tokenizer, text_rows

__all__ = ["AugmentConfig", "DataConfig", "StepBatches", "held_out_batches", "step_batches"]
_MOST_WORKERS = 12


class StepDataset(Dataset):
    """Batch of a step, for one rank; or the error that making it met, to be raised where the user sees it."""

    def __init__(
        self,
        mixture: Mixture,
        readers: Sequence[ClipReader],
        tokenizer: Tokenizer | TextForm,
        *,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        assert 0 <= rank < world, f"rank {rank} of {world}"
        self._mixture, self._readers, self._tokenizer = mixture, readers, tokenizer
        self._rank, self._world = rank, world

    def __getitem__(self, step: int) -> Batch | UserError:
        try:
            mine = share_of(self._mixture, step, self._rank, self._world)
            config = self._mixture.config
            return collate(
                [make_example(draw, self._readers, self._tokenizer, stream, config) for draw, stream in mine]
            )
        except UserError as error:
            # torch would rebuild the error from one string, which loses what was expected and how to mend it.
            return error


def share_of(mixture: Mixture, step: int, rank: int, world: int) -> list[tuple[Draw, np.random.Generator]]:
    """A rank's draws of a step, each with the stream that decides what is done to it.

    Raises:
        RecipeError: the step leaves a rank without a clip.
        ManifestError: hardly any clip of a domain has something to be asked.
    """
    draws = mixture.step(step)
    if len(draws) < world:
        raise RecipeError(
            f"step {step} has fewer clips than there are ranks",
            expected=f"at least {world} clips",
            got=str(len(draws)),
            fix="raise data.clips_per_step or data.seconds_per_step",
        )
    return [(draws[slot], mixture.streams.stream("augment", step, slot)) for slot in range(rank, len(draws), world)]


def make_example(
    draw: Draw,
    readers: Sequence[ClipReader],
    tokenizer: Tokenizer | TextForm,
    stream: np.random.Generator,
    config: DataConfig,
) -> Example:
    """Carry out a draw: read its recordings, put them together, shape and colour the sound, tokenise the questions."""
    waves = [readers[part.clip.source].read(part.clip.record)[part.first :][: part.length] for part in draw.parts]
    wave_S = join(waves, [part.shift for part in draw.parts], [part.level_db for part in draw.parts])
    wave_S = colour(apply_shape(wave_S, draw.shape), draw.tasks, stream, config.augment)
    return asked_example(draw, wave_S, len(wave_S), tokenizer, stream, config)


def asked_example(
    draw: Draw,
    wave_S: np.ndarray,
    samples: int,
    tokenizer: Tokenizer | TextForm,
    stream: np.random.Generator,
    config: DataConfig,
) -> Example:
    """The example of a draw whose sound is made, or will be: its masks and its questions.

    Args:
        wave_S: (S,) float32 at 16 kHz, or a stand-in for a sound that a device makes later.
        samples: of the sound.
        stream: where making the sound left it.
    """
    masking = all(task.augment["mask"] != FORBID for task in draw.tasks)
    masks = draw_masks(samples, config.mel_bins, stream, config.augment if masking else NO_AUGMENTATION)
    tasks, texts = text_rows(tokenizer, draw.questions)
    of_mean = asked_of_mean(draw.tasks, stream, config.mean_share)
    return Example(
        id=draw.id, domain=draw.domain, wave_S=wave_S, tasks=tasks, texts=texts, masks=masks, of_mean=of_mean
    )


@dataclass(frozen=True)
class StepBatches:
    """What `step_batches` gives: iterating yields (step, batch); each iteration begins at the first step again.

    Raises:
        ManifestError: (while iterating) an archive changed since it was prepared.
    """

    steps: range
    loader: DataLoader
    left_out: dict[str, int]
    """Reason -> number of clips that nothing is asked about, or that lose a task."""

    def __iter__(self) -> Iterator[tuple[int, Batch]]:
        for step, batch in zip(self.steps, self.loader, strict=True):
            if isinstance(batch, UserError):
                raise batch
            yield step, batch

    def __len__(self) -> int:
        return len(self.steps)


def step_batches(
    manifests: Manifest | Sequence[Manifest],
    tokenizer: Tokenizer | TextForm,
    config: DataConfig,
    *,
    seed: int,
    start_step: int,
    stop_step: int,
    workers: int | None = None,
    cache: Path | None = None,
    rank: int = 0,
    world: int = 1,
    pin_memory: bool = False,
) -> StepBatches:
    """(step, batch) for the steps from `start_step` up to, not including, `stop_step`.

    Manifests and cache are checked (and the cache written) by this call; batches are made while iterating.

    Args:
        workers: processes that prepare batches; 0: this one; None: one per core beyond the first, at most 12.
        cache: folder for decoded audio, written on first use; None: decode each clip when it is drawn.
        rank, world: this process takes the clips rank, rank + world, … of each step.
        pin_memory: give batches in page-locked memory, for copies to a GPU that need not be waited for.

    Raises:
        ManifestError: a domain of the config has no clip, a clip is in two manifests, or an archive changed since it
            was prepared.
    """
    sources = [manifests] if isinstance(manifests, Manifest) else list(manifests)
    mixture = Mixture(sources, config, seed)
    dataset = StepDataset(mixture, _readers(sources, cache), tokenizer, rank=rank, world=world)
    steps = range(start_step, stop_step)
    return StepBatches(steps, prepared_ahead(dataset, steps, workers, pin_memory=pin_memory), dict(mixture.left_out))


def prepared_ahead(
    dataset: Dataset, items: Sequence[object], workers: int | None, *, pin_memory: bool = False
) -> DataLoader:
    """The `items` of a dataset in their order, prepared ahead; `workers` and `pin_memory` as in `step_batches`."""
    count = min(_MOST_WORKERS, usable_cores() - 1) if workers is None else workers
    return DataLoader(
        dataset,
        batch_size=None,
        sampler=items,
        num_workers=min(count, len(items)),  # one more than there are items would only start and stop
        pin_memory=pin_memory,
        generator=Generator(),  # the loader draws a seed we do not use; not from the process's own generator
    )


def held_out_batches(
    manifests: Manifest | Sequence[Manifest],
    tokenizer: Tokenizer | TextForm,
    config: DataConfig,
    *,
    cache: Path | None = None,
) -> Iterator[Batch]:
    """The held-out clips, each with one fixed question, unaltered, in batches of about a step's size.

    Clips longer than `max_seconds` are cut there. The same for every seed and step; empty if nothing is held out.

    Raises:
        ManifestError: as `step_batches`.
    """
    sources = [manifests] if isinstance(manifests, Manifest) else list(manifests)
    mixture = Mixture(sources, replace(config, augment=NO_AUGMENTATION), seed=0)
    readers, plain = _readers(sources, cache), replace(config, augment=NO_AUGMENTATION)
    nothing = np.random.default_rng(0)
    budget = config.seconds_per_step or config.audio_seconds_per_step or math.inf
    waiting: list[Example] = []
    seconds = 0.0
    for draw in mixture.held_out_draws():
        waiting.append(make_example(draw, readers, tokenizer, nothing, plain))
        seconds += draw.samples / SAMPLE_RATE_HZ
        if len(waiting) == config.clips_per_step or seconds >= budget:
            yield collate(waiting)
            waiting, seconds = [], 0.0
    if waiting:
        yield collate(waiting)


def _readers(manifests: Sequence[Manifest], cache: Path | None) -> list[ClipReader]:
    return [EncodedReader(manifest) if cache is None else decode(manifest, cache) for manifest in manifests]
