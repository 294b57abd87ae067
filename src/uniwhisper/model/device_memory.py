"""When the memory of a device does not suffice: how that is known, and told."""

import torch

from uniwhisper.core.errors import DeviceMemoryError

# How others than PyTorch's GPU allocator say it: its CPU allocator on Linux and on Windows, and cuBLAS.
_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device's memory did not suffice."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)
    )


def device_memory_error(what: str, device: torch.device, *, fix: str, needs: str = "it") -> DeviceMemoryError:
    """`what` does not fit into the memory of `device`; on a GPU with what of it this and other programs hold."""
    expected, got = f"free memory for {needs}", "out of memory"
    if device.type == "cuda":
        free, all_of_it = (number / 2**30 for number in torch.cuda.mem_get_info(device))
        ours = torch.cuda.memory_reserved(device) / 2**30
        others = max(0.0, all_of_it - free - ours)
        expected += f", of {all_of_it:.1f} GiB"
        got = f"{ours:.1f} GiB held by this program, {others:.1f} by others, {free:.1f} free, which is not enough"
    return DeviceMemoryError(f"{what} does not fit into the memory of {device}", expected=expected, got=got, fix=fix)
