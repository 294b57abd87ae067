"""An option of two values that may be repeated: `--pair A B --pair C D`, for which Typer's signatures have no word."""

from collections.abc import Iterator, Sequence

import typer
from typer.core import TyperCommand

OPTION = "--pair"


class CommandWithPairs(TyperCommand):
    """Its verb declares `--pair` as a list of single values, and gets A, B, C, D."""

    def parse_args(self, ctx: typer.Context, args: Sequence[str]) -> list[str]:
        """As Typer, after each `--pair A B` became `--pair A --pair B`."""
        try:
            split = list(_split(args))
        except ValueError as error:
            raise typer.BadParameter(str(error), ctx=ctx, param_hint=f"'{OPTION}'") from None
        return super().parse_args(ctx, split)


def _split(args: Sequence[str]) -> Iterator[str]:
    waiting = iter(args)
    for word in waiting:
        if word == OPTION or word.startswith(f"{OPTION}="):
            given = [word.partition("=")[2]] if word != OPTION else [next(waiting, "")]
            given.append(next(waiting, ""))
            if not all(given) or any(value.startswith("-") for value in given):
                got = " ".join(filter(None, given)) or "none"
                raise ValueError(f"takes two values, as {OPTION} A.json B.json; got: {got}")
            for value in given:
                yield from (OPTION, value)
        else:
            yield word
