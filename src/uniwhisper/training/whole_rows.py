"""Rows of the encoder stay in registers: a preference for PyTorch's compiler, which changes nothing but rounding.

By itself it keeps rows up to 1,024 numbers while their norm or largest number is found, and reads longer ones twice;
the rows of large-v3 have 1,280. Measured: docs/performance.md. Through the compiler's own extension point
(`InductorChoices`), so that a version without it is an error at import and not a silent difference.
"""

import torch._inductor.config
from torch._inductor.choices import InductorChoices
from torch._inductor.runtime.hints import ReductionHint
from torch._inductor.virtualized import V

WIDEST = 4096


class WholeRows(InductorChoices):
    """The compiler's own choices, but for rows of 1,025 to `WIDEST` numbers that lie in one piece, or are put together
    from pieces."""

    @staticmethod
    def should_use_persistent_reduction(features, cooperative_reduction: bool) -> bool:
        """Whether the reduction `features` tells of keeps its rows."""
        if InductorChoices.should_use_persistent_reduction(features, cooperative_reduction):
            return True
        # Later versions may want the additions of a row in a given order.
        in_order = getattr(features, "strict_reduction_rblock", lambda: None)() is not None
        # Of rows that are put together from several tensors nothing is hinted.
        hinted = features.get_reduction_hint() in (ReductionHint.INNER, ReductionHint.DEFAULT)
        if cooperative_reduction or in_order or not hinted:
            return False
        return V.graph.sizevars.statically_known_leq(features.reduction_numel, WIDEST)

    @staticmethod
    def uuid() -> str:
        """Of what the compiler's cache keeps apart from code that was made without."""
        return f"uniwhisper-whole-rows-{WIDEST}-inner-default"


def install() -> None:
    """For all that this process compiles from now on."""
    torch._inductor.config.inductor_choices_class = WholeRows
    V.set_choices_handler(WholeRows())
