"""What `data prepare --skip-bad` left out, for people: alike reasons together, with what mends them."""

import re
from collections.abc import Iterable

from uniwhisper.core.errors import UserError

SHOWN = 3
"""Clips of one reason that are named."""
_DIFFERING = re.compile(r"\[[^\]]*\]|'[^']*'|\"[^\"]*\"|\S*[\d/\\]\S*|\S+\.\w+\b")
"""What differs between clips that are bad for the same reason: lists, quoted values, numbers, paths, file names."""


def left_out_lines(problems: Iterable[UserError]) -> list[str]:
    """Lines that name the reasons in the order of their first clips; every clip is counted in one of them."""
    groups: dict[tuple[str, ...], list[UserError]] = {}
    for problem in problems:
        reason = tuple(_DIFFERING.sub("…", part) for part in (problem.expected, problem.got, problem.fix))
        groups.setdefault(reason, []).append(problem)
    lines = []
    for alike in groups.values():
        if len(alike) <= SHOWN:
            lines += [f"left out: {problem.one_line}" for problem in alike]
        else:
            first, names = alike[0], ", ".join(problem.problem for problem in alike[:SHOWN])
            of_first = "" if len({(each.expected, each.got) for each in alike}) == 1 else ", for the first"
            lines.append(f"left out, {len(alike):,} alike: expected {first.expected}; got {first.got}{of_first}")
            lines.append(f"  {names} and {len(alike) - SHOWN:,} more")
        lines.append(f"  fix: {alike[0].fix}")
    return lines


def are_shortened(lines: Iterable[str]) -> bool:
    """Whether clips are counted in `lines` without being named."""
    return any(line.startswith("left out, ") for line in lines)
