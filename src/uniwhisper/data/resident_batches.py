"""Steps -> batches for audio that is resident on a device: workers send numbers and text, the device makes the sound.

As `loader.step_batches`, for the same draws; the sound differs from the loader's in the last decimals of resampling and
in the noise, so a run keeps to one of the two.
"""

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from uniwhisper.core.errors import UserError
from uniwhisper.data.batch import Batch, Example, collate
from uniwhisper.data.config import DataConfig
from uniwhisper.data.draws import Draw, Part, window
from uniwhisper.data.loader import asked_example, prepared_ahead, share_of
from uniwhisper.data.manifest import Manifest
from uniwhisper.data.mixture import Mixture
from uniwhisper.data.plan import Plan, Plans, make_plan
from uniwhisper.data.resident import ResidentAudio
from uniwhisper.data.tokens import TextForm, Tokenizer

_NOTHING = np.zeros(1, dtype=np.float32)


class PlanDataset(Dataset):
    """For a range of steps: the plans of each, and its batch with text and masks but without sound.

    Steps are drawn in groups, so whole groups are asked of one worker: else every worker would draw every group.
    """

    def __init__(
        self,
        mixture: Mixture,
        manifests: Sequence[Manifest],
        tokenizer: Tokenizer | TextForm,
        *,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._mixture, self._tokenizer = mixture, tokenizer
        self._rank, self._world = rank, world
        places = (record.id for manifest in manifests for record in manifest.records)
        self._place = {record_id: place for place, record_id in enumerate(places)}

    def __getitem__(self, steps: range) -> list[bytes]:
        # As bytes: the loader would pass every tensor of a group as an open file, more than a process may have.
        return [pickle.dumps(self._step(step)) for step in steps]

    def _step(self, step: int) -> tuple[Plans, Batch] | UserError:
        try:
            mine = share_of(self._mixture, step, self._rank, self._world)
            made = [self._example(draw, stream) for draw, stream in mine]
        except UserError as error:  # as `loader.StepDataset`
            return error
        plans = Plans.of([plan for plan, _ in made], lambda part: self._place[part.clip.record.id])
        return plans, collate([example for _, example in made])

    def _example(self, draw: Draw, stream: np.random.Generator) -> tuple[Plan, Example]:
        config = self._mixture.config
        plan = make_plan(draw, stream, config.augment, self._background)
        return plan, asked_example(draw, _NOTHING, plan.samples, self._tokenizer, stream, config)

    def _background(self, most: int, stream: np.random.Generator) -> Part:
        """A stretch of any training clip, no longer than the example, at a random place of it."""
        part = window(self._mixture.any_clip(stream), most, stream)
        level_db = float(stream.uniform(*self._mixture.config.augment.background_db_range))
        return replace(part, shift=int(stream.integers(most - part.length + 1)), level_db=level_db)


@dataclass(frozen=True)
class ResidentBatches:
    """Iterating yields (step, batch), the batch on the device of the audio."""

    steps: range
    loader: DataLoader
    audio: ResidentAudio
    left_out: dict[str, int]
    """Reason -> number of clips that nothing is asked about, or that lose a task."""

    def __iter__(self) -> Iterator[tuple[int, Batch]]:
        for step, sent in zip(self.steps, chain.from_iterable(self.loader), strict=True):
            made = pickle.loads(sent)
            if isinstance(made, UserError):
                raise made
            plans, batch = made
            # Counts stay on the CPU: who asks for them must not have to wait for the device.
            yield step, replace(batch, wave_BS=self.audio.render(plans), sample_counts_B=plans.samples_B)

    def __len__(self) -> int:
        return len(self.steps)


def resident_batches(
    manifests: Manifest | Sequence[Manifest],
    tokenizer: Tokenizer | TextForm,
    config: DataConfig,
    *,
    seed: int,
    start_step: int,
    stop_step: int,
    cache: Path,
    device: torch.device,
    workers: int | None = None,
    rank: int = 0,
    world: int = 1,
) -> ResidentBatches:
    """(step, batch) for the steps from `start_step` up to, not including, `stop_step`; arguments as `step_batches`.

    Args:
        cache: folder for decoded audio, written on first use.
        device: keeps the whole training set, two bytes a sample; four where clips go through codecs.

    Raises:
        ManifestError: as `step_batches`.
    """
    sources = [manifests] if isinstance(manifests, Manifest) else list(manifests)
    mixture = Mixture(sources, config, seed)
    dataset = PlanDataset(mixture, sources, tokenizer, rank=rank, world=world)
    steps = range(start_step, stop_step)
    loader = prepared_ahead(dataset, _by_group(steps, config.group_steps), workers)
    audio = ResidentAudio.load(sources, cache, device, coded=config.augment.codec_probability > 0)
    return ResidentBatches(steps, loader, audio, dict(mixture.left_out))


def _by_group(steps: range, size: int) -> list[range]:
    """The steps, cut where a new group of `size` steps begins."""
    bounds = [steps.start, *range((steps.start // size + 1) * size, steps.stop, size), steps.stop]
    return [range(first, last) for first, last in pairwise(bounds) if first < last]
