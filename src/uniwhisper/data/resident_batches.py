"""Steps -> batches for audio that is resident on a device: workers send numbers and text, the device makes the sound.

As `loader.step_batches`, for the same draws; the sound differs from the loader's in the last decimals of resampling and
in the noise, so a run keeps to one of the two.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Generator
from torch.utils.data import DataLoader, Dataset

from uniwhisper.core.units import SAMPLE_RATE_HZ
from uniwhisper.data.augment import draw_masks
from uniwhisper.data.batch import Batch, Example, collate
from uniwhisper.data.config import NO_AUGMENTATION, DataConfig
from uniwhisper.data.manifest import Manifest
from uniwhisper.data.mixture import Clip, Draw, Mixture
from uniwhisper.data.parallel import usable_cores
from uniwhisper.data.plan import Part, Plans, make_plan
from uniwhisper.data.resident import ResidentAudio
from uniwhisper.data.tasks import FORBID, all_tasks
from uniwhisper.data.tokens import Tokenizer, build

_MOST_WORKERS = 12
_NOTHING = np.zeros(1, dtype=np.float32)


class PlanDataset(Dataset):
    """For a step: its plans, and its batch with text and masks but without sound."""

    def __init__(
        self, mixture: Mixture, manifests: Sequence[Manifest], tokenizer: Tokenizer, *, rank: int = 0, world: int = 1
    ) -> None:
        self._mixture, self._tokenizer = mixture, tokenizer
        self._rank, self._world = rank, world
        places = (record.id for manifest in manifests for record in manifest.records)
        self._place = {record_id: place for place, record_id in enumerate(places)}

    def __getitem__(self, step: int) -> tuple[Plans, Batch]:
        draws = self._mixture.step(step)
        made = [self._example(step, slot, draws[slot]) for slot in range(self._rank, len(draws), self._world)]
        return Plans.of([plan for plan, _ in made]), collate([example for _, example in made])

    def _example(self, step: int, slot: int, draw: Draw) -> tuple:
        config = self._mixture.config
        stream = self._mixture.streams.stream("augment", step, slot)
        task = all_tasks()[draw.question.task]
        parts = self._parts(draw, stream)
        if stream.random() < config.augment.background_probability and task.augment["noise"] != FORBID:
            parts.append(self._background(max(part.shift + part.length for part in parts), stream))
        plan, value = make_plan(parts, task, draw.question.value, stream, config.augment)
        masking = config.augment if task.augment["mask"] != FORBID else NO_AUGMENTATION
        masks = draw_masks(plan.samples, config.mel_bins, stream, masking)
        text = build(self._tokenizer, draw.question.instruction, replace(draw.question, value=value).answer)
        return plan, Example(draw.id, draw.clip.record.domain, draw.question.task, _NOTHING, text, masks)

    def _parts(self, draw: Draw, stream: np.random.Generator) -> list[Part]:
        """The clip, and the partner of a mixture: the longer one begins first, the shorter at a random place in it."""
        windows = [self._window(clip, stream) for clip in (draw.clip, draw.partner) if clip is not None]
        windows.sort(key=lambda part: -part.length)
        if len(windows) == 1:
            return windows
        longer, shorter = windows
        shift = int(stream.integers(longer.length - shorter.length + 1))
        level_db = float(stream.uniform(*self._mixture.config.augment.mix_db_range))
        return [longer, replace(shorter, shift=shift, level_db=level_db)]

    def _background(self, most: int, stream: np.random.Generator) -> Part:
        """A stretch of any training clip, no longer than the example, at a random place of it."""
        clips = self._mixture.training
        record = clips[int(stream.integers(len(clips)))].record
        length = min(record.samples, most)
        return Part(
            clip=self._place[record.id],
            first=int(stream.integers(record.samples - length + 1)),
            length=length,
            shift=int(stream.integers(most - length + 1)),
            level_db=float(stream.uniform(*self._mixture.config.augment.background_db_range)),
        )

    def _window(self, clip: Clip, stream: np.random.Generator) -> Part:
        length = min(clip.record.samples, int(self._mixture.config.max_seconds * SAMPLE_RATE_HZ))
        first = int(stream.integers(clip.record.samples - length + 1))
        return Part(clip=self._place[clip.record.id], first=first, length=length)


@dataclass(frozen=True)
class ResidentBatches:
    """Iterating yields (step, batch), the batch on the device of the audio."""

    steps: range
    loader: DataLoader
    audio: ResidentAudio
    left_out: dict[str, int]
    """Reason -> number of clips that nothing is asked about, or that lose a task."""

    def __iter__(self) -> Iterator[tuple[int, Batch]]:
        for step, (plans, batch) in zip(self.steps, self.loader, strict=True):
            # Counts stay on the CPU: who asks for them must not have to wait for the device.
            yield step, replace(batch, wave_BS=self.audio.render(plans), sample_counts_B=plans.samples_B)

    def __len__(self) -> int:
        return len(self.steps)


def resident_batches(
    manifests: Manifest | Sequence[Manifest],
    tokenizer: Tokenizer,
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
        device: keeps the whole training set, two bytes a sample.

    Raises:
        ManifestError: as `step_batches`.
    """
    sources = [manifests] if isinstance(manifests, Manifest) else list(manifests)
    mixture = Mixture(sources, config, seed)
    dataset = PlanDataset(mixture, sources, tokenizer, rank=rank, world=world)
    steps = range(start_step, stop_step)
    count = min(_MOST_WORKERS, usable_cores() - 1) if workers is None else workers
    loader = DataLoader(
        dataset,
        batch_size=None,
        sampler=steps,
        num_workers=min(count, len(steps)),
        prefetch_factor=4 if count else None,
        generator=Generator(),  # the loader draws a seed we do not use; not from the process's own generator
    )
    return ResidentBatches(steps, loader, ResidentAudio.load(sources, cache, device), dict(mixture.left_out))
