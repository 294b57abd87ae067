"""JSON taken apart strictly: a missing, unknown or ill-typed key is an error, because a misspelt rule would silently
change a score."""

import re
from collections.abc import Callable
from typing import Any

_REQUIRED = object()


class Taker:
    """Take known keys from a JSON object, then refuse what is left.

    Raises:
        ValueError: `content` is no object; and from a call, the key is missing or its value is not good.
    """

    def __init__(self, content: Any, what: str) -> None:
        if not isinstance(content, dict):
            raise ValueError(f"{what} is not a JSON object")
        self.left, self.what = dict(content), what

    def __call__(self, key: str, good: Callable[[Any], bool] = lambda _: True, *, default: Any = _REQUIRED) -> Any:
        if key not in self.left:
            if default is _REQUIRED:
                raise ValueError(f"{self.what} lacks {key!r}")
            return default
        value = self.left.pop(key)
        try:
            fine = good(value)
        except (TypeError, re.error):
            fine = False
        if not fine:
            raise ValueError(f"{self.what}: {key} cannot be {value!r}")
        return value

    def finish(self) -> None:
        if self.left:
            raise ValueError(f"{self.what}: unknown {', '.join(map(repr, sorted(self.left)))}")


def is_name(text: Any) -> bool:
    """Names go into file names and pages."""
    return isinstance(text, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", text) is not None


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def is_list(value: Any) -> bool:
    return isinstance(value, list)


def is_texts(value: Any) -> bool:
    return is_list(value) and all(map(is_text, value))


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def is_pattern(text: Any) -> bool:
    """A regular expression with exactly one group."""
    return re.compile(text).groups == 1
