"""What an input is called in tables and errors."""

from pathlib import Path

import numpy as np

from uniwhisper.core.errors import AudioError


def input_name(index: int, source: object) -> str:
    """What an input is called in tables and errors.

    Raises:
        AudioError: the input is of no accepted type.
    """
    if isinstance(source, str | Path):
        text = str(source)
        if text.isascii():
            return text  # the caller's own: no second one in memory
        # A file name may hold bytes that are no UTF-8; tables and terminals cannot, so these become \xNN.
        return text.encode(errors="surrogateescape").decode(errors="backslashreplace")
    if isinstance(source, bytes):
        return f"<bytes {index}>"
    if isinstance(source, tuple) and len(source) == 2 and isinstance(source[0], np.ndarray):
        return f"<array {index}>"
    got = type(source).__name__
    fix = "pass one of these, e.g. embed([(samples, 16000)])"
    if isinstance(source, np.ndarray):
        got = "an array without its sample rate"
    elif isinstance(source, tuple):
        got = "a tuple of (" + ", ".join(type(part).__name__ for part in source) + ")"
        if len(source) == 2 and hasattr(source[0], "numpy"):
            turned = "" if getattr(source[0], "ndim", 1) == 1 else ".T"  # of one dimension, `.T` is deprecated
            fix = f"a tensor as an array, channels last: (samples{turned}.detach().cpu().numpy(), sample_rate_hz)"
    raise AudioError(
        f"input {index} cannot be used as audio",
        expected="a path (str or Path), the bytes of a file, or (array, sample_rate_hz)",
        got=got,
        fix=fix,
    )
