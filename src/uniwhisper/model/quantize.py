"""Linear layers in int8, for CPUs: PyTorch's dynamic quantisation (weights once, activations as they come)."""

import warnings

import torch
from torch import nn

from uniwhisper.core.errors import UserError
from uniwhisper.model.encoder import WhisperEncoder


def in_int8(encoder: WhisperEncoder) -> WhisperEncoder:
    """A copy for inference with the blocks' linear layers in int8; stem, norms and attention stay in float32.

    Activations get one scale for all rows of a product, so a clip's frames depend on what is in the batch with it: give
    it one clip at a time, as `Embedder` does.

    Raises:
        UserError: this PyTorch has no dynamic quantisation, or none for this processor.
    """
    try:
        from torch.ao.quantization import quantize_dynamic

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it will go some day
            return quantize_dynamic(encoder, {nn.Linear}, dtype=torch.qint8)
    except (ImportError, AttributeError, RuntimeError) as error:
        raise UserError(
            "int8 is not to be had here",
            expected="a PyTorch and a processor with dynamic quantisation of linear layers",
            got=str(error).splitlines()[0][:200],
            fix="leave precision at float32",
        ) from None
