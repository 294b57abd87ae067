"""Which splits of a published corpus are trained on: its test set must not slip in because it lay beside."""

import re
from collections.abc import Iterable, Sequence

_TRAINING = re.compile(r"^(train|trn)", re.IGNORECASE)


def choose_splits(available: Iterable[str], wanted: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """(splits to use, splits left out), both sorted.

    Args:
        wanted: names; None: those that begin with `train` (or `trn`), or all if none does.
    """
    names = sorted(set(available))
    if wanted is not None:
        chosen = [name for name in names if name in wanted]
    else:
        chosen = [name for name in names if _TRAINING.match(name)] or names
    return chosen, [name for name in names if name not in chosen]
