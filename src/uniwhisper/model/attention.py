"""Self-attention over packed clips: each row attends to the rows of its own clip and to no other.

Three ways that compute the same; which is taken where, and why: docs/decisions/0020-packed-encoding.md.

Letters, beside those in docs/shapes.md: P packed rows of the batch · J attention heads, G of them for key and value ·
K width of a head.
"""

from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from inspect import signature
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from uniwhisper.core.errors import MissingExtraError
from uniwhisper.core.units import WINDOW_FRAMES
from uniwhisper.model.packing import Packing


def attend(query_PJK: Tensor, key_PGK: Tensor, value_PGK: Tensor, packing: Packing, *, causal: bool = False) -> Tensor:
    """Each row attends to all rows of its own clip, or with `causal` to those up to itself.

    Args:
        query_PJK, key_PGK, value_PGK: one dtype; packed as `packing` says. With fewer heads G of the last two, each
            serves J / G neighbouring heads of the query (Ainslie et al., 2023, section 2.2).
        packing: of this batch.
        causal: whether later rows are hidden.

    Returns:
        mixed_PJK: dtype of the query.
    """
    half_on_cuda = query_PJK.device.type == "cuda" and query_PJK.dtype in (torch.bfloat16, torch.float16)
    if half_on_cuda and (not packing.uniform or _trained_by(query_PJK)):
        return attend_packed(query_PJK, key_PGK, value_PGK, packing, causal=causal)
    key_PJK, value_PJK = (_for_each_head(x_PGK, query_PJK) for x_PGK in (key_PGK, value_PGK))
    if packing.uniform or query_PJK.device.type == "cpu":
        return attend_by_length(query_PJK, key_PJK, value_PJK, packing, causal=causal)
    return attend_padded(query_PJK, key_PJK, value_PJK, packing, causal=causal)


def _for_each_head(x_PGK: Tensor, query_PJK: Tensor) -> Tensor:
    times = query_PJK.shape[1] // x_PGK.shape[1]
    return x_PGK if times == 1 else x_PGK.repeat_interleave(times, dim=1)


def attend_packed(
    query_PJK: Tensor, key_PGK: Tensor, value_PGK: Tensor, packing: Packing, *, causal: bool = False
) -> Tensor:
    """One kernel that knows where each clip begins; half precision on a CUDA device only.

    Takes `query_PJK`, `key_PGK` and `value_PGK` and gives the same as `attend`.
    """
    offsets_B1, longest = packing.offsets_B1, packing.longest
    if flash4 := _trained_by(query_PJK):
        return flash4(
            query_PJK, key_PGK, value_PGK, cu_seqlens_q=offsets_B1, cu_seqlens_k=offsets_B1,
            max_seqlen_q=longest, max_seqlen_k=longest, causal=causal,
        )[0]  # fmt: skip
    key_PJK, value_PJK = (_for_each_head(x_PGK, query_PJK) for x_PGK in (key_PGK, value_PGK))
    kernel, causal_options = _packed_kernel()
    options = causal_options if causal else {}
    # Later versions of PyTorch would take cuDNN's, which plans anew for every batch.
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        return kernel(query_PJK, key_PJK, value_PJK, offsets_B1, offsets_B1, longest, longest, **options)


@lru_cache
def _packed_kernel() -> tuple[Callable[..., Tensor], dict[str, Any]]:
    """PyTorch's kernel, imported when it is needed, and how its version is told to be causal."""
    from torch.nn.attention.varlen import varlen_attn

    by_window = "window_size" in signature(varlen_attn).parameters
    return varlen_attn, {"window_size": (-1, 0)} if by_window else {"is_causal": True}


def _trained_by(query_PJK: Tensor) -> Callable[..., tuple[Tensor, Tensor]] | None:
    """Flash attention 4 where gradients are wanted: compiled at the first step, which embedding would wait for."""
    width = query_PJK.shape[2]
    if not torch.is_grad_enabled() or width % 8 or not 8 <= width <= 128:
        return None
    return _flash4(query_PJK.device)


@lru_cache
def _flash4(device: torch.device) -> Callable[..., tuple[Tensor, Tensor]] | None:
    """None without its package, or on a generation of GPUs that its backward pass is not used on here.

    Raises:
        MissingExtraError: the package is there but cannot be imported.
    """
    if torch.cuda.get_device_capability(device)[0] not in (9, 10) or not _installed("flash_attn.cute"):
        return None
    try:
        from flash_attn.cute import flash_attn_varlen_func
    except ImportError as error:
        raise MissingExtraError(
            "flash attention 4 is installed and cannot be imported",
            expected="flash-attn-4 with all that it needs",
            got=f"{type(error).__name__}: {error}",
            fix="pip install --pre 'flash-attn-4[cu13]', or pip uninstall flash-attn-4 to train without it",
        ) from error
    return flash_attn_varlen_func


def _installed(module: str) -> bool:
    package = module.partition(".")[0]
    return find_spec(package) is not None and find_spec(module) is not None


def attend_by_length(
    query_PJK: Tensor, key_PJK: Tensor, value_PJK: Tensor, packing: Packing, *, causal: bool = False
) -> Tensor:
    """One call per run of neighbouring clips of equal length: no mask, and no arithmetic on padding.

    Takes `query_PJK`, `key_PJK` and `value_PJK`, all of as many heads, and gives the same as `attend`.
    """
    if query_PJK.device.type == "cuda":
        with sdpa_kernel(_kernels(packing), set_priority=True):
            return _by_length(query_PJK, key_PJK, value_PJK, packing, causal)
    return _by_length(query_PJK, key_PJK, value_PJK, packing, causal)


def _kernels(packing: Packing) -> list[SDPBackend]:
    """In the order of preference. cuDNN is the fastest but plans anew for every length, which costs more than it saves:
    it is for whole windows, the length that comes again and again. Its masked backward is not to be trusted (below)."""
    others = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    whole_windows = packing.uniform and packing.longest == WINDOW_FRAMES and not torch.is_grad_enabled()
    return [SDPBackend.CUDNN_ATTENTION, *others] if whole_windows else others


def _by_length(query_PJK: Tensor, key_PJK: Tensor, value_PJK: Tensor, packing: Packing, causal: bool) -> Tensor:
    runs = [(len(list(run)), count) for count, run in groupby(packing.counts)]
    rows = [clips * count for clips, count in runs]
    mixed = []
    for run, *parts in zip(runs, *(x_PJK.split(rows) for x_PJK in (query_PJK, key_PJK, value_PJK)), strict=True):
        query, key, value = (x_PJK.unflatten(0, run).transpose(1, 2) for x_PJK in parts)
        mixed_BJTK = scaled_dot_product_attention(query, key, value, is_causal=causal)
        mixed.append(mixed_BJTK.transpose(1, 2).flatten(0, 1))
    # A view would do for one run; but compiled training tells views from others, and would compile anew for it.
    return mixed[0] if len(mixed) == 1 and not torch.is_grad_enabled() else torch.cat(mixed)


def attend_padded(
    query_PJK: Tensor, key_PJK: Tensor, value_PJK: Tensor, packing: Packing, *, causal: bool = False
) -> Tensor:
    """One call for the whole batch, padded to its longest clip, with a mask that hides the padded keys.

    Takes `query_PJK`, `key_PJK` and `value_PJK`, all of as many heads, and gives the same as `attend`.
    """
    query, key, value = (packing.unpack(x_PJK).transpose(1, 2) for x_PJK in (query_PJK, key_PJK, value_PJK))
    place_T = torch.arange(packing.longest, device=query.device)
    visible_BJTT = (place_T < packing.counts_B[:, None])[:, None, None]
    if causal:
        visible_BJTT = visible_BJTT & (place_T <= place_T[:, None])
    # cuDNN's backward pass gives NaN for masked bfloat16 at some lengths (PyTorch issue 196678).
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]):
        mixed_BJTK = scaled_dot_product_attention(query, key, value, attn_mask=visible_BJTT)
    return packing.pack(mixed_BJTK.transpose(1, 2))
