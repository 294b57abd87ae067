"""One run on several processes, started by torchrun: PyTorch's DDP or FSDP2, and what the loop must do differently.

Notable: a step is the same step on any number of ranks. Each rank takes every world-th clip of it, the loss is divided
by the whole batch's count, and checkpoints hold whole tensors; so a run may be resumed on another number of ranks.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from itertools import zip_longest
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from uniwhisper.data.batch import Batch
from uniwhisper.model.adapter import Adapter
from uniwhisper.model.encoder import WhisperEncoder
from uniwhisper.model.uniwhisper import UniWhisper

# Rank 0 may decode a corpus into the cache, or write a checkpoint, while the others wait.
LONGEST_WAIT = timedelta(hours=6)


@dataclass(frozen=True)
class WholeStep:
    """A step over all ranks: of each row of text, in the order that one rank alone has, and in sum."""

    ids: list[str]
    domains: list[str]
    token_counts: list[int]
    """Tokens of each answer."""
    audio_seconds: float
    fewest_clips: int
    """Of any rank."""


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run; alone, everything here does nothing."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def wait(self) -> None:
        """Until every rank is here."""
        if self.world > 1:
            dist.barrier()

    @contextmanager
    def first_before_others(self) -> Iterator[None]:
        """Rank 0 runs the block alone, then the others: what it leaves on disk is there for them."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()

    def in_step_order(self, values_R: list, batch: Batch) -> list:
        """One list of what all ranks have to say about each row of text of their `batch`, as one rank alone has it."""
        return _step_order(self._gather(_by_clip(values_R, batch)))

    def whole(self, batch: Batch) -> WholeStep:
        """The step that `batch` is this rank's share of."""
        token_counts = batch.loss_mask_RL.sum(dim=1).tolist()
        rows = list(zip(batch.ids, batch.domains, token_counts, strict=True))
        shares, seconds = zip(*self._gather((_by_clip(rows, batch), batch.audio_seconds)), strict=True)
        ids, domains, token_counts = (list(values) for values in zip(*_step_order(shares), strict=True))
        return WholeStep(ids, domains, token_counts, sum(seconds), min(map(len, shares)))

    def _gather(self, value: Any) -> list:
        if self.world == 1:
            return [value]
        values = [None] * self.world
        dist.all_gather_object(values, value)
        return values


ALONE = Ranks()


def _by_clip(values_R: list, batch: Batch) -> list[list]:
    """Values of rows of text, those about one clip together."""
    clips: list[list] = [[] for _ in range(len(batch))]
    for clip, value in zip(batch.clip_R.tolist(), values_R, strict=True):
        clips[clip].append(value)
    return clips


def _step_order(shares: Sequence[list[list]]) -> list:
    """Rows of the ranks' clips one behind the other: rank r of n has the step's clips r, r + n, …"""
    return [value for clips in zip_longest(*shares, fillvalue=[]) for clip in clips for value in clip]


@contextmanager
def join_ranks(device: torch.device) -> Iterator[Ranks]:
    """The ranks torchrun started, joined while the block runs; one rank without torchrun."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # What is said about a step goes from CPU to CPU: a GPU need not be waited for.
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=LONGEST_WAIT)
    try:
        yield Ranks(dist.get_rank(), world)
    finally:
        dist.destroy_process_group()


def spread(model: UniWhisper, ranks: Ranks, how: Literal["replicate", "shard"]) -> nn.Module:
    """The model to call in a step. `replicate`: every rank holds all (DDP); `shard`: each a part (FSDP2), in place.

    The frozen language model is whole on every rank either way: it has neither gradients nor optimizer state.
    """
    if ranks.world == 1:
        return model
    if how == "replicate":
        return nn.parallel.DistributedDataParallel(model, broadcast_buffers=False, gradient_as_bucket_view=True)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(next(model.parameters()).device.type, (ranks.world,))
    model.encoder.keep_blocks_apart()  # each is gathered when it is called
    for module in [*model.encoder.blocks, model.encoder, model.adapter]:
        fully_shard(module, mesh=mesh)
    for module in (model.encoder, model.adapter):
        register_fsdp_forward_method(module, "packed")
    return model


def without_exchange(model: nn.Module, *, until_last: bool) -> AbstractContextManager:
    """While the block runs, gradients stay on their rank; `until_last` False: they are exchanged in its backward."""
    if isinstance(model, nn.parallel.DistributedDataParallel):
        return model.no_sync() if until_last else nullcontext()
    if isinstance(model, UniWhisper):
        for part in (model.encoder, model.adapter):
            if hasattr(part, "set_requires_gradient_sync"):
                part.set_requires_gradient_sync(not until_last)
    return nullcontext()


def let_go(model: nn.Module) -> None:
    """Forget sharded weights that a forward pass without a backward pass has left gathered.

    What is gathered is a copy: who changes the weights after it would go on with those of before.
    """
    for part in model.children():
        if hasattr(part, "reshard"):
            part.reshard()


def plain(model: nn.Module) -> UniWhisper:
    """The model inside DDP, or the model."""
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


def whole_tensor(tensor: Tensor) -> Tensor:
    """All of a tensor that may be sharded. Every rank must ask."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def part_of(whole: Tensor, like: Tensor) -> Tensor:
    """`whole` on the device of `like`; if that is sharded, this rank's part of it."""
    whole = whole.to(like.device)
    if not hasattr(like, "full_tensor"):
        return whole
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None)


def whole_model(model: UniWhisper) -> UniWhisper:
    """The model with whole tensors: itself, or if it is sharded a copy on the CPU. Every rank must ask."""
    if not any(hasattr(parameter, "full_tensor") for parameter in model.parameters()):
        return model
    with torch.device("meta"):
        encoder, adapter = WhisperEncoder(model.encoder.config), Adapter(model.adapter.config)
    for empty, sharded in ((encoder, model.encoder), (adapter, model.adapter)):
        state = {name: whole_tensor(tensor).cpu() for name, tensor in sharded.state_dict().items()}
        empty.load_state_dict(state, assign=True)
    return UniWhisper(encoder, adapter, model.language_model)
